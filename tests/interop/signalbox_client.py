"""A test's client: the generated code, with streams that can be waited for."""

import collections
import dataclasses
import itertools
import queue
import threading
import time

import generated  # noqa: F401  (must come before the code that it generates)
import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from signalbox.v1 import signaling_pb2, signaling_pb2_grpc, types_pb2

SECONDS = 10
JOIN = "/signalbox.v1.SignalingService/Join"

NEW = signaling_pb2.JOIN_OUTCOME_NEW
RESUMED = signaling_pb2.JOIN_OUTCOME_RESUMED
RESUMED_WITH_GAP = signaling_pb2.JOIN_OUTCOME_RESUMED_WITH_GAP
RESUME = signaling_pb2.CLIENT_ACTION_RESUME
REJOIN = signaling_pb2.CLIENT_ACTION_REJOIN
STOP = signaling_pb2.CLIENT_ACTION_STOP

_serial = itertools.count(1)


def connect(target: str, **options: int) -> grpc.Channel:
    """A channel with a TCP connection of its own: by default grpc shares them."""
    options = {"grpc.use_local_subchannel_pool": 1, "grpc.enable_retries": 0} | options
    return grpc.insecure_channel(target, options=list(options.items()))


def slow_channel(target: str) -> grpc.Channel:
    """Its window doesn't grow by itself: a reader that doesn't read is soon seen."""
    return connect(target, **{"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 65_536})


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=int(value % 1 * 1e9))


def signal(data: str = "", type: str = "") -> types_pb2.Signal:
    return types_pb2.Signal(type=type, data=data)


def recipients(ids) -> types_pb2.Recipients | None:
    """None addresses everybody; an empty list is present and empty."""
    return None if ids is None else types_pb2.Recipients(connection_ids=list(ids))


@dataclasses.dataclass
class Ended:
    """How a call ended: the status and the details in its trailers."""

    code: grpc.StatusCode
    message: str
    reason: str | None = None
    domain: str | None = None
    field: str | None = None
    retry_after: float | None = None

    @property
    def named(self) -> tuple[str, str | None]:
        return self.code.name, self.reason


def explain(call) -> Ended:
    """Unpacks a finished call's status; `call` may be the RpcError too."""
    ended = Ended(call.code(), call.details() or "")
    # None when the trailers hold no details; raises when they contradict the status.
    status = rpc_status.from_call(call)
    for detail in status.details if status else ():
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            ended.reason, ended.domain = info.reason, info.domain
        elif detail.Unpack(request):
            ended.field = request.field_violations[0].field
        elif detail.Unpack(retry):
            ended.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return ended


def refusal(call, *arguments, **keywords) -> Ended:
    """Makes a unary call that must be refused."""
    try:
        response = call(*arguments, timeout=SECONDS, **keywords)
    except grpc.RpcError as error:
        return explain(error)
    raise AssertionError(f"not refused: {response}")


class Stream:
    """A response stream, read by a thread into a queue."""

    def __init__(self, call, paused: bool = False):
        self.call = call
        self._queue: queue.Queue = queue.Queue()
        # Events taken off the queue but passed over, in their order.
        self._passed: collections.deque = collections.deque()
        self._reading = threading.Event()
        if not paused:
            self.unpause()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        self._reading.wait()
        try:
            for event in self.call:
                self._queue.put(event)
        except grpc.RpcError:
            pass
        self._queue.put(explain(self.call))

    def unpause(self) -> None:
        """Starts reading; until then gRPC's window is all that takes events."""
        self._reading.set()

    def _get(self, deadline: float):
        try:
            return self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"nothing came in time; passed over: {list(self._passed)}") from None

    def next(self, within: float = SECONDS):
        """The next event, or `Ended` when there is no more."""
        return self._passed.popleft() if self._passed else self._get(time.monotonic() + within)

    def waiting(self) -> bool:
        """Whether an event is there already."""
        return bool(self._passed) or not self._queue.empty()

    def take(self, wanted, within: float = SECONDS):
        """The first event that is `wanted`; those before it stay for `next`."""
        for event in self._passed:
            if not isinstance(event, Ended) and wanted(event):
                self._passed.remove(event)
                return event
        deadline = time.monotonic() + within
        while True:
            event = self._get(deadline)
            if not isinstance(event, Ended) and wanted(event):
                return event
            self._passed.append(event)
            assert not isinstance(event, Ended), f"the stream ended: {list(self._passed)}"

    def ended(self, within: float = SECONDS) -> Ended:
        """The end of the stream, which must come next."""
        event = self.next(within)
        assert isinstance(event, Ended), f"not the end: {event}"
        return event

    def cancel(self) -> None:
        """Breaks the stream off, as a client does that loses its network."""
        self.call.cancel()

    def close(self) -> None:
        """Breaks the stream off and lets go of its threads."""
        self.cancel()
        self.unpause()


class Member(Stream):
    """One `Join` stream."""

    def __init__(self, channel: grpc.Channel, join: signaling_pb2.Join | None = None, paused: bool = False):
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        open_stream = channel.stream_stream(
            JOIN,
            # Bytes pass as they are, so that a test can send what is no frame.
            request_serializer=lambda frame: frame if isinstance(frame, bytes) else frame.SerializeToString(),
            response_deserializer=signaling_pb2.JoinResponse.FromString,
        )
        super().__init__(open_stream(iter(self._requests.get, None)), paused)
        self.channel = channel
        self.session_id = join.session_id if join is not None else ""
        self.joined: signaling_pb2.Joined | None = None
        self.last_sequence = 0
        self.last_send_id = 0
        if join is not None:
            self.write(join=join)

    @property
    def id(self) -> str:
        return self.joined.connection.connection_id

    def write(self, raw: bytes | None = None, **frame) -> None:
        self._requests.put(raw if raw is not None else signaling_pb2.JoinRequest(**frame))

    def half_close(self) -> None:
        self._requests.put(None)

    def close(self) -> None:
        super().close()
        self.half_close()

    def next(self, within: float = SECONDS):
        event = super().next(within)
        if isinstance(event, signaling_pb2.JoinResponse):
            body = getattr(event, event.WhichOneof("event"))
            self.last_sequence = max(self.last_sequence, getattr(body, "sequence", 0))
        return event

    def expect(self, kind: str, within: float = SECONDS):
        """The body of the next event, which must be a `kind`."""
        event = self.next(within)
        assert not isinstance(event, Ended), f"wanted {kind}, but the stream ended: {event}"
        assert event.WhichOneof("event") == kind, f"wanted {kind}, got {event}"
        return getattr(event, kind)

    def wait_joined(self, outcome: int = NEW) -> "Member":
        self.joined = self.expect("joined")
        assert self.joined.outcome == outcome, self.joined
        self.last_sequence = self.joined.sequence
        return self

    def start_send(self, data: str = "", type: str = "", to=None, send_id: int | None = None) -> int:
        """Sends a signal; by default with the next `send_id`, which it returns."""
        if send_id is None:
            send_id = self.last_send_id + 1
        self.last_send_id = max(self.last_send_id, send_id)
        self.write(send=signaling_pb2.SendSignal(send_id=send_id, signal=signal(data, type), to=recipients(to)))
        return send_id

    def result(self, send_id: int) -> signaling_pb2.SendResult:
        """The outcome of a send, out of its turn: its place among the events is not promised."""
        wanted = lambda event: event.WhichOneof("event") == "send_result" and event.send_result.send_id == send_id
        return self.take(wanted).send_result

    def send(self, *arguments, **keywords) -> signaling_pb2.SendResult:
        return self.result(self.start_send(*arguments, **keywords))

    def accepted(self, *arguments, **keywords) -> signaling_pb2.Accepted:
        result = self.send(*arguments, **keywords)
        assert result.WhichOneof("outcome") == "accepted", result
        return result.accepted

    def refused(self, *arguments, **keywords) -> signaling_pb2.SendError:
        result = self.send(*arguments, **keywords)
        assert result.WhichOneof("outcome") == "error", result
        return result.error

    def disconnect(self, connection_id: str) -> signaling_pb2.SendResult:
        self.last_send_id += 1
        frame = signaling_pb2.DisconnectConnection(send_id=self.last_send_id, connection_id=connection_id)
        self.write(disconnect=frame)
        return self.result(self.last_send_id)

    def leave(self) -> None:
        self.write(leave=signaling_pb2.Leave())

    def closing(self, within: float = SECONDS) -> tuple[signaling_pb2.Closing, Ended]:
        """The `Closing` and the status, which must come next."""
        return self.expect("closing", within), self.ended(within)

    def fence(self, type: str = "") -> list[signaling_pb2.JoinResponse]:
        """Everything that came before a server signal sent now to this member alone.

        In one total order nothing that was due before it can come after it: a
        test sees that nothing came without waiting for it not to come.
        """
        mark = f"fence-{next(_serial)}"
        request = signaling_pb2.SendFromServerRequest(
            session_id=self.session_id, signal=signal(mark, type), to=recipients([self.id])
        )
        signaling_pb2_grpc.SignalingServiceStub(self.channel).SendFromServer(request, timeout=SECONDS)
        before = []
        while True:
            event = self.next()
            assert not isinstance(event, Ended), f"the stream ended: {event}; before it: {before}"
            if event.WhichOneof("event") == "signal" and event.signal.signal.data == mark:
                return before
            if event.WhichOneof("event") != "heartbeat":
                before.append(event)

    def resume(self, **changes) -> signaling_pb2.Resume:
        """What resumes this connection from the newest event taken."""
        facts = dict(
            connection_id=self.id,
            resume_token=self.joined.resume_token,
            epoch=self.joined.epoch,
            last_sequence=self.last_sequence,
            last_result_send_id=self.last_send_id,
        )
        return signaling_pb2.Resume(**(facts | changes))


def a(kind: str):
    """What `take` takes: an event of this kind."""
    return lambda event: event.WhichOneof("event") == kind


def kinds(events) -> list[str]:
    return [event.WhichOneof("event") for event in events]


def data_of(events) -> list[str]:
    """The data of the signals among the events."""
    return [event.signal.signal.data for event in events if event.WhichOneof("event") == "signal"]
