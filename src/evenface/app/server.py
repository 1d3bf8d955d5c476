"""Starting and ending the server."""

import asyncio
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from evenface.app.catalogue import Catalogue
from evenface.config.limits import Limits
from evenface.utils.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECTIONS = 64
"""That are served at a time; each may bring an upload."""
EXTRA = "pip install 'evenface[app]'"


def serve(
    places: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    save_uploads: Path | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Parameters
    ----------
    places : sequence of Path
        Run folders, study folders, folders of these, ``.onnx`` files.
    host : str
        Address to bind to. Where it is not of this machine alone, a token is needed.
    port : int
        0 takes a free one.
    save_uploads : Path, optional
        Folder to save uploads and results to.
    limits : Limits, optional
        What is refused.
    ready : callable, optional
        Told the address of the page when it can be opened.

    Raises
    ------
    InputError
        If a package is missing, nothing is found, or the port cannot be used.
    """
    try:
        import python_multipart  # noqa: F401
        import uvicorn

        from evenface.app.api import create_app
    except ImportError as error:
        raise InputError(f"{error.name or 'a package'}, which serves the page, is not installed", EXTRA) from error

    catalogue = Catalogue(places)
    for note in catalogue.notes:
        print(note, file=sys.stderr)
    token = "" if host in LOOPBACK else secrets.token_urlsafe(24)
    listening = _bound(host, port)
    app = create_app(catalogue, limits=limits, host=host, token=token, save_uploads=save_uploads)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.jobs.stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        log_level="error",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=CONNECTIONS,
    )
    if ready is not None:
        shown = _named(host)
        ready(f"http://{shown}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else ""))
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # the server has ended by then; this is how it says why
    finally:
        app.state.jobs.close()
        listening.close()


def _bound(host: str, port: int) -> socket.socket:
    """Take the port, or say why not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        if sys.platform != "win32":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(f"port {port} of {host} cannot be used: {said}", "Say another one: --port.") from error
    return found


def _named(host: str) -> str:
    """Say how the page is reached from another machine."""
    if host in ("0.0.0.0", "::"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect(("192.0.2.1", 9))  # sends nothing; says which address would be used
                return str(asked.getsockname()[0])
            except OSError:
                return socket.gethostname()
    return f"[{host}]" if ":" in host else host


HEADER_SECONDS = 10.0
"""Seconds in which the header of a request has to be complete."""
STALLED_SECONDS = 60.0
"""Seconds for which a client may read nothing of an answer that waits for it."""
MAX_WAITING = 32
"""Connections that may be without a complete header at a time; the oldest make room for new ones."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on a request's header and on reading the answer.

    uvicorn limits neither; the body's limit is in :class:`~evenface.app.access.Guard`.
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
