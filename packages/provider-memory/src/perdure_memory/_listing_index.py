"""The listing index: the numbers of instances by what listings ask for.

Instances are numbered in the order of creation. A group has the numbers of all instances with one
name, one label, one parent or one status, or of those that are parked, ascending. A listing walks the
shortest group that its query allows, and looks at each instance itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import TypeAlias

from perdure.contract import InstanceQuery, InstanceState, InstanceStatus

Group: TypeAlias = tuple[str, ...]

PARKED: Group = ("parked",)
_PAST = frozenset({InstanceStatus.CONTINUED_AS_NEW})
"""What an instance is never now."""


class ListingIndex:
    """Numbers of instances by group."""

    def __init__(self) -> None:
        self.all: list[int] = []
        """The numbers of all instances, ascending."""
        self._groups: dict[Group, list[int]] = {}

    def add(self, number: int, state: InstanceState) -> None:
        """Add an instance."""
        self.all.append(number)
        for group in _lasting_groups(state):
            self.put(number, group)

    def remove(self, number: int, state: InstanceState) -> None:
        """Remove an instance, with all groups that its state names."""
        del self.all[bisect_left(self.all, number)]
        for group in _lasting_groups(state):
            self.discard(number, group)
        self.discard(number, PARKED)

    def put(self, number: int, group: Group) -> None:
        """Add an instance to a group, unless it is in it."""
        numbers = self._groups.get(group)
        if numbers is None:
            self._groups[group] = [number]
        elif numbers[-1] < number:
            numbers.append(number)
        else:
            place = bisect_left(numbers, number)
            if numbers[place] != number:
                numbers.insert(place, number)

    def discard(self, number: int, group: Group) -> None:
        """Remove an instance from a group, if it is in it."""
        numbers = self._groups.get(group)
        if numbers is None:
            return
        place = bisect_left(numbers, number)
        if place < len(numbers) and numbers[place] == number:
            del numbers[place]
            if not numbers:
                del self._groups[group]

    def count(self, group: Group) -> int:
        """How many instances are in a group."""
        return len(self._groups.get(group, ()))

    def numbers(self, group: Group) -> Sequence[int]:
        """The numbers of the instances in a group, ascending."""
        return self._groups.get(group, [])

    def candidates(self, query: InstanceQuery, *, before: int) -> Iterator[int]:
        """The numbers below `before` that may meet the query, newest first."""
        chosen = min(self._choices(query), key=lambda lists: sum(map(len, lists)))
        return merge(*(_newest_first(numbers, before) for numbers in chosen), reverse=True)

    def clear(self) -> None:
        """Remove all instances."""
        self.all.clear()
        self._groups.clear()

    def _choices(self, query: InstanceQuery) -> Iterator[list[Sequence[int]]]:
        """Lists that together have every instance that meets the query; each for one condition."""
        yield [self.all]
        if query.statuses:
            yield [self.numbers(status_group(status)) for status in query.statuses - _PAST]
        if query.orchestrations:
            yield [self.numbers(("name", name)) for name in query.orchestrations]
        if query.parked or query.parked_reasons:
            yield [self.numbers(PARKED)]
        if query.parent is not None:
            yield [self.numbers(("parent", query.parent))]
        for key, value in query.labels.items():
            yield [self.numbers(("label", key, value))]


def status_group(status: InstanceStatus) -> Group:
    """The group of a status; that of CONTINUED_AS_NEW has those with any execution that ended so."""
    return ("status", status)


def _lasting_groups(state: InstanceState) -> Iterator[Group]:
    """The groups that an instance never leaves."""
    yield ("name", state.name)
    if state.parent is not None:
        yield ("parent", state.parent.instance)
    for key, value in state.labels.items():
        yield ("label", key, value)


def _newest_first(numbers: Sequence[int], before: int) -> Iterator[int]:
    for place in range(bisect_left(numbers, before) - 1, -1, -1):
        yield numbers[place]
