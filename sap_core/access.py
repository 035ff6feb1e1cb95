"""Access control of the studio: accepted host names, framing, and a token where other machines can connect.

It is an ASGI middleware around the whole server: pages, files and the websocket. Streamlit's own ``allowedHosts``
covers only the websocket.

- A request must name a host of this server. A page of another site that points one of its own names at this machine
  (DNS rebinding) names another.
- A websocket, and every request that changes something, must come from a page of this server (``Origin``).
- No other site may show the studio in a frame.
- With a token, every request needs the cookie that an address with ``?token=...`` sets, as in Jupyter.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

TOKEN, HOSTS = "SAP_STUDIO_TOKEN", "SAP_STUDIO_HOSTS"  # environment: the token; more host names, with commas
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEALTH = "/_stcore/health"  # says "ok" and nothing else; what watches a container asks it
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # an address can hold the token
)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_DAYS = 30

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Access:
    """Rules of who may connect.

    ``hosts``: accepted host names in lower case. ``addresses``: whether any IP address is accepted as a host too.
    """

    hosts: tuple[str, ...] = LOOPBACK
    addresses: bool = False
    token: str = ""


def access_for(address: str | None, environment: Mapping[str, str] = os.environ) -> Access:
    """Return the access rules for a server that listens at ``address``.

    A server that other machines can reach has a token: the environment's, else a new one, which is printed.

    Args:
        address: Where the server listens; None or "" for every interface.
        environment: Holds `TOKEN` and `HOSTS`.
    """
    more = [name.strip().lower() for name in environment.get(HOSTS, "").split(",") if name.strip()]
    token = environment.get(TOKEN, "")
    if is_loopback(address):
        return Access((*LOOPBACK, *more), False, token)
    if not token:
        token = new_token()
        print(
            f"The studio can be reached from other machines; open it with ?token={token}", file=sys.stderr, flush=True
        )
    names = {socket.gethostname().lower(), socket.getfqdn().lower(), (address or "").lower()} - {""}
    return Access((*LOOPBACK, *sorted(names), *more), True, token)


def is_loopback(address: str | None) -> bool:
    """Return whether ``address`` can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address((address or "").strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Return a random token: 24 bytes, URL-safe."""
    return secrets.token_urlsafe(24)


class Gate:
    """ASGI middleware that applies the rules of `Access`; see the module."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with security headers added, or refuse it with the reason."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        reason = self._stranger(scope, headers)
        if reason is None and self._access.token and scope.get("path") != HEALTH and not self._known(scope, headers):
            if scope["type"] == "http" and self._right(dict(_query(scope)).get("token", "")):
                await _answer(send, 303, "", self._entrance(scope))
                return
            reason = "This studio asks for a token: open the address that `sap studio` printed, with ?token=... in it."
        if reason is not None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await _answer(send, 403, reason)
            return
        await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)

    def _stranger(self, scope: Scope, headers: Mapping[str, Sequence[str]]) -> str | None:
        """Return why a request does not come from this server's own pages; None if it does."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or not self._allowed(hosts[0]):
            return f"This studio does not answer to this host name; add it to {HOSTS} if it is yours."
        origins = headers.get("origin", [])
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and origins and any(urlsplit(origin).netloc != hosts[0] for origin in origins):
            return "This studio takes requests of its own pages only."
        return None

    def _allowed(self, host: str) -> bool:
        if not _HOST.fullmatch(host):
            return False
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        name = name.rstrip(".")
        if name in self._access.hosts:
            return True
        try:
            result = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._access.addresses or result.is_loopback

    def _known(self, scope: Scope, headers: Mapping[str, Sequence[str]]) -> bool:
        for line in headers.get("cookie", []):
            try:
                result = SimpleCookie(line).get(_cookie(scope))
            except CookieError:
                continue
            if result is not None and self._right(result.value):
                return True
        return False

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._access.token.encode())

    def _entrance(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers that redirect to the address without the token and set the cookie that replaces it."""
        rest = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
        path = "/" + scope["path"].lstrip("/")  # "//name" would lead to another site
        target = f"{path}?{rest}" if rest else path
        cookie = f"{_cookie(scope)}={self._access.token}; Path=/; Max-Age={_DAYS * 86400}; HttpOnly; SameSite=Strict"
        return [(b"location", target.encode("ascii", "xmlcharrefreplace")), (b"set-cookie", cookie.encode())]


def _cookie(scope: Scope) -> str:
    """Return the cookie's name; it contains the port, because browsers share cookies between the ports of a host."""
    return f"sap_studio_{(scope.get('server') or ('', 0))[1]}"


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _headers(scope: Scope) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, value in scope.get("headers", []):
        result.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return result


def _with_headers(send: Send) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name for name, _ in HEADERS}
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() not in ours]
            message = {**message, "headers": [*kept, *HEADERS]}
        await send(message)

    return answer


async def _answer(send: Send, status: int, text: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *HEADERS, *headers]})
    await send({"type": "http.response.body", "body": text.encode()})
