"""Keys and roles at real nodes: who comes in, what he may do, who is shut out, and what is said of him."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zmq
from zmq.utils import z85

from ark import Client, interventions
from ark.errors import ClientKeyError, NodeError, RequestError
from ark.key_book import KeyBook
from ark.key_file import KeyFile, read_key_file
from ark.keys import fingerprint
from ark.protocol import OPERATIONS, Role
from tests.ark.wire_client import SIGNAL, Wire
from tests.javascript import PACKAGES, needs_node
from tests.node import BARE, BIN, ROOT, Node, comes_back, node, wait_until
from tests.node import run as run_command

GUARDED = BARE + "\n[gateway]\ncurve = true\n"


HALF_A_HELLO = (
    b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x04\xc8\x05HELLO" + bytes(194)
)
"""ZMTP 3.1 as a CURVE client speaks it, up to a first message that proves nothing."""


class Keys:
    """Makes keys for one node, in a folder outside of its home."""

    def __init__(self, one: Node, folder: Path) -> None:
        self.node = one
        self.book = KeyBook(one.home)
        self._folder = folder

    def file(self, name: str, role: Role = Role.INJECTOR) -> Path:
        path = self._folder / f"{name}.key"
        self.book.new(name, role, path, by="anna", at=time.time())
        return path

    def client(self, name: str, role: Role = Role.INJECTOR) -> Wire:
        """A stranger's client with a new key; it does not come back by itself once it was sent away."""
        return wire(self.node.gateway, read_key_file(self.file(name, role)))

    def revoke(self, name: str) -> None:
        self.book.revoke(name, reason="a test", by="ben", at=time.time())


def wire(endpoint: str, key: KeyFile | None, kind: int = zmq.DEALER, *, again_ms: int = -1) -> Wire:
    """A stranger's client, which comes back after so many milliseconds, or never."""
    curve: dict[str, bytes] = {}
    if key is not None:
        curve = {
            "CURVE_PUBLICKEY": key.public_key.encode(),
            "CURVE_SECRETKEY": key.secret_key.encode(),
            "CURVE_SERVERKEY": key.node_public_key.encode(),
        }
    return Wire(endpoint, kind, RECONNECT_IVL=again_ms, **curve)


def stranger(one: Node) -> KeyFile:
    """A pair that the node has never seen."""
    public, secret = (each.decode() for each in zmq.curve_keypair())
    return KeyFile("stranger", Role.OPERATOR, public, secret, KeyBook(one.home).node_public_key)


def refusals(one: Node) -> list[dict[str, Any]]:
    """What the log says of those who were refused."""
    lines = (one.home.logs / "supervision.log").read_text().splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == "refused"]


def refused(one: Node) -> int:
    return int(one.status()["refused"])


@pytest.fixture(scope="module")
def guarded() -> Iterator[Node]:
    with node(GUARDED) as one:
        yield one


@pytest.fixture
def keys(guarded: Node, tmp_path: Path) -> Iterator[Keys]:
    yield Keys(guarded, tmp_path)
    for key in KeyBook(guarded.home).all():
        (KeyBook(guarded.home).folder / f"{key.name}.json").unlink()  # names are free for the next test


# What a role may do


@pytest.mark.parametrize("role", Role)
def test_a_key_opens_what_its_role_may_do_and_nothing_else(role: Role, guarded: Node, keys: Keys) -> None:
    before = refused(guarded)
    with keys.client("desk", role) as client:
        answers = {op: client.ask(op) for op in OPERATIONS}
    forbidden = {op for op, answer in answers.items() if answer.get("error", {}).get("code") == "forbidden"}

    assert forbidden == {op for op, roles in OPERATIONS.items() if role not in roles}
    assert answers["status"]["ok"]
    assert refused(guarded) == before + len(forbidden)


def test_an_injector_gets_the_outcome_of_his_signal(keys: Keys) -> None:
    with keys.client("research") as client:
        trace_id = client.inject()["trace_id"]
        assert client.outcome(trace_id)["status"] == "executed"


def test_who_has_a_key_acts_in_its_name_whatever_he_says(guarded: Node, keys: Keys) -> None:
    with keys.client("desk", Role.OPERATOR) as client:
        assert client.ask("halt", reason="by key", by="somebody-else")["halted"]
    with guarded.client() as client:
        client.request("resume", reason="by hand", by="anna")
    lines = [json.loads(line) for line in (guarded.home.logs / "supervision.log").read_text().splitlines()]
    said = {line["reason"]: line["by"] for line in lines if line["event"] in ("halt", "resume")}

    assert said["by key"] == "desk"
    assert said["by hand"] == "anna"


def test_a_req_socket_with_a_key_is_answered(guarded: Node, keys: Keys) -> None:
    with wire(guarded.gateway, read_key_file(keys.file("desk")), zmq.REQ) as client:
        assert client.ask("status")["ok"]


def test_the_nodes_own_commands_need_no_key(guarded: Node) -> None:
    assert guarded.run("supervisor", "status").returncode == 0
    with guarded.client() as client:
        trace_id = client.inject(SIGNAL)["trace_id"]
        assert client.outcome(trace_id, timeout_s=5.0)["status"] == "executed"


# Who is not let in


def test_an_unknown_key_is_not_let_in_and_named_by_its_fingerprint(guarded: Node, keys: Keys) -> None:
    before, key = refused(guarded), stranger(guarded)
    with wire(guarded.gateway, key) as client:
        client.socket.send(msgpack.packb({"op": "status"}))
        wait_until(lambda: refused(guarded) == before + 1, "the attempt is counted")
        assert not client.socket.poll(100)
    with wire(guarded.events, key, zmq.SUB) as client:
        client.socket.setsockopt(zmq.SUBSCRIBE, b"")
        wait_until(lambda: refused(guarded) == before + 2, "the second attempt is counted")
    first, second = refusals(guarded)[-2:]

    name = fingerprint(key.public_key)
    assert (first["why"], first["op"], first["client"]) == ("unknown_key", "connect", name)
    assert (second["why"], second["op"], second["client"]) == ("unknown_key", "subscribe", name)
    assert first["address"] == "127.0.0.1"


def test_a_client_without_a_key_is_sent_away_and_counted(guarded: Node) -> None:
    before = refused(guarded)
    for endpoint, kind in ((guarded.gateway, zmq.DEALER), (guarded.events, zmq.SUB)):
        with wire(endpoint, None, kind) as client:
            before += 1
            wait_until(lambda count=before: refused(guarded) == count, "the attempt is counted")
            assert not client.socket.poll(100)

    # It may close before the node has read that it has no key.
    said = [(each["why"], each["op"]) for each in refusals(guarded)[-2:]]
    assert said[0] in (("no_key", "connect"), ("no_handshake", "connect"))
    assert said[1] in (("no_key", "subscribe"), ("no_handshake", "subscribe"))


def test_a_client_of_another_node_is_sent_away_and_counted(guarded: Node, keys: Keys) -> None:
    before = refused(guarded)
    mine = read_key_file(keys.file("desk"))
    other = KeyFile("desk", mine.role, mine.public_key, mine.secret_key, zmq.curve_keypair()[0].decode())
    with wire(guarded.gateway, other):
        wait_until(lambda: refused(guarded) == before + 1, "the attempt is counted")

    assert refusals(guarded)[-1]["why"] == "wrong_node_key"


def test_a_flood_of_attempts_is_counted_to_the_last_and_told_of_in_a_few_lines(guarded: Node, keys: Keys) -> None:
    before, told = refused(guarded), len(refusals(guarded))
    began = time.monotonic()
    with keys.client("research") as client:
        for _ in range(500):
            client.socket.send(msgpack.packb({"op": "halt", "reason": "flood"}))
        for _ in range(500):
            assert client.receive()["error"]["code"] == "forbidden"
        assert refused(guarded) == before + 500

        def kept_back() -> int:
            client.ask("halt")
            return sum(each.get("kept_back", 0) for each in refusals(guarded)[told:])

        wait_until(lambda: kept_back() > 400, "what was kept back is told of")

    assert len(refusals(guarded)) - told <= 5 * (2 + time.monotonic() - began)
    assert not guarded.status()["halted"]


def test_what_is_malformed_is_no_refused_attempt(guarded: Node, keys: Keys) -> None:
    before = refused(guarded)
    with keys.client("research") as client:
        assert client.say(b"\xc1")["error"]["code"] == "malformed"
        assert client.ask("nothing")["error"]["code"] == "unknown_op"
        assert client.ask("inject", signal={})["error"]["code"] == "invalid"

    assert refused(guarded) == before


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (b"", 1),
        (b"GET / HTTP/1.1\r\nHost: ark\r\n\r\n", 0),  # nobody who would come in
        (bytes(range(256)) * 256, 0),
        (b"\x01\x00\x03\x00hi", 0),  # ZMTP 1.0, which knows no keys
        (b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00\x00\x02hi", 0),  # ZMTP 2.0, which knows none either
        (HALF_A_HELLO, 1),
    ],
    ids=["nothing", "http", "noise", "zmtp1", "zmtp2", "half a hello"],
)
def test_who_speaks_another_language_disturbs_nobody(said: bytes, count: int, guarded: Node, keys: Keys) -> None:
    host, port = guarded.gateway.removeprefix("tcp://").split(":")
    before = guarded.status()
    with keys.client("research") as client, socket.create_connection((host, int(port)), timeout=10) as raw:
        with suppress(OSError):
            raw.sendall(said)
        assert client.inject()["status"] == "accepted"
        if said:
            with suppress(OSError):
                while raw.recv(4096):  # libzmq greets, and closes
                    pass
        assert client.ask("status")["ok"]
    wait_until(lambda: refused(guarded) == before["refused"] + count, "the attempt is counted")
    after = guarded.status()

    assert after["signals"]["accepted"] == before["signals"]["accepted"] + 1
    assert [each["pid"] for each in after["children"]] == [each["pid"] for each in before["children"]]


# New and revoked while the node runs


def test_a_key_that_is_made_while_the_node_runs_is_let_in_within_a_second(keys: Keys) -> None:
    with keys.client("first") as client:
        assert client.ask("status")["ok"]
    path = keys.file("second")
    began = time.monotonic()
    with wire(keys.node.gateway, read_key_file(path)) as client:
        assert client.ask("status")["ok"]

    assert time.monotonic() - began < 1.0


def test_a_revoked_key_is_refused_at_its_next_request_and_at_the_door(guarded: Node, keys: Keys) -> None:
    path = keys.file("laptop", Role.OPERATOR)
    pid = guarded.child("gateway")["pid"]
    with wire(guarded.gateway, read_key_file(path)) as client:
        assert client.ask("status")["ok"]
        before = refused(guarded)
        keys.revoke("laptop")
        for _ in range(3):
            error = client.ask("status")["error"]
            assert (error["code"], error["message"]) == ("forbidden", "the key laptop is revoked")
        assert refused(guarded) == before + 3
    with Client(guarded.gateway, key=path) as late, pytest.raises(ClientKeyError, match="laptop is not known at"):
        late.status()

    wait_until(lambda: refused(guarded) == before + 4, "the attempt is counted")
    assert {(each["why"], each["client"]) for each in refusals(guarded)[-2:]} == {("revoked_key", "laptop")}
    assert guarded.child("gateway")["pid"] == pid


def test_a_key_that_is_revoked_within_a_flood_does_nothing_from_then_on(guarded: Node, keys: Keys) -> None:
    """Many keys come and go within the same tick of the file system's clock."""
    for number in range(5):
        with keys.client(f"flood-{number}") as client:
            revoked, answers = threading.Event(), []

            def flood(
                client: Wire = client, revoked: threading.Event = revoked, answers: list[Any] = answers
            ) -> None:
                after = 0
                while after < 20:
                    after += revoked.is_set()
                    was_revoked = revoked.is_set()
                    answers.append((was_revoked, client.inject()))

            thread = threading.Thread(target=flood)
            thread.start()
            wait_until(lambda answers=answers: len(answers) > 20, "the flood runs")
            keys.revoke(f"flood-{number}")
            revoked.set()
            thread.join(30)

        assert {answer["status"] for was, answer in answers[:20] if not was} == {"accepted"}
        assert {answer.get("error", {}).get("code") for was, answer in answers if was} == {"forbidden"}


def test_a_revoked_subscriber_hears_nothing_more_and_the_others_go_on(guarded: Node, keys: Keys) -> None:
    bad, good = (read_key_file(keys.file(name)) for name in ("bad", "good"))
    with (
        wire(guarded.events, bad, zmq.SUB, again_ms=50) as out,
        wire(guarded.events, good, zmq.SUB, again_ms=50) as stays,
    ):
        for each in (out, stays):
            each.socket.setsockopt(zmq.SUBSCRIBE, b"outcome.")
        with guarded.client() as client:
            wait_until(lambda: hears(client, out) and hears(client, stays), "both hear")
            keys.revoke("bad")
            wait_until(lambda: not hears(client, out), "the revoked one hears nothing")
            drain(out)
            drain(stays)
            wait_until(lambda: hears(client, stays), "the other one hears again")
            assert not hears(client, out)


def hears(client: Client, listener: Wire) -> bool:
    """Whether the next outcome comes to a listener."""
    drain(listener)
    client.outcome(client.inject(SIGNAL)["trace_id"], timeout_s=5.0)
    return bool(listener.socket.poll(200))


def drain(listener: Wire) -> None:
    while listener.socket.poll(0):
        listener.socket.recv_multipart()


def test_a_key_is_still_good_after_the_gateway_was_killed(tmp_path: Path) -> None:
    with node(GUARDED) as one:
        path = Keys(one, tmp_path).file("desk")
        with Client(one.gateway, key=path, timeout_s=30.0) as client:
            client.status()
            pid = one.child("gateway")["pid"]
            os.kill(pid, signal.SIGKILL)
            assert client.inject(SIGNAL)["status"] == "accepted"
        comes_back(one, "gateway", pid)
        with pytest.raises(ClientKeyError, match="lets nobody in without a key"), Client(one.gateway) as none:
            none.status()


# Clients and commands


def test_the_client_hears_events_with_its_key_and_without_one_is_told_so(guarded: Node, keys: Keys) -> None:
    path = keys.file("desk")
    with Client(guarded.gateway, key=path) as ears, Client(guarded.gateway, key=path) as mouth:
        heard: list[str] = []
        done = threading.Event()

        def listen() -> None:
            for topic, _ in ears.events(["outcome."], until=done.is_set):
                heard.append(topic)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            wait_until(lambda: mouth.inject(SIGNAL) and heard, "an outcome is heard")
        finally:
            done.set()
            thread.join(10)
    with Client(guarded.gateway) as none, pytest.raises(ClientKeyError, match="lets nobody in without a key"):
        next(none.events(endpoint=guarded.events))


def test_a_client_with_a_key_for_another_node_is_told_within_its_time(guarded: Node, keys: Keys) -> None:
    mine = json.loads(keys.file("desk").read_text())
    path = keys.file("other")
    path.write_text(json.dumps({**mine, "node_public_key": zmq.curve_keypair()[0].decode()}))
    began = time.monotonic()
    words = r"no answer from .* within 1 s, or the key is not known there"
    with Client(guarded.gateway, key=path, timeout_s=1.0) as client, pytest.raises(NodeError, match=words):
        client.status()

    assert time.monotonic() - began < 3.0


def test_a_key_at_a_node_that_asks_for_none_is_told(keys: Keys) -> None:
    with node(BARE) as plain, Client(plain.gateway, key=keys.file("desk"), timeout_s=5.0) as client:
        with pytest.raises(ClientKeyError, match="asks for no key"):
            client.status()
        with Client(plain.gateway) as injector, pytest.raises(RequestError, match="not for the role injector"):
            injector.request("halt", reason="none of his business")
        assert plain.status()["refused"] == 1
        assert (refusals(plain)[-1]["why"], refusals(plain)[-1]["op"]) == ("forbidden", "halt")
        assert "refused:" in plain.run("supervisor", "status").stdout


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as it is typed on another machine: without the node's home."""
    program, *rest = command
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ARK_")}
    return run_command([str(BIN / program), *rest], environment={**kept, **environment})


def test_the_commands_reach_a_node_elsewhere(guarded: Node, keys: Keys, tmp_path: Path) -> None:
    desk = str(keys.file("desk", Role.OPERATOR))
    at = ("--node", guarded.gateway, "--key", desk)
    signals = tmp_path / "signal.json"
    signals.write_text(json.dumps(SIGNAL))
    elsewhere = {"ARK_HOME": str(tmp_path / "nothing")}

    injected = run("ark-run", "inject", str(signals), *at, **elsewhere)
    trace_id = injected.stdout.split()[0]
    assert "executed" in injected.stdout, injected.stderr
    assert (
        "executed"
        in run("ark-run", "outcome", trace_id, ARK_NODE=guarded.gateway, ARK_KEY=desk, **elsewhere).stdout
    )
    assert trace_id in run("ark-run", "trace", trace_id, *at, **elsewhere).stdout
    assert "nothing waits" in run("ark-run", "held", *at, **elsewhere).stdout
    assert "halt at" in run("ark-run", "halt", "--reason", "far away", *at, **elsewhere).stdout
    assert run("supervisor", *at, "status", **elsewhere).returncode == 3
    assert guarded.status()["halt_reason"] == "far away"
    assert run("ark-run", "resume", "--reason", "well", *at, **elsewhere).returncode == 0
    assert run("supervisor", "status", *at, **elsewhere).returncode == 0
    assert run("supervisor", "restart", "beta", *at, **elsewhere).returncode == 0
    assert run("ark-run", "approve", trace_id, "--reason", "yes", *at, **elsewhere).returncode == 1
    assert not (tmp_path / "nothing").exists()


def test_a_home_that_is_named_counts_more_than_a_node_in_the_environment(guarded: Node) -> None:
    done = run("supervisor", "status", "--home", str(guarded.home.path), ARK_NODE="tcp://127.0.0.1:1")

    assert done.returncode == 0, done.stderr


def test_a_command_whose_key_is_not_good_says_so_in_one_line(guarded: Node, keys: Keys, tmp_path: Path) -> None:
    path = keys.file("laptop")
    keys.revoke("laptop")
    for command in (["supervisor", "status"], ["ark-run", "held"]):
        done = run(*command, "--node", guarded.gateway, "--key", str(path))
        assert done.returncode == 1
        assert "laptop is not known at" in done.stderr
        assert done.stderr.count("\n") == 1
    assert "cannot read the key" in run("ark-run", "held", "--node", guarded.gateway, "--key", "none").stderr
    assert "--key is for a node" in run("ark-run", "held", "--key", str(path)).stderr


def test_keys_are_made_listed_and_revoked_by_command(guarded: Node, keys: Keys, tmp_path: Path) -> None:
    place = ("--home", str(guarded.home.path))
    path = tmp_path / "typed.key"
    made = run("ark-run", "keys", *place, "new", "typed", "--role", "deployer", "--out", str(path), "--json")
    secret = read_key_file(path).secret_key
    listed = json.loads(run("ark-run", "keys", "list", "--json", *place).stdout)
    again = run("ark-run", "keys", "new", "typed", "--role", "deployer", "--out", str(tmp_path / "x"), *place)
    gone = run("ark-run", "keys", "revoke", "typed", "--reason", "typed", *place)

    assert json.loads(made.stdout)["file"] == str(path)
    assert secret not in made.stdout + made.stderr
    assert listed["node_public_key"] == guarded.home.node()["public_key"]
    assert [(key["name"], key["role"]) for key in listed["keys"]] == [("typed", "deployer")]
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "is taken" in again.stderr
    assert gone.returncode == 0
    assert "revoked" in run("ark-run", "keys", "list", *place).stdout
    acts = [(act.act, act.subject) for act in interventions.read(guarded.home)][-2:]
    assert acts == [("key_new", "typed"), ("key_revoked", "typed")]


@pytest.mark.parametrize("action", [["list"], ["revoke", "desk", "--reason", "gone"]])
def test_a_mistyped_home_is_named_and_not_made(action: list[str], tmp_path: Path) -> None:
    command = [str(BIN / "ark-run"), "keys", *action, "--home", str(tmp_path / "hmoe")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "hmoe is no node's home" in done.stderr
    assert not (tmp_path / "hmoe").exists()


def test_a_secret_is_in_no_log_no_process_and_not_in_the_home(guarded: Node, keys: Keys) -> None:
    path = keys.file("desk", Role.OPERATOR)
    mine = read_key_file(path)
    with Client(guarded.gateway, key=path) as client:
        client.request("halt", reason="a test")
        client.request("resume", reason="a test")
    keys.revoke("desk")
    with Client(guarded.gateway, key=path) as client, pytest.raises(ClientKeyError) as error:
        client.status()
    node_secret = KeyBook(guarded.home).node_pair()[1]
    needles = [each for secret in (mine.secret_key.encode(), node_secret) for each in spellings(secret)]

    for file in guarded.home.path.rglob("*"):
        if file.is_file() and file != guarded.home.keys / "curve":
            content = file.read_bytes()
            assert not any(needle in content for needle in needles), file
    for pid in guarded.pids():
        process = psutil.Process(pid)
        said = " ".join([*process.cmdline(), *process.environ().values()]).encode()
        assert not any(needle in said for needle in needles), process
    assert mine.secret_key not in str(error.value)


def spellings(secret: bytes) -> list[bytes]:
    raw = z85.decode(secret)
    return [secret, raw, raw.hex().encode()]


# The documents


def block(language: str, word: str) -> str:
    """The program in the protocol's page that has a word in it."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (program,) = [each for each in found if word in each]
    return str(program)


def test_the_python_program_of_the_page_comes_in(guarded: Node, keys: Keys) -> None:
    path = keys.file("desk")
    program = block("python", "curve_serverkey").replace("tcp://127.0.0.1:5555", guarded.gateway)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path.parent, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "running\n"), done.stderr


@pytest.mark.node
@needs_node
def test_the_node_program_of_the_page_comes_in(guarded: Node, keys: Keys) -> None:
    folder = keys.file("desk").parent
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "status.mjs").write_text(
        block("js", "curveServerKey").replace("tcp://127.0.0.1:5555", guarded.gateway)
    )
    done = subprocess.run(
        ["node", "status.mjs"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "running\n"), done.stderr


# Beyond loopback


def test_beyond_loopback_a_node_without_keys_does_not_start(tmp_path: Path) -> None:
    with node(BARE, start=False) as one:
        one.gateway = one.gateway.replace("127.0.0.1", "0.0.0.0")
        done = subprocess.run(one.command(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "no client has a key (make one with `ark-run keys new NAME" in done.stderr
        assert done.stderr.count("\n") == 1

        keys = Keys(one, tmp_path)
        keys.file("desk")
        keys.revoke("desk")
        done = subprocess.run(one.command(), capture_output=True, text=True, timeout=60, check=False)
        assert "no client has a key" in done.stderr


def test_beyond_loopback_only_who_has_a_key_comes_in(tmp_path: Path) -> None:
    with node(BARE, start=False) as one:
        one.home.prepare()
        keys = Keys(one, tmp_path)
        path = keys.file("desk")
        ports = [each.rpartition(":")[2] for each in (one.gateway, one.events)]
        one.gateway, one.events = f"tcp://0.0.0.0:{ports[0]}", f"tcp://*:{ports[1]}"
        one.start()
        door = f"tcp://{own_address()}:{ports[0]}"
        with Client(door, key=path) as client:
            trace_id = client.inject(SIGNAL)["trace_id"]
            assert client.outcome(trace_id, timeout_s=10.0)["status"] == "executed"
            assert client._ask_where() == f"tcp://{own_address()}:{ports[1]}"
        with Client(door) as client, pytest.raises(ClientKeyError, match="lets nobody in without a key"):
            client.status()
        pid = one.child("gateway")["pid"]
        keys.revoke("desk")
        with Client(door, key=path) as client, pytest.raises(ClientKeyError, match="or is revoked"):
            client.status()
        assert one.child("gateway")["pid"] == pid
        assert "only clients with a key" in one.output.read_text()


def own_address() -> str:
    """This machine's address on some network; loopback where it has none."""
    addresses = [each for card in psutil.net_if_addrs().values() for each in card if each.family == socket.AF_INET]
    return next((each.address for each in addresses if not each.address.startswith("127.")), "127.0.0.1")
