"""OpenTok's own server libraries, as their registries have them, call this server:
nothing of them is changed but the API URL."""

import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import opentok
import pytest
import requests
from opentok.exceptions import AuthError, ForceDisconnectError, RequestError
from generated import ROOT
from signalbox.v1 import signaling_pb2, types_pb2
from signalbox_client import SECONDS, STOP
from signalbox_server import clean_environment

KEY = "47345601"
SECRET = "0123456789abcdef0123456789abcdef01234567"
NOBODY = "00000000-0000-4000-8000-000000000000"
CALLS = pathlib.Path(__file__).with_name("opentok_calls.js")


@pytest.fixture
def house(start, tmp_path):
    """A server that takes OpenTok's calls of one project."""
    keys = tmp_path / "projects"
    keys.write_text(f"# OpenTok's project\n{KEY} {SECRET}\n")
    return start("--rest", "127.0.0.1:0", "--rest-key-file", str(keys))


def python(house, key: str = KEY, secret: str = SECRET) -> opentok.Client:
    return opentok.Client(key, secret, api_url=house.server.rest, timeout=SECONDS)


def run(*command: str) -> str:
    """What a command prints; it may use the libraries."""
    if not (tools := os.environ.get("SIGNALBOX_TEST_TOOLS")):
        pytest.skip("tests/all installs the libraries and says where")
    environment = clean_environment() | {"NODE_PATH": str(pathlib.Path(tools) / "opentok" / "node_modules")}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    return made.stdout


def node(house, *calls, key: str = KEY, secret: str = SECRET) -> list:
    """The outcomes of calls: None, or the kind and the message of an error."""
    return json.loads(run("node", str(CALLS), house.server.rest, key, secret, json.dumps(calls)))


def heard(member) -> tuple[bool, str, str]:
    """Whether the next signal is somebody's; its type and its data."""
    received = member.expect("signal")
    return received.HasField("from_connection_id"), received.signal.type, received.signal.data


def check_disconnected(victim, witness) -> None:
    closing, ended = victim.closing()
    assert (closing.reason, closing.action) == ("FORCE_DISCONNECTED", STOP)
    assert ended.named == ("ABORTED", "FORCE_DISCONNECTED")
    destroyed = witness.expect("connection_destroyed")
    assert destroyed.connection_id == victim.id
    assert destroyed.reason == types_pb2.DISCONNECT_REASON_FORCE_DISCONNECTED


def three(house, session_id: str):
    """Two members who see only signals, and one who sees the others go."""
    one = house.join(session_id, suppress_connection_events=True)
    other = house.join(session_id, suppress_connection_events=True)
    return one, other, house.join(session_id)


def test_they_are_the_ones_of_the_registries():
    assert importlib.metadata.version("opentok") == "3.15.0"


def test_python_signals_and_disconnects(house, session_id):
    one, other, witness = three(house, session_id)
    client = python(house)
    client.send_signal(session_id, {"type": "chat", "data": "to all"})
    for member in (one, other, witness):
        assert heard(member) == (False, "chat", "to all")
    client.send_signal(session_id, {"data": "to öne 🎈"}, one.id)
    assert heard(one) == (False, "", "to öne 🎈")
    largest = {"type": "t" * 128, "data": "d" * 8_192}
    client.send_signal(session_id, largest, other.id)
    assert heard(other) == (False, "t" * 128, "d" * 8_192)
    with pytest.deprecated_call():
        client.signal(session_id, {"type": "chat", "data": "by its old name"}, one.id)
    assert heard(one) == (False, "chat", "by its old name")
    assert not witness.fence()
    client.force_disconnect(session_id, other.id)
    check_disconnected(other, witness)
    assert not one.fence()


def test_python_raises_what_opentok_documents(house, session_id):
    member = house.join(session_id)
    client = python(house)
    good = {"type": "chat", "data": "x"}
    # This version of the library makes a RequestError of each, with the status.
    for status, session, payload, connection in [
        (400, session_id, {"type": "a b", "data": "x"}, None),
        (400, session_id, {"type": "chat"}, None),
        (400, session_id, {"type": "chat", "data": 7}, None),
        (400, session_id, [], None),
        (400, "a b", good, None),
        (404, "nowhere", good, None),
        (404, session_id, good, NOBODY),
        (404, session_id, good, "no-such-connection"),
        (413, session_id, {"type": "chat", "data": "d" * 8_193}, None),
        (413, session_id, {"type": "t" * 129, "data": "x"}, member.id),
        (413, session_id, {"data": "d" * 200_000}, None),
    ]:
        with pytest.raises(RequestError) as raised:
            client.send_signal(session, payload, connection)
        assert raised.value.args[1] == status, (session, connection, raised.value)
    for session, connection, says in [
        ("a b", member.id, "invalid"),
        ("nowhere", member.id, "not connected"),
        (session_id, NOBODY, "not connected"),
    ]:
        with pytest.raises(ForceDisconnectError, match=says):
            client.force_disconnect(session, connection)
    for key, secret in [(KEY, SECRET[::-1]), ("1", SECRET)]:
        stranger = python(house, key, secret)
        with pytest.raises(RequestError) as raised:
            stranger.send_signal(session_id, good)
        assert raised.value.args[1] == 403
        with pytest.raises(AuthError):
            stranger.force_disconnect(session_id, member.id)
    assert not member.fence()


def test_node_signals_and_disconnects(house, session_id):
    one, other, witness = three(house, session_id)
    outcomes = node(
        house,
        ["signal", session_id, None, {"type": "chat", "data": "to all"}],
        ["signal", session_id, one.id, {"data": "to öne 🎈"}],
        ["signal", session_id, "", {"type": "t" * 128, "data": "d" * 8_192}],
        ["forceDisconnect", session_id, other.id],
    )
    assert outcomes == [None] * 4
    assert heard(one) == heard(other) == heard(witness) == (False, "chat", "to all")
    assert heard(one) == (False, "", "to öne 🎈")
    assert heard(one) == heard(other) == heard(witness) == (False, "t" * 128, "d" * 8_192)
    check_disconnected(other, witness)
    assert not one.fence()


def test_node_fails_as_opentok_documents(house, session_id):
    member = house.join(session_id)
    good = {"type": "chat", "data": "x"}
    calls = [
        (["signal", session_id, None, {"type": "a b", "data": "x"}], "RequestError", "only A-Z a-z 0-9"),
        (["signal", session_id, None, {"type": "chat"}], "RequestError", "`data`"),
        (["signal", "a b", None, good], "RequestError", "session id"),
        (["signal", "nowhere", None, good], "SignalError", "Session or Connection not found"),
        (["signal", session_id, NOBODY, good], "SignalError", "Session or Connection not found"),
        (["signal", session_id, None, {"data": "d" * 8_193}], "RequestError", "8193 bytes of UTF-8; the limit is 8192"),
        (["signal", session_id, None, {"data": "x", "type": "t" * 129}], "RequestError", "129 bytes; the limit is 128"),
        (["signal", session_id, None, {"data": "d" * 90_000}], "RequestError", "the limit is 65536"),
        (["forceDisconnect", "a b", member.id], "RequestError", "session id"),
        (["forceDisconnect", "nowhere", member.id], "ForceDisconnectError", "Session or Connection not found"),
        (["forceDisconnect", session_id, NOBODY], "ForceDisconnectError", "Session or Connection not found"),
    ]
    outcomes = node(house, *(call for call, _, _ in calls))
    for (call, kind, says), outcome in zip(calls, outcomes, strict=True):
        assert outcome is not None, call
        assert outcome[0] == kind and says in outcome[1], (call, outcome)
    for key, secret in [(KEY, SECRET[::-1]), ("1", SECRET)]:
        both = ["signal", session_id, None, good], ["forceDisconnect", session_id, member.id]
        for outcome in node(house, *both, key=key, secret=secret):
            assert outcome == ["AuthError", "Invalid API key or secret"]
    assert not member.fence()


def test_errors_are_json_as_opentoks(house):
    """What the libraries hide."""
    client = python(house)
    url = client.endpoints.get_signaling_url("nowhere")
    answer = requests.post(url, headers=client.get_json_headers(), json={"data": "x"}, timeout=SECONDS)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error["code"] == 404 and error["message"] and error["reason"] == "SESSION_NOT_FOUND"


def test_calls_find_members_whatever_their_names(house):
    """Names that a URL can't hold as they are: requests and Node encode them."""
    session_id = "a^b|c{d}"
    member = house.open(signaling_pb2.Join(session_id=session_id)).wait_joined()
    python(house).send_signal(session_id, {"data": "from Python"})
    assert heard(member)[2] == "from Python"
    assert node(house, ["signal", session_id, None, {"data": "from Node"}]) == [None]
    assert heard(member)[2] == "from Node"


def test_the_examples_of_the_document_work(start, tmp_path):
    """docs/REST.md's commands and programs, at the ports that are free here."""
    text = (ROOT / "docs" / "REST.md").read_text()
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    documented = "127.0.0.1:8080"
    signalbox, serve, *flags = shlex.split(blocks["sh"])
    assert (signalbox, serve) == ("signalbox", "serve") and documented in flags
    keys = tmp_path / "projects"
    keys.write_text(blocks["text"])
    here = {documented: "127.0.0.1:0", "projects": str(keys)}
    house = start(*(here.get(flag, flag) for flag in flags))
    member = house.join("demo")

    def as_here(block: str, house) -> str:
        assert documented in block
        return block.replace(f"http://{documented}", house.server.rest)

    assert run(sys.executable, "-c", as_here(blocks["python"], house)) == ""
    assert heard(member) == (False, "chat", "hello from Python")
    assert run("node", "-e", as_here(blocks["js"], house)) == "sent\n"
    assert heard(member) == (False, "chat", "hello from Node")

    house = start("--rest", "127.0.0.1:0")
    member = house.join("demo")
    command, shown = blocks["console"].removeprefix("$ ").strip().split("\n")
    assert run(*shlex.split(as_here(command, house))).splitlines()[0] == shown
    assert heard(member) == (False, "chat", "hello")
