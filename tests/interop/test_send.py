"""Signals: whom they reach, and the one outcome of each."""

import itertools

import pytest
from signalbox.v1 import types_pb2
from signalbox_client import NEW, STOP, a, data_of, kinds

STRANGER = "00000000-0000-4000-8000-000000000000"


def signals(events):
    return [event.signal for event in events if event.WhichOneof("event") == "signal"]


def test_a_broadcast_reaches_the_sender_too(house, session_id):
    """'A broadcast reaches every connection, the sender's own included, as in OpenTok.' 'Each `SendSignal` gets exactly
    one `SendResult`, by `send_id`.'"""
    sender, other = house.join(session_id), house.join(session_id)
    accepted = sender.accepted("hello", "greeting", send_id=7)
    sender.expect("connection_created")
    for member in (sender, other):
        received = member.expect("signal")
        assert (received.signal.type, received.signal.data) == ("greeting", "hello")
        assert received.from_connection_id == sender.id
        assert received.sequence == accepted.sequence
        assert received.sent_at.seconds > 0
    assert list(accepted.not_connected_ids) == []
    assert sender.fence() == [] and other.fence() == []


def test_an_addressed_signal_reaches_those_named(house, session_id):
    """'`Recipients to` (3; unset: every connection of the session)'; an id named twice counts once."""
    sender, one, two, three = (house.join(session_id, suppress_connection_events=True) for _ in range(4))
    accepted = sender.accepted("for two", to=[one.id, three.id, one.id])
    assert list(accepted.not_connected_ids) == []
    assert data_of(one.fence()) == data_of(three.fence()) == ["for two"]
    assert sender.fence() == [] and two.fence() == []
    sender.accepted("to myself", to=[sender.id])
    assert data_of(sender.fence()) == ["to myself"]


def test_partial_success_is_visible(house, session_id):
    """'Recipients that are not connected are listed in `not_connected_ids`'"""
    sender, other = house.join(session_id), house.join(session_id)
    gone = house.join(session_id)
    gone.leave()
    other.take(a("connection_destroyed"))
    unknown = [gone.id, STRANGER, "no id at all"]
    accepted = sender.accepted("partly", to=[unknown[0], other.id, *unknown[1:]])
    assert sorted(accepted.not_connected_ids) == sorted(unknown)
    response = house.send(session_id, "partly too", to=[other.id, *unknown])
    assert sorted(response.not_connected_ids) == sorted(unknown)
    assert response.recipient_count == 1
    assert data_of(other.fence()) == ["partly", "partly too"]


def test_nobody_connected_is_an_error_and_sends_nothing(house, session_id):
    """'when none of them is, the outcome is NOT_FOUND / `CONNECTION_NOT_FOUND` and nothing was sent.'"""
    sender, other = house.join(session_id), house.join(session_id)
    error = sender.refused("into the void", to=[STRANGER])
    assert (error.code, error.reason) == (5, "CONNECTION_NOT_FOUND")
    before = house.send(session_id, "before").sequence
    sender.refused("again", to=[STRANGER, "another"])
    assert house.send(session_id, "after").sequence == before + 1
    assert data_of(other.fence()) == ["before", "after"]


def test_a_server_signal_has_no_sender(house, session_id):
    """'`optional from_connection_id` (2; absent: from the server)', 'it has no sender connection'"""
    member = house.join(session_id)
    response = house.send(session_id, "news", "bulletin")
    received = member.expect("signal")
    assert not received.HasField("from_connection_id")
    assert (received.signal.type, received.signal.data) == ("bulletin", "news")
    assert received.sequence == response.sequence
    assert (response.recipient_count, list(response.not_connected_ids)) == (1, [])


def test_type_and_data_may_be_empty(house, session_id):
    """'`data` 8,192 bytes; `type` 128 bytes of `A-Z a-z 0-9 - _ ~`; both may be empty.'"""
    member = house.join(session_id)
    member.accepted("", "")
    member.accepted("é" * 4096, "AZaz09-_~" * 14)
    one, two = signals(member.fence())
    assert (one.signal.type, one.signal.data) == ("", "")
    assert (two.signal.type, two.signal.data) == ("AZaz09-_~" * 14, "é" * 4096)


def test_recipient_count_counts_whom_the_filters_admit(house, session_id):
    """'`recipient_count` (3)': those addressed whose `signal_types` admit it."""
    house.join(session_id)
    house.join(session_id, signal_types=["chat"])
    house.join(session_id, signal_types=["cursor"])
    counts = {type: house.send(session_id, type=type).recipient_count for type in ("chat", "cursor", "other")}
    assert counts == {"chat": 2, "cursor": 2, "other": 1}


def test_an_idempotency_key_repeats_the_response(house, session_id):
    """'An `idempotency_key` (to 128 bytes, scope: the session, kept 10 minutes at least) repeats the first call's
    response.'"""
    member, elsewhere = house.join(session_id), house.join(session_id + "-other")
    key = "k" * 128
    first = house.send(session_id, "once", key=key)
    house.send(session_id, "between")
    assert house.send(session_id, "once", key=key) == first
    assert data_of(member.fence()) == ["once", "between"]
    house.send(elsewhere.session_id, "its own", key=key)
    assert data_of(elsewhere.fence()) == ["its own"]


def test_one_order_for_all(house, session_id):
    """'Within a session and epoch all events have one total order by `sequence`, joins and leaves included, and every
    connection sees the part it is entitled to in that order.'"""
    members = [house.join(session_id, suppress_connection_events=True) for _ in range(4)]
    watcher = house.join(session_id)
    for n, member in itertools.product(range(20), members):
        member.start_send(f"{member.id} {n}")
    visitor = house.join(session_id)
    visitor.leave()
    for member in members:
        for send_id in range(1, 21):
            assert member.result(send_id).HasField("accepted")
    watcher.take(a("connection_destroyed"))
    orders = [[(each.sequence, each.signal.data) for each in signals(member.fence())] for member in members]
    assert len(orders[0]) == 80
    assert all(order == orders[0] for order in orders)
    sequences = [sequence for sequence, _ in orders[0]]
    assert sequences == sorted(set(sequences))
    for member in members:
        own = [data for _, data in orders[0] if data.startswith(member.id)]
        assert own == [f"{member.id} {n}" for n in range(20)]


def test_repeating_a_send_id_repeats_its_outcome(house, session_id):
    """'accepted or refused, a send is decided once, and repeating its id repeats its outcome and sends nothing'"""
    sender, other = house.join(session_id), house.join(session_id)
    partly = sender.accepted("once", to=[other.id, STRANGER], send_id=10)
    refused = sender.refused("bad", type="not allowed", send_id=20)
    assert sender.accepted("something else", send_id=10) == partly
    assert sender.refused("would be fine", send_id=20) == refused
    assert data_of(other.fence()) == ["once"]


def test_a_send_id_that_goes_backwards(house, session_id):
    """'`send_id`s increase strictly within a connection, gaps allowed'; a skipped id is refused with
    `SEND_ID_INVALID`."""
    sender, other = house.join(session_id), house.join(session_id)
    for send_id in (1, 5, 2**63):
        sender.accepted(str(send_id), send_id=send_id)
    error = sender.refused("backwards", send_id=3)
    assert (error.code, error.reason, error.field) == (3, "SEND_ID_INVALID", "send_id")
    assert "3" in error.message
    assert sender.accepted("forwards", send_id=2**63 + 1)
    assert data_of(other.fence()) == ["1", "5", str(2**63), "forwards"]


def test_send_id_zero_is_never_deduplicated(house, session_id):
    """'`send_id` 0: no de-duplication (handy by hand); the result still comes.'"""
    sender, other = house.join(session_id), house.join(session_id)
    sender.accepted("numbered", send_id=9)
    first = sender.accepted("same", send_id=0)
    second = sender.accepted("same", send_id=0)
    assert second.sequence > first.sequence
    assert sender.accepted("next", send_id=10)
    assert data_of(other.fence()) == ["numbered", "same", "same", "next"]


def test_the_newest_1024_outcomes_are_kept(start, session_id):
    """'The server keeps the outcomes of the newest 1,024; an older id is refused with `SEND_ID_INVALID`.'"""
    house = start("--signals-per-second", "0")
    sender = house.join(session_id, suppress_own_signals=True)
    places = {send_id: sender.accepted("x", send_id=send_id).sequence for send_id in range(1, 1101)}
    assert sender.accepted("x", send_id=1100 - 1023).sequence == places[1100 - 1023]
    assert sender.refused("x", send_id=1).reason == "SEND_ID_INVALID"
    assert sender.refused("x", send_id=1100 - 1024).reason == "SEND_ID_INVALID"


def test_a_moderator_disconnects(house, session_id):
    """'`DisconnectConnection` | `send_id` (1: answered by a `SendResult`, like a signal)', `_FORCE_DISCONNECTED`"""
    moderator, target, watcher = house.join(session_id), house.join(session_id, window=30), house.join(session_id)
    accepted = moderator.disconnect(target.id).accepted
    target.expect("connection_created")
    closing, ended = target.closing()
    assert (closing.reason, closing.action) == ("FORCE_DISCONNECTED", STOP)
    assert ended.named == ("ABORTED", "FORCE_DISCONNECTED")
    destroyed = watcher.expect("connection_destroyed")
    assert (destroyed.connection_id, destroyed.sequence) == (target.id, accepted.sequence)
    assert destroyed.reason == types_pb2.DISCONNECT_REASON_FORCE_DISCONNECTED
    back = house.rejoin(target, NEW)
    assert back.id != target.id
    error = moderator.disconnect(target.id).error
    assert (error.code, error.reason) == (5, "CONNECTION_NOT_FOUND")


@pytest.mark.parametrize("gap", [1, 1000])
def test_disconnect_and_send_share_their_ids(house, session_id, gap):
    """'`send_id`s increase strictly within a connection': those of `disconnect` are of the same sequence."""
    member = house.join(session_id)
    member.accepted("one", send_id=gap)
    assert member.disconnect(STRANGER).error.reason == "CONNECTION_NOT_FOUND"
    # The disconnect's id was decided; a send that takes it is a repetition.
    assert member.refused("two", send_id=gap + 1).reason == "CONNECTION_NOT_FOUND"
    assert kinds(member.fence()) == ["signal"]
