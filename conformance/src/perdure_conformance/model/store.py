"""The store: all of the contract's rules, one synchronous method each."""

from __future__ import annotations

from perdure_conformance.model.deletion import Deletion


class Store(Deletion):
    """The tables of one namespace, and everything that may be done with them."""
