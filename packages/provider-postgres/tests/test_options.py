"""What a URL may say."""

import pytest
from perdure.contract import ProviderUrl
from perdure.errors import InvalidProviderUrl
from perdure_postgres import PostgresOptions
from perdure_postgres._texts import stored, told
from pydantic import ValidationError


def options_of(url):
    return PostgresOptions.from_url(ProviderUrl.parse(url))


def test_a_url_names_server_database_and_user():
    options = options_of("postgresql://app:s%40cret@db.example.com:6432/shop?namespace=orders")

    assert options.conninfo == {
        "host": "db.example.com",
        "port": "6432",
        "user": "app",
        "password": "s@cret",
        "dbname": "shop",
        "connect_timeout": "10",
        "application_name": "perdure",
    }
    assert options.namespace == "orders"


def test_a_description_has_no_user_and_no_password():
    options = options_of("postgresql://app:secret@db.example.com/shop?namespace=orders")

    assert options.description == "postgresql://db.example.com/shop?namespace=orders"


def test_several_hosts_and_options_of_the_driver_go_to_the_driver():
    options = options_of(
        "postgresql://one:5432,two:5433/shop?target_session_attrs=read-write&sslmode=verify-full"
    )

    assert options.conninfo["host"] == "one,two"
    assert options.conninfo["port"] == "5432,5433"
    assert options.conninfo["target_session_attrs"] == "read-write"
    assert options.conninfo["sslmode"] == "verify-full"


def test_a_socket_is_named_by_its_directory():
    options = options_of("postgresql://postgres@/postgres?host=/tmp/socket")

    assert options.conninfo["host"] == "/tmp/socket"  # noqa: S108 # only a name
    assert options.description == "postgresql:///postgres?host=/tmp/socket"


def test_the_connection_that_listens_may_go_past_a_pooler():
    options = options_of("postgresql://app@pooler:6432/shop?listen=db:5432")

    assert options.conninfo["host"] == "pooler"
    assert options.listening_conninfo["host"] == "db"
    assert options.listening_conninfo["port"] == "5432"


@pytest.mark.parametrize("option", ["user=a", "password=b", "database=c", "driver=d"])
def test_what_stands_before_the_question_mark_is_no_option(option):
    with pytest.raises(InvalidProviderUrl, match="as an option"):
        options_of(f"postgresql://db/shop?{option}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "postgresql:///shop?host=/run/db&port=1,2",
            "has 2 ports; give one, or as many as hosts, which are 1",
        ),
        ("postgresql://one,two/shop?port=1,2,3", "has 3 ports"),
        ("postgresql://one:1,two/shop?host=one", "has 2 ports"),
        ("postgresql://db:soon/shop", "has the port 'soon'; give a number from 1 to 65535"),
        ("postgresql://db:65536/shop", "has the port '65536'"),
        ("postgresql://db/shop?listen=other:0", "has the port '0'"),
    ],
)
def test_a_port_that_no_server_can_have_is_refused(url, said):
    with pytest.raises(InvalidProviderUrl, match=said):
        options_of(url)


@pytest.mark.parametrize(
    "url",
    ["postgresql:///shop?port=1,2", "postgresql://one:1,two/shop", "postgresql://a,b/s?port=1"],
)
def test_ports_that_libpq_takes_are_taken(url):
    assert options_of(url).conninfo["port"]


def test_an_unknown_option_is_refused():
    with pytest.raises(ValidationError, match="pool_size"):
        options_of("postgresql://db/shop?pool_size=5")


@pytest.mark.parametrize("text", ["", "\0", "\1", "\0" + "1", "\1" + "0", "a\0\1b", "é\x01\x00"])
def test_every_text_comes_back_from_its_stored_form(text):
    assert "\0" not in stored(text)
    assert told(stored(text)) == text


def test_texts_that_differ_are_stored_differently():
    texts = ["\0", "\1", "\1" + "0", "\0" + "0", "0", "\1" + "1"]

    assert len({stored(text) for text in texts}) == len(texts)
