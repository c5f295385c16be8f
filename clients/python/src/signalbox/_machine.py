"""The protocol of a member as a pure machine: what happened and the time go in, what to do
comes out. No I/O, no clock.

One connection outlives its streams. At most two streams exist at a time: the live one, and
one being opened, to come back or, with a fresh token, to take the live one over.
"""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from typing import Any

import grpc

from .errors import (
    ConnectError,
    DisconnectedError,
    OverError,
    Refusal,
    RefusedError,
    SignalboxError,
    UnknownOutcomeError,
)
from .events import (
    Accepted,
    Action,
    Connection,
    ConnectionCreated,
    ConnectionDestroyed,
    ConnectionInterrupted,
    ConnectionRestored,
    Disconnected,
    DisconnectReason,
    Event,
    Joined,
    Reconnected,
    Reconnecting,
    Roster,
    Signal,
    SignalReceived,
    _time,
)
from ._sends import Pace, Send, Sends
from ._wire import End, check, code_of, reason_of
from .v1 import signaling_pb2 as pb
from .v1 import types_pb2

_UNRESOLVED_WITHOUT_LIMIT = 1_024
# A token is renewed this long before it expires, or when a tenth of its time is left.
_RENEW_BEFORE = 60.0
_STOPPING = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ABORTED"}


@dataclasses.dataclass(slots=True)
class Settings:
    join: pb.Join
    endpoints: list[str]
    connect_timeout: float
    back_off: tuple[float, float]
    give_up_after: float
    renewable: bool
    queue: tuple[int, int]


@dataclasses.dataclass(slots=True)
class _Identity:
    connection: Connection
    resume_token: str
    epoch: int
    last_sequence: int
    last_result: int = 0


@dataclasses.dataclass(slots=True)
class _Live:
    stream: int
    since: float
    heard_at: float
    closing: pb.Closing | None
    leave_sent: bool = False


@dataclasses.dataclass(slots=True)
class _Opening:
    stream: int
    deadline: float
    renewed: bool
    joined: pb.Joined | None = None
    closing: pb.Closing | None = None


class Machine:
    """A member of one session. `outputs` are what to do, each a name and its arguments:
    `open` a stream, `frame`, `close`, `event`, `outcome` of a ticket, `failed`, `over`."""

    def __init__(self, settings: Settings):
        self.outputs: deque[tuple[str, tuple[Any, ...]]] = deque()
        self.over = False
        self.leaving: str | None = None
        self._settings = settings
        self._identity: _Identity | None = None
        self._live: _Live | None = None
        self._opening: _Opening | None = None
        self._open_at: float | None = None
        self._lost_at: float | None = None
        self._attempt = 0
        self._endpoint = 0
        self._streams = 0
        self._renew_token = False
        self._renew_at: float | None = None
        self._sends = Sends(settings.queue)
        self._pace = Pace()
        self._max_recipients = 0
        self._heartbeat_interval = 0.0
        self._max_unresolved = _UNRESOLVED_WITHOUT_LIMIT
        self._roster = Roster()
        self._reading = True

    def _out(self, what: str, *of: Any) -> None:
        self.outputs.append((what, of))

    @property
    def connection_id(self) -> str:
        return self._identity.connection.connection_id if self._identity else ""

    @property
    def live_stream(self) -> int | None:
        return self._live and self._live.stream

    def start(self, now: float) -> None:
        self._open(now)

    # What the application wants.

    def send(self, signal: Signal, ticket: Any, now: float) -> None:
        """Sends, now or as soon as it may. Raises what can't even be queued."""
        self._refuse_when_over()
        to = None if signal.to is None else list(signal.to)
        if refusal := check(signal, to, self._max_recipients):
            raise RefusedError(refusal)
        if not signal.retry_after_reconnect and self._lost_at is not None:
            raise DisconnectedError
        wire = types_pb2.Signal(type=signal.type, data=signal.data)
        recipients = None if to is None else types_pb2.Recipients(connection_ids=to)

        def frame(send_id: int) -> pb.JoinRequest:
            return pb.JoinRequest(send=pb.SendSignal(send_id=send_id, signal=wire, to=recipients))

        size = wire.ByteSize() + (recipients.ByteSize() if recipients else 0)
        self._push(Send(frame, size, signal.retry_after_reconnect, ticket), now)

    def disconnect(self, connection_id: str, ticket: Any, now: float) -> None:
        """Disconnects another connection; as `send`."""
        self._refuse_when_over()

        def frame(send_id: int) -> pb.JoinRequest:
            return pb.JoinRequest(disconnect=pb.DisconnectConnection(send_id=send_id, connection_id=connection_id))

        self._push(Send(frame, len(connection_id), True, ticket), now)

    def _refuse_when_over(self) -> None:
        if self.over or self.leaving:
            raise OverError

    def _push(self, send: Send, now: float) -> None:
        ready = self._ready_at()
        at_once = self._sending() is not None and not self._sends.waiting and ready is not None and ready <= now
        self._sends.push(send, at_once)
        self._flush(now)

    def leave(self, now: float, *, at_once: bool = False) -> None:
        """Leaves once every send has its outcome; `at_once` without what was not sent yet."""
        if self.over:
            return
        if at_once or self._identity is None:
            self.leaving = "now"
            self._fail(self._sends.discard(), OverError())
            if not self._live:
                self._end("left", Action.STOP)
        elif not self.leaving:
            self.leaving = "settled"
        self._flush(now)

    def abandon(self) -> None:
        """Nobody drives it any more."""
        self._end("left", Action.STOP)

    # What happens.

    def read(self, reading: bool, now: float) -> None:
        """Whether what arrives is read from here on: a reader that pauses can't tell silence
        from its own pause."""
        if reading and not self._reading and self._live:
            self._live.heard_at = now
        self._reading = reading

    def token_expires(self, left: float, now: float) -> None:
        """The token of the stream that was opened last expires after `left` seconds."""
        if self._settings.renewable:
            self._renew_at = now + left - min(_RENEW_BEFORE, left / 10)

    def wake_at(self) -> float | None:
        """When to `wake` it at the latest."""
        times = [self._open_at, self._silent_at(), self._opening and self._opening.deadline]
        if self._sending() is not None and self._sends.waiting:
            times.append(self._ready_at())
        if self._live and not self._opening and self._open_at is None:
            times.append(self._renew_at)
        return min((at for at in times if at is not None), default=None)

    def wake(self, now: float) -> None:
        """Time has passed."""
        if self.over:
            return
        if (at := self._silent_at()) is not None and at <= now:
            self._lose(End(silent=True), now)
        if self._opening and self._opening.deadline <= now:
            self._failed(End(silent=True), now)
        if self._open_at is not None and self._open_at <= now:
            self._open(now)
        elif self._live and not self._opening and self._renew_at is not None and self._renew_at <= now:
            self._renew_token = True
            self._open(now)
        self._flush(now)

    def received(self, stream: int, response: pb.JoinResponse, now: float) -> None:
        """A response came on a stream."""
        kind = response.WhichOneof("event")
        if self._opening and self._opening.stream == stream:
            if kind:
                self._opening_received(kind, response, now)
            return
        if not self._live or self._live.stream != stream or not self._identity:
            return
        self._live.heard_at = now
        match kind:
            case "closing":
                self._live.closing = response.closing
            case "send_result":
                self._decided(response.send_result, now)
                self._flush(now)
            case "heartbeat":
                self._identity.last_sequence = max(self._identity.last_sequence, response.heartbeat.sequence)
            case "signal":
                it = response.signal
                sender = it.from_connection_id if it.HasField("from_connection_id") else None
                signal = SignalReceived(it.sequence, sender, it.signal.type, it.signal.data, _time(it, "sent_at"))
                self._happened(signal)
            case "connection_created":
                it = response.connection_created
                self._happened(ConnectionCreated(it.sequence, Connection._of(it.connection)))
            case "connection_destroyed":
                it = response.connection_destroyed
                self._happened(ConnectionDestroyed(it.sequence, it.connection_id, DisconnectReason(it.reason)))
            case "connection_interrupted":
                it = response.connection_interrupted
                self._happened(ConnectionInterrupted(it.sequence, it.connection_id))
            case "connection_restored":
                it = response.connection_restored
                self._happened(ConnectionRestored(it.sequence, it.connection_id))

    def ended(self, stream: int, end: End, now: float) -> None:
        """A stream ended."""
        if self._opening and self._opening.stream == stream:
            self._failed(end, now)
        elif self._live and self._live.stream == stream:
            self._lose(end, now)

    # Sending.

    def _silent_at(self) -> float | None:
        # The server says something every heartbeat interval; a half-open connection must be
        # found within two.
        if not self._live or not self._reading or not self._heartbeat_interval:
            return None
        return self._live.heard_at + self._heartbeat_interval * 7 / 4

    def _ready_at(self) -> float | None:
        unresolved = self._sends.unresolved
        return self._pace.ready_at(unresolved) if unresolved < self._max_unresolved else None

    def _sending(self) -> int | None:
        """The stream that frames can be sent on. One that is being closed takes nothing."""
        live = self._live
        return live.stream if live and not live.closing and not live.leave_sent else None

    def _flush(self, now: float) -> None:
        stream = self._sending()
        if stream is None:
            return
        for frame in self._sends.again():
            self._out("frame", stream, frame)
        while self._sends.waiting and (at := self._ready_at()) is not None and at <= now:
            self._out("frame", stream, self._sends.next())
        if self.leaving == "now" or (self.leaving == "settled" and self._sends.is_settled()):
            self._live.leave_sent = True  # type: ignore[union-attr]
            self._out("frame", stream, pb.JoinRequest(leave=pb.Leave()))

    def _decided(self, result: pb.SendResult, now: float) -> None:
        identity = self._identity
        assert identity
        identity.last_result = max(identity.last_result, result.send_id)
        ticket = self._sends.resolve(result.send_id)
        if ticket is None:
            return
        self._pace.decided(now)
        match result.WhichOneof("outcome"):
            case "accepted":
                it = result.accepted
                self._out("outcome", ticket, Accepted(it.sequence, identity.epoch, tuple(it.not_connected_ids)))
            case "error":
                it = result.error
                after = it.retry_after.ToTimedelta().total_seconds() if it.HasField("retry_after") else None
                refusal = Refusal(code_of(it.code), it.reason, it.message, it.field or None, after)
                self._out("outcome", ticket, RefusedError(refusal))
            case _:
                self._out("outcome", ticket, UnknownOutcomeError())

    def _fail(self, tickets: list[Any], error: SignalboxError) -> None:
        for ticket in tickets:
            self._out("outcome", ticket, error)

    def _happened(self, event: Event) -> None:
        """Something of the session's order, told once: two streams overlap while one takes the
        other over."""
        if self._identity and event.sequence > self._identity.last_sequence:  # type: ignore[union-attr]
            self._identity.last_sequence = event.sequence  # type: ignore[union-attr]
            self._tell(event)

    def _tell(self, event: Event) -> None:
        self._roster.apply(event)
        self._out("event", event)

    # Getting in, and getting back in.

    def _open(self, now: float) -> None:
        self._open_at = self._renew_at = None
        self._streams += 1
        renew, self._renew_token = self._renew_token, False
        self._opening = _Opening(self._streams, now + self._settings.connect_timeout, renew)
        join = pb.Join()
        join.CopyFrom(self._settings.join)
        if it := self._identity:
            join.resume.CopyFrom(
                pb.Resume(
                    connection_id=it.connection.connection_id,
                    resume_token=it.resume_token,
                    epoch=it.epoch,
                    last_sequence=it.last_sequence,
                    last_result_send_id=it.last_result,
                )
            )
        self._out("open", self._streams, self._settings.endpoints[self._endpoint], join, renew)

    def _opening_received(self, kind: str, response: pb.JoinResponse, now: float) -> None:
        opening = self._opening
        assert opening
        if kind == "joined" and not opening.joined:
            if response.joined.more_connections:
                opening.joined = response.joined
            else:
                self._joined(response.joined, now)
        elif kind == "connections_page" and opening.joined:
            opening.joined.connections.extend(response.connections_page.connections)
            # A large snapshot may take its time as long as it comes.
            opening.deadline = now + self._settings.connect_timeout
            if not response.connections_page.more:
                self._joined(opening.joined, now)
        elif kind == "closing":
            opening.closing = response.closing

    def _joined(self, joined: pb.Joined, now: float) -> None:
        opening, self._opening = self._opening, None
        assert opening
        if self._live:
            self._out("close", self._live.stream)
        self._live = _Live(opening.stream, now, now, opening.closing)
        limits = joined.limits
        self._max_recipients = limits.max_recipients
        self._heartbeat_interval = limits.heartbeat_interval.ToTimedelta().total_seconds()
        self._max_unresolved = limits.max_unresolved_sends or _UNRESOLVED_WITHOUT_LIMIT

        lost, self._lost_at = self._lost_at is not None, None
        connection = Connection._of(joined.connection)
        # An outcome that this version doesn't know is judged by the id.
        resumed = joined.outcome in (pb.JOIN_OUTCOME_RESUMED, pb.JOIN_OUTCOME_RESUMED_WITH_GAP) or (
            joined.outcome != pb.JOIN_OUTCOME_NEW and self.connection_id == connection.connection_id
        )
        identity = self._identity
        if identity and resumed:
            self._fail(self._sends.resumed(joined.last_send_id, lost), DisconnectedError())
            if joined.outcome == pb.JOIN_OUTCOME_RESUMED and joined.epoch == identity.epoch:
                if lost:
                    there = self._roster.connections
                    self._tell(
                        Reconnected(False, identity.connection, there, identity.epoch, identity.last_sequence)
                    )
            else:
                identity.epoch, identity.last_sequence = joined.epoch, joined.sequence
                self._tell_gap(joined)
        else:
            self._identity = _Identity(connection, joined.resume_token, joined.epoch, joined.sequence)
            # A new connection has the server's whole burst; a resumed one goes on with what it had.
            self._pace = Pace(limits.signals_per_second, limits.signal_burst)
            self._fail(self._sends.renewed(), UnknownOutcomeError())
            if identity:
                self._tell_gap(joined)
            else:
                there = tuple(Connection._of(one) for one in joined.connections)
                self._tell(Joined(connection, there, joined.epoch, joined.sequence))
        self._flush(now)

    def _tell_gap(self, joined: pb.Joined) -> None:
        there = tuple(Connection._of(one) for one in joined.connections)
        self._tell(Reconnected(True, Connection._of(joined.connection), there, joined.epoch, joined.sequence))

    def _failed(self, end: End, now: float) -> None:
        """The stream that was being opened won't be."""
        opening, self._opening = self._opening, None
        assert opening
        self._out("close", opening.stream)
        stop, after, renew = self._judge(opening.closing, end, opening.renewed)
        tried = self._endpoint
        self._next_endpoint()
        # The token that was asked for may never have come.
        self._renew_token |= opening.renewed and (end.silent or end.error is not None)
        if self._identity is None:
            self._first_failed(stop, renew, end, tried, now)
            return
        if stop is None:
            self._renew_token |= renew
            # It ended the stream that it was to take over, and failed.
            if not self._live and self._lost_at is None:
                self._reconnecting(opening.closing, end, now)
            self._try_again(after, end, now)
        elif self._live:
            # The live stream stays as long as the server lets it.
            self._again(None, now)
        else:
            self._stop(stop)
        self._flush(now)

    def _first_failed(self, stop: Refusal | None, renew: bool, end: End, tried: int, now: float) -> None:
        if stop is None and renew:
            self._renew_token, self._endpoint = True, tried
            self._open(now)
        elif stop is None and self._endpoint:
            self._open(now)
        else:
            self.over = True
            endpoint = self._settings.endpoints[tried]
            if end.silent:
                end.error = ConnectError(f"{endpoint} said nothing for {self._settings.connect_timeout} s")
            error = end.error or ConnectError(f"{endpoint}: {end}", end.refusal)
            self._out("failed", error)
            self._out("over")

    def _try_again(self, after: float | None, end: End, now: float) -> None:
        gives_up_at = None if self._lost_at is None else self._lost_at + self._settings.give_up_after
        if gives_up_at is not None and gives_up_at <= now:
            self._end(f"gave up reconnecting: {end}", Action.REJOIN)
            return
        self._again(after, now)
        # The last attempt is made when the time is up, not after it.
        if gives_up_at is not None and self._open_at is not None:
            self._open_at = min(self._open_at, gives_up_at)

    # Losing it.

    def _lose(self, end: End, now: float) -> None:
        """The live stream is gone."""
        live, self._live = self._live, None
        assert live
        self._out("close", live.stream)
        well = end.refusal is None and end.error is None and not end.silent
        if self.leaving == "now" or (live.leave_sent and well):
            self._end("left", Action.STOP)
            return
        # A stream opened after it took it over, and that it is in is still on its way.
        by_own = reason_of(live.closing, end) == "CONNECTION_TAKEN_OVER" and self._streams > live.stream
        if by_own and self._opening:
            return
        stop, after, renew = self._judge(live.closing, end, False)
        if stop is not None and not by_own:
            self._stop(stop)
            return
        # A stream that breaks again and again is no success.
        if now - live.since >= self._settings.back_off[1]:
            self._attempt = 0
        self._renew_token |= renew
        if live.closing and live.closing.reason == "GOING_AWAY":
            self._next_endpoint()
        self._reconnecting(live.closing, end, now)
        # A stream that was about to take over is as good as any.
        if not self._opening:
            self._again(after if stop is None else None, now)

    def _reconnecting(self, closing: pb.Closing | None, end: End, now: float) -> None:
        self._lost_at = now
        self._fail(self._sends.lost(), DisconnectedError())
        why = f"the server closed it: {closing.reason}" if closing else str(end)
        self._tell(Reconnecting(why))

    def _next_endpoint(self) -> None:
        self._endpoint = (self._endpoint + 1) % len(self._settings.endpoints)

    def _again(self, after: float | None, now: float) -> None:
        """Tries again after a pause: doubled each time, and lengthened at random by up to as
        much again."""
        shortest, longest = self._settings.back_off
        pause = min(shortest * 2**min(self._attempt, 32), longest)
        self._attempt += 1
        self._open_at = now + max(pause + random.uniform(0, pause), after or 0.0)

    def _judge(self, closing: pb.Closing | None, end: End, renewed: bool) -> tuple[Refusal | None, float | None, bool]:
        """What an end means for coming back: the refusal if not; after how long; with
        another token."""
        reason, told = reason_of(closing, end), end.refusal
        after = told.retry_after if told else None
        if closing and closing.HasField("retry_after"):
            after = closing.retry_after.ToTimedelta().total_seconds()
        said = "the server closed the stream and says not to come back"
        refusal = Refusal(
            told.code if told else grpc.StatusCode.ABORTED,
            reason,
            told.message if told else said,
            told.field if told else None,
            after,
        )
        if reason == "TOKEN_EXPIRED":
            # Another token may help, once; one that is refused again doesn't.
            again = self._settings.renewable and not renewed
            return (None, after, True) if again else (refusal, None, False)
        # An action that this version doesn't know leaves it to the status.
        match closing and Action(closing.action):
            case Action.STOP:
                return refusal, None, False
            case Action.RESUME | Action.REJOIN:
                return None, after, False
        code = told.code.name if told else ""
        # Without a reason it is a proxy's, and passes.
        if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or (code in _STOPPING and reason):
            return refusal, None, False
        return None, after, False

    def _stop(self, refusal: Refusal) -> None:
        self._end(str(refusal), Action.STOP, refusal)

    def _end(self, why: str, action: Action, refusal: Refusal | None = None) -> None:
        """It is over, for good."""
        if self.over:
            return
        self.over = True
        for one in (self._live, self._opening):
            if one:
                self._out("close", one.stream)
        self._live = self._opening = self._open_at = self._renew_at = None
        self._fail(self._sends.discard(), OverError())
        self._fail(self._sends.renewed(), UnknownOutcomeError())
        self._tell(Disconnected(why, action, refusal))
        self._out("over")
