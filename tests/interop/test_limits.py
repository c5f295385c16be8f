"""Bad input: each gets its error, and a bystander in the same session notices nothing."""

import threading

import pytest
from conftest import joining
from raw_http2 import RawPeer, message
from signalbox.v1 import signaling_pb2, types_pb2
from signalbox_client import (
    NEW,
    REJOIN,
    RESUMED_WITH_GAP,
    STOP,
    a,
    data_of,
    kinds,
    refusal,
    seconds,
    signal,
    slow_channel,
)

Request = signaling_pb2.JoinRequest
STRANGER = "00000000-0000-4000-8000-000000000000"
# Field 99, which no version of the contract has: an unknown variant.
UNKNOWN_VARIANT = bytes([0x9A, 0x06, 0x00])
NO_PROTOBUF = b"\xff\xff\xff\xff"
NO_UTF8 = (
    Request(send=signaling_pb2.SendSignal(signal=signal("data"))).SerializeToString().replace(b"data", b"\xff" * 4)
)
TOO_LONG = Request(send=signaling_pb2.SendSignal(signal=signal("x" * 70_000)))


class Bystander:
    """A member that must see nothing but others come and go."""

    def __init__(self, house, session_id: str):
        self.member = house.join(session_id)

    def noticed(self) -> list:
        """What it saw besides; and it still works both ways."""
        events = self.member.fence()
        self.member.accepted("still here")
        own = self.member.take(a("signal")).signal
        assert own.from_connection_id == self.member.id
        coming_and_going = (
            "connection_created",
            "connection_destroyed",
            "connection_interrupted",
            "connection_restored",
        )
        return [event for event in events + self.member.fence() if event.WhichOneof("event") not in coming_and_going]


@pytest.fixture
def bystander(house, session_id):
    bystander = Bystander(house, session_id)
    yield bystander
    assert bystander.noticed() == []


def assert_ended(member, code: str, reason: str, field: str | None = None, mentions=(), action: int = STOP):
    """Whole: `Closing` first, then the status with its details."""
    closing, ended = member.closing()
    assert (closing.reason, closing.action) == (reason, action)
    assert ended.named == (code, reason)
    assert ended.domain == "signalbox"
    assert ended.field == field
    for text in mentions:
        assert text in ended.message
    return closing, ended


JOINS = {
    "session id of 256": (dict(session_id="x" * 256), "SESSION_ID_INVALID", "session_id", ("255", "256")),
    "session id non-ASCII": (dict(session_id="café"), "SESSION_ID_INVALID", "session_id", ()),
    "session id with a space": (dict(session_id="a b"), "SESSION_ID_INVALID", "session_id", ()),
    "session id with a control": (dict(session_id="a\x7f"), "SESSION_ID_INVALID", "session_id", ()),
    "data of 1,001 bytes": (
        dict(connection_data="x" * 1001),
        "CONNECTION_DATA_TOO_LARGE",
        "connection_data",
        ("1000", "1001"),
    ),
    "data of 501 characters": (
        dict(connection_data="é" * 501),
        "CONNECTION_DATA_TOO_LARGE",
        "connection_data",
        ("1000", "1002"),
    ),
    "33 types": (dict(signal_types=[f"t{n}" for n in range(33)]), "SIGNAL_TYPE_INVALID", "signal_types", ("32", "33")),
    "a type with a dot": (dict(signal_types=["ok", "a.b"]), "SIGNAL_TYPE_INVALID", "signal_types", ()),
    "a type of 129": (dict(signal_types=["x" * 129]), "SIGNAL_TYPE_TOO_LARGE", "signal_types", ("128", "129")),
    "a negative window": (dict(resume_window=seconds(-1)), "FRAME_INVALID", "resume_window", ()),
}


@pytest.mark.parametrize("case", JOINS)
def test_a_bad_join(house, session_id, bystander, case):
    """'`session_id` 1 to 255 visible ASCII characters; `connection_data` 1,000 bytes; […] `signal_types` 32'; 'Messages
    say what was wrong, what the limit is and what was given.'"""
    fields, reason, field, mentions = JOINS[case]
    member = house.open(signaling_pb2.Join(**(dict(session_id=session_id) | fields)))
    _, ended = assert_ended(member, "INVALID_ARGUMENT", reason, f"join.{field}")
    for text in mentions:
        assert text in ended.message.replace(",", "")


def test_an_empty_session_id(house, bystander):
    """'`session_id` 1 to 255 visible ASCII characters'"""
    member = house.open(signaling_pb2.Join(session_id=""))
    assert_ended(member, "INVALID_ARGUMENT", "SESSION_ID_INVALID", "join.session_id", ("255",))


def test_the_longest_that_a_join_may_say(house):
    """The limits themselves are allowed."""
    member = house.join("!" * 254 + "~", connection_data="é" * 500, signal_types=[f"{n}" * 2 for n in range(32)])
    assert member.joined.connection.data == "é" * 500


SENDS = {
    **{
        f"type with {character!r}": (dict(type=f"a{character}b"), "SIGNAL_TYPE_INVALID", "signal.type", ())
        for character in (".", " ", "/", ":", "+", "é", "\n", "\0")
    },
    "type of 129": (dict(type="x" * 129), "SIGNAL_TYPE_TOO_LARGE", "signal.type", ("128", "129")),
    "data of 8,193": (dict(data="x" * 8193), "SIGNAL_DATA_TOO_LARGE", "signal.data", ("8192", "8193")),
    "data of 2,731 euro signs": (dict(data="€" * 2731), "SIGNAL_DATA_TOO_LARGE", "signal.data", ("8192", "8193")),
    "101 recipients": (
        dict(to=[f"{n}" for n in range(101)]),
        "RECIPIENTS_INVALID",
        "to.connection_ids",
        ("100", "101"),
    ),
    "no recipients": (dict(to=[]), "RECIPIENTS_INVALID", "to.connection_ids", ()),
}


@pytest.mark.parametrize("case", SENDS)
def test_a_bad_send(house, session_id, bystander, case):
    """'A send that breaks a limit gets an error result; the stream goes on.' 'Messages say what was wrong, what the
    limit is and what was given.'"""
    fields, reason, field, mentions = SENDS[case]
    member = house.join(session_id)
    error = member.refused(**fields)
    assert (error.code, error.reason, error.field) == (3, reason, field)
    for text in mentions:
        assert text in error.message.replace(",", "")
    assert not error.HasField("retry_after")
    member.accepted("and on it goes", to=[member.id])
    assert data_of(member.fence()) == ["and on it goes"]


@pytest.mark.parametrize("case", SENDS)
def test_a_bad_server_signal(house, session_id, bystander, case):
    """'The status that ends […] a unary call carries the same facts the gRPC way, in `grpc-status-details-bin`'"""
    fields, reason, field, mentions = SENDS[case]
    ended = house.refused_send(session_id, **fields)
    assert ended.named == ("INVALID_ARGUMENT", reason)
    assert (ended.domain, ended.field, ended.retry_after) == ("signalbox", field, None)
    for text in mentions:
        assert text in ended.message.replace(",", "")


def test_unknown_recipients(house, session_id, bystander):
    """'when none of them is, the outcome is NOT_FOUND / `CONNECTION_NOT_FOUND` and nothing was sent.'"""
    member = house.join(session_id)
    error = member.refused("x", to=[STRANGER] * 100)
    assert (error.code, error.reason) == (5, "CONNECTION_NOT_FOUND")
    ended = house.refused_send(session_id, to=[STRANGER])
    assert ended.named == ("NOT_FOUND", "CONNECTION_NOT_FOUND")
    assert ended.domain == "signalbox"


def test_a_hundred_recipients(house, session_id):
    """'`to` 100 ids'"""
    member = house.join(session_id)
    accepted = member.accepted("x", to=[member.id] + [str(n) for n in range(99)])
    assert len(accepted.not_connected_ids) == 99


def test_a_send_without_a_signal(house, session_id, bystander):
    """'The signal. Must be set; unset: `FRAME_INVALID` as the send's outcome.'"""
    member = house.join(session_id)
    member.write(send=signaling_pb2.SendSignal(send_id=1))
    error = member.result(1).error
    assert (error.code, error.reason, error.field) == (3, "FRAME_INVALID", "signal")
    ended = refusal(house.signaling.SendFromServer, signaling_pb2.SendFromServerRequest(session_id=session_id))
    assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "FRAME_INVALID"), "signal")


def test_a_send_id_going_backwards(house, session_id, bystander):
    """'`send_id`s increase strictly within a connection'"""
    member = house.join(session_id)
    member.accepted("x", to=[member.id], send_id=2)
    error = member.refused("x", send_id=1)
    assert (error.code, error.reason, error.field) == (3, "SEND_ID_INVALID", "send_id")


@pytest.mark.parametrize("frame", ["send", "disconnect", "leave"])
def test_a_frame_before_joining(house, bystander, frame):
    """'The first frame is `join`; anything else ends the stream with INVALID_ARGUMENT / `JOIN_REQUIRED`'"""
    member = house.open()
    body = {
        "send": signaling_pb2.SendSignal(send_id=1, signal=types_pb2.Signal()),
        "disconnect": signaling_pb2.DisconnectConnection(connection_id=bystander.member.id),
        "leave": signaling_pb2.Leave(),
    }[frame]
    member.write(**{frame: body})
    assert_ended(member, "INVALID_ARGUMENT", "JOIN_REQUIRED", "frame")


def test_a_second_join(house, session_id, bystander):
    """'a second `join` with `ALREADY_JOINED`'"""
    member = house.join(session_id)
    member.write(join=joining(session_id))
    assert_ended(member, "INVALID_ARGUMENT", "ALREADY_JOINED", "frame")


BAD_FRAMES = {
    "no variant": b"",
    "an unknown variant": UNKNOWN_VARIANT,
    "no protobuf": NO_PROTOBUF,
    "no UTF-8": NO_UTF8,
    "over 64 KiB": TOO_LONG.SerializeToString(),
}


@pytest.mark.parametrize("joined", [False, True], ids=["before joining", "joined"])
@pytest.mark.parametrize("case", BAD_FRAMES)
def test_what_is_no_frame_ends_the_stream(house, session_id, bystander, case, joined):
    """'an empty or unknown frame with `FRAME_INVALID`'; 'Only what cannot be parsed, is no frame of this contract, or
    is over 64 KiB ends the stream.'"""
    member = house.join(session_id) if joined else house.open()
    member.write(BAD_FRAMES[case])
    _, ended = assert_ended(member, "INVALID_ARGUMENT", "FRAME_INVALID", "frame")
    if case == "over 64 KiB":
        assert "65536" in ended.message and str(len(BAD_FRAMES[case])) in ended.message
    if joined:
        # Without a window it is gone, and the bystander was told so.
        created, destroyed = bystander.member.fence()
        assert created.connection_created.connection.connection_id == member.id
        assert destroyed.connection_destroyed.connection_id == member.id


def test_a_client_that_vanishes_mid_frame(house, session_id, bystander):
    """A stream that breaks 'unset or 0: destroyed at once'; half a frame harms nobody."""
    peer = RawPeer(house.server.port)
    peer.join(session_id)
    joined = bystander.member.expect("connection_created").connection.connection_id
    send = Request(send=signaling_pb2.SendSignal(send_id=1, signal=signal("never whole"))).SerializeToString()
    peer.write(message(send)[:-4])
    peer.vanish()
    destroyed = bystander.member.expect("connection_destroyed")
    assert destroyed.connection_id == joined
    assert destroyed.reason == types_pb2.DISCONNECT_REASON_NETWORK_DISCONNECTED


def test_bad_resumes(house, session_id, bystander):
    """'A resume that can't be honoured […] joins anew'; with the right token and a view that never was,
    `RESUMED_WITH_GAP`."""
    member, other = house.join(session_id, window=60), house.join(session_id, window=60)
    foreign = house.join(session_id + "-other", window=60)
    member.cancel()
    bystander.member.take(a("connection_interrupted"))
    for changes in (
        dict(resume_token="forged"),
        dict(resume_token=other.joined.resume_token),
        dict(resume_token=foreign.joined.resume_token),
        dict(connection_id=foreign.id, resume_token=foreign.joined.resume_token),
        dict(connection_id=STRANGER),
    ):
        anew = house.rejoin(member, NEW, window=None, changes=changes)
        assert anew.id not in (member.id, other.id, foreign.id)
    house.rejoin(member, RESUMED_WITH_GAP, changes=dict(last_sequence=2**63))


def test_rate_limit(house, session_id, bystander):
    """'50 signals per second and connection, burst 100, over it RESOURCE_EXHAUSTED / `RATE_LIMITED` with RetryInfo'"""
    member = house.join(session_id, suppress_own_signals=True)
    results = [member.result(send_id) for send_id in [member.start_send("x", to=[member.id]) for _ in range(250)]]
    refused = [result.error for result in results if result.HasField("error")]
    assert 100 <= len(results) - len(refused) < 250
    for error in refused:
        assert (error.code, error.reason) == (8, "RATE_LIMITED")
        assert 0 < error.retry_after.ToTimedelta().total_seconds() <= 2
        assert "50" in error.message
    # The answer says when: not a moment for other things to happen in.
    threading.Event().wait(refused[-1].retry_after.ToTimedelta().total_seconds())
    member.accepted("in time", to=[member.id])
    assert house.send(session_id, "a backend has no such limit", to=[member.id]).recipient_count == 1


def test_the_rate_is_each_connections_own(house, session_id):
    """'50 signals per second and connection'"""
    greedy, modest = house.join(session_id), house.join(session_id)
    for _ in range(150):
        greedy.start_send("x", to=[greedy.id])
    assert greedy.result(150).HasField("error")
    modest.accepted("mine", to=[modest.id])


def test_too_many_unresolved_sends(start, session_id):
    """'unresolved sends 1,024': over it RESOURCE_EXHAUSTED / `TOO_MANY_UNRESOLVED_SENDS`"""
    house = start("--signals-per-second", "0")
    bystander = Bystander(house, session_id)
    # Its window holds some hundred outcomes; of the rest 1,024 may wait.
    member = house.open(joining(session_id), slow_channel(house.server.target), paused=True)
    send_ids = [member.start_send("x", to=[STRANGER]) for _ in range(2000)]
    # Its departure tells when the server has read them all.
    member.leave()
    bystander.member.take(a("connection_destroyed"))
    member.unpause()
    member.wait_joined()
    reasons = [member.result(send_id).error.reason for send_id in send_ids]
    assert set(reasons) == {"CONNECTION_NOT_FOUND", "TOO_MANY_UNRESOLVED_SENDS"}
    assert reasons.index("TOO_MANY_UNRESOLVED_SENDS") >= 1024
    assert member.ended().named == ("OK", None)
    assert bystander.noticed() == []


def test_unary_limits(house, session_id, bystander):
    """'An `idempotency_key` (to 128 bytes'; 'Every error's status carries […] an `ErrorInfo`'"""
    ended = house.refused_send(session_id, key="k" * 129)
    assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_INVALID"), "idempotency_key")
    assert "128" in ended.message and "129" in ended.message
    for bad in ("", "x" * 256, "café"):
        ended = house.refused_send(bad)
        assert (ended.named, ended.field) == (("INVALID_ARGUMENT", "SESSION_ID_INVALID"), "session_id")
    ended = house.refused_send(session_id + "-absent")
    assert (ended.named, ended.domain) == (("NOT_FOUND", "SESSION_NOT_FOUND"), "signalbox")


@pytest.mark.parametrize("body", [NO_PROTOBUF, b"\x12\x82\x80\x04" + b"x" * 70_000], ids=["no protobuf", "70 KB"])
def test_an_unreadable_unary_call(house, bystander, body):
    """'Every error's status carries, in `grpc-status-details-bin`, an `ErrorInfo`'"""
    call = house.channel.unary_unary("/signalbox.v1.SignalingService/SendFromServer", lambda raw: raw, lambda raw: raw)
    ended = refusal(call, body)
    assert ended.named == ("INVALID_ARGUMENT", "FRAME_INVALID")


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--max-connections-per-session", "SESSION_FULL"),
        ("--max-connections", "SERVER_FULL"),
        ("--max-connections-per-address", "SERVER_FULL"),
    ],
)
def test_no_place_for_one_more(start, session_id, flag, reason):
    """'RESOURCE_EXHAUSTED / […] `SESSION_FULL`, `SERVER_FULL`'; `RetryInfo` where waiting helps"""
    house = start(flag, "2")
    first, second = house.join(session_id), house.join(session_id)
    first.expect("connection_created")
    closing, ended = assert_ended(house.open(joining(session_id)), "RESOURCE_EXHAUSTED", reason, action=REJOIN)
    assert "2" in ended.message
    assert ended.retry_after is not None and ended.retry_after > 0
    assert first.fence() == []
    second.leave()
    first.expect("connection_destroyed")
    house.join(session_id)
    assert kinds(first.fence()) == ["connection_created"]
