"""What docs/TOKENS.md says about making tokens works, in each of its languages."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import House
from generated import ROOT
from signalbox_client import SECONDS
from signalbox_server import binary, clean_environment

SECRET = "a secret of the tests, which is long enough\n"


def example(language: str) -> str:
    """The one block of a language there."""
    document = (ROOT / "docs/TOKENS.md").read_text()
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, language
    return blocks[0]


def tools() -> pathlib.Path:
    if not (folder := os.environ.get("SIGNALBOX_TEST_TOOLS")):
        pytest.skip("tests/all installs the libraries and says where")
    return pathlib.Path(folder)


def command(language: str, folder: pathlib.Path) -> tuple[list[str], dict[str, str]]:
    """How the example is run, and what it needs in its environment."""
    if language == "python":
        return [sys.executable, "-c", example(language)], {}
    if language == "js":
        (folder / "token.js").write_text(example(language))
        return ["node", "token.js"], {"NODE_PATH": str(tools() / "node" / "node_modules")}
    module = tools() / "go-jwt"
    for name in ("go.mod", "go.sum"):
        shutil.copy(module / name, folder)
    (folder / "main.go").write_text(example(language))
    go = (module / "go-command").read_text().strip()
    subprocess.run([go, "build", "-o", "token", "."], cwd=folder, check=True, timeout=120, env=without_goroot())
    return ["./token"], {}


def without_goroot() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "GOROOT"} | {"CGO_ENABLED": "0"}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


@pytest.mark.parametrize("language", ["python", "js", "go"])
def test_a_token_made_as_the_document_says_opens_its_session(language, tmp_path, secret):
    line, environment = command(language, tmp_path)
    made = subprocess.run(
        line, cwd=tmp_path, env=clean_environment() | environment, capture_output=True, text=True, timeout=SECONDS
    )
    assert made.returncode == 0, made.stderr
    joined = join(made.stdout.strip(), "demo", secret)
    assert "alice" in joined.stdout, joined
    refused = join(made.stdout.strip(), "other", secret)
    assert refused.returncode == 1 and "SESSION_FORBIDDEN" in refused.stderr, refused


def join(token: str, session: str, secret: pathlib.Path) -> subprocess.CompletedProcess:
    """One that joins, and leaves at the end of its input."""
    house = House("--jwt-secret-file", str(secret))
    try:
        return subprocess.run(
            [str(binary()), "join", session, "--server", f"http://{house.server.target}", "--json"],
            input="",
            env=clean_environment() | {"SIGNALBOX_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    finally:
        house.close()
