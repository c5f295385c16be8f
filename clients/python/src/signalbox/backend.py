"""A backend's side: signals into a session without being in it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import secrets
from collections.abc import Iterable
from types import TracebackType

import grpc

from ._transport import Endpoint, refusal_of
from .errors import ConnectError, RefusedError
from .v1 import signaling_pb2 as pb
from .v1 import signaling_pb2_grpc, types_pb2

__all__ = ["ServerAccepted", "ServerClient"]

_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class ServerAccepted:
    """What became of a server signal."""

    sequence: int
    """Its place in the session's order."""
    recipient_count: int
    """How many connections get it."""
    not_connected_ids: tuple[str, ...]
    """The recipients that are not connected."""


class ServerClient:
    """Sends signals from a backend. Use it as `async with`, or `close` it."""

    def __init__(
        self,
        endpoint: str,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 10.0,
    ):
        self._channel = Endpoint.read(endpoint, credentials).channel()
        self._signaling = signaling_pb2_grpc.SignalingServiceStub(self._channel)
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        self._timeout = timeout

    async def signal(
        self,
        session_id: str,
        data: str = "",
        *,
        type: str = "",
        to: Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> ServerAccepted:
        """Sends a signal into a session, once: where no answer comes it is asked again with
        the same `idempotency_key`, which is made up unless given.

        Raises `RefusedError`, or `ConnectError` when no server answers.
        """
        request = pb.SendFromServerRequest(
            session_id=session_id,
            signal=types_pb2.Signal(type=type, data=data),
            to=None if to is None else types_pb2.Recipients(connection_ids=list(to)),
            idempotency_key=idempotency_key or secrets.token_urlsafe(18),
        )
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                told = await self._signaling.SendFromServer(request, metadata=self._metadata, timeout=self._timeout)
                return ServerAccepted(told.sequence, told.recipient_count, tuple(told.not_connected_ids))
            except grpc.aio.AioRpcError as error:
                refusal = refusal_of(error)
                passes = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if not passes:
                    raise RefusedError(refusal) from error
                if attempt == _ATTEMPTS:
                    raise ConnectError(str(refusal), refusal) from error
                await asyncio.sleep((refusal.retry_after or 0.0) + random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Lets the connection go."""
        await self._channel.close()

    async def __aenter__(self) -> ServerClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
