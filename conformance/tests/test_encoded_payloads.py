"""A provider whose payloads are compressed and encrypted keeps the promises of the plain one."""

from dataclasses import replace
from typing import ClassVar

import pytest
from perdure import open_provider
from perdure.codecs import Encrypted, Zlib
from perdure_conformance import ProviderConformance
from perdure_conformance.backend import UrlBackend, find_backend, with_namespace

URL = "memory://encoded"
KEYS = {"this-year": b"n" * 32, "last-year": b"l" * 32}


class EncodingBackend(UrlBackend):
    def open(self, *, clock, namespace):
        url = with_namespace(URL, namespace)
        return open_provider(url, clock=clock, codec=[Zlib(above=64), Encrypted(KEYS)])


@pytest.mark.slow
class TestMemoryWithCodecs(ProviderConformance):
    expected_failures: ClassVar = {
        "LIST-6": "a page of a listing is as large as its outputs are stored",
        "LIST-7": "the sizes of queued messages are those of what is stored",
        "MODEL-1": "the model compares the sizes of queued messages",
    }

    left_out: ClassVar = dict.fromkeys(
        ("SCENARIO-36", "SCENARIO-46", "SCENARIO-47", "SCENARIO-53"),
        "repeats what other scenarios store, under failures",
    )

    @pytest.fixture
    def conformance_backend(self):
        # Tampering would write payloads past the codecs.
        plain = replace(find_backend(URL).declaration, tampering=frozenset())
        return EncodingBackend(URL, plain)
