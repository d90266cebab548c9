"""The model test never passes over an error of the provider, whenever the time is up."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from perdure.errors import StorageUnavailable
from perdure_conformance.broken_providers import StoreBackend
from perdure_conformance.comparison import state_machine
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider


class OpensForAWhile(StoreBackend):
    openings = 0

    @asynccontextmanager
    async def open(self, *, clock, namespace):
        type(self).openings += 1
        if self.openings > 20:
            raise StorageUnavailable("no answer", operation="open")
        async with super().open(clock=clock, namespace=namespace) as provider:
            yield provider


class Stumbles(ModelProvider):
    async def read_instance(self, instance):
        raise ZeroDivisionError("an accident")


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        (OpensForAWhile(), "no answer"),
        (StoreBackend(provider=Stumbles), "an accident"),
    ],
    ids=["opening", "reading"],
)
@pytest.mark.slow
def test_an_error_of_the_provider_breaks_the_promise(monkeypatch, backend, complaint):
    # No time is left to make it simpler.
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 0.0)

    with pytest.raises(ClauseBroken, match=complaint):
        asyncio.run(state_machine.compare_with_model(backend))
