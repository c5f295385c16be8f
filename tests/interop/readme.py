"""Reads the commands of README.md and what it says they print.

A `console` block holds commands after `$ `, each followed by its output; in an
`sh` block every line is a command. A line `…` in an output stands for any
lines, a `…` within one for any text.
"""

import dataclasses
import difflib
import re

from generated import ROOT

README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "docs/COMMANDS.md", ROOT / "docs/BENCHMARKS.md"]

_FENCE = re.compile(r"^```(console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## +(.*)$", re.MULTILINE)
_ASSIGNMENTS = r"(?:\w+=\S* +)*"
_RUNNABLE = re.compile(_ASSIGNMENTS + r"(grpcurl|signalbox|cargo run --release)(?= |$)")
_STAYS = re.compile(r"/Join\b|/WatchSessions\b|\bsignalbox (?:join|watch)\b")
# What cargo says before the program does.
_CARGO = re.compile(r"^ *(Compiling|Finished|Running|Downloaded|Downloading|Updating) ")

# What differs from run to run, in whichever form it is printed.
_VARIABLE = [
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}\b(?!-)"), "<short id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r'("epoch": *)"?\d+"?'), r"\1<epoch>"),
    (re.compile(r"\b(epoch[ =:]+)\d+"), r"\1<epoch>"),
    (re.compile(r'("resumeToken": *)"[^"…]*"'), r"\1<token>"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "<jwt>"),
]


@dataclasses.dataclass
class Command:
    """One command line and the output shown below it; None: no output is shown."""

    line: str
    shown: list[str] | None

    @property
    def starts_server(self) -> bool:
        words = re.sub(_ASSIGNMENTS, "", self.as_run, count=1).split()
        if words[0] != "signalbox" or "--help" in words or "--version" in words:
            return False
        return len(words) == 1 or words[1] == "serve" or words[1].startswith("-")

    @property
    def stays(self) -> bool:
        return bool(_STAYS.search(self.as_run))

    @property
    def as_run(self) -> str:
        """The line with the binary in cargo's place."""
        return re.sub(r"\bcargo run --release(?: --(?= |$))?", "signalbox", self.line)


def _commands(language: str, block: str):
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    command = None
    for line in lines:
        if language == "sh":
            yield Command(line.strip(), None)
        elif line.startswith("$ "):
            if command:
                yield command
            command = Command(line[2:].strip(), [])
        elif command:
            command.shown.append(line)
    if command:
        yield command


def sections() -> dict[str, list[Command]]:
    """The runnable commands below each second-level heading of each document."""
    found = {}
    for document in DOCUMENTS:
        parts = _HEADING.split(document.read_text())
        for title, body in zip(["(before the first heading)", *parts[1::2]], parts[0::2]):
            commands = [command for fence in _FENCE.findall(body) for command in _commands(*fence)]
            if runnable := [command for command in commands if _RUNNABLE.match(command.line)]:
                found[f"{document.name}: {title}"] = runnable
    return found


def normal(output: str) -> list[str]:
    """The lines without what differs from run to run."""
    for pattern, replacement in _VARIABLE:
        output = pattern.sub(replacement, output)
    lines = [" ".join(line.split()) for line in output.splitlines() if not _CARGO.match(line)]
    return [line for line in lines if line]


def matches(shown: list[str], output: str, prefix: bool) -> bool:
    """Whether `output` is what the README shows, or begins so."""
    pattern = ""
    for line in normal("\n".join(shown)):
        if line in ("…", "..."):
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    match = re.match if prefix else re.fullmatch
    return bool(match(pattern, "".join(line + "\n" for line in normal(output))))


def difference(shown: list[str], output: str) -> str:
    return "\n".join(
        difflib.unified_diff(normal("\n".join(shown)), normal(output), "README.md", "printed", lineterm="", n=50)
    )
