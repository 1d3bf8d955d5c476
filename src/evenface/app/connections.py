"""Close connections that stall: else a few dozen half-open ones would hold up everybody."""

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Seconds in which the header of a request has to be complete."""
STALLED_SECONDS = 60.0
"""Seconds for which a client may read nothing of an answer that waits for it."""
MAX_WAITING = 32
"""Connections that may be without a complete header at a time; the oldest make room for new ones."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on a request's header and on reading the answer.

    uvicorn limits neither; the body's limit is in :class:`~evenface.app.guard.Guard`.
    """

    waiting: ClassVar[dict["TimedProtocol", asyncio.TimerHandle]] = {}
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start or stop the clock, whichever the data call for."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._forget()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self not in self.waiting:
            self.waiting[self] = self.loop.call_later(HEADER_SECONDS, self._close)
            while len(self.waiting) > MAX_WAITING:
                next(iter(self.waiting))._close()

    def _forget(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _close(self) -> None:
        self._forget()
        self.transport.abort()
