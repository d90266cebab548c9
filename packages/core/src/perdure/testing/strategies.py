"""Strategies for Hypothesis: crashes for `survive`, and orders for `explore`.

    @given(crashes=strategies.crashes())
    def test_an_order_survives(crashes: list[Crash]) -> None:
        asyncio.run(survive(app, process_order, order, crashes=crashes))

Importing this module needs the package `hypothesis`, which perdure does not depend on.
"""

from __future__ import annotations

from perdure.testing.proof_stage import Crash

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "perdure.testing.strategies needs hypothesis; install it with `pip install hypothesis`"
    ) from error


def crashes(*, most: int = 3, commits: int = 10) -> st.SearchStrategy[list[Crash]]:
    """Up to `most` crashes that come one after the other, for `survive(crashes=…)`.

    Each is at one of the first `commits` commits after the start, or after the crash before.
    """
    crash = st.builds(Crash, st.integers(1, commits), st.sampled_from(("before", "after")))
    return st.lists(crash, min_size=1, max_size=most)


def orders(*, most: int = 30, options: int = 10) -> st.SearchStrategy[list[int]]:
    """Choices among what can arrive, for `explore(order=…)`.

    Each of up to `most` choices is a number below `options`; after the last one, the first that
    can arrive does. The simplest order is that in which everything was asked for.
    """
    return st.lists(st.integers(0, options - 1), max_size=most)
