"""The commands of every document, run as they stand there, print what it says they print."""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from documents import (
    _NOT_OURS,
    COMMANDS,
    MARKDOWN,
    OTHERS,
    Command,
    Section,
    blocks,
    difference,
    matches,
    sections,
    text_of,
)
from generated import ROOT
from signalbox_client import SECONDS
from signalbox_server import binary, clean_environment

PORT = 50051
REDIS_PORT = 6379
# Of what builds and installs.
INSTALL_SECONDS = 150

# What is not run, and why: a document, the whole line, the reason. The same stands in
# docs/DEVELOPMENT.md for readers, and a test holds the two together.
NOT_RUN = {
    ("clients/java/README.md", "mvn -f clients/java install"): "`tests/all` builds and tests the package, in a copy",
    (
        "deploy/Dockerfile",
        "docker build -f deploy/Dockerfile -t signalbox .",
    ): "needs Docker and its registry; hadolint reads the file",
    (
        "deploy/compose.yaml",
        "SIGNALBOX_JWT_SECRET=$(openssl rand -hex 32) docker compose -f deploy/compose.yaml up --build",
    ): "needs Docker and its registry; the file is held to Compose's schema",
    (
        "deploy/kubernetes/signalbox.yaml",
        "kubectl create secret generic signalbox --from-literal=redis-url='rediss://:PASSWORD@redis.example:6379' "
        '--from-literal=jwt-secret="$(openssl rand -hex 32)"',
    ): "needs a cluster; the manifest is held to Kubernetes' schema",
    ("docs/ATTACKS.md", "cargo test --test attack"): "a step of `tests/all`",
    ("docs/ATTACKS.md", "tests/attack/run 5"): "takes minutes, and judges latencies, which are the machine's too",
    ("docs/ATTACKS.md", "tests/attack/run 10 rapid-reset window"): "the same",
    ("docs/BENCHMARKS.md", "benches/compare"): "installs five other servers, and takes an hour",
    ("docs/BENCHMARKS.md", "benches/ghz"): "builds for measuring; `tests/all` runs it for a second",
    ("docs/DEVELOPMENT.md", "deploy/package"): (
        "builds for ten minutes; tests/interop/test_package.py runs the rest of it"
    ),
    ("docs/DEVELOPMENT.md", "tests/all"): "is what runs this",
    ("docs/DEVELOPMENT.md", "tests/long-run 600"): "takes ten minutes; `cargo test` plays for a moment",
    ("docs/DEVELOPMENT.md", "tests/long-run-many 3"): "takes many minutes",
    ("docs/DEVELOPMENT.md", "tests/attack/run 5"): "takes minutes, and judges latencies, which are the machine's too",
    ("docs/DEVELOPMENT.md", "tests/fuzz/run 60"): "takes ten minutes; `cargo test` tries each target for a second",
    (
        "docs/OBSERVABILITY.md",
        "deploy/grafana/plot http://127.0.0.1:9090 signalbox.png --minutes 15",
    ): (
        "needs a Prometheus that has scraped for a while; tests/interop/test_metrics.py draws by it from one that it "
        "starts"
    ),
    (
        "docs/REST.md",
        "signalbox serve --rest 127.0.0.1:8080 --rest-key-file projects",
    ): "tests/interop/test_opentok.py runs it, with the file that the page shows",
    (
        "docs/REST.md",
        'curl -i -H \'Content-Type: application/json\' -d \'{"type":"chat","data":"hello"}\' '
        "http://127.0.0.1:8080/v2/project/any/session/demo/signal",
    ): "the same, with a member to hear it",
    ("docs/SCALING.md", "benches/scale"): "measures for minutes, on a machine of its own",
    ("docs/performance/README.md", "benches/compare"): "installs five other servers, and takes an hour",
    ("docs/performance/README.md", "benches/compare --quick"): "installs NATS, and measures for a minute",
    ("docs/performance/README.md", "benches/compare --only pairs-500 --peers signalbox,nats --runs 9"): "the same",
    ("docs/performance/README.md", "benches/compare --draw"): "writes into docs/performance",
    ("docs/performance/README.md", "benches/compare --check"): "judges figures that are the machine's too",
}


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, what) -> None:
    """Polls: other processes' output has no event to wait for."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def end_session(leader: int) -> None:
    """All of a command's processes: one in a group of its own would hold its output open."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(stat.parent.name), signal.SIGKILL)


@pytest.fixture
def clone(section):
    """What a reader has: the files as they are committed, and nothing that was built. Where no
    command is about them, a place of one's own will do."""
    with tempfile.TemporaryDirectory(prefix="signalbox-clone-") as folder:
        path = pathlib.Path(folder) / "signalbox"
        if any(re.search(r"\b(clients|deploy|examples|proto)/", command.line) for command in section.commands):
            shutil.copytree(ROOT, path, symlinks=True, ignore=lambda _, names: _NOT_OURS & set(names))
        else:
            path.mkdir()
        yield path


class Shell:
    """The reader's terminals: one for each command that stays."""

    def __init__(self, clone: pathlib.Path):
        self._staying: list[tuple[Command, subprocess.Popen, str]] = []
        self._server: subprocess.Popen | None = None
        self._redis: subprocess.Popen | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._cwd = str(clone)
        self._environment = clean_environment() | self._tools()

    @staticmethod
    def _tools() -> dict[str, str]:
        """What is installed or built already, where a reader would have it."""
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        path = [str(binary().parent)]
        if folder := os.environ.get("SIGNALBOX_TEST_TOOLS"):
            path.append(f"{folder}/client-python/bin")
            path.append(os.path.dirname(pathlib.Path(folder, "go-jwt/go-command").read_text().strip()))
        return {
            "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
            "EXAMPLES": str(target / "debug/examples"),
            # Everything was fetched before, by `tests/all`.
            "npm_config_prefer_offline": "true",
            "npm_config_audit": "false",
            "npm_config_fund": "false",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, command: Command) -> None:
        if "redis://127.0.0.1:6379" in command.line and not self._redis:
            self._start_redis()
        if command.starts_server:
            self.serve(command)
        elif command.stays:
            _, output = self._stay(command)
            # The commands after it count on its being there.
            wait_until(lambda: self._read(output).endswith("\n"), lambda: f"{command.line}\nprinted nothing")
        else:
            self._run_to_its_end(command)

    def serve(self, command: Command) -> None:
        self._stop_server()
        assert not answers(PORT), f"port {PORT} is taken: the documents' commands need it"
        self._server, output = self._stay(command)
        wait_until(
            lambda: self._server.poll() is not None or answers(PORT),
            lambda: f"no server on port {PORT}:\n{self._read(output)}",
        )
        assert self._server.poll() is None, self._read(output)

    def _start_redis(self) -> None:
        if not shutil.which("redis-server"):
            pytest.skip("tests/all installs redis-server")
        assert not answers(REDIS_PORT), f"port {REDIS_PORT} is taken: the documents' commands need it"
        flags = ["--port", str(REDIS_PORT), "--save", "", "--dir", self._folder.name]
        self._redis = subprocess.Popen(["redis-server", *flags], stdout=subprocess.DEVNULL)
        wait_until(lambda: answers(REDIS_PORT), lambda: "redis-server did not start")

    def _stay(self, command: Command) -> tuple[subprocess.Popen, str]:
        path = os.path.join(self._folder.name, str(len(self._staying)))
        with open(path, "wb") as output:
            # `exec` makes the process that is started the one that is ended; `env` takes assignments.
            process = self._start(f"exec env {command.as_run}", output)
        self._staying.append((command, process, path))
        return process, path

    def _start(self, script: str, output) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", "-c", script],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self._cwd,
            start_new_session=True,
        )

    def _read(self, path: str) -> str:
        with open(path) as output:
            return output.read()

    def _run_to_its_end(self, command: Command) -> None:
        line = command.as_run
        after = os.path.join(self._folder.name, "after")
        # What it exports, and where it goes, is for those after it.
        script = f"set -eo pipefail\n{line}\n{{ pwd; env -0; }} >{after}"
        process = self._start(script, subprocess.PIPE)
        process.stdin.close()
        process.stdin = None
        ours = re.match(r"(?:\w+=\S* +)*(?:signalbox (?!bench)|grpcurl |curl )", line)
        try:
            output = process.communicate(timeout=SECONDS if ours else INSTALL_SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            end_session(process.pid)
            raise AssertionError(
                f"{command.line}\ndid not end; it printed:\n{process.communicate()[0].decode()}"
            ) from None
        if command.shown:
            assert matches(command.shown, output, prefix=False), f"{command.line}\n{difference(command.shown, output)}"
        else:
            assert process.returncode == 0, f"{command.line}\nfailed:\n{output}"
        if process.returncode == 0:
            self._cwd, _, variables = self._read(after).partition("\n")
            self._environment = dict(one.split("=", 1) for one in variables.split("\0") if one)

    def check_what_stayed(self) -> None:
        for command, _, path in self._staying:
            if command.shown:
                wait_until(
                    lambda: matches(command.shown, self._read(path), prefix=True),
                    lambda: f"{command.line}\n{difference(command.shown, self._read(path))}",
                )

    def _stop_server(self) -> None:
        if self._server:
            self._end(self._server)
            self._server = None

    def _end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()

    def close(self) -> None:
        for _, process, _ in reversed(self._staying):
            self._end(process)
        if self._redis:
            self._end(self._redis)
        self._folder.cleanup()


def runnable(section: Section) -> list[Command]:
    return [command for command in section.commands if (section.document, command.line) not in NOT_RUN]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("section", [one for one in sections() if runnable(one)], ids=lambda section: section.name)
def test_commands(section, clone):
    """What a document shows is what happens."""
    commands = runnable(section)
    shell = Shell(clone)
    try:
        if not commands[0].starts_server:
            shell.serve(Command("signalbox"))
        for command in commands:
            shell.run(command)
        shell.check_what_stayed()
    finally:
        shell.close()


def test_there_are_commands():
    """A parser that finds nothing would pass everything."""
    lines = [command.line for section in sections() for command in section.commands]
    assert len(lines) > 40, lines
    assert sum(line.startswith("grpcurl ") for line in lines) >= 4
    assert {section.document for section in sections()} >= {"README.md", "deploy/Dockerfile", "examples/backend.rs"}


def test_every_block_says_what_it_is():
    """Or a command could hide in one that is none."""
    for path in MARKDOWN:
        for language, block in blocks(path):
            kind = f"{path.relative_to(ROOT)}: ```{language}\n{block}"
            assert language in COMMANDS | OTHERS, f"say which of {sorted(COMMANDS | OTHERS)} it is:\n{kind}"


def test_what_is_not_run_is_there_and_told():
    """Each exception is of a command that there is, and stands in docs/DEVELOPMENT.md with its reason."""
    there = {(section.document, command.line) for section in sections() for command in section.commands}
    assert NOT_RUN.keys() <= there, NOT_RUN.keys() - there
    text = (ROOT / "docs/DEVELOPMENT.md").read_text().split("\n## Commands that no test runs\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split(" | ")] for row in re.findall(r"^\| (.+) \|$", text, re.MULTILINE)]
    told = {(row[0], row[1].strip("`")): row[2] for row in rows[1:]}
    assert told == {(document, line): why for (document, line), why in NOT_RUN.items()}
    for _, line in NOT_RUN:
        program = line.split()[0]
        assert "/" not in program or "=" in program or os.access(ROOT / program, os.X_OK), f"there is no {program}"


@functools.cache
def help_of(command: str) -> str:
    return subprocess.run(
        [str(binary()), *command.split(), "--help"],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=SECONDS,
        check=True,
    ).stdout


def test_commands_within_sentences_are_ones():
    """`signalbox …` and its flags, and scripts of this repository, wherever they are quoted."""
    checked = 0
    for path in MARKDOWN:
        for quoted in re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text_of(path), flags=re.M | re.S)):
            where = f"`{quoted}` in {path.relative_to(ROOT)}"
            if script := re.match(r"(?:tests|benches|deploy|clients)/[\w./-]+", quoted):
                there = ROOT / script[0].rstrip(".")
                assert there.exists() or list(ROOT.glob(f"{script[0]}*")), f"{where}: there is none"
                checked += 1
            if not (said := re.search(r"\bsignalbox( [a-z][a-z-]*)?((?: [a-z][a-z-]*)?)", quoted)) or "/" in quoted:
                continue
            name = (said[1] or "").strip()
            if f"\n  {name} " not in help_of(""):
                name = ""
            if name == "bench" and said[2] and f"\n  {said[2].strip()} " in help_of(name):
                name += said[2]
            text = help_of(name)
            for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", quoted):
                assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), f"{where}: signalbox {name} has no {flag}"
            checked += 1
    assert checked > 60, checked


def anchors(path: pathlib.Path) -> set[str]:
    """What a heading is called in a link."""
    titles = re.findall(r"^#+ +(.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(path: pathlib.Path):
    """Where a document leads within this repository: the link, the file, the heading if one is named."""
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not re.match(r"[a-z]+:", link):
            name, _, anchor = link.partition("#")
            yield link, (path.parent / name).resolve() if name else path, anchor


def test_links_lead_somewhere():
    checked = 0
    for path in MARKDOWN:
        for link, there, anchor in links(path):
            where = f"{link} in {path.relative_to(ROOT)}"
            assert there.exists(), f"{where}: there is no {there}"
            assert not anchor or anchor in anchors(there), f"{where}: no such heading"
            checked += 1
    assert checked > 50, checked


def test_every_document_is_found():
    """From the README, step by step."""
    found, ahead = set(), [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path not in found:
            found.add(path)
            ahead += [there for _, there, _ in links(path) if there.suffix == ".md" and there.exists()]
    assert not set(MARKDOWN) - found, f"nothing leads to {set(MARKDOWN) - found}"


def test_the_readme_reads_in_five_minutes():
    """At 250 to 280 words a minute, what is shown of programs not counted."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    words = [word for word in text.split() if re.search("[A-Za-z]", word)]
    assert len(words) < 1_400, f"it has {len(words)} words: put length into docs/"


def test_every_alert_is_explained():
    """Where it leads, and nothing that is no alert."""
    rules = ROOT / "deploy/prometheus/alerts.yml"
    alerts = re.findall(r"^ *- alert: (\w+)$", rules.read_text(), re.MULTILINE)
    section = (ROOT / "docs/OPERATIONS.md").read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    assert len(alerts) > 10 and re.findall(r"^### (\w+)$", section, re.MULTILINE) == alerts
