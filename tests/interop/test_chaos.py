"""Members that lose their streams at random while everybody sends."""

import random

import pytest
from conftest import joining
from signalbox_client import RESUMED, Ended

MEMBERS = 5
STEPS = 600


class Client:
    """What a client library does: remembers, resumes, and sends again what it has no outcome of."""

    def __init__(self, house, session_id: str, name: str):
        self.house, self.name = house, name
        self.member = house.join(session_id, window=60)
        self.identity = self.member.joined
        self.sequences: list[int] = []
        self.signals: list[tuple[int, str, str]] = []
        self.unresolved: dict[int, str] = {}
        self.places: dict[str, int] = {}
        self.newest_outcome = 0

    def send(self, data: str) -> None:
        self.unresolved[self.member.start_send(data)] = data

    def handle(self, event) -> None:
        kind = event.WhichOneof("event")
        body = getattr(event, kind)
        if kind == "send_result":
            data = self.unresolved.pop(body.send_id)
            self.places[data] = body.accepted.sequence
            self.newest_outcome = body.send_id
        elif kind == "closing":
            assert body.reason == "CONNECTION_TAKEN_OVER"
        elif kind != "heartbeat":
            self.sequences.append(body.sequence)
            if kind == "signal":
                self.signals.append((body.sequence, body.from_connection_id, body.signal.data))

    def handle_some(self, most: int) -> None:
        """What is there already, up to `most` events: the rest is lost with the stream."""
        for _ in range(most):
            if not self.member.waiting() or isinstance(event := self.member.next(), Ended):
                return
            self.handle(event)

    def resume(self, cut: bool) -> None:
        """A new stream; the old one broke, or only seems alive to the server."""
        old = self.member
        if cut:
            old.cancel()
        resume = old.resume(last_result_send_id=self.newest_outcome)
        self.member = self.house.open(joining(old.session_id, 60, resume=resume)).wait_joined(RESUMED)
        joined = self.member.joined
        assert joined.connection.connection_id == self.identity.connection.connection_id
        assert joined.sequence == resume.last_sequence
        self.member.last_send_id = old.last_send_id
        # The decided ones are restated by the server; the others it never saw.
        for send_id, data in self.unresolved.items():
            if send_id > joined.last_send_id:
                self.member.start_send(data, send_id=send_id)

    def settle(self) -> None:
        """Takes everything that is due."""
        while self.unresolved:
            self.handle(self.member.next())
        for event in self.member.fence():
            self.handle(event)


@pytest.mark.parametrize("seed", range(4))
def test_exactly_once_whatever_happens_to_the_streams(start, session_id, seed):
    """'An accepted signal reaches every recipient exactly once while it is connected or resumes within its window';
    'every connection sees the part it is entitled to in that order'; 'Every send has one outcome.'"""
    house = start("--signals-per-second", "0", "--log-events", "0", "--log-bytes", "0")
    chance = random.Random(seed)
    clients = [Client(house, session_id, f"client {n}") for n in range(MEMBERS)]
    sent = []
    for step in range(STEPS):
        client = chance.choice(clients)
        match chance.random():
            case dice if dice < 0.7:
                sent.append(f"{client.name}, step {step}" + "." * chance.choice([0, 100, 5000]))
                client.send(sent[-1])
            case dice if dice < 0.9:
                client.handle_some(chance.randrange(1, 60))
            case _:
                client.resume(cut=chance.random() < 0.7)
    for client in clients:
        client.settle()
    # A fence is for one member alone: what others sent while it settled may be due yet.
    for client in clients:
        client.settle()
    first = clients[0].signals
    assert sorted(data for _, _, data in first) == sorted(sent)
    for client in clients:
        assert client.signals == first
        assert client.sequences == sorted(set(client.sequences))
        assert client.places == {
            data: sequence for sequence, sender, data in first if sender == client.identity.connection.connection_id
        }
    for client in clients:
        own = [data for _, sender, data in first if sender == client.identity.connection.connection_id]
        assert own == [data for data in sent if data.startswith(client.name)]
