"""From values to JSON text and back, so that what is encoded comes back equal or is refused.

`codec` holds one decoder and encoder per annotation, found by `written`: the annotation exactly
as it was written. For the types and values that `plain` knows to come back, encoding is all that
is done. For all others the text is read again at once; `comparing` finds where the result
differs, with `places` to tell where an annotation says nothing, and `differences` says it with
the path and the way out. `ordering` gives what has no order one text. `texts` checks JSON text
that comes ready made. `unstorable` finds types of which no value can be stored.
"""

from perdure.codec.codec import Codec, codec_of, dump_untyped
from perdure.codec.differences import DoesNotComeBack, reason_of, shows_value
from perdure.codec.texts import check_json

__all__ = [
    "Codec",
    "DoesNotComeBack",
    "check_json",
    "codec_of",
    "dump_untyped",
    "reason_of",
    "shows_value",
]
