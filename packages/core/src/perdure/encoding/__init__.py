"""From values to JSON text and back. A value that does not round-trip is refused when it is encoded.

- `values`: one encoder and decoder for each annotation
- `annotations`: an annotation exactly as it is spelled, to find its codec
- `plain`: types and values that are known to round-trip, so that encoding is enough
- `round_trip`: compares any other value with what its text decodes to
- `untyped_parts`, `untyped_values`: the parts of a type that are `Any`, and values without a type
- `differences`, `error_locations`: errors with the path in the value and the advice
- `ordering`: one text for values without an order, such as sets
- `texts`: checks of JSON text that the caller passes
- `unstorable`: types of which no value can be stored
"""

from perdure.encoding.differences import DoesNotRoundTrip, reason_of, shows_value
from perdure.encoding.texts import check_json
from perdure.encoding.values import Codec, codec_of, dump_untyped

__all__ = [
    "Codec",
    "DoesNotRoundTrip",
    "check_json",
    "codec_of",
    "dump_untyped",
    "reason_of",
    "shows_value",
]
