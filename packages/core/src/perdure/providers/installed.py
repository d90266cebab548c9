"""What is installed: every provider that `open_provider` would find, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors import ProviderLoadError
from perdure.model.record import record
from perdure.providers.loader import PROVIDER_GROUP, load_provider
from perdure.providers.plugins import distribution, entry_points


@record(frozen=True)
class InstalledProvider:
    """A provider that a distribution registers."""

    scheme: str
    """What its URLs begin with."""
    distribution: str
    """The name of the distribution."""
    distribution_version: str
    contract: str | None = None
    """The version of the contract that it implements, such as `1.1`; None if it cannot be loaded."""
    capabilities: tuple[str, ...] = ()
    """Sorted."""
    example_url: str | None = None
    problem: str | None = None
    """Why `open_provider` would refuse it, as a sentence; None: it can be opened."""


def installed_providers() -> Sequence[InstalledProvider]:
    """The installed providers, sorted by scheme. One that cannot be loaded is there with its problem."""
    found: list[InstalledProvider] = []
    for entry in sorted(entry_points(PROVIDER_GROUP), key=lambda each: each.name):
        name = distribution(entry)
        version = "unknown" if entry.dist is None else entry.dist.version
        try:
            spec = load_provider(entry).spec
        except ProviderLoadError as error:
            found.append(
                InstalledProvider(
                    scheme=entry.name,
                    distribution=name,
                    distribution_version=version,
                    problem=str(error),
                )
            )
            continue
        found.append(
            InstalledProvider(
                scheme=entry.name,
                distribution=name,
                distribution_version=version,
                contract=f"{spec.contract[0]}.{spec.contract[1]}",
                capabilities=tuple(sorted(spec.capabilities)),
                example_url=spec.example_url,
            )
        )
    return found
