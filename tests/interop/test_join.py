"""Joining, leaving, and what the others see of it."""

import re
import subprocess
import time

import pytest
from conftest import joining
from signalbox.v1 import types_pb2
from signalbox_client import NEW, RESUMED, a, connect, data_of, kinds
from signalbox_server import clean_environment

CONNECTED = types_pb2.CONNECTION_STATE_CONNECTED
INTERRUPTED = types_pb2.CONNECTION_STATE_INTERRUPTED
CLIENT_DISCONNECTED = types_pb2.DISCONNECT_REASON_CLIENT_DISCONNECTED
NETWORK_DISCONNECTED = types_pb2.DISCONNECT_REASON_NETWORK_DISCONNECTED


def ids(connections) -> list[str]:
    return [connection.connection_id for connection in connections]


def test_headers_come_before_the_first_frame(house):
    """'The server sends response headers at once, before it reads a frame (a client that waits for headers must not
    deadlock).'"""
    began = time.monotonic()
    stream = house.open()
    assert stream.call.initial_metadata() is not None
    # Well before the 10 s after which a stream without a `join` would end.
    assert time.monotonic() - began < 5
    assert stream.call.is_active()


def test_joined_is_the_first_event_and_complete(house, session_id):
    """'`Joined` is the first event. Its `connections` is the membership exactly as of `sequence`'"""
    joined = house.join(session_id, connection_data="Ann").joined
    own = joined.connection
    assert joined.outcome == NEW
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", own.connection_id)
    assert (own.data, own.role, own.state) == ("Ann", types_pb2.ROLE_MODERATOR, CONNECTED)
    assert abs(own.created_at.seconds - time.time()) < 60
    assert list(joined.connections) == [own]
    assert 0 < joined.epoch < 2**53
    assert joined.sequence > 0
    assert 0 < len(joined.resume_token) < 100 and joined.resume_token.isascii()
    assert joined.resume_window.ToTimedelta().total_seconds() == 0
    assert joined.last_send_id == 0
    assert not joined.more_connections


def test_joined_tells_the_limits(house, session_id):
    """'`data` 8,192 bytes; `type` 128 bytes […]; `to` 100 ids; […] unresolved sends 1,024; 50 signals per second and
    connection, burst 100', `heartbeat_interval` (25 s)"""
    limits = house.join(session_id).joined.limits
    assert (limits.max_data_bytes, limits.max_type_bytes, limits.max_recipients) == (8192, 128, 100)
    assert limits.max_unresolved_sends == 1024
    assert (limits.signals_per_second, limits.signal_burst) == (50, 100)
    assert limits.heartbeat_interval.seconds == 25


def test_the_snapshot_is_of_its_sequence_and_the_others_are_told(house, session_id):
    """'the membership exactly as of `sequence`; every event after it has a higher sequence. […] Everyone else gets
    `ConnectionCreated`.'"""
    first = house.join(session_id)
    second = house.join(session_id, connection_data="second")
    third = house.join(session_id)
    created = [first.expect("connection_created") for _ in range(2)]
    assert [event.connection for event in created] == [second.joined.connection, third.joined.connection]
    assert [event.sequence for event in created] == [second.joined.sequence, third.joined.sequence]
    assert ids(second.joined.connections) == [first.id, second.id]
    assert ids(third.joined.connections) == [first.id, second.id, third.id]
    assert second.expect("connection_created").connection == third.joined.connection
    assert third.fence() == []


def test_sessions_do_not_mix(house, session_id):
    """'**Session**: a named room.'"""
    here, there = house.join(session_id), house.join(session_id + "-other")
    here.accepted("for this room")
    assert ids(there.joined.connections) == [there.id]
    assert there.fence() == []


def test_leave_is_taken_after_the_sends_before_it(house, session_id):
    """'`leave` is taken after the sends before it; it destroys the connection (`CLIENT_DISCONNECTED`) and the server
    ends the stream with OK.' (Not on its own account, so without a `Closing`.)"""
    watcher, leaver = house.join(session_id), house.join(session_id, window=30)
    send_ids = [leaver.start_send(str(n)) for n in range(5)]
    leaver.leave()
    for send_id in send_ids:
        assert leaver.result(send_id).HasField("accepted")
    assert [leaver.expect("signal").signal.data for _ in send_ids] == [str(n) for n in range(5)]
    assert leaver.ended().named == ("OK", None)
    events = watcher.fence()
    assert kinds(events) == ["connection_created"] + ["signal"] * 5 + ["connection_destroyed"]
    assert events[-1].connection_destroyed.connection_id == leaver.id
    assert events[-1].connection_destroyed.reason == CLIENT_DISCONNECTED


def test_half_close_keeps_the_connection(house, session_id):
    """'A request half-close […] means "nothing more to send": the connection stays and receives until the client
    cancels.'"""
    watcher, quiet = house.join(session_id), house.join(session_id)
    quiet.half_close()
    # The answers show that the server has had time to see the half-close.
    for n in range(20):
        house.send(session_id, str(n))
        assert quiet.expect("signal").signal.data == str(n)
    assert "connection_destroyed" not in kinds(watcher.fence())
    quiet.cancel()
    assert watcher.expect("connection_destroyed").connection_id == quiet.id


def test_half_close_right_after_join(house, session_id):
    """'grpcurl does it at the end of its input'"""
    member = house.open(joining(session_id))
    member.half_close()
    member.wait_joined()
    house.send(session_id, "still here")
    assert member.expect("signal").signal.data == "still here"


def test_a_broken_stream_without_window_destroys_at_once(house, session_id):
    """'A stream that breaks otherwise detaches the connection for its granted `resume_window` (server maximum 120 s;
    unset or 0: destroyed at once'"""
    watcher = house.join(session_id)
    for window in (None, 0):
        gone = house.join(session_id, window)
        gone.cancel()
        assert watcher.expect("connection_created").connection.connection_id == gone.id
        destroyed = watcher.expect("connection_destroyed")
        assert (destroyed.connection_id, destroyed.reason) == (gone.id, NETWORK_DISCONNECTED)


def test_a_killed_grpcurl_leaves_no_ghost(house, session_id):
    """'so a killed grpcurl leaves no ghost'"""
    watcher = house.join(session_id)
    frame = '{"join":{"session_id":"%s"}}' % session_id
    grpcurl = subprocess.Popen(
        ["grpcurl", "-plaintext", "-d", frame, house.server.target, "signalbox.v1.SignalingService/Join"],
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
    )
    try:
        ghost = watcher.expect("connection_created").connection.connection_id
    finally:
        grpcurl.kill()
        grpcurl.wait()
    destroyed = watcher.expect("connection_destroyed")
    assert (destroyed.connection_id, destroyed.reason) == (ghost, NETWORK_DISCONNECTED)


def test_interrupted_restored_and_at_last_destroyed(house, session_id):
    """'The others get `ConnectionInterrupted` at once […] and `ConnectionRestored` when it resumes;
    `ConnectionDestroyed`, `NETWORK_DISCONNECTED`, only when the window is over.'"""
    watcher, member = house.join(session_id), house.join(session_id, window=30)
    watcher.expect("connection_created")
    member.cancel()
    assert watcher.expect("connection_interrupted").connection_id == member.id
    back = house.rejoin(member, RESUMED, window=1)
    assert back.joined.resume_window.ToTimedelta().total_seconds() == 1
    assert watcher.expect("connection_restored").connection_id == member.id
    back.cancel()
    assert watcher.expect("connection_interrupted").connection_id == member.id
    interrupted = time.monotonic()
    destroyed = watcher.expect("connection_destroyed")
    assert (destroyed.connection_id, destroyed.reason) == (member.id, NETWORK_DISCONNECTED)
    assert 0.8 < time.monotonic() - interrupted < 5


def test_an_interrupted_connection_is_in_the_snapshot(house, session_id):
    """'An interrupted connection still counts: it is in the snapshot, in `recipient_count`, and a recipient; what it is
    sent waits for its resume.'"""
    watcher, member = house.join(session_id), house.join(session_id, window=30)
    watcher.expect("connection_created")
    member.cancel()
    watcher.expect("connection_interrupted")
    late = house.join(session_id)
    states = {each.connection_id: each.state for each in late.joined.connections}
    assert states == {watcher.id: CONNECTED, member.id: INTERRUPTED, late.id: CONNECTED}
    assert house.send(session_id, "to all").recipient_count == 3
    alone = house.send(session_id, "to it", to=[member.id])
    assert (alone.recipient_count, list(alone.not_connected_ids)) == (1, [])
    accepted = late.accepted("from a member", to=[member.id])
    assert list(accepted.not_connected_ids) == []
    back = house.rejoin(member, RESUMED)
    assert data_of(back.fence()) == ["to all", "to it", "from a member"]


def test_suppress_connection_events(house, session_id):
    """'With `suppress_connection_events` the snapshot holds only the connection itself.' 'All three, and
    `ConnectionCreated`, fall under `suppress_connection_events`.'"""
    watcher = house.join(session_id)
    spared = house.join(session_id, suppress_connection_events=True)
    assert list(spared.joined.connections) == [spared.joined.connection]
    member = house.join(session_id, window=30)
    member.cancel()
    watcher.take(a("connection_interrupted"))
    back = house.rejoin(member, RESUMED)
    back.leave()
    watcher.take(a("connection_destroyed"))
    assert spared.fence() == []
    kinds_seen = kinds(watcher.fence())
    assert kinds_seen == ["connection_created"] * 2 + ["connection_restored"]


def test_signal_types_filter(house, session_id):
    """'`repeated signal_types` (5; empty: all)'"""
    everything = house.join(session_id)
    chosen = house.join(session_id, signal_types=["chat", ""])
    for type in ("chat", "cursor", "", "Chat"):
        everything.accepted(f"<{type}>", type)
    assert data_of(everything.fence()) == ["<chat>", "<cursor>", "<>", "<Chat>"]
    assert data_of(chosen.fence()) == ["<chat>", "<>"]


def test_suppress_own_signals(house, session_id):
    """'`suppress_own_signals` (7)': the connection is spared its own, and only its own."""
    other, spared = house.join(session_id), house.join(session_id, suppress_own_signals=True)
    spared.accepted("mine")
    other.accepted("yours")
    house.send(session_id, "the backend's")
    assert data_of(spared.fence()) == ["yours", "the backend's"]
    assert data_of(other.fence()) == ["mine", "yours", "the backend's"]


def test_the_window_granted_has_a_maximum(house, session_id):
    """'its granted `resume_window` (server maximum 120 s'"""
    for asked, granted in ((7, 7), (0.25, 0.25), (120, 120), (3600, 120)):
        window = house.join(session_id, asked).joined.resume_window
        assert window.ToTimedelta().total_seconds() == granted


def test_a_large_snapshot_comes_in_pages(start, session_id):
    """'everyone in the session, this connection too; at most 256 KiB of them', 'the rest of a large snapshot, before
    any sequenced event'"""
    house = start()
    channels = [connect(house.server.target) for _ in range(2)]
    crowd = []
    for n in range(600):
        join = joining(session_id, connection_data=f"{n:04}" + "x" * 996, suppress_connection_events=True)
        crowd.append(house.open(join, channels[n % 2]))
        crowd[-1].wait_joined()
    newcomer = house.join(session_id)
    assert newcomer.joined.more_connections
    pages = [newcomer.joined]
    assert newcomer.joined.ByteSize() < 300 * 1024
    more = True
    while more:
        page = newcomer.expect("connections_page")
        assert page.connections and page.ByteSize() <= 256 * 1024 + 2048
        pages.append(page)
        more = page.more
    assert len(pages) == 3
    seen = [connection for page in pages for connection in page.connections]
    assert ids(seen) == ids(member.joined.connection for member in crowd) + [newcomer.id]
    assert newcomer.fence() == []


@pytest.mark.timeout(30)
def test_join_timeout(house):
    """'No `join` within 10 s ends the stream with DEADLINE_EXCEEDED / `JOIN_TIMEOUT`.'"""
    began = time.monotonic()
    _, ended = house.open().closing(within=20)
    assert ended.named == ("DEADLINE_EXCEEDED", "JOIN_TIMEOUT")
    assert 9 < time.monotonic() - began < 15
