"""The register of turn leases: which leased instance runs the turns of an instance here.

At most one leased instance is current for an instance id. If a lease call returns an instance that
is here already, the earlier one has given its lease back just now, or its lease has expired and
was taken over (LEASE-3); the newer one is current and begins when the earlier one has ended.
"""

from __future__ import annotations

import asyncio

from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract.provider import Provider
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.bytes_in_flight import Share
from perdure.runtime.leased_instance import LeasedInstance
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.renewal import LeaseRenewal


class TurnLeases:
    """See the module. Takes results and news of messages to the instances that they are for."""

    def __init__(self, clock: Clock, options: RuntimeOptions, in_flight: Share) -> None:
        self._clock = clock
        self._in_flight = in_flight
        self._hold = options.hold
        self._current: dict[str, LeasedInstance] = {}
        self.idle = asyncio.Event()
        """Set when an instance keeps its lease without work in hand."""

    def begin(self, instance: LeasedInstance) -> LeasedInstance | None:
        """Make it current; returns the earlier one, which comes to its end now."""
        name = instance.held.instance
        earlier = self._current.get(name)
        if earlier is not None:
            earlier.let_go()
        self._current[name] = instance
        if instance.in_flight:
            self._in_flight.take(instance.in_flight)
        return earlier

    def end(self, instance: LeasedInstance) -> None:
        """Its lease is gone or given back."""
        if instance.in_flight:
            self._in_flight.give(instance.in_flight)
        name = instance.held.instance
        if self._current.get(name) is instance:
            del self._current[name]

    def all(self) -> list[LeasedInstance]:
        """The current ones."""
        return list(self._current.values())

    def take_result(self, held: HeldActivity) -> bool:
        """Take the result of an activity to its instance; False if no instance here can use it."""
        instance = self._current.get(held.instance)
        return instance is not None and instance.take_result(held)

    def message_arrived(self, instance: str) -> None:
        """A message for an instance was stored: it must not wait for a lease that is only kept."""
        current = self._current.get(instance)
        if current is not None:
            current.message_arrived()

    def let_go(self) -> None:
        """Let every instance keep its lease no longer than its turn."""
        for instance in self.all():
            instance.let_go()

    async def let_go_of_idle(self) -> None:
        """Give back leases that were kept for work that did not end soon after all."""
        while True:
            await self.idle.wait()
            await self._clock.sleep(self._hold / 2)
            now = self._clock.now()
            limit = now - to_microseconds(self._hold)
            idle = [one for one in self._current.values() if one.idle_since is not None]
            for one in idle:
                # A clock that stepped back must not keep a lease for as long as it stepped.
                if one.idle_since is not None and not limit < one.idle_since <= now:
                    one.let_go()
            if not idle:
                self.idle.clear()


class TurnRenewal(LeaseRenewal):
    """Renews turn leases that have used up a third, so that short work is never renewed."""

    what = "turns"

    def __init__(self, provider: Provider, leases: TurnLeases, options: RuntimeOptions) -> None:
        super().__init__(provider, options.turn_lease, options.turn_lease / 6)
        self._leases = leases

    async def _renew(self, now: Instant, until: Instant) -> None:
        held = {
            instance.held.lease: instance
            for instance in self._leases.all()
            if self.is_due(instance.held.until, now, self.length // 3)
        }
        if not held:
            return
        lost = await self.provider.renew_turns(list(held), lease_for=self.lease_for)
        for lease, instance in held.items():
            if lease in lost:
                instance.lease_lost()
            else:
                instance.held.until = until
