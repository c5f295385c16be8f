"""What is to be sent, what is on its way, and how fast."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from .errors import QueueFullError
from .v1 import signaling_pb2

Frame = Callable[[int], signaling_pb2.JoinRequest]


@dataclasses.dataclass(slots=True)
class Send:
    """Something to send that has one outcome: `ticket` is whom to tell it."""

    frame: Frame
    size: int
    retry: bool
    ticket: Any
    send_id: int = 0
    due: bool = False
    """Whether it must be sent again."""


class Sends:
    """The sends of one client, in their order."""

    def __init__(self, limits: tuple[int, int]):
        self.waiting: deque[Send] = deque()
        self._size = 0
        self._unresolved: dict[int, Send] = {}
        self._last_id = 0
        self._limits = limits

    def push(self, send: Send, at_once: bool) -> None:
        full = len(self.waiting) >= self._limits[0] or self._size + send.size > self._limits[1]
        if full and not at_once:
            raise QueueFullError(len(self.waiting), self._size, self._limits)
        self._size += send.size
        self.waiting.append(send)

    @property
    def unresolved(self) -> int:
        return len(self._unresolved)

    def is_settled(self) -> bool:
        return not self.waiting and not self._unresolved

    def again(self) -> Iterator[signaling_pb2.JoinRequest]:
        """What must be sent again, in order: it was allowed before."""
        for send in self._unresolved.values():
            if send.due:
                send.due = False
                yield send.frame(send.send_id)

    def next(self) -> signaling_pb2.JoinRequest:
        """The next to be sent for the first time."""
        send = self.waiting.popleft()
        self._size -= send.size
        self._last_id += 1
        send.send_id = self._last_id
        self._unresolved[send.send_id] = send
        return send.frame(send.send_id)

    def resolve(self, send_id: int) -> Any | None:
        """Whom to tell an outcome; none when it was told before."""
        send = self._unresolved.pop(send_id, None)
        return send and send.ticket

    def lost(self) -> list[Any]:
        """The stream is lost: those that are not to wait for the next."""
        failed = [send for send in self.waiting if not send.retry]
        self.waiting = deque(send for send in self.waiting if send.retry)
        self._size = sum(send.size for send in self.waiting)
        return [send.ticket for send in failed]

    def resumed(self, decided: int, lost: bool) -> list[Any]:
        """The connection is resumed and the server has decided up to `decided`: what is above
        must be sent again. Those that are not to be sent later come back: they were not sent."""
        failed = []
        for send in list(self._unresolved.values()):
            if send.send_id > decided and lost and not send.retry:
                failed.append(self._unresolved.pop(send.send_id).ticket)
            else:
                send.due = send.send_id > decided
        # An id that was never decided may still be used only upwards.
        self._last_id = max(self._last_id, decided)
        return failed

    def renewed(self) -> list[Any]:
        """The connection is another: nobody knows what became of what was on its way."""
        self._last_id = 0
        tickets = [send.ticket for send in self._unresolved.values()]
        self._unresolved.clear()
        return tickets

    def discard(self) -> list[Any]:
        """What was never sent, and won't be."""
        self._size = 0
        tickets = [send.ticket for send in self.waiting]
        self.waiting.clear()
        return tickets


class Pace:
    """The server's rate limit, as the generic cell rate algorithm, counted when outcomes come:
    the server has taken each send by then, at the latest, so that its count is never above."""

    def __init__(self, per_second: int = 0, burst: int = 0):
        # Either is no limit to the server when it is 0.
        self._each = 1 / per_second if per_second and burst else 0.0
        self._burst = burst
        self._paid_at = 0.0

    def decided(self, now: float) -> None:
        """The outcome of one send came."""
        self._paid_at = max(self._paid_at, now) + self._each

    def ready_at(self, unresolved: int) -> float | None:
        """When one more may be sent; none: not before one of them is decided."""
        if not self._each:
            return 0.0
        spare = self._burst - unresolved - 1
        return None if spare < 0 else self._paid_at - self._each * spare
