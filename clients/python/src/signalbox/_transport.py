"""gRPC streams to a server, and what their ends say."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import grpc
from google.rpc import error_details_pb2, status_pb2

from ._wire import End
from .errors import ConnectError, Refusal
from .v1 import signaling_pb2 as pb
from .v1 import signaling_pb2_grpc

_DETAILS = "grpc-status-details-bin"
# HTTP/2 pings find a dead server even where no heartbeats are asked for; and each stream has
# its own connection, so that gRPC's own pauses don't keep it from being made again.
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and with what it is reached: `None` is plain text."""

    target: str
    credentials: grpc.ChannelCredentials | None

    @classmethod
    def read(cls, url: str, credentials: grpc.ChannelCredentials | None) -> Endpoint:
        scheme, found, rest = url.partition("://")
        if not found:
            scheme, rest = "http", url
        target = rest.rstrip("/")
        if scheme not in ("http", "https") or not target or "/" in target:
            raise ConnectError(f"{url!r} is no endpoint: it reads http://host:port, https://host:port or host:port")
        if ":" not in target.rpartition("]")[2]:
            target += ":443" if scheme == "https" else ":80"
        secure = (credentials or grpc.ssl_channel_credentials()) if scheme == "https" else None
        return cls(target, secure)

    def channel(self) -> grpc.aio.Channel:
        if self.credentials:
            return grpc.aio.secure_channel(self.target, self.credentials, options=_OPTIONS)
        return grpc.aio.insecure_channel(self.target, options=_OPTIONS)


class Stream:
    """One `Join` stream. Frames go in the order of `send`."""

    def __init__(self, endpoint: Endpoint, metadata: Sequence[tuple[str, str]]):
        self._channel = endpoint.channel()
        stub = signaling_pb2_grpc.SignalingServiceStub(self._channel)
        self._frames: asyncio.Queue[pb.JoinRequest] = asyncio.Queue()
        self._endpoint = endpoint
        self._call = stub.Join(metadata=metadata)
        self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while True:
                await self._call.write(await self._frames.get())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # How it ended is what reading says.
            return

    def send(self, frame: pb.JoinRequest) -> None:
        self._frames.put_nowait(frame)

    async def next(self) -> pb.JoinResponse | End:
        """What comes next, or how it ended."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            return ending(error, self._endpoint.target)
        if response is grpc.aio.EOF:
            if await self._call.code() is grpc.StatusCode.OK:
                return End()
            return End(Refusal(await self._call.code(), "", await self._call.details() or ""))
        return response

    async def close(self) -> None:
        self._writing.cancel()
        self._call.cancel()
        await self._channel.close()


def refusal_of(error: grpc.aio.AioRpcError | grpc.RpcError) -> Refusal:
    """What a status says: the reason, the field and the wait are in its details."""
    reason, field, after = "", None, None
    details = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS), b"")
    for detail in status_pb2.Status.FromString(details).details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            after = retry.retry_delay.ToTimedelta().total_seconds()
    return Refusal(error.code(), reason, error.details() or "", field, after)


def ending(error: grpc.aio.AioRpcError, target: str) -> End:
    """A status of no Signalbox that tells of no answer is a lost connection."""
    refusal = refusal_of(error)
    if refusal.code is grpc.StatusCode.UNAVAILABLE and not refusal.reason:
        return End(error=ConnectError(f"{target}: {refusal.message}"))
    return End(refusal)
