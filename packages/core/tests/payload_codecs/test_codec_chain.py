"""Codecs by themselves: what they refuse, what they leave as it is, and what decodes it."""

import os
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import open_provider
from perdure.codecs import EncodedPayload, Encrypted, PayloadCodec, Zlib, Zstandard
from perdure.codecs.codec import CodecChain
from perdure.errors import InvalidInput
from perdure.model.envelope import is_sealed, open_envelope, seal

KEY = os.urandom(32)
CHAINS = [
    CodecChain(Zlib(above=0)),
    CodecChain(Zstandard(above=0)),
    CodecChain(Encrypted({"2026": KEY})),
    CodecChain([Zlib(), Encrypted({"2026": KEY})]),
    CodecChain([Zstandard(above=10, level=19), Zlib(above=10), Encrypted({"2026": KEY})]),
]


@given(data=st.binary(max_size=2000) | st.binary(max_size=50).map(lambda part: part * 100))
def test_every_payload_comes_back_as_it_was(data):
    if is_sealed(data):
        return
    for chain in CHAINS:
        assert chain.decode(chain.encode(data)) == data


def test_a_small_payload_and_one_that_does_not_shrink_stay_plain():
    for codec in (Zlib(), Zstandard()):
        chain = CodecChain(codec)
        assert chain.encode(b"[]" * 256) == b"[]" * 256
        noise = os.urandom(10_000)
        assert chain.encode(noise) == noise
        assert len(chain.encode(b"[]" * 257)) < 100


def test_equal_payloads_are_encrypted_differently():
    chain = CodecChain(Encrypted({"2026": KEY}))
    assert len({chain.encode(b"null") for _ in range(100)}) == 100


def test_a_payload_that_cannot_be_decoded_goes_back_as_it_came():
    stored = CodecChain(Encrypted({"2025": KEY})).encode(b"{}")
    here = CodecChain([Zlib(above=0), Encrypted({"2026": KEY})])
    assert here.decode(stored) == stored
    assert here.encode(stored) == stored


def test_an_envelope_names_codec_and_key():
    assert open_envelope(seal(b"data", "mine", "k-1")) == ("mine", "k-1", b"data")
    assert open_envelope(seal(b"\0data\0", "mine")) == ("mine", "", b"\0data\0")
    with pytest.raises(ValueError, match="no end"):
        open_envelope(b"\0PC1mine")


def test_a_forged_payload_does_not_fill_the_memory():
    bomb = zlib.compress(b"0" * 300 * 1024 * 1024, 9)
    stored = seal(bomb, "zlib")
    assert CodecChain(Zlib()).decode(stored) == stored


def test_a_codec_of_ones_own_keeps_what_it_needs_in_the_key():
    class Reversed(PayloadCodec):
        name = "reversed"

        def encode(self, data):
            return EncodedPayload(data[::-1], str(len(data)))

        def decode(self, data, key):
            assert len(data) == int(key)
            return data[::-1]

    chain = CodecChain(Reversed())
    assert chain.encode(b"abc") == seal(b"cba", "reversed", "3")
    assert chain.decode(chain.encode(b"abc")) == b"abc"


class Nameless(PayloadCodec):
    name = "No Name"

    def encode(self, data):
        return None

    def decode(self, data, key):
        return data


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Zlib(level=0), "level 0 is out of range; pass a whole number from 1 to 9"),
        (lambda: Zlib(above=-1), "above -1 is out of range"),
        (lambda: Zlib(above=True), "above True is not an integer"),
        (lambda: Zstandard(level=20), "from 1 to 19"),
        (lambda: Encrypted({}), "mapping with one key at least"),
        (lambda: Encrypted([KEY]), "mapping with one key at least"),
        (lambda: Encrypted({"a:b": KEY}), "key id 'a:b' is not valid"),
        (lambda: Encrypted({"2026": b"short"}), "key '2026' has 5 bytes; pass 32"),
        (lambda: Encrypted({"2026": "x" * 32}), "key '2026' is of type str; pass 32 bytes"),
        (lambda: open_provider("memory://", codec=zlib), "is no PayloadCodec|is not a collection"),
        (lambda: open_provider("memory://", codec=[zlib]), "is no PayloadCodec"),
        (lambda: open_provider("memory://", codec=[Zlib(), Zlib()]), "two codecs of one name"),
        (lambda: open_provider("memory://", codec=Nameless()), "has the name 'No Name'"),
    ],
)
def test_what_is_wrong_is_refused_by_name(make, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        make()
    assert "short" not in str(refused.value)


def test_a_codec_shows_no_key():
    assert KEY.hex() not in repr(Encrypted({"2026": KEY}))
    assert repr(Encrypted({"2026": KEY})) == "Encrypted(keys of '2026')"


def test_perdure_imports_no_codec_until_one_is_used():
    program = "import sys, perdure; print([m for m in sys.modules if 'perdure.codecs' in m])"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
