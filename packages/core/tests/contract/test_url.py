"""Provider URLs: their parts, what is refused, and that no secret is shown."""

import pytest
from perdure.contract import ProviderUrl, masked
from perdure.errors import InvalidProviderUrl


@pytest.mark.parametrize(
    ("text", "netloc", "path", "query"),
    [
        ("memory://", "", "", {}),
        ("memory://MyStore", "MyStore", "", {}),
        ("sqlite:///orders.db", "", "/orders.db", {}),
        ("sqlite:////var/lib/my%20orders.db", "", "//var/lib/my orders.db", {}),
        ("SQLITE:///a?namespace=b", "", "/a", {"namespace": "b"}),
        (
            "dynamodb://Table?region=eu-west-1&endpoint_url=http://localhost:8000",
            "Table",
            "",
            {"region": "eu-west-1", "endpoint_url": "http://localhost:8000"},
        ),
        ("a://b?x=1+2%2B3&empty=&", "b", "", {"x": "1+2+3", "empty": ""}),
    ],
)
def test_a_url_has_its_parts_with_their_case(text, netloc, path, query):
    url = ProviderUrl.parse(text)

    assert (url.netloc, url.path, url.query) == (netloc, path, query)
    assert url.scheme == text.partition(":")[0].lower()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("orders.db", "not a provider URL"),
        ("://orders", "not a provider URL"),
        ("sqlite:///my orders.db", "%20"),
        ("sqlite:///orders\n.db", "control character"),
        ("sqlite:///orders#1.db", "%23"),
        ("a://b?x=1&x=2", "'x' twice"),
        ("a://b?x", "without a name or a value"),
        ("a://b?=1", "without a name or a value"),
        ("a://[b/", "malformed"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_reason(text, reason):
    with pytest.raises(InvalidProviderUrl) as caught:
        ProviderUrl.parse(text)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:////home/me@work/orders.db", "sqlite:////home/me@work/orders.db"),
        ("a://me:hunter2@host/db", "a://***@host/db"),
        ("a://hunter2@host", "a://***@host"),
        ("a://me:hunter2/with/slash@host/db", "a://***@host/db"),
        ("a://me:hunter2?odd@host/db", "a://***@host/db"),
        ("a://me:hunter2#odd@host/db", "a://***@host/db"),
        ("a://b?password=hunter2&x=1", "a://b?password=***&x=1"),
        ("a://b?aws_secret_access_key=hunter2", "a://b?aws_secret_access_key=***"),
        ("a://b?pass%77ord=hunter2", "a://b?pass%77ord=***"),
        ("a://b?session_token=hunter2&api_key=hunter2", "a://b?session_token=***&api_key=***"),
        ("a://b?url=http%3A%2F%2Fme%3Ahunter2%40host", "a://b?url=http://***@host"),
        ("a://b?url=http://me:hunter2@host&x=1", "a://b?url=http://***@host&x=1"),
        ("not a url with password=hunter2", "not a url with password=hunter2"),
    ],
)
def test_secrets_are_masked(text, shown):
    assert masked(text) == shown


def test_secret_options_can_be_named():
    assert masked("a://b?pin=1234&x=1", secrets={"pin"}) == "a://b?pin=***&x=1"


@pytest.mark.parametrize(
    "text",
    [
        "a://me:hunter2@[host",
        "a://me:hunter2@host#x",
        "a://me:hunter2@host?x=1&x=2",
        "a b://x:hunter2@y",
    ],
)
def test_no_error_and_no_repr_shows_a_secret(text):
    with pytest.raises(InvalidProviderUrl) as caught:
        ProviderUrl.parse(text)

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(ProviderUrl.parse("a://me:hunter2@host?token=hunter2"))
