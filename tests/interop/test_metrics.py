"""What `deploy/` has for those who watch: alert rules and a dashboard, with a real Prometheus that scrapes servers
under load, one of them on Redis."""

import importlib.machinery
import importlib.util
import json
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import joining
from generated import ROOT
from signalbox.v1 import session_pb2
from signalbox_client import Ended, slow_channel
from signalbox_server import Server, binary, clean_environment

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
# Scrapes are a second apart; on a busy machine some take longer than they may, and are none. So
# rates are over all of the load.
INTERVAL = "60s"
LOAD_SECONDS = 12
SECONDS = 60


def tool(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not on the PATH: tests/all installs it"
    return found


def plot():
    """`deploy/grafana/plot`, which is a script, as a module."""
    loader = importlib.machinery.SourceFileLoader("plot", str(DEPLOY / "grafana" / "plot"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("plot", loader))
    loader.exec_module(module)
    return module


def promtool(*arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[str]:
    return re.findall(r"^ *- alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def test_the_rules_are_sound():
    """Prometheus takes rules and configuration; each alert has a unit test in which it fires, alone."""
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")
    promtool("test", "rules", "alerts_test.yml")
    tests = (RULES.parent / "alerts_test.yml").read_text()
    for alert in alerts():
        assert f"""{{labels: '{{alertname="{alert}"}}', value: 1}}""" in tests, f"{alert} has no test"


def test_each_alert_says_what_to_do():
    """Each alert leads to its own heading in the runbook."""
    text = RULES.read_text()
    runbook = (ROOT / "docs" / "OPERATIONS.md").read_text()
    assert len(alerts()) > 15
    for alert in alerts():
        rule = text[text.index(f"- alert: {alert}\n") :].split("- alert: ")[1]
        for part in ("severity: ", "summary: ", "description: ", f"runbook_url: docs/OPERATIONS.md#{alert.lower()}\n"):
            assert part in rule, f"{alert} has no {part}"
        assert re.search(rf"^#+ {alert}$", runbook, re.MULTILINE), f"docs/OPERATIONS.md has no heading for {alert}"


class Prometheus:
    """A Prometheus that scrapes these, each second."""

    def __init__(self, folder: pathlib.Path, targets: list[str]):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        scrape = {
            "job_name": "signalbox",
            "static_configs": [{"targets": [target.removeprefix("http://") for target in targets]}],
        }
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        # JSON is YAML.
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({"global": times, "rule_files": [str(RULES)], "scrape_configs": [scrape]}))
        self.log = folder / "prometheus.log"
        self.process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
        )
        self.address = f"http://127.0.0.1:{port}"
        self.wait("an answer", lambda: urllib.request.urlopen(self.address + "/-/ready", timeout=5).status == 200)

    def wait(self, what: str, is_there) -> None:
        """Asks until it is there."""
        until = time.monotonic() + SECONDS
        while True:
            assert self.process.poll() is None, f"Prometheus has ended: {self.log.read_text()}"
            assert time.monotonic() < until, f"no {what} within {SECONDS} s: {self.log.read_text()}"
            try:
                if is_there():
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.1)

    def get(self, path: str, **fields) -> dict:
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return json.load(answer)["data"]

    def ask(self, query: str) -> list[dict]:
        return self.get("query", query=query)["result"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)


class Redis:
    """A Redis of this test's own."""

    def __init__(self, folder: pathlib.Path):
        self.path = folder / "redis.sock"
        self.process = subprocess.Popen(
            [tool("redis-server"), "--port", "0", "--unixsocket", str(self.path), "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + SECONDS
        while not self.path.exists():
            assert self.process.poll() is None and time.monotonic() < until, "redis-server is not up"
            time.sleep(0.02)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Load(threading.Thread):
    """The bench's load on a server, by its own command."""

    def __init__(self, server: Server, *arguments: str):
        super().__init__()
        self.command = [str(binary()), "bench", *arguments, "--server", f"http://{server.target}"]
        self.start()

    def run(self) -> None:
        self.done = subprocess.run(self.command, capture_output=True, text=True, env=clean_environment())


@pytest.fixture
def watched(tmp_path, start):
    """A Prometheus that has scraped a server and one on Redis, while both were under load."""
    redis = Redis(tmp_path)
    alone = start("--max-connections-per-session", "3", "--outbox-events", "64")
    many = start("--max-connections-per-session", "3", "--engine", "redis", "--redis-url", f"unix://{redis.path}")
    prometheus = Prometheus(tmp_path, [alone.server.admin, many.server.admin])
    try:
        prometheus.wait("node on Redis", lambda: prometheus.ask("min(signalbox_engine_lease_seconds) > 0"))
        # What was counted before the first scrape has no rate.
        prometheus.wait("scrape of both", lambda: prometheus.ask("count(signalbox_build_info) == 2"))
        prometheus.begin = time.time()
        load = ("pairs", "--pairs", "20", "--rate", "200", "--time", f"{LOAD_SECONDS}s")
        loads = [Load(house.server, *load) for house in (alone, many)]
        slow_reader(alone)
        full = [house.join("full") for house in (alone, many) for _ in range(3)]
        while any(load.is_alive() for load in loads):
            for house in (alone, many):
                visit(house)
        for load in loads:
            assert load.done.returncode == 0, load.done.stdout + load.done.stderr
        over = time.time()
        prometheus.wait("last scrape", lambda: prometheus.ask(f"min(timestamp(up)) > {over}"))
        yield prometheus, alone, full
    finally:
        prometheus.close()
        redis.close()


def visit(house) -> None:
    """Something of each call, accepted and refused."""
    member = house.join("visited")
    member.accepted("to all")
    house.send("visited")
    house.sessions.ListSessions(session_pb2.ListSessionsRequest())
    house.sessions.GetSession(session_pb2.GetSessionRequest(session_id="visited"))
    assert house.refused_send("visited", data="x" * 9_000).named == ("INVALID_ARGUMENT", "SIGNAL_DATA_TOO_LARGE")
    _, refused = house.open(joining("full")).closing()
    assert refused.named == ("RESOURCE_EXHAUSTED", "SESSION_FULL")
    member.leave()
    while not isinstance(event := member.next(), Ended):
        pass
    assert event.code.name == "OK"


def slow_reader(house) -> None:
    """A member that reads nothing, and is closed for that."""
    witness = house.join("slow", suppress_own_signals=True)
    slow = house.open(joining("slow"), slow_channel(house.server.target), paused=True)
    witness.expect("connection_created")
    while True:
        house.send("slow", "x" * 8_192)
        if witness.next().HasField("connection_destroyed"):
            break
    # It takes what it is told last.
    slow.unpause()
    while not isinstance(event := slow.next(), Ended):
        pass
    assert event.named == ("RESOURCE_EXHAUSTED", "SLOW_CONSUMER")
    witness.leave()


@pytest.mark.timeout(240)
def test_the_dashboard_shows_a_server_under_load(watched, tmp_path):
    """Every query of the dashboard gives data, and is plotted; no alert fires but for a server that is gone."""
    prometheus, alone, _ = watched
    drawer = plot()
    dashboard = json.loads((DEPLOY / "grafana" / "signalbox.json").read_text())
    source = drawer.Prometheus(prometheus.address)
    drawn, without = [], []
    for row, panel, queries in drawer.queries(dashboard, INTERVAL):
        lines = []
        for legend, query in queries:
            series = source.over(query, prometheus.begin, time.time(), 1)
            assert legend and panel["description"], f"{panel['title']} explains nothing"
            points = [
                [(when, float(value)) for when, value in one["values"] if value not in ("NaN", "+Inf", "-Inf")]
                for one in series
            ]
            lines += [(drawer.named(legend, one["metric"]), of) for one, of in zip(series, points, strict=True)]
            if not any(points):
                without.append((panel["title"], query))
        drawn.append((row, panel, lines))
    assert len(drawn) > 30 and without == []
    assert not [name for _, _, lines in drawn for name, _ in lines if "{{" in name], "a legend names no label"
    shown = {line[0] for _, panel, lines in drawn if panel["title"] in ("Refusals", "Closes") for line in lines}
    assert shown >= {"SIGNAL_DATA_TOO_LARGE", "SESSION_FULL", "SLOW_CONSUMER", "LEFT"}
    picture = tmp_path / "signalbox.png"
    drawer.draw(drawn, str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 50_000

    for variable in dashboard["templating"]["list"][1:]:
        label = variable["name"]
        assert variable["definition"].startswith("label_values(signalbox_build_info")
        assert prometheus.ask(f'count by ({label}) (signalbox_build_info{{{label}!=""}})'), label

    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules] == alerts() and {rule["health"] for rule in rules} == {"ok"}
    states = {rule["name"]: rule["state"] for rule in rules if rule["state"] != "inactive"}
    # There was a slow reader, of few; and a busy machine is slow. Either would have to last.
    assert states.keys() <= {"SignalboxSlowReaders", "SignalboxCallsSlow", "SignalboxEngineSlow"}
    assert "firing" not in states.values()
    alone.server.kill()
    down = 'ALERTS{alertname="SignalboxDown", instance="' + alone.server.admin.removeprefix("http://") + '"}'
    prometheus.wait("alert", lambda: prometheus.ask(down))


def test_the_page_is_as_prometheus_wants_it(house):
    """'`/metrics`' passes Prometheus' own linter."""
    house.join("linted").leave()
    with urllib.request.urlopen(house.server.admin + "/metrics", timeout=SECONDS) as response:
        page = response.read()
    linted = subprocess.run([tool("promtool"), "check", "metrics"], input=page, capture_output=True)
    assert (linted.returncode, linted.stdout.decode() + linted.stderr.decode()) == (0, "")
