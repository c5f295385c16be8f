"""Reads the commands of every document, and what it says they print.

Documents are the Markdown files, and the comments of what is for operators and of the
examples. A `console` block holds commands after `$ `, each followed by its output; in an
`sh` block every line is a command. A line `…` in an output stands for any lines, a `…`
within one for any text.
"""

import dataclasses
import difflib
import os
import pathlib
import re

from generated import ROOT

COMMANDS = {"console", "sh"}
# What a block may be that holds no commands. A new kind is a decision.
OTHERS = {"go", "html", "java", "js", "json", "kotlin", "proto", "python", "rust", "text", "toml", "ts", "xml", "yaml"}

_NOT_OURS = {".git", "node_modules", "target", "dist", "build", ".venv"}
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## +(.*)$", re.MULTILINE)
_ASSIGNMENTS = r"(?:\w+=\S* +)*"
_STAYS = re.compile(
    r"/Join\b|/WatchSessions\b|\bsignalbox (?:join|top|watch)\b|--example (?:chat|backend)\b|\bnpm start\b"
)
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


def _found(*patterns: str) -> list[pathlib.Path]:
    files = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in files if not _NOT_OURS & set(path.relative_to(ROOT).parts))


MARKDOWN = _found("**/*.md")
# Their comments may hold commands: indented by three in `#`, in blocks in `//!`.
COMMENTED = [path for path in _found("deploy/**/*", "examples/*.rs") if not os.access(path, os.X_OK)]


@dataclasses.dataclass(frozen=True)
class Command:
    """One command line and the output shown below it; none: no output is shown."""

    line: str
    shown: tuple[str, ...] = ()

    @property
    def starts_server(self) -> bool:
        words = re.sub(_ASSIGNMENTS, "", self.as_run, count=1).split()
        if words[0] != "signalbox" or "--help" in words or "--version" in words or "|" in words:
            return False
        return len(words) == 1 or words[1] == "serve" or words[1].startswith("-")

    @property
    def stays(self) -> bool:
        return bool(_STAYS.search(self.line)) and not self.is_piped

    @property
    def is_piped(self) -> bool:
        """Its input ends, and so it does."""
        return " | " in self.line

    @property
    def as_run(self) -> str:
        """The line with what is built already in cargo's place, and in the foreground."""
        line = re.sub(r"\bcargo run --release(?: --(?= |$))?", "signalbox", self.line)
        line = re.sub(r"\bcargo run --example (\w+)(?: --(?= |$))?", r'"$EXAMPLES"/\1', line)
        return line.removesuffix(" &")


@dataclasses.dataclass(frozen=True)
class Section:
    """The commands below one second-level heading: one reader's terminals."""

    document: str
    title: str
    commands: tuple[Command, ...]

    @property
    def name(self) -> str:
        return f"{self.document}: {self.title}"


def _commands(language: str, block: str):
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    line, shown = None, []
    for text in lines:
        if language == "sh":
            if text.strip() and not text.lstrip().startswith("#"):
                yield Command(_without_comment(text))
        elif text.startswith("$ "):
            if line:
                yield Command(line, tuple(shown))
            line, shown = _without_comment(text[2:]), []
        elif line:
            shown.append(text)
    if line:
        yield Command(line, tuple(shown))


def _without_comment(line: str) -> str:
    return re.sub(r" {2,}#(?= ).*$", "", line).strip()


def text_of(path: pathlib.Path) -> str:
    """A document as Markdown: what is in comments as what it would be without."""
    text = path.read_text()
    if path.suffix == ".md":
        return text
    if path.suffix == ".rs":
        return "".join(f"{line[4:]}\n" for line in text.splitlines() if line.startswith("//!"))
    commands = re.sub(r"\\\n# *", "", text)
    lines = [line[4:] for line in commands.splitlines() if re.match(r"#   \S", line)]
    return "```sh\n" + "".join(f"{line}\n" for line in lines) + "```\n" if lines else ""


def blocks(path: pathlib.Path) -> list[tuple[str, str]]:
    """What stands between fences: its language and its text, less what it is indented by."""
    found = _FENCE.findall(text_of(path))
    return [(language, re.sub(f"^{indent}", "", block, flags=re.MULTILINE)) for indent, language, block in found]


def sections() -> list[Section]:
    """All commands of all documents."""
    found = []
    for path in MARKDOWN + COMMENTED:
        parts = _HEADING.split(text_of(path))
        for title, body in zip(["(top)", *parts[1::2]], parts[0::2]):
            fences = [(language, block) for _, language, block in _FENCE.findall(body)]
            commands = [one for fence in fences if fence[0] in COMMANDS for one in _commands(*fence)]
            if commands:
                found.append(Section(str(path.relative_to(ROOT)), title, tuple(commands)))
    return found


def normal(output: str) -> list[str]:
    """The lines without what differs from run to run."""
    for pattern, replacement in _VARIABLE:
        output = pattern.sub(replacement, output)
    lines = [" ".join(line.split()) for line in output.splitlines() if not _CARGO.match(line)]
    return [line for line in lines if line]


def matches(shown: tuple[str, ...], output: str, prefix: bool) -> bool:
    """Whether `output` is what the document shows, or begins so."""
    pattern = ""
    for line in normal("\n".join(shown)):
        if line in ("…", "..."):
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    match = re.match if prefix else re.fullmatch
    return bool(match(pattern, "".join(line + "\n" for line in normal(output))))


def difference(shown: tuple[str, ...], output: str) -> str:
    return "\n".join(
        difflib.unified_diff(normal("\n".join(shown)), normal(output), "the document", "printed", lineterm="", n=50)
    )
