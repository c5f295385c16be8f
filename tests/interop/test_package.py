"""What `deploy/package` makes is whole, and works: all of it but the static build."""

import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import tarfile

import pytest
from generated import ROOT
from signalbox_client import SECONDS
from signalbox_server import binary, clean_environment

PACKAGE_SECONDS = 200


def package(out: pathlib.Path) -> pathlib.Path:
    """The archive."""
    line = [str(ROOT / "deploy/package"), "--with", str(binary()), "--out", str(out), "--no-bom"]
    done = subprocess.run(line, capture_output=True, text=True, env=clean_environment(), timeout=PACKAGE_SECONDS)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def commands(name: str = "") -> list[str]:
    """Every command that help names, and those within it."""
    line = [str(binary()), *name.split("-"), "--help"] if name else [str(binary()), "--help"]
    text = subprocess.run(line, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    if "\nCommands:\n" not in text:
        return []
    listed = text.split("\nCommands:\n")[1].split("\n\n")[0]
    inner = re.findall(r"^  ([a-z][a-z-]*)(?= |$)", listed, re.MULTILINE)
    found = [f"{name}-{one}" if name else one for one in inner if one != "help"]
    return found + [deeper for one in found for deeper in commands(one)]


pytestmark = pytest.mark.timeout(PACKAGE_SECONDS + 60)


def test_what_is_in_it(archive, unpacked):
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert re.fullmatch(rf"signalbox-{re.escape(version)}-[a-z0-9_]+(-[a-z]+)+\.tar\.gz", archive.name)
    sums = (archive.parent / "SHA256SUMS").read_text()
    assert sums == f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
    for name in [
        "CHANGELOG.md",
        "README.md",
        "SECURITY.md",
        "completions/_signalbox",
        "completions/signalbox.bash",
        "completions/signalbox.fish",
        "docs/OPERATIONS.md",
        "licences/LICENSE-APACHE",
        "licences/LICENSE-MIT",
        "licences/THIRD-PARTY.txt",
        "man/man1/signalbox.1",
    ]:
        assert (unpacked / name).stat().st_size > 100, name
    said = subprocess.run([str(unpacked / "signalbox"), "--version"], capture_output=True, text=True, timeout=SECONDS)
    assert said.stdout == f"signalbox {version}\n", said


def test_the_same_again_is_the_same(archive, tmp_path):
    assert package(tmp_path).read_bytes() == archive.read_bytes()


def test_every_command_has_its_page(unpacked):
    pages = {path.name for path in (unpacked / "man/man1").iterdir()}
    expected = {"signalbox.1"} | {f"signalbox-{name}.1" for name in commands()}
    assert len(expected) > 15 and pages == expected


def test_pages_are_good_roff(unpacked):
    if not shutil.which("man"):
        pytest.skip("tests/all installs man-db")
    for path in sorted((unpacked / "man/man1").iterdir()):
        line = ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(path)]
        shown = subprocess.run(
            line, capture_output=True, text=True, env=clean_environment() | {"MANPAGER": "cat", "MANWIDTH": "80"}, timeout=SECONDS
        )
        assert shown.returncode == 0 and not shown.stderr, f"{path.name}: {shown.stderr}"
        name = path.name.removesuffix(".1")
        assert re.search(rf"\b{name}\s+(-|‐|—|–)", shown.stdout) and "SYNOPSIS" in shown.stdout, shown.stdout[:500]
    serve = (unpacked / "man/man1/signalbox-serve.1").read_text().replace("\\", "")
    assert "--max-resume-window" in serve and "SIGNALBOX_MAX_RESUME_WINDOW" in serve and "120s" in serve


# How each shell is asked what can follow `signalbox jo`, and after `--eng` of serve.
SHELLS = {
    "bash": (
        'source "$1/signalbox.bash"; COMP_WORDS=(signalbox "${@:2}"); COMP_CWORD=$(($# - 1)); '
        '_signalbox signalbox "${!#}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"'
    ),
    "fish": 'source $argv[1]/signalbox.fish; complete --do-complete "signalbox $argv[2..]"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completions_complete(shell, unpacked):
    if not shutil.which(shell):
        pytest.skip(f"tests/all installs {shell}")
    for typed, expected in [(["jo"], "join"), (["serve", "--eng"], "--engine"), (["bench", "fano"], "fanout")]:
        extra = ["-"] if shell == "bash" else []
        line = [shell, "-c", SHELLS[shell], *extra, str(unpacked / "completions"), *typed]
        said = subprocess.run(line, capture_output=True, text=True, timeout=3 * SECONDS)
        offered = [one.split("\t")[0] for one in said.stdout.splitlines()]
        assert offered == [expected], f"{typed}: {said}"


def test_completions_are_found_by_zsh(unpacked):
    if not shutil.which("zsh"):
        pytest.skip("tests/all installs zsh")
    script = (
        'fpath=("$1" $fpath); autoload -Uz compinit; compinit -u -D; '
        "print -r -- $_comps[signalbox]; autoload +X _signalbox; print -r -- $+functions[_signalbox]"
    )
    line = ["zsh", "-f", "-c", script, "zsh", str(unpacked / "completions")]
    said = subprocess.run(line, capture_output=True, text=True, timeout=3 * SECONDS)
    assert said.stdout.split() == ["_signalbox", "1"] and not said.stderr, said


def test_what_is_linked_in_is_told_with_its_terms(unpacked):
    text = (unpacked / "licences/THIRD-PARTY.txt").read_text()
    for crate in ["tokio", "aws-lc-sys", "mimalloc", "tonic", "rustls"]:
        assert re.search(rf"^{crate} v\d+\.\d+\.\d+ \(.+\)$", text, re.MULTILINE), crate
    assert "Permission is hereby granted" in text and "proptest" not in text


def test_the_bill_of_materials_names_what_is_linked_in(tmp_path):
    """By the tool of deploy/package, where it is installed: it isn't for CI, which it would take minutes."""
    pinned = re.search(r"^CYCLONEDX=(.*)$", (ROOT / "deploy/package").read_text(), re.MULTILINE)[1]
    tool = shutil.which("cargo-cyclonedx")
    if not tool or pinned not in subprocess.run([tool, "cyclonedx", "--version"], capture_output=True, text=True).stdout:
        pytest.skip(f"cargo-cyclonedx {pinned} is not installed")
    line = [str(ROOT / "deploy/package"), "--with", str(binary()), "--out", str(tmp_path)]
    subprocess.run(line, check=True, capture_output=True, env=clean_environment(), timeout=PACKAGE_SECONDS)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tar:
        name = next(one for one in tar.getnames() if one.endswith(".cdx.json"))
        bom = json.load(tar.extractfile(name))
    names = {component["name"] for component in bom["components"]}
    assert bom["bomFormat"] == "CycloneDX" and {"tokio", "tonic", "rustls"} <= names and "proptest" not in names
    assert bom["metadata"]["component"]["name"] == "signalbox"


def test_the_crate_holds_what_it_needs_and_no_more():
    line = ["cargo", "package", "--list", "--locked", "--offline", "--allow-dirty"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PACKAGE_SECONDS)
    assert listed.returncode == 0 and "warning" not in listed.stderr, listed.stderr
    names = set(listed.stdout.split())
    sources = {str(path.relative_to(ROOT)) for folder in ("src", "proto") for path in (ROOT / folder).rglob("*.*")}
    needed = {"build.rs", "Cargo.lock", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "clients/scenarios.json"}
    assert needed | sources <= names, (needed | sources) - names
    strange = [name for name in names if re.match(r"clients/(?!rust/)\w+/|\.ci|deny\.toml", name)]
    assert not strange, strange
    # Every target that the manifest names: a missing one is a warning to who builds it.
    targets = re.findall(r'^path = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert set(targets) <= names, set(targets) - names
