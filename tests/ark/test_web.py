"""The routes: what is answered to whom, and what to nobody."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from ark.acts import Act, Refused
from ark.errors import JournalError
from ark.keys import Token
from ark.protocol import Role
from ark.static_files import StaticFiles
from ark.web import application, is_ours
from tests.ark.web_server import Answer, serving
from tests.ark.web_server import ask as ask_at

TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOKEN = Token("anna", Role.OPERATOR, "", 1.0, "root")
HALT = json.dumps({"op": "halt", "reason": "news"})
JSON = {"Content_Type": "application/json", "Authorization": "Bearer right"}
PATHS = ["/", "/state", "/live", "/healthz", "/readyz", "/version", "/metrics", "/metrics/json", "/slos"]


class Shown:
    """A node that is well, unless it is told otherwise."""

    is_well = True
    is_broken = False
    is_crowded = False
    acted = 0

    def health(self) -> tuple[bool, dict[str, Any]]:
        if self.is_broken:
            raise RuntimeError("secret-in-a-traceback")
        return self.is_well, {"status": "healthy" if self.is_well else "unhealthy"}

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        return self.is_well, {"status": "ready"}

    def version(self) -> dict[str, Any]:
        return {"version": "1"}

    def state(self) -> dict[str, Any]:
        return {"node": {}}

    def slos(self) -> dict[str, Any]:
        return {"slos": []}

    async def trace(self, trace_id: str) -> dict[str, Any] | None:
        if self.is_broken:
            raise JournalError("gateway.db is locked")
        return {"trace_id": trace_id} if trace_id == TRACE else None

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return b"# TYPE ark_ready gauge\nark_ready 1.0\n", f"text/plain; asked={'openmetrics' in accept}"

    def metrics_json(self) -> dict[str, Any]:
        return {"counters": {}}

    def has_acted(self) -> None:
        self.acted += 1

    async def follow(self) -> AsyncGenerator[bytes]:
        yield b"event: state\ndata: {}\n\n"


class Desk:
    """Knows one token."""

    def __init__(self) -> None:
        self.done: list[tuple[Act, str]] = []

    async def admit(self, authorization: str) -> Token:
        if authorization != "Bearer right":
            raise Refused(401, "no")
        return TOKEN

    async def do(self, act: Act, token: Token) -> dict[str, Any]:
        self.done.append((act, token.name))
        return {"halted": True}

    async def held(self) -> list[dict[str, Any]]:
        return [{"trace_id": "t"}]


class Server:
    """The server, and what stands behind it."""

    def __init__(self, folder: Path) -> None:
        self.view, self.desk = Shown(), Desk()
        self.noted: list[BaseException] = []
        self.folder = folder
        self.application = application(self.view, self.desk, StaticFiles(folder), self.noted.append)
        self.address = ""

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        return ask_at(self.address, path, method, body, **headers)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served") / "page"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "app.js").write_text("1;")
    (folder / "notes.txt").write_text("not for everybody")
    (folder / ".hidden.js").write_text("0")
    (folder.parent / "secret.js").write_text("0")
    (folder / "link.js").symlink_to(folder.parent / "secret.js")
    (folder / "folder.js").mkdir()
    one = Server(folder)
    with serving(one.application) as one.address:
        yield one


@pytest.fixture
def server(running: Server) -> Server:
    for name in ("is_well", "is_broken", "is_crowded", "acted"):
        setattr(running.view, name, getattr(Shown, name))
    running.desk.done.clear()
    return running


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_says_what_a_page_may_do_with_it(path: str, server: Server) -> None:
    answer = server.ask(path)

    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
def test_a_head_is_the_answer_without_its_body(path: str, server: Server) -> None:
    answer = server.ask(path, "HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == server.ask(path).headers["content-type"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_what_is_shown_can_only_be_read(path: str, method: str, server: Server) -> None:
    answer = server.ask(path, method)

    assert answer.status == 405
    assert "GET" in answer.headers["allow"]
    assert answer.json["error"]


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/state/x", "//", "/Metrics", "/%2e%2e/etc/passwd"])
def test_where_nothing_is_the_paths_are_named(path: str, server: Server) -> None:
    answer = server.ask(path)

    assert answer.status == 404
    assert {"/metrics", "/act"} <= set(answer.json["paths"])


def test_what_is_amiss_is_told_by_the_status(server: Server) -> None:
    server.view.is_well = False

    assert [server.ask(path).status for path in ("/healthz", "/readyz")] == [503, 503]


def test_a_defect_is_told_to_the_log_and_to_nobody_else(server: Server) -> None:
    server.view.is_broken = True
    answer = server.ask("/healthz")

    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "content-security-policy" in answer.headers
    assert "secret" in str(server.noted.pop())
    assert server.ask("/state").status == 200


def test_a_signals_way_is_told_or_why_not(server: Server) -> None:
    assert server.ask(f"/traces/{TRACE}").json == {"trace_id": TRACE}
    for path, status in (
        (TRACE[:-1] + "0", 404),
        (TRACE[:-1], 400),
        (TRACE.upper(), 400),
        ("..%2fx", 404),
        ("x", 400),
    ):
        answer = server.ask(f"/traces/{path}")
        assert (answer.status, bool(answer.json["error"])) == (status, True)
    server.view.is_broken = True
    assert server.ask(f"/traces/{TRACE}").status == 503


# Metrics


def test_metrics_are_given_as_asked_for_and_compressed_if_wanted(server: Server) -> None:
    plain = server.ask("/metrics", Accept="application/openmetrics-text")
    packed = server.ask("/metrics", Accept_Encoding="deflate, gzip;q=1.0")

    assert plain.headers["content-type"].endswith("asked=True")
    assert packed.headers["content-encoding"] == "gzip"
    assert [family.name for family in parse(gzip.decompress(packed.body).decode())] == ["ark_ready"]


# Files


def test_the_pages_files_are_given_and_not_sent_again_unchanged(server: Server) -> None:
    page, script = server.ask("/"), server.ask("/static/app.js")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert (script.body, script.headers["content-type"]) == (b"1;", "text/javascript; charset=utf-8")
    again = server.ask("/static/app.js", If_None_Match=script.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_plotlys_own_bundle_is_given(server: Server) -> None:
    bundle = server.ask("/static/plotly.min.js")

    assert bundle.status == 200
    assert len(bundle.body) == int(bundle.headers["content-length"]) > 1 << 20


@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "..%2fsecret.js",
        "%2e%2e/secret.js",
        "%2e%2e%2fsecret.js",
        "..%5csecret.js",
        "....//secret.js",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "link.js",
        "folder.js",
        "notes.txt",
        ".hidden.js",
        "app.js%00.txt",
        "app.js%0a",
        "none.js",
        "",
        "a" * 5000 + ".js",
    ],
)
def test_nothing_else_is_given(name: str, server: Server) -> None:
    answer = server.ask(f"/static/{name}")

    assert answer.status == 404
    assert answer.json["error"]


# Who asks


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9090", "localhost", "LOCALHOST:1", "127.1.2.3", "[::1]", "[::1]:9090"]
)
def test_a_name_of_this_machines_own_is_ours(host: str) -> None:
    assert is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "0.0.0.0",
        "10.0.0.7",
        "[::]",
        "[fe80::1]",
        "127.0.0.1:x",
        "127.0.0.1:9090:1",
        "localhost\n",
    ],
)
def test_any_other_name_is_not(host: str) -> None:
    assert not is_ours(host)


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/static/app.js"])
def test_who_comes_by_another_name_gets_nothing(path: str, server: Server) -> None:
    answer = server.ask(path, Host="evil.example")

    assert answer.status == 421
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize("size", [5 << 10, 20 << 10, 100 << 10])
def test_a_request_has_a_largest_size(size: int, server: Server) -> None:
    expected = {200} if size < 16 << 10 else {400, 431}

    assert server.ask("/state", X="x" * size).status in expected
    assert server.ask("/state?" + "x" * size).status in expected


# Acts


def test_an_act_with_a_token_is_done_in_its_name(server: Server) -> None:
    answer = server.ask("/act", "POST", HALT, **JSON)

    assert (answer.status, answer.json) == (200, {"ok": True, "by": "anna", "halted": True})
    assert server.desk.done == [(Act("halt", reason="news"), "anna")]
    assert server.view.acted == 1


def test_a_token_can_be_tried_out(server: Server) -> None:
    assert server.ask("/act/check", Authorization="Bearer right").json == {
        "ok": True,
        "by": "anna",
        "role": "operator",
    }
    assert server.ask("/act/check", Authorization="Bearer wrong").status == 401


def test_what_waits_for_a_persons_word_is_for_persons_with_a_token(server: Server) -> None:
    assert server.ask("/act/held", Authorization="Bearer right").json == {"held": [{"trace_id": "t"}]}
    assert server.ask("/act/held").status == 401
    assert server.ask("/act/held", Authorization="Bearer right", Origin="http://evil.example").status == 403


def test_nothing_is_done_without_one(server: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "Bearer right"}):
        answer = server.ask("/act", "POST", HALT, **{"Content_Type": "application/json", **headers})
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"

    assert server.ask("/act", "GET", Authorization="Bearer right").status == 405
    assert server.desk.done == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_page_of_somebody_else_may_do_nothing_even_with_a_token(headers: dict[str, str], server: Server) -> None:
    assert server.ask("/act", "POST", HALT, **JSON, **headers).status == 403
    assert server.ask("/act/check", **JSON, **headers).status == 403
    assert server.desk.done == []


def test_our_own_page_may(server: Server) -> None:
    headers = {"Origin": f"http://{server.address}", "Sec_Fetch_Site": "same-origin"}

    assert server.ask("/act", "POST", HALT, **JSON, **headers).status == 200


def test_an_act_that_is_none_is_refused_with_what_is_wrong(server: Server) -> None:
    assert server.ask("/act", "POST", HALT, Authorization="Bearer right", Content_Type="text/plain").status == 415
    assert server.ask("/act", "POST", "{", **JSON).status == 400
    assert server.ask("/act", "POST", '{"op": "halt"}', **JSON).json["field"] == "reason"
    too_long = server.ask("/act", "POST", "x" * 5000, **JSON)
    assert (too_long.status, too_long.json["error"]) == (413, "a request's body has at most 4096 bytes")
    assert server.desk.done == []


# Who follows


def test_one_page_too_many_is_told_so(server: Server) -> None:
    server.view.is_crowded = True
    answer = server.ask("/live")

    assert answer.status == 503
    assert answer.headers["retry-after"]
