"""What those who run it rely on: health, reflection, drain, heartbeats, slow readers."""

import signal
import socket
import time
import urllib.request

import pytest
from conftest import joining
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from signalbox.v1 import types_pb2
from signalbox_client import REJOIN, RESUME, RESUMED, SECONDS, Ended, Stream, data_of, kinds, slow_channel

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = ["signalbox.v1.SignalingService", "signalbox.v1.SessionService"]


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health(house, service):
    """The health service says SERVING, for the server and for each of its services."""
    stub = health_pb2_grpc.HealthStub(house.channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS).status == SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(house, version):
    """Reflection, v1 and v1alpha, lists the services and gives their descriptors."""
    # The two versions differ in nothing but their name.
    ask = house.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICES[0]),
    ]
    listed, described = ask(iter(requests), timeout=SECONDS)
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {*SERVICES, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"}
    assert any(b"SignalingService" in file for file in described.file_descriptor_response.file_descriptor_proto)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_the_admin_port(house, path):
    """'`--admin-listen` (plain HTTP: `/metrics`, `/livez`, `/readyz`'"""
    with urllib.request.urlopen(house.server.admin + path, timeout=SECONDS) as response:
        assert response.status == 200
        body = response.read().decode()
    if path == "/metrics":
        assert "# TYPE signalbox_" in body


def test_heartbeat(start, session_id):
    """'When nothing else was sent for `heartbeat_interval` (25 s), the server sends `Heartbeat`.' `sequence`: 'the
    newest of the session'"""
    house = start("--heartbeat-interval", "300ms")
    member = house.join(session_id, signal_types=["wanted"])
    assert member.joined.limits.heartbeat_interval.ToTimedelta().total_seconds() == 0.3
    assert member.expect("heartbeat").sequence == member.joined.sequence
    unwanted = house.send(session_id, type="unwanted").sequence
    # A filtered signal is nothing sent, but the stream is complete to it.
    member.take(lambda event: event.HasField("heartbeat") and event.heartbeat.sequence == unwanted)
    began = time.monotonic()
    assert [member.expect("heartbeat").sequence for _ in range(3)] == [unwanted] * 3
    assert 0.6 < time.monotonic() - began < 5


def test_drain(start, session_id):
    """'Before the server ends a stream on its own account it sends `Closing` with a reason and what the client should
    do next.' 'UNAVAILABLE / `GOING_AWAY`'; health goes to NOT_SERVING first."""
    house = start("--drain-timeout", "20s")
    watch = Stream(health_pb2_grpc.HealthStub(house.channel).Watch(health_pb2.HealthCheckRequest()))
    assert watch.next().status == SERVING
    members = [house.join(session_id, window, suppress_connection_events=True) for window in (None, 30) * 6]
    not_joined = house.open()
    session_watch = house.watch()
    silent = socket.create_connection(("127.0.0.1", house.server.port))
    began = time.monotonic()
    house.server.terminate()
    assert watch.next().status == NOT_SERVING
    waits = []
    for member, action in zip(members, (REJOIN, RESUME) * 6):
        closing, ended = member.closing(within=20)
        assert (closing.reason, closing.action) == ("GOING_AWAY", action)
        waits.append(closing.retry_after.ToTimedelta().total_seconds())
        assert (ended.named, ended.domain) == (("UNAVAILABLE", "GOING_AWAY"), "signalbox")
        assert ended.retry_after == pytest.approx(waits[-1])
    # Jittered: they shall not all come back in the same moment.
    assert all(wait >= 0 for wait in waits) and len(set(waits)) > 6
    closing, ended = not_joined.closing(within=20)
    assert (closing.reason, closing.action) == ("GOING_AWAY", REJOIN)
    assert ended.named == ("UNAVAILABLE", "GOING_AWAY")
    # Departures may reach it before its own end does.
    while not isinstance(end := session_watch.next(), Ended):
        assert end.HasField("connection_destroyed") or end.HasField("session_ended")
    assert end.named == ("UNAVAILABLE", "GOING_AWAY")
    assert house.server.wait(25) == 0
    assert time.monotonic() - began < 22
    silent.close()


def test_drain_with_nobody_there(start):
    """A server without clients ends at once."""
    house = start()
    house.server.terminate()
    assert house.server.wait(5) == 0


def test_drain_is_cut_off(start, session_id):
    """`--drain-timeout`: a peer that neither reads nor goes away holds the end up that long, and no longer."""
    house = start("--drain-timeout", "2s", "--outbox-events", "100000", "--outbox-bytes", "100000000")
    stuck = stick(house, session_id)
    house.server.terminate()
    assert house.server.wait(10) == 0
    stuck.close()


def test_a_second_signal_ends_it_at_once(start, session_id):
    """A second signal doesn't wait for the drain."""
    house = start("--drain-timeout", "120s", "--outbox-events", "100000", "--outbox-bytes", "100000000")
    watch = Stream(health_pb2_grpc.HealthStub(house.channel).Watch(health_pb2.HealthCheckRequest()))
    assert watch.next().status == SERVING
    stuck = stick(house, session_id)
    house.server.terminate()
    assert watch.next().status == NOT_SERVING
    house.server.process.send_signal(signal.SIGTERM)
    house.server.wait(5)
    stuck.close()


def stick(house, session_id: str):
    """A member that reads nothing, with more on its way than all buffers between hold."""
    witness = house.join(session_id, signal_types=["none"])
    member = house.open(joining(session_id), slow_channel(house.server.target), paused=True)
    witness.expect("connection_created")
    for _ in range(600):
        house.send(session_id, "x" * 8192)
    assert witness.fence("none") == []
    return member


@pytest.mark.parametrize("window", [60, None], ids=["a window", "no window"])
def test_a_slow_reader_harms_only_itself(start, session_id, window):
    """'Each connection has a bounded outbox (count and bytes). One that overflows is closed with RESOURCE_EXHAUSTED /
    `SLOW_CONSUMER`, action RESUME, and can resume from the log if it has a window; else it is destroyed with that
    reason.'"""
    house = start("--outbox-events", "64", "--log-events", "0", "--log-bytes", "0")
    bystander = house.join(session_id)
    slow = house.open(joining(session_id, window), slow_channel(house.server.target), paused=True)
    slow_id = bystander.expect("connection_created").connection.connection_id
    sent, seen, gone = [], [], None
    while gone is None:
        assert len(sent) < 2000, "2,000 signals of 8 KB went unread and nothing happened"
        sent.append(f"{len(sent):06}" + "x" * 8000)
        house.send(session_id, sent[-1])
        event = bystander.next()
        if event.WhichOneof("event") != "signal":
            gone, event = event, bystander.next()
        seen.append(event.signal.signal.data)
    assert seen == sent
    slow.unpause()
    slow.wait_joined()
    assert slow.id == slow_id
    received = []
    while (event := slow.next()).WhichOneof("event") == "signal":
        received.append(event.signal.signal.data)
    assert (event.closing.reason, event.closing.action) == ("SLOW_CONSUMER", RESUME)
    assert slow.ended().named == ("RESOURCE_EXHAUSTED", "SLOW_CONSUMER")
    assert received == sent[: len(received)]
    if window is None:
        assert gone.connection_destroyed.connection_id == slow_id
        assert gone.connection_destroyed.reason == types_pb2.DISCONNECT_REASON_SLOW_CONSUMER
    else:
        assert gone.connection_interrupted.connection_id == slow_id
        received += data_of(house.rejoin(slow, RESUMED).fence())
        assert received == sent
        assert kinds(bystander.fence()) == ["connection_restored"]
