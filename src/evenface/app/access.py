"""Who may ask, how much and how slowly they may send, and what a browser is told to do with the answers."""

import asyncio
import hmac
import ipaddress
import json
import os
import re
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evenface.utils.errors import InputError

COOKIE = "evenface-token"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Reports hold their own styles and pictures, and no script."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
SAFE = ("GET", "HEAD")
GRACE, SLOWEST = 30.0, 20_000.0
"""Seconds that a request's body may take, and bytes a second that add to them."""


@dataclass(frozen=True)
class AccessPolicy:
    """Who may come in."""

    host: str
    token: str
    upload: int

    def knows(self, name: str) -> bool:
        """Whether a page may call this server by a name: another page could have its own name point here."""
        host = (_split(f"//{name}").hostname or "").rstrip(".")
        if host in ("localhost", "127.0.0.1", "::1"):
            return True
        if not self.token:
            return False
        return _is_address(host) or host in (self.host.lower(), socket.gethostname().lower())

    def trusts(self, headers: Headers) -> bool:
        """Whether a request that changes something comes from this server's own page, or from no page."""
        origin = headers.get("origin")
        if origin is not None:
            return _split(origin).netloc.lower() == headers.get("host", "").lower()
        return headers.get("sec-fetch-site", "none") in ("none", "same-origin")

    def opens(self, given: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(given.encode(), self.token.encode())


def _split(address: str) -> SplitResult:
    """Take an address apart; one that cannot be is taken for an empty one."""
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
    """Stands before an application, as ASGI middleware."""

    def __init__(self, app: ASGIApp, door: AccessPolicy) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if self.door.token and "token" in query:  # from here on the browser shows a cookie
            await _welcome(send, cookie_of(scope), self.door.token)
            return
        await _Measured(self.app, self.door.upload).run(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Say why a request is not let in: status, what, what to do."""
        if not self.door.knows(headers.get("host", "")):
            return 421, "This server does not answer to that name", "Open the address that the terminal shows."
        if self.door.token and not self.door.opens(_token(scope, headers)):
            return (
                401,
                "The token is missing or wrong",
                "Open the address that the terminal shows.",
            )
        if scope["method"] not in SAFE and not self.door.trusts(headers):
            return (
                403,
                "The request comes from another page",
                "Use the page of this server.",
            )
        length = headers.get("content-length")
        if length is not None and not (re.fullmatch("[0-9]{1,15}", length) and int(length) <= self.door.upload):
            return _too_large(self.door.upload)
        return None


def _too_large(most: int) -> tuple[int, str, str]:
    return 413, f"The upload is larger than {most / 1e6:g} MB", "Give a smaller or shorter file."


def cookie_of(scope: Scope) -> str:
    """Name the cookie by the port: browsers give one to all ports of a host, and servers would sign each other out."""
    return f"{COOKIE}-{(scope.get('server') or ('', 0))[1]}"


def _token(scope: Scope, headers: Headers) -> str:
    """Give the token that a request shows: in its header, a cookie, or its address."""
    said = headers.get("authorization", "")
    if said.lower().startswith("bearer "):
        return said[7:].strip()
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if scope["method"] in SAFE and query.get("token"):
        return str(query["token"][0])
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_of(scope))
    except CookieError:
        return ""
    return cookie.value if cookie else ""


async def _answer(send: Send, status: int, what: str, do: str) -> None:
    body = json.dumps({"error": {"what": what, "do": do}}).encode()
    headers = {**HEADERS, "content-security-policy": PAGE_POLICY, "content-type": "application/json"}
    headers |= {"content-length": str(len(body)), "connection": "close"}
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body})


async def _welcome(send: Send, name: str, token: str) -> None:
    """Put the token into a cookie, and leave it out of the address, which is shown and remembered."""
    cookie = f"{name}={token}; Path=/; HttpOnly; SameSite=Strict"
    headers = {**HEADERS, "location": "/", "set-cookie": cookie, "content-length": "0"}
    await send({"type": "http.response.start", "status": 303, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": b""})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class _Measured:
    """One request, whose bytes and seconds are counted as they come: a client need not say how many there will be."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most, self.come = app, most, 0
        self.began = self.whole = False
        self.refused: tuple[int, str, str] | None = None

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        until = asyncio.get_running_loop().time() + GRACE

        async def counted() -> Message:
            if self.refused:
                return {"type": "http.disconnect"}
            if self.whole:  # all that can come now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(until + self.come / SLOWEST):
                    message = await receive()
            except TimeoutError:
                self.refused = 408, "The upload takes too long", "Send it again over a faster connection."
                return {"type": "http.disconnect"}
            self.come += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
            if self.come > self.most:
                self.refused = _too_large(self.most)
                return {"type": "http.disconnect"}
            return message

        async def marked(message: Message) -> None:
            if self.refused and not self.began:
                return  # whatever the application makes of a request that broke off
            if message["type"] == "http.response.start":
                self.began = True
                said = {name.lower() for name, _ in message["headers"]}
                more = {**HEADERS, "content-security-policy": PAGE_POLICY}
                message["headers"] = [*message["headers"], *(one for one in _raw(more) if one[0] not in said)]
            await send(message)

        try:
            await self.app(scope, counted, marked)
        finally:
            if self.refused and not self.began:
                await _answer(send, *self.refused)


INSIDE = "Something went wrong inside evenface"
# A slash that follows no letter or digit begins a path, when folders follow it; so does a drive.
_FOLDERS = re.compile(r"(?<![\w.)\]>/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"<>|:*?]+[/\\])+")


def redact(text: str, *paths: Path) -> str:
    """Leave the folders out of the paths in a text.

    Examples
    --------
    >>> told("the run /home/ann/runs/a-1 has no weights.safetensors")
    'the run a-1 has no weights.safetensors'
    >>> told("/home/Ann Lee/x.onnx is damaged, 3/4 of it", Path("/home/Ann Lee/x.onnx"))
    'x.onnx is damaged, 3/4 of it'
    """
    for path in paths:
        text = text.replace(f"{path.parent}{os.sep}", "")
    return _FOLDERS.sub("", text)


def problem(error: BaseException, *paths: Path) -> dict[str, str]:
    """Say what went wrong, and what to do, of any error: of those that a user cannot mend, nothing but that."""
    if isinstance(error, InputError):
        return {"what": redact(error.message, *paths), "do": redact(error.hint, *paths) or "Mend that and try again."}
    if isinstance(error, MemoryError):
        return {"what": "There is not enough memory for this", "do": "Take something smaller."}
    return {"what": INSIDE, "do": "The terminal that evenface app runs in says more."}
