"""Starts and stops the release binary, and knows where it listens."""

import os
import pathlib
import queue
import re
import signal
import subprocess
import tempfile
import threading

from generated import ROOT

# The one place that reads the banner: `gRPC … http://127.0.0.1:50051`.
_ADDRESS = re.compile(r"\b(gRPC|admin|REST)\b.*?(http://[0-9.]+:(\d+))")

START_SECONDS = 20


def binary() -> pathlib.Path:
    """The binary under test: `SIGNALBOX_BIN`, or cargo's release build."""
    if named := os.environ.get("SIGNALBOX_BIN"):
        return pathlib.Path(named)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "signalbox"


def clean_environment() -> dict[str, str]:
    """The environment without `SIGNALBOX_*`, which would be flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}


class Server:
    """One server process; its ports are free ones unless `listen` says so."""

    def __init__(self, *flags: str, listen: str = "127.0.0.1:0", admin: str = "127.0.0.1:0"):
        self._log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [str(binary()), "--listen", listen, "--admin-listen", admin, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=clean_environment(),
        )
        self.banner: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._addresses: dict[str, str] = {}
        wanted = 3 if "--rest" in flags else 2
        while len(self._addresses) < wanted:
            self._learn_address()
        self.target = self._addresses["gRPC"].removeprefix("http://")
        self.admin = self._addresses["admin"]
        self.rest = self._addresses.get("REST")
        self.port = int(self.target.rpartition(":")[2])

    def _read(self) -> None:
        # Read to the end: a full pipe would block the server.
        for line in self.process.stdout:
            self.banner.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def _learn_address(self) -> None:
        try:
            line = self._lines.get(timeout=START_SECONDS)
        except queue.Empty:
            line = None
        if line is None:
            self.kill()
            raise AssertionError(f"no address in the banner {self.banner}; the log says:\n{self.log()}")
        if match := _ADDRESS.search(line):
            self._addresses[match[1]] = match[2]

    def log(self) -> str:
        """Everything on stderr so far."""
        self._log.flush()
        with open(f"/proc/self/fd/{self._log.fileno()}") as copy:
            return copy.read()

    def terminate(self) -> None:
        """Asks it to drain."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Its exit code, which must come within `seconds`."""
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """Ends it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
