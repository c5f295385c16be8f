"""README.md's commands, run as they stand there, print what it says they print."""

import os
import socket
import subprocess
import tempfile
import time

import pytest
from readme import README, Command, difference, matches, sections
from signalbox_client import SECONDS
from signalbox_server import binary, clean_environment

PORT = 50051


def port_answers() -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def wait_until(condition, what: str) -> None:
    """Polls: other processes' output has no event to wait for."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Shell:
    """The reader's terminals: one for each command that stays."""

    def __init__(self):
        self._staying: list[tuple[Command, subprocess.Popen, str]] = []
        self._server: subprocess.Popen | None = None
        self._directory = tempfile.TemporaryDirectory()
        path = f"{binary().parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = clean_environment() | {"PATH": path}

    def _start(self, line: str, output) -> subprocess.Popen:
        # `exec` makes the process that is started the one that is ended; `env` takes assignments.
        return subprocess.Popen(
            ["bash", "-c", f"exec env {line}"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment,
        )

    def run(self, command: Command) -> None:
        if command.starts_server:
            self.serve(command)
        elif command.stays:
            _, output = self._stay(command)
            # The commands after it count on its being there.
            wait_until(lambda: self._read(output).endswith("\n"), lambda: f"{command.line}\nprinted nothing")
        else:
            self.run_to_its_end(command)

    def serve(self, command: Command) -> None:
        self.stop_server()
        assert not port_answers(), f"port {PORT} is taken: the README's commands need it"
        self._server, output = self._stay(command)
        wait_until(
            lambda: self._server.poll() is not None or port_answers(),
            lambda: f"no server on port {PORT}:\n{self._read(output)}",
        )
        assert self._server.poll() is None, self._read(output)

    def _stay(self, command: Command) -> tuple[subprocess.Popen, str]:
        path = os.path.join(self._directory.name, str(len(self._staying)))
        with open(path, "wb") as output:
            process = self._start(command.as_run, output)
        self._staying.append((command, process, path))
        return process, path

    def _read(self, path: str) -> str:
        with open(path) as output:
            return output.read()

    def run_to_its_end(self, command: Command) -> None:
        process = self._start(command.as_run, subprocess.PIPE)
        try:
            output = process.communicate(timeout=SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(
                f"{command.line}\ndid not end; it printed:\n{process.communicate()[0].decode()}"
            ) from None
        if command.shown:
            assert matches(command.shown, output, prefix=False), f"{command.line}\n{difference(command.shown, output)}"
        else:
            assert process.returncode == 0, f"{command.line}\nfailed:\n{output}"

    def check_what_stayed(self) -> None:
        for command, _, path in self._staying:
            if command.shown:
                wait_until(
                    lambda: matches(command.shown, self._read(path), prefix=True),
                    lambda: f"{command.line}\n{difference(command.shown, self._read(path))}",
                )

    def stop_server(self) -> None:
        if self._server:
            self._end(self._server)
            self._server = None

    def _end(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdin.close()

    def close(self) -> None:
        for _, process, _ in reversed(self._staying):
            self._end(process)
        self._directory.cleanup()


def test_the_readme_has_commands():
    """A parser that finds nothing would pass everything."""
    commands = [command for section in sections().values() for command in section]
    assert any(command.starts_server for command in commands), README
    assert sum(command.line.startswith("grpcurl ") for command in commands) >= 4


@pytest.mark.parametrize("section", sections() if README.exists() else [])
def test_section(section):
    """What the README shows is what happens."""
    commands = sections()[section]
    shell = Shell()
    try:
        if not commands[0].starts_server:
            shell.serve(Command("signalbox", []))
        for command in commands:
            shell.run(command)
        shell.check_what_stayed()
    finally:
        shell.close()
