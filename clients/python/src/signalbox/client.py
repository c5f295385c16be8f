"""A member of a session that comes back by itself, for asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import grpc

from ._machine import Machine, Settings
from ._transport import Endpoint, Stream
from ._wire import End
from .errors import ConnectError, SignalboxError
from .events import Accepted, Connection, Event, Roster, Signal, SignalReceived
from .v1 import signaling_pb2 as pb

__all__ = ["Client", "Session", "Token"]

# How many events wait for the application before no more are read.
_MOST_EVENTS = 1_024


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token and, where it is known, when it expires, in seconds since 1970: the client asks
    for another before that."""

    bearer: str = dataclasses.field(repr=False)
    expires_at: float | None = None


TokenSource = str | Token | Callable[[str], "str | Token | Awaitable[str | Token]"] | None


class Client:
    """Where the servers are, and how to get in.

    `endpoints`: one, or some that take turns, as `http://host:port` or `https://host:port`.
    `token`: one, or what gives one for a session's id, called before the first connection,
    before a token expires and after one has; it may be a coroutine function.
    `credentials`: for `https`, if not the system's own certificates.
    `back_off`: the shortest and longest pause between attempts, in seconds, lengthened at
    random by up to as much again. `give_up_after`: how long to try to get back in.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        token: TokenSource = None,
        credentials: grpc.ChannelCredentials | None = None,
        connect_timeout: float = 10.0,
        back_off: tuple[float, float] = (0.25, 10.0),
        give_up_after: float = 300.0,
    ):
        urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if not urls:
            raise ConnectError("there is no endpoint")
        self._endpoints = {url: Endpoint.read(url, credentials) for url in urls}
        self._token = token
        self._connect_timeout = connect_timeout
        self._back_off = back_off
        self._give_up_after = give_up_after

    async def join(
        self,
        session_id: str,
        *,
        connection_data: str = "",
        resume_window: float = 60.0,
        signal_types: Iterable[str] = (),
        suppress_connection_events: bool = False,
        suppress_own_signals: bool = False,
        queue: tuple[int, int] = (1_024, 1 << 20),
    ) -> Session:
        """Joins a session, and comes back when in.

        `connection_data`: what everybody sees of it, at most 1,000 bytes. `resume_window`: for
        how many seconds the server waits for it after a loss, at most 120; with 0 a loss is a
        gap. `signal_types`: only signals of these types are wanted; none: all. `queue`: how
        many sends, and bytes of them, may wait while disconnected.

        Raises `ConnectError` when no endpoint lets it in, each tried once.
        """
        join = pb.Join(
            session_id=session_id,
            connection_data=connection_data,
            signal_types=list(signal_types),
            suppress_connection_events=suppress_connection_events,
            suppress_own_signals=suppress_own_signals,
        )
        if resume_window:
            join.resume_window.FromNanoseconds(int(resume_window * 1e9))
        settings = Settings(
            join=join,
            endpoints=list(self._endpoints),
            connect_timeout=self._connect_timeout,
            back_off=self._back_off,
            give_up_after=self._give_up_after,
            renewable=callable(self._token),
            queue=queue,
        )
        session = Session(Machine(settings), self._endpoints, _Tokens(self._token, session_id))
        await session._joined()
        return session


class _Tokens:
    """The tokens of one session."""

    def __init__(self, source: TokenSource, session_id: str):
        self._source = source
        self._session_id = session_id
        self._latest: Token | None = None
        self._lock = asyncio.Lock()

    async def get(self, renew: bool) -> Token | None:
        async with self._lock:
            if self._source is None or isinstance(self._source, (str, Token)):
                return _token(self._source)
            latest = self._latest
            if latest and not renew and (latest.expires_at is None or latest.expires_at > time.time()):
                return latest
            try:
                given = self._source(self._session_id)
                self._latest = _token(await given if inspect.isawaitable(given) else given)
            except Exception as error:
                raise ConnectError(f"no token: {error}") from error
            return self._latest


def _token(given: str | Token | None) -> Token | None:
    return Token(given) if isinstance(given, str) else given


class Session:
    """A member of a session; `Client.join` gives it. Use it as `async with`, which leaves at
    the end, or `leave` it.

    Iterated (`async for event in session`), it gives what happens, in order, until
    `Disconnected`, which is the last. Take the events: once 1,024 wait, nothing more is read,
    and the server may close the stream as a slow reader's, which is resumed as soon as they
    are taken. Who wants none says `ignore_events`.
    """

    def __init__(self, machine: Machine, endpoints: dict[str, Endpoint], tokens: _Tokens):
        self._machine = machine
        self._endpoints = endpoints
        self._tokens = tokens
        self._roster = Roster()
        self._events: deque[Event] = deque()
        self._ignores = False
        self._filters: list[tuple[str, asyncio.Queue[SignalReceived | None]]] = []
        self._streams: dict[int, tuple[Stream | None, asyncio.Task[None]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._in: asyncio.Future[None] = self._loop.create_future()
        self._over = asyncio.Event()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # What the application asks for.

    @property
    def connection_id(self) -> str:
        """This client's own id. After a reconnect that could not resume it is another."""
        return self._machine.connection_id

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Who is in the session, this client too, in the order of joining: always what the
        events that were taken say."""
        return self._roster.connections

    def signal(
        self,
        data: str = "",
        *,
        type: str = "",
        to: Iterable[str] | None = None,
        retry_after_reconnect: bool = True,
    ) -> asyncio.Future[Accepted]:
        """Sends a signal: the call puts it in order after all sends before it, and the future
        tells its outcome. Nobody need wait for it. See `Signal` for the limits.

        The future's errors: `RefusedError`, `DisconnectedError`, `QueueFullError`,
        `UnknownOutcomeError`, `OverError`.
        """
        return self._ask(self._machine.send, Signal(data, type, to, retry_after_reconnect))

    def force_disconnect(self, connection_id: str) -> asyncio.Future[Accepted]:
        """Disconnects another connection, for good; for moderators. As `signal`."""
        return self._ask(self._machine.disconnect, connection_id)

    def _ask(self, what: Callable[..., None], of: object) -> asyncio.Future[Accepted]:
        outcome: asyncio.Future[Accepted] = self._loop.create_future()
        # An outcome that nobody waits for is nobody's mistake.
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            what(of, outcome, self._loop.time())
        except SignalboxError as error:
            outcome.set_exception(error)
        self._act()
        return outcome

    async def on_type(self, type: str) -> AsyncIterator[SignalReceived]:
        """The signals of one type from here on, beside the events, which have them too."""
        signals: asyncio.Queue[SignalReceived | None] = asyncio.Queue()
        entry = (type, signals)
        if self._over.is_set():
            return
        self._filters.append(entry)
        try:
            while (signal := await signals.get()) is not None:
                yield signal
        finally:
            self._filters.remove(entry)

    def ignore_events(self) -> None:
        """Nobody takes events: `connections` follows by itself."""
        self._ignores = True
        while self._events:
            self._roster.apply(self._events.popleft())
        self._room.set()

    async def leave(self, *, at_once: bool = False) -> None:
        """Leaves once every send has its outcome, and comes back when out; `at_once` without
        what was not sent yet."""
        self._machine.leave(self._loop.time(), at_once=at_once)
        # Who leaves is waited for, whether or not events are taken.
        self._room.set()
        self._act()
        await self._over.wait()
        await self._part()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.leave(at_once=kind is not None)

    def __aiter__(self) -> Session:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._over.is_set():
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        event = self._events.popleft()
        self._roster.apply(event)
        if not self._events:
            self._room.set()
        return event

    # What drives it.

    async def _joined(self) -> None:
        self._machine.start(self._loop.time())
        self._act()
        try:
            await self._in
        except BaseException:
            self._machine.leave(self._loop.time(), at_once=True)
            self._act()
            await self._part()
            raise
        self._roster.apply(self._events[0])

    def _act(self) -> None:
        """Does what the machine wants done."""
        while self._machine.outputs:
            what, of = self._machine.outputs.popleft()
            match what:
                case "open":
                    self._open(*of)
                case "frame":
                    stream, _ = self._streams.get(of[0], (None, None))
                    # A stream that is gone says so by its end.
                    if stream:
                        stream.send(of[1])
                case "close":
                    self._close(of[0])
                case "event":
                    self._tell(of[0])
                case "outcome":
                    self._decide(*of)
                case "failed":
                    if not self._in.done():
                        self._in.set_exception(of[0])
                case "over":
                    self._end()
        if self._timer:
            self._timer.cancel()
        at = self._machine.wake_at()
        self._timer = None if at is None or self._over.is_set() else self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        # The clock may be a moment early.
        self._machine.wake(max(self._loop.time(), self._timer.when() if self._timer else 0.0))
        self._act()

    def _tell(self, event: Event) -> None:
        if isinstance(event, SignalReceived):
            for _, signals in [one for one in self._filters if one[0] == event.type]:
                signals.put_nowait(event)
        if self._ignores:
            self._roster.apply(event)
        else:
            self._events.append(event)
            if len(self._events) >= _MOST_EVENTS and not self._machine.leaving:
                self._room.clear()
        if not self._in.done():
            self._in.set_result(None)
        self._changed.set()

    @staticmethod
    def _decide(outcome: asyncio.Future[Accepted], told: Accepted | SignalboxError) -> None:
        if outcome.done():
            return
        if isinstance(told, SignalboxError):
            outcome.set_exception(told)
        else:
            outcome.set_result(told)

    def _end(self) -> None:
        self._over.set()
        self._changed.set()
        self._room.set()
        for _, signals in self._filters:
            signals.put_nowait(None)

    def _open(self, number: int, url: str, join: pb.Join, renew: bool) -> None:
        task = self._loop.create_task(self._run(number, url, join, renew))
        self._streams[number] = (None, task)

    async def _run(self, number: int, url: str, join: pb.Join, renew: bool) -> None:
        try:
            token = await self._tokens.get(renew)
        except ConnectError as error:
            return self._ended(number, End(error=error))
        if token and token.expires_at is not None and (left := token.expires_at - time.time()) > 0:
            self._machine.token_expires(left, self._loop.time())
        metadata = [("authorization", f"Bearer {token.bearer}")] if token else []
        if number not in self._streams:
            return None
        stream = Stream(self._endpoints[url], metadata)
        self._streams[number] = (stream, self._streams[number][1])
        stream.send(pb.JoinRequest(join=join))
        while True:
            came = await stream.next()
            if isinstance(came, End):
                return self._ended(number, came)
            self._machine.received(number, came, self._loop.time())
            self._act()
            # A stream that is being opened tells no events, and would run out of its time.
            if not self._room.is_set() and self._machine.live_stream == number:
                self._machine.read(False, self._loop.time())
                self._act()
                await self._room.wait()
                self._machine.read(True, self._loop.time())

    def _ended(self, number: int, end: End) -> None:
        self._machine.ended(number, end, self._loop.time())
        self._close(number)
        self._act()

    def _close(self, number: int) -> None:
        stream, task = self._streams.pop(number, (None, None))
        if stream:
            closing = self._loop.create_task(stream.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        if task and task is not asyncio.current_task(self._loop):
            task.cancel()

    async def _part(self) -> None:
        """Lets go of what is left."""
        for number in list(self._streams):
            self._close(number)
        if self._closing:
            await asyncio.wait(self._closing, timeout=5)
