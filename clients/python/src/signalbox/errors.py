"""What can go wrong, each with what to do about it."""

from __future__ import annotations

import dataclasses

import grpc

__all__ = [
    "ConnectError",
    "DisconnectedError",
    "OverError",
    "QueueFullError",
    "Refusal",
    "RefusedError",
    "SignalboxError",
    "UnknownOutcomeError",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A request refused: what was wrong, the limit and what was given."""

    code: grpc.StatusCode
    """The gRPC status code."""
    reason: str
    """The stable reason, as `SIGNAL_DATA_TOO_LARGE`; empty when whoever answered was no Signalbox."""
    message: str
    """For people. Never holds a signal's data."""
    field: str | None = None
    """The field to blame, as the wire calls it."""
    retry_after: float | None = None
    """After how many seconds a retry can succeed, where waiting helps."""

    def __str__(self) -> str:
        told = " / ".join(filter(None, (self.code.name, self.reason)))
        told = f"{told}: {self.message}" if self.message else told
        return told if self.retry_after is None else f"{told} (try again after {self.retry_after} s)"


class SignalboxError(Exception):
    """What all of these are."""


class ConnectError(SignalboxError):
    """There is no way in: no server, or it refuses. `refusal` says why, if a server did."""

    def __init__(self, message: str, refusal: Refusal | None = None):
        super().__init__(message)
        self.refusal = refusal


class RefusedError(SignalboxError):
    """The server refused a send, or would have: nothing was sent. Sent again as it is, it is
    refused again, unless `refusal.retry_after` says otherwise."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


class DisconnectedError(SignalboxError):
    """The client is disconnected and the signal was not to wait: it was not sent."""

    def __init__(self) -> None:
        super().__init__("disconnected, and the signal was not to wait; it was not sent")


class QueueFullError(SignalboxError):
    """As much waits for the reconnect as may: it was not sent."""

    def __init__(self, sends: int, size: int, limits: tuple[int, int]):
        super().__init__(
            f"{sends} sends of {size} bytes wait already, of {limits[0]} and {limits[1]} that may; it was not sent"
        )


class UnknownOutcomeError(SignalboxError):
    """The connection on which it was sent could not be resumed: it may have been sent."""

    def __init__(self) -> None:
        super().__init__("the connection was lost for good before an outcome came; it may have been sent")


class OverError(SignalboxError):
    """The client is out of the session, or leaving: it was not sent."""

    def __init__(self) -> None:
        super().__init__("out of the session, or leaving it; it was not sent")
