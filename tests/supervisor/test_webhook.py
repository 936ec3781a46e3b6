"""Alerts to a webhook: delivered at least once and in order, whatever the receiver, the disk or a kill does."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

import ark
from ark.config import WatchdogConfig
from ark.home import Home
from ark.http_post import Answer, retry_after
from supervisor import webhook
from supervisor.webhook import Tries, Webhook, decide
from tests.node import BARE, ROOT, comes_back, free_ports, node, wait_until
from tests.supervisor.receiver import RESET, Receiver, answer, receiver

STATUSES = st.integers(100, 999)
ANSWERS = st.builds(
    Answer,
    status=st.just(0) | STATUSES,
    retry_after_s=st.none() | st.floats(0, allow_nan=False, allow_infinity=True),
)
LOTS = st.floats(0, 1, exclude_max=True)


def alert(name: str = "kyle", **fields: Any) -> dict[str, Any]:
    return {
        "at": 1.5,
        "event": "alert",
        "name": name,
        "fault": "hang",
        "severity": "critical",
        "answer": "restart",
        "state": "raised",
        "reason": "no heartbeat for 2.1 s",
        "advice": "see `supervisor events`",
        "count": 1,
        **fields,
    }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


@contextmanager
def sending(home: Home, url: str, **options: Any) -> Iterator[Webhook]:
    """A webhook that is stopped at the end."""
    one = Webhook(home, url, **{"lot": lambda: 0.0, "timeout_s": 0.5, **options})
    one.start()
    try:
        yield one
    finally:
        one.stop()


def spooled(home: Home) -> list[Path]:
    return sorted((home.data / "alerts").glob("*"))


def lines(home: Home, event: str) -> list[dict[str, Any]]:
    path = home.logs / "supervision.log"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if line["event"] == event]


def is_idle(one: Webhook, home: Home) -> Callable[[], bool]:
    return lambda: one.state()["waiting"] == 0 and spooled(home) == []


# The schedule


@given(ANSWERS, LOTS, st.integers(0, 10_000), st.integers(0, 2))
def test_a_wait_is_within_its_bounds(given: Answer, lot: float, failed: int, refused: int) -> None:
    _, step, wait_s = decide(Tries(failed, refused), given, lot)

    if step == "again":
        assert 0.5 <= wait_s <= max(60.0, min(given.retry_after_s or 0.0, 300.0))
    else:
        assert wait_s == 0.0


@given(st.lists(st.tuples(ANSWERS, LOTS), max_size=30))
def test_only_2xx_delivers_and_only_the_third_refusal_gives_up(course: list[tuple[Answer, float]]) -> None:
    tries = Tries()
    refusals = 0
    for one, lot in course:
        tries, step, _ = decide(tries, one, lot)
        is_late = one.status in (408, 425, 429)
        refusals += 100 <= one.status < 500 and not 200 <= one.status < 300 and not is_late
        assert (step == "delivered") == (200 <= one.status < 300)
        assert (step == "given_up") == (refusals == 3 and step != "delivered")
        if step != "again":
            assert tries == Tries()
            refusals = 0


@given(LOTS, st.integers(0, 100))
def test_waits_double_up_to_a_minute(lot: float, failed: int) -> None:
    _, _, one = decide(Tries(failed), Answer(error="no"), lot)
    _, _, next_one = decide(Tries(failed + 1), Answer(error="no"), lot)

    assert next_one == pytest.approx(min(2 * one, 30.0 + 30.0 * lot))


def test_the_same_failure_waits_differently_at_different_nodes() -> None:
    assert len({decide(Tries(4), Answer(status=503), lot / 10)[2] for lot in range(10)}) == 10


def test_a_receiver_that_asks_for_time_gets_it_up_to_a_bound() -> None:
    assert decide(Tries(), Answer(429, retry_after_s=100.0), 0.0)[2] == 100.0
    assert decide(Tries(), Answer(503, retry_after_s=1e9), 0.0)[2] == 300.0
    assert decide(Tries(9), Answer(503, retry_after_s=0.0), 0.0)[2] == 30.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 9.0),
        ("Fri, 31 Dec 1989 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, 946684790.0) == seconds


@given(st.text(), st.floats(0, 1e11))
def test_no_retry_after_is_too_odd(value: str, now: float) -> None:
    seconds = retry_after(value, now)

    assert seconds is None or seconds >= 0


# The request


def test_an_alert_comes_as_json_with_a_name_of_its_own(home: Home) -> None:
    with receiver() as there, sending(home, there.url, token="s3cret-token") as one:
        one.put(alert())
        wait_until(is_idle(one, home), "it is delivered")

    [(first, headers, body)] = there.requests
    document = json.loads(body)
    assert first == "POST /alerts HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer s3cret-token"
    assert headers["idempotency-key"] == document["id"]
    assert document["ark"] == ark.__version__
    assert document["node"].endswith("/home")
    assert {key: value for key, value in document.items() if key not in ("id", "node", "ark")} == alert()


def test_what_comes_says_that_it_is_an_alert(home: Home) -> None:
    with receiver() as there, sending(home, there.url) as one:
        one.put({"name": "kyle"})
        wait_until(is_idle(one, home), "it is delivered")
    assert there.alerts()[0]["event"] == "alert"


def test_query_and_user_of_the_address_reach_the_receiver_and_no_log(home: Home) -> None:
    with receiver() as there:
        there.plan = lambda number: answer(500) if number == 1 else answer(200)
        url = f"http://me:pa%20ss@127.0.0.1:{there.port}/hook-path?key=hidden"
        with sending(home, url) as one:
            one.put(alert())
            wait_until(is_idle(one, home), "it is delivered")
            state = one.state()

    first, headers, _ = there.requests[-1]
    assert first == "POST /hook-path?key=hidden HTTP/1.1"
    assert headers["authorization"] == "Basic bWU6cGEgc3M="
    assert lines(home, "webhook_failing")
    told = (home.logs / "supervision.log").read_text() + repr(state)
    assert not any(secret in told for secret in ("hook-path", "hidden", "me:", "pa%20ss", "pa ss"))


def test_secrets_in_an_alert_are_masked(home: Home) -> None:
    with receiver() as there, sending(home, there.url) as one:
        one.put(alert(reason="it died of password=hunter2"))
        wait_until(lambda: there.requests, "it comes")

    assert b"hunter2" not in there.requests[0][2]


def test_the_token_is_read_from_its_file_before_each_try(home: Home) -> None:
    file = home.keys / "webhook"
    settings = WatchdogConfig(webhook="http://127.0.0.1:9/", webhook_token_file="keys/webhook")
    named = Webhook.of(home, settings, {})
    assert named is not None
    assert named._token_file == file

    with receiver() as there, sending(home, there.url, token_file=file) as one:
        one.put(alert())
        wait_until(lambda: one.state()["last_error"], "there is no token")
        assert there.requests == []
        file.touch(0o600)
        file.write_text("of-the-file\n")
        wait_until(is_idle(one, home), "it is delivered")

    assert there.requests[0][1]["authorization"] == "Bearer of-the-file"


def test_a_token_that_others_can_read_is_not_used(home: Home) -> None:
    file = home.keys / "webhook"
    file.write_text("of-the-file")
    file.chmod(0o644)
    with receiver() as there, sending(home, there.url, token_file=file) as one:
        one.put(alert())
        wait_until(lambda: "chmod 600" in one.state()["last_error"], "it says so")
    assert there.requests == []


def test_a_token_with_a_line_break_is_an_error_that_does_not_show_it(home: Home) -> None:
    with receiver() as there, sending(home, there.url, token="abc\r\nX-Evil: 1") as one:
        one.put(alert())
        error = wait_until(lambda: one.state()["last_error"], "it is refused")
    assert "Evil" not in error
    assert there.alerts() == []


def test_without_an_address_there_is_no_webhook(home: Home) -> None:
    assert Webhook.of(home, WatchdogConfig(), {}) is None


def test_a_variable_may_hold_the_token(home: Home) -> None:
    with receiver() as there:
        one = Webhook.of(home, WatchdogConfig(webhook=there.url), {webhook.TOKEN_VARIABLE: "of-the-variable"})
        assert one is not None
        one.start()
        one.put(alert())
        wait_until(lambda: there.requests, "it comes")
        one.stop()
    assert there.requests[0][1]["authorization"] == "Bearer of-the-variable"


# Receivers that fail


FAILURES = {
    "500": lambda number: answer(500),
    "429": lambda number: answer(429, "Retry-After: 0"),
    "nothing": lambda number: None,
    "a reset": lambda number: RESET,
    "garbage": lambda number: b"\x00\xff\r\n\r\n" * 100,
    "half an answer": lambda number: b"HTTP/1.1 20",
    "endless headers": lambda number: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
    "a line without end": lambda number: b"HTTP/1.1 " + b"x" * 100_000,
}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_failure_the_alert_is_sent_again_under_its_name(home: Home, failure: str) -> None:
    with receiver() as there, sending(home, there.url) as one:
        there.plan = lambda number: FAILURES[failure](number) if number == 1 else answer(200)
        for name in ("first", "second"):
            one.put(alert(name))
        wait_until(is_idle(one, home), "both are delivered")

    ids = [each["id"] for each in there.alerts()]
    assert [each["name"] for each in there.alerts()] == ["first", "first", "second"]
    assert ids[0] == ids[1] != ids[2]
    assert len(lines(home, "webhook_failing")) == len(lines(home, "webhook_works")) == 1


def test_an_answer_that_drips_is_cut_off(home: Home) -> None:
    ended = threading.Event()

    def drip(number: int) -> bytes | None:
        if number > 1:
            return answer(200)
        until = time.monotonic() + 10
        connection = there._open[-1]
        try:
            while time.monotonic() < until:
                connection.sendall(b"H")
                ended.wait(0.05)
        except OSError:
            ended.set()
        return RESET

    with receiver() as there, sending(home, there.url) as one:
        there.plan = drip
        one.put(alert())
        wait_until(is_idle(one, home), "it is delivered", within_s=8.0)
    assert ended.is_set()


def test_a_receiver_that_comes_up_late_gets_everything_in_order(home: Home) -> None:
    [port] = free_ports(1)
    with sending(home, f"http://127.0.0.1:{port}/") as one:
        for number in range(20):
            one.put(alert(f"agent{number}"))
        wait_until(lambda: one.state()["last_error"] == "Connection refused", "nobody listens")
        assert "20 wait" in one.faults()[0]
        with receiver(port) as there:
            wait_until(is_idle(one, home), "all are delivered")
            assert there.names() == [f"agent{number}" for number in range(20)]
        assert one.faults() == []


def test_a_name_that_does_not_resolve_holds_nobody_up(home: Home) -> None:
    with sending(home, "https://no-such-host.invalid/") as one:
        began = time.monotonic()
        one.put(alert())
        assert time.monotonic() - began < 1.0
        wait_until(lambda: one.state()["failing_since"], "it fails")
        assert one.state()["waiting"] == 1


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_a_wrong_address_costs_an_alert_after_three_tries_and_not_those_behind_it(home: Home, status: int) -> None:
    with receiver() as there, sending(home, there.url) as one:
        there.plan = lambda number: answer(status, f"Location: {there.url}/other") if number <= 3 else answer(200)
        for name in ("first", "second"):
            one.put(alert(name))
        wait_until(is_idle(one, home), "nothing waits")
        state = one.state()

    assert [each["name"] for each in there.alerts()] == ["first", "first", "first", "second"]
    assert all(first.startswith("POST /alerts ") for first, _, _ in there.requests)
    assert (state["given_up"], state["delivered"]) == (1, 1)
    [line] = lines(home, "webhook_gave_up")
    assert str(status) in line["reason"]
    assert line["id"] == there.alerts()[0]["id"]


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1, and that certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path, secret = folder / "receiver.pem", folder / "receiver.key"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return context, path


def test_a_certificate_that_somebody_vouches_for_is_accepted(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receiver(context=context) as there, sending(home, there.url) as one:
        one.put(alert())
        wait_until(is_idle(one, home), "it is delivered")
    assert there.names() == ["kyle"]


def test_a_certificate_that_nobody_vouches_for_is_not(home: Home, tmp_path: Path) -> None:
    context, _ = certified(tmp_path)
    with receiver(context=context) as there, sending(home, there.url) as one:
        one.put(alert())
        wait_until(lambda: "certificate is not accepted" in one.state()["last_error"], "it fails")
    assert there.requests == []


def test_a_handshake_that_nobody_answers_is_cut_off(home: Home) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        sending(home, f"https://127.0.0.1:{there.getsockname()[1]}/") as one,
    ):
        one.put(alert())
        wait_until(lambda: one.state()["last_error"] == "no answer within 0.5 s", "it is cut off")


# Bounds, the disk


def test_of_too_many_the_oldest_are_dropped_and_counted(home: Home) -> None:
    with receiver() as there:
        one = Webhook(home, there.url, most_waiting=5, timeout_s=0.5)
        for number in range(12):
            one.put(alert(f"agent{number}"))
        assert one.state()["dropped"] == 7
        one.start()
        wait_until(is_idle(one, home), "the rest is delivered")
        one.stop()

    assert there.names() == [f"agent{number}" for number in range(7, 12)]
    assert "1 so far" in lines(home, "webhook_dropped")[0]["reason"]
    assert len(lines(home, "webhook_dropped")) == 1


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"name": object()},
        {"name": float("nan")},
        {"name": "\ud800"},
        {1: 2, None: 3},
        {"name": {"deep": [b"\xff", {1, 2}]}},
        None,
        7,
    ],
)
def test_nothing_that_is_put_raises(home: Home, odd: Any) -> None:
    with receiver() as there, sending(home, there.url) as one:
        one.put(odd)
        one.put(alert("after"))
        wait_until(lambda: there.requests and there.alerts()[-1].get("name") == "after", "the next one comes")


def test_a_full_disk_stops_neither_the_caller_nor_the_delivery(home: Home) -> None:
    (home.data / "alerts").symlink_to("/dev/full")  # it can be neither made nor written to
    with receiver() as there, sending(home, there.url) as one:
        one.put(alert())
        wait_until(lambda: there.requests, "it comes")
        wait_until(lambda: any("written down" in fault for fault in one.faults()), "it says so")
    assert len(lines(home, "webhook_unkept")) == 1


def test_a_disk_that_stalls_stops_neither_the_caller_nor_the_delivery(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda descriptor: stall.wait(20))
    with receiver() as there, sending(home, there.url) as one:
        try:
            began = time.monotonic()
            for number in range(50):
                one.put(alert(f"agent{number}"))
            assert time.monotonic() - began < 2.0
            wait_until(lambda: len(there.names()) == 50, "all come")
        finally:
            stall.set()
        wait_until(is_idle(one, home), "no file is left")


def test_a_damaged_file_is_passed_over(home: Home) -> None:
    one = Webhook(home, "http://127.0.0.1:9/")
    one.start()
    one.put(alert("whole"))
    one.stop()
    [file] = spooled(home)
    (file.parent / "000000000000.json").write_bytes(b"")
    (file.parent / "000000000002.json").write_bytes(file.read_bytes()[:-5])
    with receiver() as there, sending(home, there.url) as one:
        wait_until(is_idle(one, home), "nothing waits")
    assert there.names() == ["whole"]


def test_the_files_are_for_their_owner_only(home: Home) -> None:
    with sending(home, "http://127.0.0.1:9/") as one:
        one.put(alert())
    [file] = spooled(home)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


# Kills

PROGRAM = """
import sys
from pathlib import Path
from ark.home import Home
from supervisor.webhook import Webhook
one = Webhook(Home(Path(sys.argv[1])), sys.argv[2])
one.start()
for number in range(int(sys.argv[3])):
    one.put({"name": f"agent{number}"})
print("put", flush=True)
sys.stdin.read()
"""


def test_what_was_put_before_a_kill_is_delivered_by_the_next_process(home: Home) -> None:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home.path), url, "30"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"put\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    assert len(spooled(home)) == 30

    with receiver(port) as there, sending(home, url) as one:
        one.put(alert("new"))
        wait_until(is_idle(one, home), "all are delivered")
    assert [each["name"] for each in there.alerts()] == [*(f"agent{number}" for number in range(30)), "new"]


def test_a_kill_in_the_middle_loses_nothing(home: Home) -> None:
    def slowly(there: Receiver) -> Callable[[int], bytes | None]:
        return lambda number: answer(200) if number <= 7 else None

    with receiver() as there:
        there.plan = slowly(there)
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home.path), there.url, "15"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            wait_until(lambda: len(there.requests) == 8, "half of them came")
            assert process.stdout is not None
            process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
        there.plan = lambda number: answer(200)
        with sending(home, there.url) as one:
            wait_until(is_idle(one, home), "nothing waits")

    assert there.names() == [f"agent{number}" for number in range(15)]
    by_name: dict[str, set[str]] = {}
    for each in there.alerts():
        by_name.setdefault(each["name"], set()).add(each["id"])
    assert all(len(ids) == 1 for ids in by_name.values())


def test_a_real_hang_is_told_over_an_outage_and_the_death_of_the_watchdog() -> None:
    with receiver() as there:
        there.plan = lambda number: answer(503)
        with node(f"{BARE}[watchdog]\ninterval_s = 0.5\nmissed = 4\nwebhook = '{there.url}'\n") as one:
            pid = one.child("beta")["pid"]
            os.kill(pid, signal.SIGSTOP)
            comes_back(one, "beta", pid)
            wait_until(lambda: there.requests, "it is tried")
            watchdog = one.child("watchdog")["pid"]
            os.kill(watchdog, signal.SIGKILL)
            comes_back(one, "watchdog", watchdog)
            there.plan = lambda number: answer(204)
            wait_until(lambda: spooled(one.home) == [], "it is delivered")

    ids = [each["id"] for each in there.alerts()]
    assert ids.count(ids[0]) > 1
    hangs = [each for each in there.alerts() if (each["fault"], each["state"]) == ("hang", "raised")]
    assert "beta" in {each["name"] for each in hangs}
