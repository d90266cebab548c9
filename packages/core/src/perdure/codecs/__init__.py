"""Payload codecs: what is stored of inputs, outputs and events is compressed or encrypted.

Pass codecs to `perdure.open_provider`, or to `BlockingClient.open`:

    codec = [codecs.Zlib(), codecs.Encrypted({"2026-11": key})]
    async with perdure.open_provider(url, codec=codec) as provider: ...

A codec works on the bytes between core and the storage, beneath the comparison of a replay, so that
an encryption may use random numbers. What a codec has encoded says so, with the name of the codec
and the id of its key. What was stored without a codec, or with an earlier key, stays readable.

Payloads are inputs, outputs, results, events, error messages, histories, values and custom
statuses. Ids, names, versions, labels, the reasons of parked instances and all instants are stored
in clear.
"""

from perdure.codecs.codec import EncodedPayload, PayloadCodec
from perdure.codecs.compression import Zlib, Zstandard
from perdure.codecs.encryption import Encrypted
from perdure.codecs.provider import encoding_by

__all__ = ["EncodedPayload", "Encrypted", "PayloadCodec", "Zlib", "Zstandard", "encoding_by"]
