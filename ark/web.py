"""What the exporter answers over HTTP: the routes, and the guard before them. No sockets.

Everything is read by programs or by the page, so every refusal is JSON, too. Only `POST /act` changes anything.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from email.utils import formatdate
from itertools import chain
from typing import Any, Protocol, TypeVar

import msgspec
from prometheus_client.exposition import gzip_accepted
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ark.acts import Act, Refused, read_act
from ark.config import is_loopback
from ark.errors import ArkError
from ark.keys import Token
from ark.listener import LARGEST_HEAD
from ark.static_files import StaticFiles, Stream

__all__ = ["Desk", "View", "application"]

Made = TypeVar("Made")
Answer = Callable[[Request], Awaitable[Response]]

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\[\]:/@]+)(:\d{1,5})?")
_TRACE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LARGEST_BODY = 4 << 10
"""Bytes; a request to act is short."""
_QUICKLY = 1
"""A level of compression: four times less to send on loopback is not worth more time."""
_HEADERS = {
    # Nothing inline, nothing from elsewhere, no text read as markup. What is drawn gets its style by the object
    # model, which that leaves free; plotly's few rules go into the page's own sheet, see index.html.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_NOT_KEPT = {"cache-control": "no-store"}


class View(Protocol):
    """What the routes show; see `ark.view`."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether the tree is healthy, and the answer's body."""

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the node does its work, and the answer's body."""

    def version(self) -> dict[str, Any]:
        """What runs here."""

    def state(self) -> dict[str, Any]:
        """The page's document."""

    async def trace(self, trace_id: str) -> dict[str, Any] | None:
        """A signal's whole way; None where it was never accepted."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type."""

    def metrics_json(self) -> dict[str, Any]:
        """The exposition for programs."""

    def slos(self) -> dict[str, Any]:
        """The objectives, and how the node stands with each."""

    @property
    def is_crowded(self) -> bool:
        """Whether nobody else can follow the page's document."""

    def has_acted(self) -> None:
        """Somebody has changed something, which all who follow should see."""

    def follow(self) -> AsyncGenerator[bytes]:
        """The page's document as server-sent events."""


class Desk(Protocol):
    """What is done for persons with a token; see `ark.acts`."""

    async def admit(self, authorization: str) -> Token:
        """The token that a request came with."""

    async def do(self, act: Act, token: Token) -> dict[str, Any]:
        """Have an act done."""

    async def held(self) -> list[dict[str, Any]]:
        """What waits for a person's word."""


def application(view: View, desk: Desk, files: StaticFiles, note: Callable[[BaseException], None]) -> ASGIApp:
    """The application.

    Args:
        view: What is shown.
        desk: What is done.
        files: The page's files.
        note: Called with what escaped from a route, which is a defect.
    """

    turn = asyncio.Lock()

    async def in_turn(make: Callable[[], Made]) -> Made:
        """One after the other, with a round of the loop between two: a flood of requests must not stop hearts."""
        async with turn:
            await asyncio.sleep(0)
            return make()

    async def page(request: Request) -> Response:
        found = files.answer("index.html", request)
        return found or refusal(404, "there is no page")

    async def static(request: Request) -> Response:
        found = files.answer(request.path_params["name"], request)
        return found or refusal(404, "there is no such file")

    async def state(request: Request) -> Response:
        return document(await in_turn(view.state))

    async def live(request: Request) -> Response:
        if view.is_crowded:
            return refusal(503, "too many pages are open; close one", headers={"retry-after": "5"})
        kind = "text/event-stream; charset=utf-8"
        if request.method == "HEAD":
            return Response(headers=_NOT_KEPT, media_type=kind)
        await in_turn(lambda: None)
        return Stream(view.follow(), headers=dict(_NOT_KEPT), media_type=kind)

    async def healthz(request: Request) -> Response:
        good, body = await in_turn(view.health)
        return document(body, 200 if good else 503)

    async def readyz(request: Request) -> Response:
        await in_turn(lambda: None)
        good, body = await view.readiness()
        return document(body, 200 if good else 503)

    async def version(request: Request) -> Response:
        return document(view.version())

    async def trace(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        if not _TRACE_ID.fullmatch(trace_id):
            return refusal(400, "a trace id is a UUID in lower case, as 0f8fad5b-d9cb-469f-a165-70867728950e")
        try:
            found = await view.trace(trace_id)
        except ArkError as error:
            return refusal(503, str(error), headers={"retry-after": "1"})
        return document(found) if found else refusal(404, f"no signal {trace_id} was ever accepted")

    async def metrics(request: Request) -> Response:
        accept, encoding = (request.headers.get(name, "") for name in ("accept", "accept-encoding"))

        def expose() -> Response:
            body, kind = view.metrics(accept)
            headers = {**_NOT_KEPT, "content-type": kind, "vary": "accept, accept-encoding"}
            if gzip_accepted(encoding):
                headers["content-encoding"] = "gzip"
                body = gzip.compress(body, _QUICKLY, mtime=0)
            return Response(body, headers=headers)

        return await in_turn(expose)

    async def metrics_json(request: Request) -> Response:
        return document(await in_turn(view.metrics_json))

    async def slos(request: Request) -> Response:
        return document(await in_turn(view.slos))

    async def act(request: Request) -> Response:
        check_origin(request.headers)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "an act is JSON, with `Content-Type: application/json`")
        token = await desk.admit(request.headers.get("authorization", ""))
        answer = await desk.do(read_act(await request.body()), token)
        view.has_acted()
        return document({"ok": True, "by": token.name, **answer})

    async def act_check(request: Request) -> Response:
        check_origin(request.headers)
        token = await desk.admit(request.headers.get("authorization", ""))
        return document({"ok": True, "by": token.name, "role": token.role.value})

    async def act_held(request: Request) -> Response:
        check_origin(request.headers)
        await desk.admit(request.headers.get("authorization", ""))
        return document({"held": await desk.held()})

    async def decline(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        headers = {"retry-after": str(error.retry_s)} if error.retry_s else {}
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        return refusal(error.status, error.error, field=error.field, headers=headers)

    routes: Mapping[str, Answer] = {
        "/": page,
        "/static/{name}": static,
        "/state": state,
        "/live": live,
        "/healthz": healthz,
        "/readyz": readyz,
        "/version": version,
        "/metrics": metrics,
        "/metrics/json": metrics_json,
        "/slos": slos,
        "/traces/{trace_id}": trace,
        "/act/check": act_check,
        "/act/held": act_held,
    }
    paths = [*routes, "/act"]

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        match error.status_code:
            case 404:
                return refusal(404, f"there is nothing at {request.url.path[:100]}", paths=paths)
            case 405:
                return refusal(
                    405, f"{request.method[:20]} is not for {request.url.path[:100]}", headers=error.headers
                )
            case _:
                return refusal(error.status_code, error.detail, headers=error.headers)

    async def fail(request: Request, error: Exception) -> Response:
        note(error)
        return refusal(500, "that is a defect; see the node's log")

    starlette = Starlette(
        routes=[
            *(Route(path, answer, methods=["GET"]) for path, answer in routes.items()),
            Route("/act", act, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refuse, Refused: decline, Exception: fail},
        max_body_size=_LARGEST_BODY,
    )
    starlette.router.redirect_slashes = False
    return _Guard(starlette)


def check_origin(headers: Headers) -> None:
    """Refuse a request that a page of somebody else has sent; programs, which are no browsers, say nothing of it.

    Raises:
        Refused: It is one.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin not in (None, f"http://{headers.get('host')}") or site not in (None, "same-origin", "none"):
        raise Refused(403, "only this node's own page may act")


def document(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer of what is so now."""
    body = msgspec.json.encode(content)
    return Response(body, status, {**_NOT_KEPT, **(headers or {})}, media_type="application/json")


def refusal(status: int, error: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A JSON answer that says why not."""
    return document({"error": error, **more}, status, headers)


class _Guard:
    """Stands before everything: sends away whoever came by a strange name, and puts bounds on what a page may do.

    A page of a stranger that has its own name point here by DNS would be let in by the browser as if it were ours;
    its name is what gives it away.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        is_whole = False

        async def send_guarded(message: Message) -> None:
            nonlocal is_whole
            is_whole = message["type"] == "http.response.body" and not message.get("more_body")
            if message["type"] == "http.response.start":
                headers = {**_HEADERS, "date": formatdate(usegmt=True)}
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in headers.items()),
                ]
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if not is_ours(host):
            await refusal(421, f"this is not {host[:100]!r}; come to 127.0.0.1")(scope, receive, send_guarded)
            return
        # uvicorn bounds a request that comes in parts only.
        if sum(map(len, chain(*scope["headers"], (scope["raw_path"], scope["query_string"])))) > LARGEST_HEAD:
            await refusal(431, f"a request has at most {LARGEST_HEAD} bytes before its body")(
                scope, receive, send_guarded
            )
            return
        length = Headers(scope=scope).get("content-length", "0")
        # Starlette would refuse it, too, but not in JSON.
        if len(length) > len(str(_LARGEST_BODY)) or int(length) > _LARGEST_BODY:
            await refusal(413, f"a request's body has at most {_LARGEST_BODY} bytes")(scope, receive, send_guarded)
            return
        try:
            await self._inner(scope, receive, send_guarded)
        except Exception:
            if not is_whole:
                raise  # the connection is cut off: half an answer must not look like a whole one


def is_ours(host: str) -> bool:
    """Whether a request's `Host` names this machine's own address, with any port."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["name"].lower())
