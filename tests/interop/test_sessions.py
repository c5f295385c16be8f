"""What a backend sees and does: the whole of SessionService."""

import grpc
import pytest
from conftest import joining
from signalbox.v1 import session_pb2, types_pb2
from signalbox_client import NEW, SECONDS, STOP, a, data_of, kinds, refusal

STRANGER = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def own(start):
    """A server of one's own: the listing of the shared one is everybody's."""
    return start()


def list_sessions(house, **fields):
    return house.sessions.ListSessions(session_pb2.ListSessionsRequest(**fields), timeout=SECONDS)


def list_connections(house, session_id: str, **fields):
    request = session_pb2.ListConnectionsRequest(session_id=session_id, **fields)
    return house.sessions.ListConnections(request, timeout=SECONDS)


def get_session(house, session_id: str):
    return house.sessions.GetSession(session_pb2.GetSessionRequest(session_id=session_id), timeout=SECONDS).session


def disconnect(house, session_id: str, connection_id: str):
    request = session_pb2.DisconnectConnectionRequest(session_id=session_id, connection_id=connection_id)
    return house.sessions.DisconnectConnection(request, timeout=SECONDS)


def pages(page_of, items: str, size: int) -> list[list]:
    """All pages, each asked for with the token of the one before."""
    found, token = [], ""
    while True:
        page = page_of(page_size=size, page_token=token)
        found.append(list(getattr(page, items)))
        assert len(found[-1]) <= size and len(found) < 1000
        if not (token := page.next_page_token):
            return found


def test_no_sessions(own):
    """'`next_page_token` (2; empty at the end)'"""
    assert list_sessions(own) == session_pb2.ListSessionsResponse()


def test_sessions_are_listed_in_pages(own):
    """'`ListSessionsRequest` `page_size` (1; 0: 100, most 1,000), `page_token` (2) to […] `next_page_token` (2; empty
    at the end)'"""
    names = [f"room-{n:03}" for n in range(105)]
    for name in reversed(names):
        own.join(name)
    listed = pages(lambda **page: list_sessions(own, **page), "sessions", 10)
    assert [len(page) for page in listed[:10]] == [10] * 10
    assert [session.session_id for page in listed for session in page] == names
    first = list_sessions(own)
    assert len(first.sessions) == 100 and first.next_page_token
    assert len(list_sessions(own, page_token=first.next_page_token).sessions) == 5
    everything = list_sessions(own, page_size=100_000)
    assert len(everything.sessions) == 105 and not everything.next_page_token


def test_a_session_that_ends_between_pages_moves_no_other(own):
    """'a session that exists during the whole listing is listed exactly once'"""
    members = {name: own.join(name) for name in ("a", "b", "c", "d", "e")}
    first = list_sessions(own, page_size=2)
    watch = own.watch("b")
    members["b"].leave()
    watch.take(a("session_ended"))
    second = list_sessions(own, page_size=10, page_token=first.next_page_token)
    assert [session.session_id for session in second.sessions] == ["c", "d", "e"]


def test_a_session(house, session_id):
    """'`Session` is `session_id` (1), `connection_count` (2), `epoch` (3), `sequence` (4), `created_at` (5)'"""
    first = house.join(session_id)
    house.join(session_id)
    response = house.send(session_id, "x")
    session = get_session(house, session_id)
    assert (session.session_id, session.connection_count) == (session_id, 2)
    assert (session.epoch, session.sequence) == (first.joined.epoch, response.sequence)
    assert session.created_at == first.joined.connection.created_at
    assert session in list_sessions(house, page_size=1000).sessions


def test_a_session_exists_as_long_as_somebody_is_in_it(house, session_id):
    """'It exists as soon as somebody joins it and as long as somebody is in it (a detached connection counts).'"""
    watch = house.watch(session_id)
    request = session_pb2.GetSessionRequest(session_id=session_id)
    assert refusal(house.sessions.GetSession, request).named == ("NOT_FOUND", "SESSION_NOT_FOUND")
    watcher, member = house.join(session_id), house.join(session_id, window=1)
    member.cancel()
    watcher.take(a("connection_interrupted"))
    watcher.leave()
    watch.take(a("connection_destroyed"))
    assert get_session(house, session_id).connection_count == 1
    watch.take(a("session_ended"))
    assert refusal(house.sessions.GetSession, request).named == ("NOT_FOUND", "SESSION_NOT_FOUND")


def test_connections_are_listed_in_pages(house, session_id):
    """'`ListConnectionsRequest` `session_id` (1), `page_size` (2), `page_token` (3)'; in the order of joining"""
    members = [house.join(session_id, suppress_connection_events=True) for _ in range(25)]
    listed = pages(lambda **page: list_connections(house, session_id, **page), "connections", 10)
    assert [len(page) for page in listed] == [10, 10, 5]
    assert [each for page in listed for each in page] == [member.joined.connection for member in members]
    assert len(list_connections(house, session_id).connections) == 25


def test_an_interrupted_connection_is_listed(house, session_id):
    """'An interrupted connection still counts'"""
    watcher, member = house.join(session_id), house.join(session_id, window=30)
    member.cancel()
    watcher.take(a("connection_interrupted"))
    states = [each.state for each in list_connections(house, session_id).connections]
    assert states == [types_pb2.CONNECTION_STATE_CONNECTED, types_pb2.CONNECTION_STATE_INTERRUPTED]
    assert get_session(house, session_id).connection_count == 2


@pytest.mark.parametrize("window", [None, 30], ids=["no window", "a window"])
def test_disconnect(house, session_id, window):
    """'`DisconnectConnectionRequest` `session_id` (1), `connection_id` (2)'; `_FORCE_DISCONNECTED`"""
    watcher, target = house.join(session_id), house.join(session_id, window)
    watcher.expect("connection_created")
    disconnect(house, session_id, target.id)
    closing, ended = target.closing()
    assert (closing.reason, closing.action) == ("FORCE_DISCONNECTED", STOP)
    assert (ended.named, ended.domain) == (("ABORTED", "FORCE_DISCONNECTED"), "signalbox")
    destroyed = watcher.expect("connection_destroyed")
    assert destroyed.connection_id == target.id
    assert destroyed.reason == types_pb2.DISCONNECT_REASON_FORCE_DISCONNECTED
    assert [each.connection_id for each in list_connections(house, session_id).connections] == [watcher.id]
    assert house.rejoin(target, NEW).id != target.id


def test_disconnect_an_interrupted_one(house, session_id):
    """'Disconnects a connection for good; an interrupted one too.'"""
    watcher, target = house.join(session_id), house.join(session_id, window=30)
    target.cancel()
    watcher.take(a("connection_interrupted"))
    disconnect(house, session_id, target.id)
    events = watcher.fence()
    assert kinds(events) == ["connection_created", "connection_destroyed"]
    assert house.rejoin(target, NEW).id != target.id


def test_what_is_not_there(house, session_id):
    """'404: NOT_FOUND / `CONNECTION_NOT_FOUND`, `SESSION_NOT_FOUND`'"""
    house.join(session_id)
    absent = session_id + "-absent"
    Disconnect = session_pb2.DisconnectConnectionRequest
    not_there = {
        "CONNECTION_NOT_FOUND": [
            (house.sessions.DisconnectConnection, Disconnect(session_id=session_id, connection_id=STRANGER))
        ],
        "SESSION_NOT_FOUND": [
            (house.sessions.DisconnectConnection, Disconnect(session_id=absent, connection_id=STRANGER)),
            (house.sessions.GetSession, session_pb2.GetSessionRequest(session_id=absent)),
            (house.sessions.ListConnections, session_pb2.ListConnectionsRequest(session_id=absent)),
        ],
    }
    for reason, calls in not_there.items():
        for call, request in calls:
            ended = refusal(call, request)
            assert (ended.named, ended.domain) == (("NOT_FOUND", reason), "signalbox")


@pytest.mark.parametrize("bad", ["", "x" * 256, "café", "a b"], ids=["empty", "256", "non-ASCII", "space"])
def test_bad_session_ids(house, bad):
    """'`session_id` 1 to 255 visible ASCII characters'"""
    calls = [
        (house.sessions.GetSession, session_pb2.GetSessionRequest(session_id=bad)),
        (house.sessions.ListConnections, session_pb2.ListConnectionsRequest(session_id=bad)),
        (house.sessions.DisconnectConnection, session_pb2.DisconnectConnectionRequest(session_id=bad)),
    ]
    for call, request in calls:
        ended = refusal(call, request)
        assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "SESSION_ID_INVALID"), "session_id")
    # An empty one watches everything.
    if bad:
        ended = house.watching(bad).ended()
        assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "SESSION_ID_INVALID"), "session_id")


def test_bad_page_tokens(house, session_id):
    """'Not one of ours: `PAGE_TOKEN_INVALID`.'"""
    house.join(session_id)
    requests = [
        (house.sessions.ListSessions, session_pb2.ListSessionsRequest(page_token="!")),
        (house.sessions.ListConnections, session_pb2.ListConnectionsRequest(session_id=session_id, page_token="!")),
    ]
    for call, request in requests:
        ended = refusal(call, request)
        assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), "page_token")


def events_of(watch, count: int) -> list[tuple]:
    """The next events, as their kind, their session and, where one is told of, their connection."""
    found = []
    for _ in range(count):
        event = watch.next()
        kind = event.WhichOneof("event")
        body = getattr(event, kind)
        found.append((kind, body.session_id, body.connection.connection_id if kind == "connection_created" else None))
    return found


def test_watch_lists_then_marks_then_tells_changes(own):
    """'A watch first lists what is there, then a marker, then changes, with no gap between.'"""
    first, second = own.join("a"), own.join("b")
    watch = own.watch()
    kinds_listed = kinds(watch.snapshot)
    listed = sorted((kind, getattr(event, kind).session_id) for kind, event in zip(kinds_listed, watch.snapshot))
    assert listed == [
        ("connection_created", "a"),
        ("connection_created", "b"),
        ("session_started", "a"),
        ("session_started", "b"),
    ]
    started = [event.session_started for event in watch.snapshot if event.WhichOneof("event") == "session_started"]
    assert {each.session_id: each.epoch for each in started} == {"a": first.joined.epoch, "b": second.joined.epoch}
    third = own.join("c")
    assert events_of(watch, 2) == [("session_started", "c", None), ("connection_created", "c", third.id)]
    third.leave()
    destroyed = watch.next().connection_destroyed
    assert (destroyed.session_id, destroyed.connection_id) == ("c", third.id)
    assert destroyed.reason == types_pb2.DISCONNECT_REASON_CLIENT_DISCONNECTED
    assert destroyed.sequence > third.joined.sequence
    ended = watch.next().session_ended
    assert (ended.session_id, ended.epoch) == ("c", third.joined.epoch)


def test_watch_one_session(own):
    """'`WatchSessionsRequest` `session_id` (1; empty: all)'"""
    own.join("other")
    watch = own.watch("one")
    assert watch.snapshot == []
    own.join("another")
    member = own.join("one")
    assert events_of(watch, 2) == [("session_started", "one", None), ("connection_created", "one", member.id)]
    second_watch = own.watch("one")
    assert kinds(second_watch.snapshot) == ["session_started", "connection_created"]
    assert second_watch.snapshot[1].connection_created.connection == member.joined.connection
    assert second_watch.snapshot[1].connection_created.sequence == member.joined.sequence


def test_watch_has_no_gap(own):
    """'with no gap between': what happens while watches begin is in the list or among the changes, once."""
    members = []
    watches = []
    for n in range(30):
        members.append(own.open(joining("busy")))
        watches.append(own.watch("busy"))
    wanted = {member.wait_joined().id for member in members}
    for watch in watches:
        seen = [
            event.connection_created.connection.connection_id
            for event in watch.snapshot
            if event.WhichOneof("event") == "connection_created"
        ]
        while len(seen) < len(wanted):
            event = watch.next()
            if event.WhichOneof("event") == "connection_created":
                seen.append(event.connection_created.connection.connection_id)
        assert sorted(seen) == sorted(wanted)
    assert data_of(members[0].fence()) == []
    assert all(watch.call.is_active() for watch in watches)
    watches[0].cancel()
    assert watches[0].ended().code is grpc.StatusCode.CANCELLED
