"""The reasons for which an instance or an activity is parked: a fixed list of words."""

from typing import Final

UNREGISTERED: Final = "unregistered"
"""No runtime that looked has the function, or serves the tag."""
SUSPECTED: Final = "suspected"
"""Its work may end its process, and waits to run isolated."""
UNDECODABLE: Final = "undecodable"
"""A stored event or message cannot be read."""
NONDETERMINISM: Final = "nondeterminism"
"""Its code disagrees with its history."""
FORBIDDEN: Final = "forbidden"
"""Its code used what an orchestration must not."""
RAISED: Final = "raised"
"""Its code raised an error that `park_on` names."""
BROKEN: Final = "broken"
"""Its work met a defect of the runtime itself."""

PARKED_REASONS: Final = (
    UNREGISTERED,
    NONDETERMINISM,
    FORBIDDEN,
    UNDECODABLE,
    SUSPECTED,
    RAISED,
    BROKEN,
)
