"""Generates the Python client from `proto/` and makes it importable.

Into a directory of its own that goes with the process: what is committed is the
contract, never its translation. It also shows that `protoc -I proto` is all
that a client's build needs.
"""

import atexit
import pathlib
import shutil
import sys
import tempfile

from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"


def _generate() -> str:
    out = tempfile.mkdtemp(prefix="signalbox-interop-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    files = [str(path) for path in sorted(PROTO.rglob("*.proto"))]
    # grpcio-tools brings Google's well-known types with it, as every protoc does.
    well_known = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(arguments + files) != 0:
        raise RuntimeError(f"protoc could not generate a client from {PROTO}")
    return out


sys.path.insert(0, _generate())
