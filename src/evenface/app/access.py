"""Access control: host names, token, origin, size and speed of requests, security headers."""

import asyncio
import hmac
import ipaddress
import json
import re
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import h11
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

COOKIE = "evenface-token"
HEALTH = "/api/v1/health"
"""Address that needs no token: whoever watches the service asks it."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Reports embed their styles and images, and have no script."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
SAFE_METHODS = ("GET", "HEAD")
BODY_SECONDS, BODY_RATE = 30.0, 20_000.0
"""Time limit of a request's body: these seconds, and one more for each so many bytes."""
Refusal = tuple[int, str, str]
"""Status code, message, hint."""


@dataclass(frozen=True)
class AccessPolicy:
    """Which requests are accepted: known host names, same origin, valid token, limited size in bytes."""

    host: str
    token: str
    upload: int

    def accepts_host(self, name: str) -> bool:
        """Return whether a host name may address this server; DNS rebinding points foreign names here."""
        host = (_split(f"//{name}").hostname or "").rstrip(".")
        if host in ("localhost", "127.0.0.1", "::1"):
            return True
        if not self.token:
            return False
        return _is_address(host) or host in (self.host.lower(), socket.gethostname().lower())

    def accepts_origin(self, headers: Headers) -> bool:
        """Return whether a request comes from this server's own page, or from no page."""
        origin = headers.get("origin")
        if origin is not None:
            return _split(origin).netloc.lower() == headers.get("host", "").lower()
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")

    def accepts_token(self, token: str) -> bool:
        """Return whether this is the token, compared in constant time."""
        return hmac.compare_digest(token.encode(), self.token.encode())


def _split(address: str) -> SplitResult:
    """Split a URL; an invalid one is treated as empty."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware that applies an access policy to every request."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self.app, self.policy = app, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the application has no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _send_error(send, *refusal)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if self.policy.token and "token" in query:
            await _send_cookie(send, cookie_name(scope), self.policy.token)
            return
        await _LimitedRequest(self.app, self.policy.upload).run(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return why a request is refused, or None."""
        if not self.policy.accepts_host(headers.get("host", "")):
            return 421, "Unknown host name", "Open the address printed in the terminal."
        if scope["path"] == HEALTH and scope["method"] in SAFE_METHODS:
            return None
        if self.policy.token and not self.policy.accepts_token(_token(scope, headers)):
            return 401, "The token is missing or wrong", "Open the address printed in the terminal."
        if scope["method"] not in SAFE_METHODS and not self.policy.accepts_origin(headers):
            return 403, "The request comes from another page", "Use the page of this server."
        length = headers.get("content-length")
        if length is not None and not (re.fullmatch("[0-9]{1,15}", length) and int(length) <= self.policy.upload):
            return _too_large(self.policy.upload)
        return None


def _too_large(limit: int) -> Refusal:
    return 413, f"The upload is larger than {limit / 1e6:g} MB", "Use a smaller or shorter file."


def cookie_name(scope: Scope) -> str:
    """Return the cookie's name, which contains the port: browsers share cookies between the ports of a host."""
    return f"{COOKIE}-{(scope.get('server') or ('', 0))[1]}"


def _token(scope: Scope, headers: Headers) -> str:
    """Return the token of a request: from its header, its address, or a cookie."""
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith("bearer "):
        return authorization[7:].strip()
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if scope["method"] in SAFE_METHODS and query.get("token"):
        return str(query["token"][0])
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name(scope))
    except CookieError:
        return ""
    return cookie.value if cookie else ""


async def _send_error(send: Send, status: int, what: str, do: str) -> None:
    body = json.dumps({"error": {"what": what, "do": do}}).encode()
    headers = {**HEADERS, "content-security-policy": PAGE_POLICY, "content-type": "application/json"}
    headers |= {"content-length": str(len(body)), "connection": "close"}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


async def _send_cookie(send: Send, name: str, token: str) -> None:
    """Store the token as a cookie and redirect to an address without it, as addresses are displayed and saved."""
    cookie = f"{name}={token}; Path=/; HttpOnly; SameSite=Strict"
    headers = {**HEADERS, "location": "/", "set-cookie": cookie, "content-length": "0"}
    await send({"type": "http.response.start", "status": 303, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": b""})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class _LimitedRequest:
    """A request whose bytes and seconds are counted as they arrive, as a client need not declare its length."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes, self.received = app, max_bytes, 0
        self.responding = self.complete = False
        self.refusal: Refusal | None = None

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def limited_receive() -> Message:
            if self.refusal:
                return {"type": "http.disconnect"}
            if self.complete:  # only the end of the connection can follow
                return await receive()
            try:
                async with asyncio.timeout_at(deadline + self.received / BODY_RATE):
                    message = await receive()
            except TimeoutError:
                self.refusal = 408, "The upload takes too long", "Send it again over a faster connection."
                return {"type": "http.disconnect"}
            self.received += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.received > self.max_bytes:
                self.refusal = _too_large(self.max_bytes)
                return {"type": "http.disconnect"}
            return message

        async def send_with_headers(message: Message) -> None:
            if self.refusal and not self.responding:
                return  # the application's response to an aborted request
            if message["type"] == "http.response.start":
                self.responding = True
                own = {name.lower() for name, _ in message["headers"]}
                defaults = _encoded({**HEADERS, "content-security-policy": PAGE_POLICY})
                message["headers"] = [*message["headers"], *(header for header in defaults if header[0] not in own)]
            await send(message)

        try:
            await self.app(scope, limited_receive, send_with_headers)
        finally:
            if self.refusal and not self.responding:
                await _send_error(send, *self.refusal)


HEADER_SECONDS = 10.0
"""Time limit of a request's header."""
STALLED_SECONDS = 60.0
"""Time for which a client may stop reading a response."""
MAX_WAITING = 32
"""Connections without a complete header at a time; above that, the oldest are closed."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a time limit on a request's header and on reading the response.

    uvicorn limits neither; the body's limit is in :class:`Guard`.
    """

    waiting: ClassVar[dict["TimedProtocol", asyncio.TimerHandle]] = {}
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start or stop the timer of the header, depending on whether it is complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of a client that does not read."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self not in self.waiting:
            self.waiting[self] = self.loop.call_later(HEADER_SECONDS, self._close)
            while len(self.waiting) > MAX_WAITING:
                next(iter(self.waiting))._close()

    def _stop_timer(self) -> None:
        timer = self.waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _close(self) -> None:
        self._stop_timer()
        self.transport.abort()
