"""What an endpoint may answer in place of DynamoDB: it is tried again, or never taken for data."""

import asyncio
import zlib
from contextlib import asynccontextmanager

import pytest
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._aws import aws_calls
from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._transport import Busy, Unanswered

GOOD = b'{"Item": {"pk": {"S": "p"}}}'


def answer(status, body, **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def endpoint(*answers):
    """A server that gives these answers, one to a connection, and then good ones."""
    left = list(answers)

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        good = answer("200 OK", GOOD, Connection="close")
        writer.write(left.pop(0) if left else good)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield DynamoDBOptions(
            table="Orders",
            endpoint_url=f"http://127.0.0.1:{port}",
            region="eu-west-1",
            access_key_id="local",
            secret_access_key="local",  # noqa: S106 # DynamoDB Local does not check it
        )


SPOILED = {
    "a page with status 200": (answer("200 OK", b"<html>sign in</html>"), Unanswered),
    "a list": (answer("200 OK", b"[1, 2]"), Unanswered),
    "nothing": (answer("200 OK", b""), Unanswered),
    "another body than its checksum's": (
        answer("200 OK", b"{}", x_amz_crc32=zlib.crc32(GOOD)),
        Unanswered,
    ),
    "half a body": (answer("200 OK", GOOD)[:-9], Unanswered),
    "no HTTP": (b"\0\1 what?\r\n\r\n", Unanswered),
    "a time-out": (answer("408 Request Timeout", b""), Unanswered),
    "too many requests": (answer("429 Too Many Requests", b"slow down"), Busy),
    "a bad gateway": (answer("502 Bad Gateway", b"<html></html>"), Unanswered),
    "an error of its own": (answer("599 Odd", b'{"__type": "Odd"}'), Unanswered),
}


@pytest.mark.slow
@pytest.mark.parametrize("spoiled", SPOILED)
async def test_an_answer_that_is_not_dynamodbs_is_worth_another_try(spoiled):
    given, kind = SPOILED[spoiled]
    key = {"TableName": "Orders", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}}
    async with endpoint(given, given) as options, aws_calls(options) as calls:
        with pytest.raises(kind):
            await calls.call("GetItem", key)

        repeated = await RetryingCalls(calls).call("GetItem", key)

    assert repeated["Item"] == {"pk": {"S": "p"}}


@pytest.mark.slow
async def test_an_answer_with_its_checksum_is_accepted():
    good = answer("200 OK", GOOD, x_amz_crc32=zlib.crc32(GOOD), Connection="close")
    key = {"TableName": "Orders", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}}
    async with endpoint(good) as options, aws_calls(options) as calls:
        answered = await calls.call("GetItem", key)

    assert answered["Item"] == {"pk": {"S": "p"}}
