"""Semantic versions: what is one, and which comes first."""

import itertools

import pytest
from perdure.errors import InvalidVersion
from perdure.model.versions import DEFAULT_VERSION, check_version, version_key

# The order that semver.org gives as its example, and numbers that sort otherwise as text.
ASCENDING = [
    "0.0.1",
    "0.0.10",
    "0.2.0",
    "0.10.0",
    "1.0.0-1",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1-0",
    "2.0.0",
    "10.0.0",
]


def test_versions_sort_by_precedence():
    descending = ASCENDING[::-1]

    assert sorted(descending, key=version_key) == ASCENDING
    for lower, higher in itertools.pairwise(ASCENDING):
        assert version_key(lower) < version_key(higher)


def test_build_metadata_does_not_count():
    assert version_key("1.0.0+a.b-c.007") == version_key("1.0.0")
    assert version_key("1.0.0-rc.1+x") == version_key("1.0.0-rc.1")


@pytest.mark.parametrize(
    "version", [*ASCENDING, "1.0.0--", "1.0.0-0a", "1.0.0+001", DEFAULT_VERSION]
)
def test_a_semantic_version_is_kept_as_it_is(version):
    assert check_version(version) == version


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1",
        "1.0",
        "1.0.0.0",
        "v1.0.0",
        "01.0.0",
        "1.00.0",
        "1.0.0-",
        "1.0.0-01",
        "1.0.0-a..b",
        "1.0.0+",
        "1.0.0+a+b",
        "1.0.0 ",
        "1.0.0\n",
        "-1.0.0",
        "1.\u0660.0",
        "1.0.0-ä",
        "9" * 5000 + ".0.0",
        None,
        1.0,
        b"1.0.0",
    ],
)
def test_anything_else_is_refused_with_an_example(version):
    with pytest.raises(InvalidVersion, match=r"'1\.4\.0'") as caught:
        check_version(version)

    assert len(str(caught.value)) < 250
