"""The examples in the clients' documents are of these clients: they run, or at least compile."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import House
from documents import blocks
from generated import ROOT
from signalbox_client import SECONDS
from signalbox_server import clean_environment

# Of what compiles.
BUILD_SECONDS = 120


def tools() -> pathlib.Path:
    if not (folder := os.environ.get("SIGNALBOX_TEST_TOOLS")):
        pytest.skip("tests/all installs the clients and says where")
    return pathlib.Path(folder)


def example(document: str, language: str) -> str:
    """The first block of that language."""
    return next(text for kind, text in blocks(ROOT / document) if kind == language)


def prints(line: list[str], text: str, environment: dict[str, str], folder: pathlib.Path) -> None:
    """Such examples never end: until they have printed that."""
    process = subprocess.Popen(
        line,
        cwd=folder,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        # The pipe ends with the process, and the test's time-out ends both.
        for printed in process.stdout:
            said += printed
            if text in said:
                return
        raise AssertionError(f"it ended, and had printed:\n{said}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def house():
    """A server where the examples look for one."""
    house = House(listen="127.0.0.1:50051")
    yield house
    house.close()


def test_pythons(house, tmp_path):
    python = tools() / "client-python/bin/python"
    code = example("clients/python/README.md", "python")
    prints([str(python), "-u", "-c", code], "in place 2 among ['Ada']", {}, tmp_path)


def test_typescripts(house, tmp_path):
    tools()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/signalbox-client").symlink_to(ROOT / "clients/typescript")
    (tmp_path / "example.mjs").write_text(example("clients/typescript/README.md", "ts"))
    prints(["node", "example.mjs"], "in place 2n among [ 'Ada' ]", {}, tmp_path)


@pytest.mark.timeout(BUILD_SECONDS + 10)
def test_gos(tmp_path):
    go = (tools() / "go-jwt/go-command").read_text().strip()
    module = tmp_path / "module"
    shutil.copytree(ROOT / "clients/go", module)
    (module / "example").mkdir()
    body = example("clients/go/README.md", "go").replace("\n", "\n\t")
    (module / "example/main.go").write_text(
        'package main\n\nimport (\n\t"context"\n\t"fmt"\n\n\tsignalbox "github.com/signalbox/signalbox/clients/go"\n)\n\n'
        # What a page has no room for: looking at errors.
        f"func main() {{\n\tctx := context.Background()\n\t{body}\n\t_, _ = accepted, err\n}}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    built = subprocess.run(
        [go, "build", "-o", os.devnull, "./example"],
        cwd=module,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    assert built.returncode == 0, built.stderr


def rust_examples() -> set[str]:
    """Those in the Rust client's documentation, which `cargo test` compiles, as a reader sees them."""
    found = set()
    for path in (ROOT / "src/client").rglob("*.rs"):
        text = "\n".join(re.sub(r"^\s*//[/!] ?", "", line) for line in path.read_text().splitlines())
        for block in re.findall(r"^```(?:no_run)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            shown = [line for line in block.splitlines() if not re.match(r"# |#$", line)]
            found.add("\n".join(shown).strip() + "\n")
    return found


@pytest.mark.parametrize("document", ["README.md", "clients/rust/README.md"])
def test_rusts(document):
    """Written twice, because a page can't hide what makes a program of it."""
    there = rust_examples()
    shown = [text.strip() + "\n" for kind, text in blocks(ROOT / document) if kind == "rust"]
    assert shown
    for text in shown:
        assert text in there, f"no documentation in src/client has:\n{text}"
