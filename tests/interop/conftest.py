"""The fixtures: servers, sessions of one's own, members that are let go of."""

import uuid

import generated  # noqa: F401  (must come before the code that it generates)
import pytest
from signalbox.v1 import session_pb2, session_pb2_grpc, signaling_pb2, signaling_pb2_grpc
from signalbox_client import SECONDS, Ended, Member, Stream, connect, recipients, refusal, seconds, signal
from signalbox_server import Server, binary


def pytest_report_header():
    return f"signalbox: {binary()}"


class House:
    """A server with its stubs, and members that end with the test."""

    def __init__(self, *flags: str, **listen: str):
        self.server = Server(*flags, **listen)
        self.channel = connect(self.server.target)
        self.signaling = signaling_pb2_grpc.SignalingServiceStub(self.channel)
        self.sessions = session_pb2_grpc.SessionServiceStub(self.channel)
        self._streams: list[Stream] = []

    def open(self, join: signaling_pb2.Join | None = None, channel=None, paused: bool = False) -> Member:
        """A stream, joined or not; its answer isn't awaited."""
        member = Member(channel or self.channel, join, paused)
        self._streams.append(member)
        return member

    def join(self, session_id: str, window: float | None = None, **fields) -> Member:
        """A new member, joined."""
        return self.open(joining(session_id, window, **fields)).wait_joined()

    def rejoin(self, member: Member, outcome: int, window: float | None = 30, changes=None, **fields) -> Member:
        """Another stream that resumes `member`; `changes` are made to its `Resume`."""
        resume = member.resume(**(changes or {}))
        return self.open(joining(member.session_id, window, resume=resume, **fields)).wait_joined(outcome)

    def send(self, session_id: str, data: str = "", type: str = "", to=None, key: str = ""):
        """A server signal."""
        return self.signaling.SendFromServer(server_signal(session_id, data, type, to, key), timeout=SECONDS)

    def refused_send(self, session_id: str, data: str = "", type: str = "", to=None, key: str = "") -> Ended:
        """A server signal that must be refused."""
        return refusal(self.signaling.SendFromServer, server_signal(session_id, data, type, to, key))

    def watching(self, session_id: str) -> Stream:
        """A watch of which nothing is read yet."""
        watch = Stream(self.sessions.WatchSessions(session_pb2.WatchSessionsRequest(session_id=session_id)))
        self._streams.append(watch)
        return watch

    def watch(self, session_id: str = "") -> Stream:
        """A watch, read up to its marker."""
        watch = self.watching(session_id)
        watch.snapshot = []
        while (event := watch.next()).WhichOneof("event") != "snapshot_complete":
            watch.snapshot.append(event)
        return watch

    def let_go(self) -> None:
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    def close(self) -> None:
        self.let_go()
        self.channel.close()
        self.server.kill()


def server_signal(session_id: str, data: str, type: str, to, key: str) -> signaling_pb2.SendFromServerRequest:
    return signaling_pb2.SendFromServerRequest(
        session_id=session_id, signal=signal(data, type), to=recipients(to), idempotency_key=key
    )


def joining(session_id: str, window: float | None = None, **fields) -> signaling_pb2.Join:
    if window is not None:
        fields["resume_window"] = seconds(window)
    return signaling_pb2.Join(session_id=session_id, **fields)


@pytest.fixture(scope="session")
def _house():
    house = House()
    yield house
    house.close()


@pytest.fixture
def house(_house):
    """The server with the default settings, shared by all tests."""
    yield _house
    _house.let_go()


@pytest.fixture
def start():
    """Starts servers with other flags, for one test."""
    houses = []

    def start_one(*flags: str, **listen: str) -> House:
        houses.append(House(*flags, **listen))
        return houses[-1]

    yield start_one
    for house in houses:
        house.close()


@pytest.fixture
def session_id() -> str:
    """A session that no other test uses."""
    return f"interop-{uuid.uuid4()}"
