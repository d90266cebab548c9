"""Plugin managers, which are created for each use and hold only the given plugins.

There is no global manager, and an installed plugin is not used unless it is passed. An unknown hook
is refused, because a misspelt one would never be called.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pluggy

from perdure.contract import hooks
from perdure.errors import InvalidInput, ProviderImportFailed
from perdure.model.settings import to_items
from perdure.model.shown import shown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PLUGIN_GROUP = "perdure.plugins"
"""The entry point group of installed plugins."""


def create_plugin_manager(plugins: Iterable[object] = ()) -> pluggy.PluginManager:
    """A manager with Perdure's hooks and these plugins, in this order.

    Raises `InvalidInput` for an object without hooks, an unknown hook, an argument that the hook does
    not have, or a plugin that is given twice.
    """
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    for plugin in to_items(plugins, "plugins", example="[my_plugin]"):
        add_plugin(manager, plugin)
    return manager


def add_plugin(manager: pluggy.PluginManager, plugin: object) -> None:
    """Register one plugin; raises `InvalidInput` if it is not a plugin."""
    if manager.is_registered(plugin):
        raise InvalidInput(f"plugin {shown(plugin)} is given twice; give it once")
    try:
        manager.register(plugin)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise InvalidInput(f"plugin {shown(plugin)} does not fit its hooks: {error}") from error
    if not manager.get_hookcallers(plugin):
        raise InvalidInput(
            f"plugin {shown(plugin)} implements no hook; mark its functions with perdure's `hookimpl`"
        )
    refuse_unknown_hooks(manager, plugin)


def refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raise `InvalidInput` if a registered plugin implements a hook that Perdure does not have.

    A hook marked `optionalhook=True` is accepted, because it belongs to another package.
    """
    for caller in manager.get_hookcallers(plugin) or ():
        own = (each for each in caller.get_hookimpls() if each.plugin is plugin)
        if caller.has_spec() or all(each.optionalhook for each in own):
            continue
        known = [name for name in vars(hooks) if name.startswith("perdure_")]
        close = difflib.get_close_matches(caller.name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise InvalidInput(
            f"plugin {shown(plugin)} implements the unknown hook {caller.name!r}; {hint}"
        )


def installed_plugins(*names: str) -> Sequence[object]:
    """The installed plugins with these names, in this order; without names, all plugins, sorted.

    Pass them to `open_provider` and `Runtime`: `plugins=[*installed_plugins(), mine]`.
    Raises `InvalidInput` for a name that is not installed, and `ProviderImportFailed` for a
    plugin that cannot be imported.
    """
    found = {entry.name: entry for entry in entry_points(PLUGIN_GROUP)}
    for name in names:
        if not isinstance(name, str) or name not in found:  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            raise InvalidInput(
                f"no plugin {shown(name)} is installed; installed are"
                f" {', '.join(map(repr, sorted(found))) or 'none'}"
            )
    return [load_entry_point(found[name]) for name in names or sorted(found)]


def entry_points(group: str) -> Sequence[EntryPoint]:
    """The entry points of a group, each distribution's once."""
    # Imported here, because it takes a tenth of a second that importing perdure should not cost.
    from importlib import metadata

    return tuple(metadata.entry_points(group=group))


def load_entry_point(entry: EntryPoint) -> object:
    """Import the object of an entry point; raises `ProviderImportFailed` if this fails."""
    try:
        loaded: object = entry.load()
    except Exception as error:
        raise ProviderImportFailed(
            f"{describe(entry)} could not be imported: {type(error).__name__}: {error};"
            f" repair it with `pip install --force-reinstall {distribution(entry)}`"
        ) from error
    return loaded


def describe(entry: EntryPoint) -> str:
    """The entry point with its distribution and version, for messages."""
    version = entry.dist.version if entry.dist is not None else "of unknown version"
    return (
        f"entry point {entry.name!r} = {entry.value!r} of group {entry.group!r}"
        f" (distribution {distribution(entry)} {version})"
    )


def distribution(entry: EntryPoint) -> str:
    """The name of the entry point's distribution."""
    return entry.dist.name if entry.dist is not None else "unknown"
