"""What would break the clients of the last release is found, and what wouldn't isn't."""

import pathlib
import re
import shutil
import subprocess

import pytest
from generated import PROTO, ROOT
from signalbox_client import SECONDS

FILES = "signalbox/v1"

# A file, what stands in it, what is made of it, and what is said of that.
BREAKING = {
    "a field renamed": ("types.proto", r"string data = 2;", "string payload = 2;", 'name from "data" to "payload"'),
    "a number moved": ("types.proto", r"string data = 2;", "string data = 12;", "was deleted"),
    "a type changed": ("signaling.proto", r"uint64 send_id = 1;", "uint32 send_id = 1;", "changed type"),
    "a reason's value gone": ("types.proto", r"\n[^\n]*DISCONNECT_REASON_NODE_LOST = \d+;", "", "was deleted"),
    "a call gone": ("session.proto", r"rpc GetSession\(.*?\) returns \(.*?\);", "", "was deleted"),
    "a call that streams": ("session.proto", r"returns \(GetSessionResponse\)", "returns (stream GetSessionResponse)", ""),
}


def check(folder: pathlib.Path, root: pathlib.Path = ROOT) -> subprocess.CompletedProcess:
    if not shutil.which("buf"):
        pytest.skip("tests/all installs buf")
    return subprocess.run(
        [str(root / "tests/breaking"), str(folder)], capture_output=True, text=True, timeout=SECONDS * 3
    )


@pytest.fixture
def protos(tmp_path):
    """A copy to change."""
    shutil.copytree(PROTO, tmp_path / "proto")
    return tmp_path / "proto"


def change(protos: pathlib.Path, file: str, pattern: str, replacement: str) -> None:
    path = protos / FILES / file
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
    assert count == 1, f"{pattern} is not in {file}"
    path.write_text(text)


def test_what_is_there_breaks_nothing():
    done = check(PROTO)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("what", BREAKING)
def test_what_breaks_clients_is_found(what, protos):
    file, pattern, replacement, said = BREAKING[what]
    change(protos, file, pattern, replacement)
    done = check(protos)
    assert done.returncode != 0 and said in done.stdout, done.stdout + done.stderr


def test_what_is_added_is_none(protos):
    change(protos, "types.proto", r"string data = 2;", "string data = 2;\n  // A third.\n  string more = 3;")
    change(protos, "session.proto", r"rpc GetSession\(", "rpc LookAt(GetSessionRequest) returns (GetSessionResponse);\n  rpc GetSession(")
    done = check(protos)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_tag_is_the_last_release_and_the_copy_must_be_its(tmp_path):
    shutil.copytree(PROTO, tmp_path / "proto")
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/breaking", tmp_path / "tests")
    shutil.copytree(ROOT / "tests/released", tmp_path / "tests/released")

    def git(*words: str) -> None:
        name = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", *name, *words], cwd=tmp_path, check=True, capture_output=True, timeout=SECONDS)

    git("init")
    released = tmp_path / "proto"
    change(released, "types.proto", r"string data = 2;", "string data = 2;\n  // A third.\n  string more = 3;")
    git("add", ".")
    git("commit", "--message", "A release")
    git("tag", "v9.9.9")
    done = check(released, tmp_path)
    assert done.returncode == 1 and "tests/breaking --released was forgotten" in done.stderr, done

    subprocess.run([str(tmp_path / "tests/breaking"), "--released"], check=True, timeout=SECONDS)
    done = check(released, tmp_path)
    assert done.returncode == 0 and "v9.9.9" in done.stdout, done
    change(released, "types.proto", r"string more = 3;", "")
    done = check(released, tmp_path)
    assert done.returncode != 0 and "was deleted" in done.stdout, done
