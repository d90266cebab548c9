"""Trees: an instance with its children, their children, and so on; reading and deleting them.

A child is one whose parent link names the parent's incarnation, so the children of an earlier
instance with the same id are none of it. A detached instance has no parent.

A deletion begins at the leaves and ends at the root. What a crash leaves is a smaller tree, which
the next deletion finishes; an instance is never left without the parent that leads to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence

from perdure.client import calls
from perdure.client.ending import terminate
from perdure.client.info import InstanceInfo, instance_info
from perdure.contract.admin import ProviderAdmin
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import CapabilityMissing, InstanceRunning, ManagementNotAvailable
from perdure.model.details import ErrorDetails
from perdure.model.record import record
from perdure.records.instances import InstanceState
from perdure.records.limits import LISTING
from perdure.records.listing import InstanceQuery

_PAGE = 1000


@record
class InstanceTree:
    """An instance with its children, as of the moment when each was read."""

    info: InstanceInfo
    children: tuple[InstanceTree, ...]
    """Newest first."""

    def walk(self) -> Iterator[InstanceInfo]:
        """The instance and all below it; each before its children."""
        waiting: list[InstanceTree] = [self]
        while waiting:
            tree = waiting.pop()
            yield tree.info
            waiting.extend(reversed(tree.children))


async def find_all(provider: Provider, query: InstanceQuery) -> AsyncIterator[InstanceState]:
    """The instances that meet the query, page by page, newest first."""
    admin = listing_of(provider)
    token: str | None = None
    while True:

        async def find(token: str | None = token):  # noqa: ANN202 # as the provider's method
            return await admin.find_instances(query, limit=_PAGE, token=token)

        page = await with_retries(provider.clock, find)
        for state in page.instances:
            yield state
        token = page.next_token
        if token is None:
            return


def listing_of(provider: Provider) -> ProviderAdmin:
    """What finds instances; raises `CapabilityMissing`."""
    admin = provider.as_management_capability()
    if admin is None:
        raise ManagementNotAvailable(provider.description)
    if LISTING not in provider.capabilities:
        raise CapabilityMissing(LISTING, provider.description)
    return admin


async def children_of(provider: Provider, state: InstanceState) -> list[InstanceState]:
    """The children of this incarnation, newest first."""
    found = find_all(provider, InstanceQuery(parent=state.instance))
    return [
        child
        async for child in found
        if child.parent is not None and child.parent.incarnation == state.incarnation
    ]


async def living_parent(provider: Provider, state: InstanceState) -> str | None:
    """The id of the parent of this instance, if it runs."""
    link = state.parent
    if link is None:
        return None
    parent = await calls.read(provider, link.instance)
    if parent is None or parent.incarnation != link.incarnation or calls.has_ended(parent):
        return None
    return parent.instance


async def delete_tree(provider: Provider, root: InstanceState) -> int:
    """Delete an ended instance with its tree, and return how many instances that were.

    Raises `InstanceRunning`, before it deletes anything, if an instance of the tree runs.
    """
    return await _delete(provider, [root, *await descendants_of(provider, root)])


async def delete_descendants(provider: Provider, root: InstanceState) -> int:
    """Like `delete_tree`, but the root stays."""
    return await _delete(provider, await descendants_of(provider, root))


async def terminate_tree(provider: Provider, root: InstanceState, details: ErrorDetails) -> None:
    """End everything in the tree that runs, from the root on, so that nothing new is started."""
    waiting = [root]
    while waiting:
        state = waiting.pop()
        if not calls.has_ended(state):
            await terminate(provider, state, details)
        # Once it has ended it starts no child any more, so these are all.
        waiting.extend(await children_of(provider, state))


async def read_tree(provider: Provider, root: InstanceState) -> InstanceTree:
    """The tree of an instance."""
    below: dict[str, list[InstanceTree]] = defaultdict(list)
    # From the leaves on, so that the children of each are complete.
    for state in reversed([root, *await descendants_of(provider, root)]):
        children = tuple(reversed(below.pop(state.instance, [])))
        tree = InstanceTree(info=instance_info(state), children=children)
        if state is root:
            return tree
        below[state.parent.instance if state.parent else ""].append(tree)
    raise AssertionError(root)


async def descendants_of(provider: Provider, root: InstanceState) -> list[InstanceState]:
    """All instances below the root; each stands behind its parent."""
    found: list[InstanceState] = []
    waiting = [root]
    while waiting:
        children = await children_of(provider, waiting.pop())
        found.extend(children)
        waiting.extend(children)
    return found


async def _delete(provider: Provider, order: Sequence[InstanceState]) -> int:
    for state in order:
        if not calls.has_ended(state):
            raise InstanceRunning(state.instance)
    for state in reversed(order):
        await _delete_one(provider, state)
    return len(order)


async def _delete_one(provider: Provider, state: InstanceState) -> None:
    await with_retries(
        provider.clock,
        lambda: provider.delete_instance(state.instance, incarnation=state.incarnation),
    )
    provider.notifier.notify_instance(state.instance)
