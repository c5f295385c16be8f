"""What an application is told, and what it tells."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Iterable

from .errors import Refusal
from .v1 import signaling_pb2, types_pb2

__all__ = [
    "Accepted",
    "Action",
    "Connection",
    "ConnectionCreated",
    "ConnectionDestroyed",
    "ConnectionInterrupted",
    "ConnectionRestored",
    "DisconnectReason",
    "Disconnected",
    "Event",
    "Joined",
    "Reconnected",
    "Reconnecting",
    "Role",
    "Signal",
    "SignalReceived",
]


class Role(enum.IntEnum):
    """What a connection may do; another number is one that this version doesn't know."""

    UNSPECIFIED = 0
    SUBSCRIBER = types_pb2.ROLE_SUBSCRIBER
    PUBLISHER = types_pb2.ROLE_PUBLISHER
    MODERATOR = types_pb2.ROLE_MODERATOR

    @classmethod
    def _missing_(cls, value: object) -> Role:
        return cls.UNSPECIFIED


class DisconnectReason(enum.IntEnum):
    """Why a connection is gone."""

    UNSPECIFIED = 0
    CLIENT_DISCONNECTED = types_pb2.DISCONNECT_REASON_CLIENT_DISCONNECTED
    FORCE_DISCONNECTED = types_pb2.DISCONNECT_REASON_FORCE_DISCONNECTED
    NETWORK_DISCONNECTED = types_pb2.DISCONNECT_REASON_NETWORK_DISCONNECTED
    SLOW_CONSUMER = types_pb2.DISCONNECT_REASON_SLOW_CONSUMER
    NODE_LOST = types_pb2.DISCONNECT_REASON_NODE_LOST
    TOKEN_EXPIRED = types_pb2.DISCONNECT_REASON_TOKEN_EXPIRED

    @classmethod
    def _missing_(cls, value: object) -> DisconnectReason:
        return cls.UNSPECIFIED


class Action(enum.IntEnum):
    """What to do after the end."""

    UNSPECIFIED = 0
    RESUME = signaling_pb2.CLIENT_ACTION_RESUME
    REJOIN = signaling_pb2.CLIENT_ACTION_REJOIN
    STOP = signaling_pb2.CLIENT_ACTION_STOP

    @classmethod
    def _missing_(cls, value: object) -> Action:
        return cls.UNSPECIFIED


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """One client in a session."""

    connection_id: str
    """Made by the server, never reused."""
    created_at: datetime.datetime | None
    """When it joined, by the server's clock."""
    data: str
    """What it says about itself."""
    role: Role
    """What it may do."""
    interrupted: bool = False
    """Whether it has lost its stream and may come back."""

    @classmethod
    def _of(cls, wire: types_pb2.Connection) -> Connection:
        return cls(
            wire.connection_id,
            _time(wire, "created_at"),
            wire.data,
            Role(wire.role),
            wire.state == types_pb2.CONNECTION_STATE_INTERRUPTED,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """A signal to send: to everyone, unless `to` names some."""

    data: str = ""
    """At most 8,192 bytes of UTF-8."""
    type: str = ""
    """At most 128 of `A-Z a-z 0-9 - _ ~`."""
    to: Iterable[str] | None = None
    """Only these connections get it, at most 100. An empty one is refused, so that a filter
    that found nobody never turns into a broadcast."""
    retry_after_reconnect: bool = True
    """Whether it waits for the reconnect when the client is disconnected (OpenTok's
    `retryAfterReconnect`). Without, it fails at once with `DisconnectedError`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Accepted:
    """The outcome of a send that was accepted."""

    sequence: int
    """Its place in the session's order."""
    epoch: int
    """Which life of the session the place is of."""
    not_connected_ids: tuple[str, ...] = ()
    """The recipients that are not connected; the others get it."""


@dataclasses.dataclass(frozen=True, slots=True)
class SignalReceived:
    """A signal that reached this client."""

    sequence: int
    """Its place in the session's order."""
    from_connection_id: str | None
    """Who sent it; none: a backend."""
    type: str
    data: str = dataclasses.field(repr=False)
    sent_at: datetime.datetime | None = None
    """When the server took it, by the server's clock."""


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """The first event: in the session, with everyone as of `sequence`, this client too."""

    connection: Connection
    connections: tuple[Connection, ...]
    epoch: int
    """Which life of the session this is: another epoch is another order."""
    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionCreated:
    """Somebody joined."""

    sequence: int
    connection: Connection


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionDestroyed:
    """Somebody is gone."""

    sequence: int
    connection_id: str
    reason: DisconnectReason


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionInterrupted:
    """Somebody lost the stream and may come back."""

    sequence: int
    connection_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionRestored:
    """Somebody came back."""

    sequence: int
    connection_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reconnecting:
    """This client lost its stream and tries to get back in. Sends wait."""

    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reconnected:
    """This client is back in. With `gap` events were missed: `connections` is a fresh view,
    and `connection` another when the earlier one could not be resumed."""

    gap: bool
    connection: Connection
    connections: tuple[Connection, ...]
    epoch: int
    sequence: int


@dataclasses.dataclass(frozen=True, slots=True)
class Disconnected:
    """The last event: out of the session, and not coming back by itself."""

    why: str
    action: Action
    """`STOP` don't come back, `REJOIN` join anew when it is worth it."""
    refusal: Refusal | None = None
    """The server's reason, if it was the server's doing."""


Event = (
    Joined
    | ConnectionCreated
    | ConnectionDestroyed
    | ConnectionInterrupted
    | ConnectionRestored
    | SignalReceived
    | Reconnecting
    | Reconnected
    | Disconnected
)


def _time(wire: object, field: str) -> datetime.datetime | None:
    if not wire.HasField(field):  # type: ignore[attr-defined]
        return None
    return getattr(wire, field).ToDatetime(tzinfo=datetime.timezone.utc)


class Roster:
    """Who is in the session, as the events tell it, in the order of joining."""

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}

    @property
    def connections(self) -> tuple[Connection, ...]:
        return tuple(self._connections.values())

    def apply(self, event: Event) -> None:
        match event:
            case Joined() | Reconnected():
                self._connections = {one.connection_id: one for one in event.connections}
            case ConnectionCreated():
                self._connections[event.connection.connection_id] = event.connection
            case ConnectionDestroyed():
                self._connections.pop(event.connection_id, None)
            case ConnectionInterrupted() | ConnectionRestored():
                if one := self._connections.get(event.connection_id):
                    interrupted = isinstance(event, ConnectionInterrupted)
                    self._connections[one.connection_id] = dataclasses.replace(one, interrupted=interrupted)
            case Disconnected():
                self._connections.clear()
