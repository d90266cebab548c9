"""The model test never passes over an error of the provider, and tells how to meet it again."""

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


class LosesItsStorage(ModelProvider):
    async def renew_turns(self, leases, *, lease_for):
        raise StorageUnavailable("no answer", operation="renew_turns")


class ForgetsReleases(ModelProvider):
    async def release_turn(self, release):
        pass


class Stumbles(ModelProvider):
    async def read_instance(self, instance):
        raise ZeroDivisionError("an accident")


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        (OpensForAWhile(), "the storage was not available.*no answer"),
        (StoreBackend(provider=LosesItsStorage), "the storage was not available.*no answer"),
        (StoreBackend(provider=Stumbles), "an accident"),
    ],
    ids=["opening", "storage", "reading"],
)
@pytest.mark.slow
def test_an_error_of_the_provider_breaks_the_promise(monkeypatch, backend, complaint):
    # No time is left to make it simpler.
    monkeypatch.setattr(state_machine, "SIMPLIFYING", 0.0)

    with pytest.raises(ClauseBroken, match=f"(?s){complaint}"):
        asyncio.run(state_machine.compare_with_model(backend))


def test_a_disagreement_tells_its_seed():
    backend = StoreBackend(provider=ForgetsReleases)

    with pytest.raises(ClauseBroken, match="(?s)^after these calls\n.*\n\\(seed 5\\)$"):
        asyncio.run(state_machine.compare_with_model(backend, seed=5))
