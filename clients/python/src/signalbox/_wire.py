"""What is checked before it is sent, and what ends mean."""

from __future__ import annotations

import dataclasses
import re

import grpc

from .errors import Refusal, SignalboxError
from .events import Signal
from .v1 import signaling_pb2 as pb

_MAX_DATA_BYTES, _MAX_TYPE_BYTES = 8_192, 128


@dataclasses.dataclass(slots=True)
class End:
    """How a stream ended: with a status, with OK (neither), or silent."""

    refusal: Refusal | None = None
    silent: bool = False
    error: SignalboxError | None = None
    """Before it began."""

    def __str__(self) -> str:
        if self.silent:
            return "nothing came for longer than heartbeats allow"
        return str(self.error or self.refusal or "the stream ended")


def check(signal: Signal, to: list[str] | None, max_recipients: int) -> Refusal | None:
    """Refuses a signal as the server would."""

    def bad(reason: str, message: str, field: str) -> Refusal:
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason, message, field)

    size = len(signal.data.encode())
    if size > _MAX_DATA_BYTES:
        told = f"the data is {size} bytes; at most {_MAX_DATA_BYTES} are allowed"
        return bad("SIGNAL_DATA_TOO_LARGE", told, "signal.data")
    size = len(signal.type.encode())
    if size > _MAX_TYPE_BYTES:
        told = f"the type is {size} bytes; at most {_MAX_TYPE_BYTES} are allowed"
        return bad("SIGNAL_TYPE_TOO_LARGE", told, "signal.type")
    if not re.fullmatch(r"[A-Za-z0-9\-_~]*", signal.type):
        told = f"the type {signal.type!r} has a character other than A-Z a-z 0-9 - _ ~"
        return bad("SIGNAL_TYPE_INVALID", told, "signal.type")
    if to is not None and not to:
        told = "the list of recipients is empty; leave it out to send to everyone"
        return bad("RECIPIENTS_INVALID", told, "to.connection_ids")
    if to and max_recipients and len(to) > max_recipients:
        told = f"{len(to)} recipients; at most {max_recipients} are allowed"
        return bad("RECIPIENTS_INVALID", told, "to.connection_ids")
    return None


def reason_of(closing: pb.Closing | None, end: End) -> str:
    """The stable reason of an end; empty when it has none."""
    if closing:
        return closing.reason
    return end.refusal.reason if end.refusal else ""


def code_of(number: int) -> grpc.StatusCode:
    """A status code by its number."""
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
