"""A peer that speaks just enough HTTP/2 to misbehave where a gRPC library won't."""

import socket
import struct

from signalbox.v1 import signaling_pb2
from signalbox_client import JOIN

_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_HEADERS = 0x04


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header, never indexed and not compressed: the one form that needs no table."""
    field = b"\x10"
    for text in (name.encode(), value.encode()):
        # Seven bits hold these lengths.
        assert len(text) < 127
        field += bytes([len(text)]) + text
    return field


def message(body: bytes) -> bytes:
    """A gRPC message: its prefix and its bytes."""
    return struct.pack(">BI", 0, len(body)) + body


class RawPeer:
    """One TCP connection with one open `Join` stream."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": JOIN,
            ":authority": f"127.0.0.1:{port}",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        block = b"".join(_literal(name, value) for name, value in headers.items())
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, block)
        )

    def write(self, data: bytes) -> None:
        """Writes a piece of the request's body: a message, or half of one."""
        self._socket.sendall(_frame(_DATA, 0, 1, data))

    def join(self, session_id: str) -> None:
        join = signaling_pb2.JoinRequest(join=signaling_pb2.Join(session_id=session_id))
        self.write(message(join.SerializeToString()))

    def vanish(self) -> None:
        """Closes with a reset, as a crashed machine's kernel does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
