"""Losing a stream and getting the connection back."""

import pytest
from conftest import joining
from signalbox_client import NEW, RESUMED, RESUMED_WITH_GAP, STOP, a, connect, data_of, kinds

LOG_EVENTS = 1000


def interrupt(member, watcher):
    """Breaks `member`'s stream and waits until the server knows."""
    member.cancel()
    watcher.take(
        lambda event: (
            event.WhichOneof("event") == "connection_interrupted"
            and event.connection_interrupted.connection_id == member.id
        )
    )


@pytest.fixture
def pair(house, session_id):
    """A watcher, and a member with a window whose stream is about to break."""
    return house.join(session_id), house.join(session_id, window=60)


def test_nothing_lost_nothing_twice_in_order(house, pair):
    """'An accepted signal reaches every recipient exactly once while it is connected or resumes within its window'"""
    watcher, member = pair
    received = []
    for cut in range(5):
        for n in range(3):
            house.send(member.session_id, f"live {cut}.{n}")
            received.append(member.expect("signal").signal.data)
        interrupt(member, watcher)
        for n in range(3):
            house.send(member.session_id, f"missed {cut}.{n}")
        member = house.rejoin(member, RESUMED)
        # Live already, while the missed ones are on their way.
        house.send(member.session_id, f"after {cut}")
        received += [member.expect("signal").signal.data for _ in range(4)]
    sent = []
    for cut in range(5):
        sent += [f"live {cut}.{n}" for n in range(3)] + [f"missed {cut}.{n}" for n in range(3)] + [f"after {cut}"]
    assert received == sent
    assert member.fence() == []


def test_what_resumed_says(house, pair):
    """'On `_RESUMED` the client's own view stands: `sequence` is its `last_sequence`, `connections` is empty';
    '`resume_token` stays the same for the connection's whole life'"""
    watcher, member = pair
    member.accepted("mine")
    member.expect("signal")
    interrupt(member, watcher)
    back = house.rejoin(member, RESUMED)
    assert back.joined.connection.connection_id == member.id
    assert back.joined.connection.created_at == member.joined.connection.created_at
    assert back.joined.resume_token == member.joined.resume_token
    assert back.joined.epoch == member.joined.epoch
    assert back.joined.sequence == member.last_sequence
    assert list(back.joined.connections) == [] and not back.joined.more_connections
    assert back.joined.last_send_id == 1
    assert back.fence() == []


def test_events_received_but_not_remembered_come_again(house, pair):
    """'`last_sequence` (4)': the events after it are replayed, whatever the server had sent already."""
    watcher, member = pair
    for n in range(6):
        house.send(member.session_id, str(n))
    events = [member.expect("signal") for _ in range(6)]
    interrupt(member, watcher)
    member.last_sequence = events[2].sequence
    back = house.rejoin(member, RESUMED)
    assert back.joined.sequence == events[2].sequence
    assert data_of(back.fence()) == ["3", "4", "5"]


def test_missed_connection_events_are_replayed(house, pair):
    """'A resume replays the connection events that were missed, in their place in the order.'"""
    watcher, member = pair
    interrupt(member, watcher)
    visitor = house.join(member.session_id, window=60)
    visitor.accepted("from the visitor")
    interrupt(visitor, watcher)
    visitor = house.rejoin(visitor, RESUMED)
    visitor.leave()
    watcher.take(a("connection_destroyed"))
    events = house.rejoin(member, RESUMED).fence()
    assert kinds(events) == [
        "connection_created",
        "signal",
        "connection_interrupted",
        "connection_restored",
        "connection_destroyed",
    ]
    assert events[0].connection_created.connection.connection_id == visitor.id
    sequences = [getattr(event, event.WhichOneof("event")).sequence for event in events]
    assert sequences == sorted(set(sequences))


def test_outcomes_are_restated_first(house, pair):
    """'restated `SendResult`s come first, then the missed events in order', 'the outcomes newer than the client's
    `last_result_send_id` are stated again'"""
    watcher, member = pair
    places = [member.accepted(str(n)).sequence for n in range(4)]
    refused = member.refused("bad", type="not allowed")
    assert [event for event in data_of(member.fence())] == ["0", "1", "2", "3"]
    interrupt(member, watcher)
    house.send(member.session_id, "missed")
    back = house.rejoin(member, RESUMED, changes=dict(last_result_send_id=2))
    assert back.joined.last_send_id == 5
    restated = [back.expect("send_result") for _ in range(3)]
    assert [result.send_id for result in restated] == [3, 4, 5]
    assert [result.accepted.sequence for result in restated[:2]] == places[2:]
    assert restated[2].error == refused
    assert back.expect("signal").signal.data == "missed"


def test_a_send_repeated_after_a_resume_is_sent_once(house, pair):
    """'accepted or refused, a send is decided once'; 'After a resume, `last_send_id` tells what the server has
    decided'"""
    watcher, member = pair
    member.accepted("one")
    interrupt(member, watcher)
    back = house.rejoin(member, RESUMED)
    assert back.joined.last_send_id == 1
    back.accepted("one", send_id=1)
    back.accepted("two", send_id=2)
    assert data_of(watcher.fence()) == ["one", "two"]
    assert data_of(back.fence()) == ["one", "two"]


def test_filters_and_window_are_replaced_and_data_is_ignored(house, pair):
    """'The resuming `Join` names the same session, its filters and window replace the old ones, its `connection_data`
    is ignored'"""
    watcher, member = pair
    interrupt(member, watcher)
    house.send(member.session_id, "no", "cursor")
    house.send(member.session_id, "yes", "chat")
    back = house.rejoin(
        member, RESUMED, window=5, signal_types=["chat"], connection_data="other", suppress_own_signals=True
    )
    assert back.joined.resume_window.seconds == 5
    assert back.joined.connection.data == ""
    back.accepted("own", "chat")
    house.send(member.session_id, "no again", "cursor")
    assert data_of(back.fence("chat")) == ["yes"]


def test_a_resume_without_a_window_gives_the_window_up(house, pair):
    """'its filters and window replace the old ones'"""
    watcher, member = pair
    interrupt(member, watcher)
    back = house.rejoin(member, RESUMED, window=None)
    back.cancel()
    assert watcher.take(a("connection_destroyed"))


@pytest.mark.parametrize(
    "changes",
    [
        dict(resume_token="forged"),
        dict(resume_token=""),
        dict(connection_id="00000000-0000-4000-8000-000000000000"),
        dict(connection_id="no id at all"),
        dict(connection_id=""),
    ],
    ids=lambda changes: "-".join(f"{name}={value or 'empty'}" for name, value in changes.items()),
)
def test_a_resume_that_cannot_be_honoured_joins_anew(house, pair, changes):
    """'A resume that can't be honoured (unknown connection, window over, wrong token: the answer doesn't say which)
    joins anew: `JOIN_OUTCOME_NEW`, a new `connection_id`.'"""
    watcher, member = pair
    interrupt(member, watcher)
    stranger = house.rejoin(member, NEW, changes=changes)
    assert stranger.id != member.id
    assert stranger.joined.resume_token != member.joined.resume_token
    assert stranger.joined.last_send_id == 0
    created = watcher.expect("connection_created")
    if created.connection.connection_id == member.id:
        created = watcher.expect("connection_created")
    assert created.connection.connection_id == stranger.id
    # The attempt did the real owner no harm.
    assert house.rejoin(member, RESUMED).id == member.id


def test_a_foreign_token_joins_anew(house, pair):
    """'wrong token: the answer doesn't say which' — another member's token is a wrong one, and a live stream is not
    taken over with it."""
    watcher, member = pair
    other = house.join(member.session_id, window=60)
    member.expect("connection_created")
    stranger = house.rejoin(member, NEW, changes=dict(resume_token=other.joined.resume_token))
    assert stranger.id not in (member.id, other.id)
    assert kinds(member.fence()) == ["connection_created"]


def test_a_resume_of_another_session_joins_anew(house, pair):
    """'The resuming `Join` names the same session'"""
    watcher, member = pair
    interrupt(member, watcher)
    join = joining(member.session_id + "-other", 60, resume=member.resume())
    elsewhere = house.open(join).wait_joined(NEW)
    assert elsewhere.id != member.id
    assert len(elsewhere.joined.connections) == 1
    assert house.rejoin(member, RESUMED).id == member.id


def test_a_resume_after_the_window_joins_anew(house, session_id):
    """'window over'"""
    watcher, member = house.join(session_id), house.join(session_id, window=0.2)
    member.cancel()
    watcher.take(a("connection_destroyed"))
    back = house.rejoin(member, NEW)
    assert back.id != member.id


def test_a_resume_after_leaving_joins_anew(house, pair):
    """'`leave` […] destroys the connection'"""
    watcher, member = pair
    member.leave()
    watcher.take(a("connection_destroyed"))
    assert house.rejoin(member, NEW).id != member.id


def test_a_session_that_ended_is_another_session(house, session_id):
    """'It exists as soon as somebody joins it and as long as somebody is in it'"""
    watch = house.watch(session_id)
    first = house.join(session_id, window=60)
    first.leave()
    watch.take(a("session_ended"))
    again = house.rejoin(first, NEW)
    assert again.id != first.id
    assert again.joined.epoch != first.joined.epoch


@pytest.mark.parametrize("change", ["sequence", "epoch"])
def test_a_view_that_never_was_resumes_with_a_gap(house, pair, change):
    """'where the log no longer reaches back, `RESUMED_WITH_GAP` says so, with a fresh membership'; a sequence from the
    future or of another epoch is no view of this session, but the token is right."""
    watcher, member = pair
    member.accepted("mine")
    interrupt(member, watcher)
    changes = {"sequence": dict(last_sequence=10**6), "epoch": dict(epoch=member.joined.epoch + 1)}[change]
    back = house.rejoin(member, RESUMED_WITH_GAP, changes=changes)
    assert back.id == member.id
    assert back.joined.epoch == member.joined.epoch
    assert [each.connection_id for each in back.joined.connections] == [watcher.id, member.id]
    assert back.joined.last_send_id == 1
    house.send(member.session_id, "next")
    received = back.expect("signal")
    assert received.signal.data == "next" and received.sequence > back.joined.sequence


def test_a_sequence_before_the_own_joining_is_clamped(house, session_id):
    """'every connection sees the part it is entitled to': what was before its joining is not."""
    watcher = house.join(session_id)
    watcher.accepted("before its time")
    member = house.join(session_id, window=60)
    interrupt(member, watcher)
    house.send(session_id, "missed")
    back = house.rejoin(member, RESUMED, changes=dict(last_sequence=0))
    assert data_of(back.fence()) == ["missed"]


def test_a_live_stream_is_taken_over(house, pair):
    """'A resume of a connection whose old stream still looks alive takes it over; the old stream ends with `Closing`,
    action STOP.'"""
    watcher, member = pair
    watcher.expect("connection_created")
    resume = member.resume()
    house.send(member.session_id, "before")
    back = house.open(joining(member.session_id, 60, resume=resume), connect(house.server.target)).wait_joined(RESUMED)
    assert back.id == member.id
    assert member.expect("signal").signal.data == "before"
    closing, ended = member.closing()
    assert (closing.reason, closing.action) == ("CONNECTION_TAKEN_OVER", STOP)
    assert ended.named == ("ABORTED", "CONNECTION_TAKEN_OVER")
    house.send(member.session_id, "after")
    assert [back.expect("signal").signal.data for _ in range(2)] == ["before", "after"]
    back.accepted("mine")
    # Nobody left and nobody came back: to the others nothing happened.
    assert kinds(watcher.fence()) == ["signal"] * 3


def test_a_log_exceeded_is_a_gap(house, pair):
    """'where the log no longer reaches back, `RESUMED_WITH_GAP` says so, with a fresh membership.' (log 1,000
    events)"""
    watcher, member = pair
    interrupt(member, watcher)
    newcomer = house.join(member.session_id)
    for n in range(LOG_EVENTS + 5):
        newest = house.send(member.session_id, str(n)).sequence
    back = house.rejoin(member, RESUMED_WITH_GAP)
    assert back.id == member.id
    assert back.joined.resume_token == member.joined.resume_token
    assert [each.connection_id for each in back.joined.connections] == [watcher.id, member.id, newcomer.id]
    assert back.joined.sequence >= newest
    house.send(member.session_id, "next")
    received = back.expect("signal")
    assert received.signal.data == "next" and received.sequence > back.joined.sequence


def test_a_log_not_exceeded_is_no_gap(house, pair):
    """'log 1,000 events': all of what it holds is replayed."""
    watcher, member = pair
    interrupt(member, watcher)
    sent = [str(n) for n in range(LOG_EVENTS - 10)]
    for data in sent:
        house.send(member.session_id, data)
    assert data_of(house.rejoin(member, RESUMED).fence()) == sent
