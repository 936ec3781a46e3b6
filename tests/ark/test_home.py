"""A node's home: its lock, its secrets, its epoch, and what outlives a process in it."""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from ark.blackbox import BlackBox
from ark.errors import NodeError
from ark.home import Home, default_home
from tests.disk import filled, small_disk, unwritable


@pytest.fixture
def home(tmp_path: Path) -> Home:
    one = Home(tmp_path / "home")
    one.prepare()
    return one


def in_another_process(action: str, home: Home) -> bool:
    """Whether an action of a fresh `Home` goes well in another process."""
    pid = os.fork()
    if not pid:
        try:
            getattr(Home(home.path), action)(0.0)
        except NodeError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_folders_are_for_their_owner_only_also_where_they_were_open_before(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.mkdir(mode=0o755)
    home = Home(path)
    home.prepare()
    home.prepare()
    for folder in (home.path, home.run, home.data, home.logs, home.keys):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_path_may_be_as_long_as_its_sockets_allow_and_no_longer(tmp_path: Path) -> None:
    spare = 107 - len(os.fsencode(Home(tmp_path / "h").socket("x" * 16)))
    Home(tmp_path / ("h" * (1 + spare))).prepare()
    with pytest.raises(NodeError, match="1 characters too long"):
        Home(tmp_path / ("h" * (2 + spare))).prepare()


def test_the_lock_is_held_by_one_and_names_him(home: Home) -> None:
    assert (home.is_locked(), home.starter()) == (False, None)
    home.lock()
    assert not in_another_process("lock", home)
    with pytest.raises(NodeError, match=f"pid {os.getpid()}"):
        Home(home.path).lock()
    assert Home(home.path).is_locked()
    assert Home(home.path).starter() == os.getpid()
    home.unlock()
    assert not home.is_locked()
    assert in_another_process("lock", home)


def test_a_descriptor_that_is_closed_while_they_are_gone_through_hides_no_lock(home: Home) -> None:
    hole = os.open(os.devnull, os.O_RDONLY)
    home.lock()
    os.close(hole)  # listing the descriptors takes its number, and gives it back
    assert home.starter() == os.getpid()
    home.unlock()


def test_the_lock_lives_on_in_children_and_a_start_ends_the_last_of_a_dead_starter(home: Home) -> None:
    reader, writer = os.pipe()
    starter = os.fork()
    if not starter:
        home.lock()
        child = os.fork()
        if not child:  # one that would outlive its starter for ever
            signal.pause()
        os.write(writer, struct.pack("<q", child))
        os._exit(0)
    os.waitpid(starter, 0)
    child = struct.unpack("<q", os.read(reader, 8))[0]
    os.close(reader)
    os.close(writer)
    assert home.is_locked()
    assert home.starter() is None
    handle = os.pidfd_open(child)
    Home(home.path).lock(patience_s=5.0)
    assert select.select([handle], [], [], 0)[0], "it is gone"
    os.close(handle)


def test_epochs_are_never_given_twice_also_to_several_at_once(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        epochs = list(pool.map(lambda _: Home(home.path).raise_epoch(), range(50)))
    assert sorted(epochs) == list(range(1, 51))
    assert Home(home.path).raise_epoch() == 51


def test_a_secret_is_made_once_and_kept(home: Home) -> None:
    secret = home.secret("approval.key")
    assert len(secret) == 32
    assert home.secret("approval.key") == secret
    assert home.secret("other.key") != secret
    assert (home.keys / "approval.key").stat().st_mode & 0o777 == 0o600


def test_several_who_make_the_same_secret_at_once_have_the_same(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: Home(home.path).secret("approval.key"), range(50)))
    assert len(made) == 1
    assert [path.name for path in home.keys.iterdir()] == ["approval.key"]


def test_a_secret_that_others_can_read_is_no_secret(home: Home) -> None:
    home.secret("approval.key")
    (home.keys / "approval.key").chmod(0o640)
    with pytest.raises(NodeError, match="can be read by others"):
        home.secret("approval.key")


@pytest.mark.parametrize("content", ["", "zz", "ab" * 8, "ab" * 31])
def test_a_secret_that_was_cut_short_is_named_and_never_used(content: str, home: Home) -> None:
    home.secret("approval.key")
    (home.keys / "approval.key").write_text(content)
    with pytest.raises(NodeError, match=r"approval\.key"):
        home.secret("approval.key")


def test_a_halt_stands_until_it_is_lifted(home: Home) -> None:
    assert home.halt_reason() is None
    home.halt("madness", by="me", at=1.0)
    home.halt("more madness", by="me", at=2.0)
    assert Home(home.path).halt_reason() == "more madness"
    home.resume()
    home.resume()
    assert home.halt_reason() is None


def test_a_halt_that_must_not_overwrite_leaves_the_one_that_stands(home: Home) -> None:
    assert home.halt_once("a breaker tripped", by="hrm", at=1.0) is True
    assert home.halt_once("another one did", by="kenny", at=2.0) is False
    assert home.halt_reason() == "a breaker tripped"
    assert msgspec.json.decode(home.halt_file.read_bytes()) == {
        "reason": "a breaker tripped",
        "by": "hrm",
        "at": 1.0,
    }
    assert [path.name for path in home.data.iterdir()] == ["halt.json"]


def test_of_many_who_halt_at_once_exactly_one_does(home: Home) -> None:
    def halt(number: int) -> bool:
        pid = os.fork()
        if not pid:
            os._exit(int(Home(home.path).halt_once(f"reason {number}", by="hrm", at=0.0)))
        return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(halt, range(20))) == 1
    assert str(home.halt_reason()).startswith("reason ")


def test_a_halt_on_a_full_disk_halts_without_a_reason(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Home, "_write", staticmethod(full))
    assert home.halt_once("the disk is full", by="hrm", at=1.0) is True
    assert home.halt_once("it still is", by="hrm", at=2.0) is False
    assert home.halt_reason() == "halted"


def test_who_halted_and_who_resumed_is_logged(home: Home) -> None:
    home.halt("madness", by="ada", at=1.0)
    home.halt_once("more madness", by="hrm", at=2.0)
    home.resume("it is over", by="bob")
    lines = [msgspec.json.decode(line) for line in (home.logs / "supervision.log").read_bytes().splitlines()]
    assert [(each["event"], each["reason"], each["by"]) for each in lines] == [
        ("halt", "madness", "ada"),
        ("resume", "it is over", "bob"),
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b'{"by": "me"}', b"\xff", b'{"reason": "\xff"}'])
def test_a_halt_file_that_cannot_be_read_still_halts(content: bytes, home: Home) -> None:
    home.halt_file.write_bytes(content)
    assert home.halt_reason() == "halted"


def test_a_standing_halt_says_who_halted_when_and_why(home: Home) -> None:
    assert home.standing_halt() is None
    home.halt("madness", by="ann", at=5.0)
    assert home.standing_halt() == {"by": "ann", "at": 5.0, "reason": "madness"}
    home.resume()
    assert home.standing_halt() is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"7", b'"x"', b"null", b"\xff\xfe", b"{}", b'{"by": "ann"}']
)
def test_a_damaged_halt_stands_all_the_same(content: bytes, home: Home) -> None:
    home.halt_file.write_bytes(content)
    halt = home.standing_halt()
    assert halt is not None
    assert (halt["by"], halt["at"], halt["reason"]) == ("ann" if b"ann" in content else "somebody", None, "halted")


def test_what_the_watchdog_has_written_down_is_read_while_it_is_fresh(home: Home) -> None:
    nothing = {"health": None, "agents": {}, "alerts": [], "webhook": None}
    assert home.watchdog_report() == nothing
    report = {"at": time.time(), "health": 0.5, "agents": {"kenny": {"health": 0.5}}, "alerts": [{"fault": "x"}]}
    home.watchdog_file.write_bytes(msgspec.json.encode(report))
    assert home.watchdog_report() == nothing | report
    for off_s in (-11.0, 11.0):
        home.watchdog_file.write_bytes(msgspec.json.encode({**report, "at": time.time() + off_s}))
        assert home.watchdog_report() == nothing


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b"\xff",
        b'"\xff"',
        b"{}",
        b'{"at": "now"}',
        b'{"at": null}',
        b'{"at": NOW, "agents": []}',
        b'{"at": NOW, "agents": {"kenny": 5}}',
        b'{"at": NOW, "alerts": {}}',
        b'{"at": NOW, "alerts": [5]}',
        b'{"at": NOW, "health": "good"}',
    ],
)
def test_a_damaged_report_of_the_watchdog_is_none(damaged: bytes, home: Home) -> None:
    home.watchdog_file.write_bytes(damaged.replace(b"NOW", b"%f" % time.time()))
    assert home.watchdog_report() == {"health": None, "agents": {}, "alerts": [], "webhook": None}


def test_isolation_is_written_down_by_each_supervisor_for_its_own(home: Home) -> None:
    home.keep_isolated("pipeline", {"beta": "suspect"})
    home.keep_isolated("root", {})
    home.keep_isolated("other", {"x": "y"})
    assert Home(home.path).isolated() == {"beta": "suspect", "x": "y"}
    home.keep_isolated("pipeline", {})
    assert home.isolated() == {"x": "y"}


def test_a_stop_is_written_down_until_the_node_begins_anew(home: Home) -> None:
    home.keep_stopped("pipeline", {"beta": "not now"})
    home.keep_isolated("pipeline", {"omega": "noisy"})
    home.clear_run()
    assert Home(home.path).stopped() == {"beta": "not now"}
    home.forget_stopped()
    assert (home.stopped(), home.isolated()) == ({}, {"omega": "noisy"})


def test_where_no_node_runs_there_is_nothing_to_find(home: Home) -> None:
    with pytest.raises(NodeError, match="no node runs over"):
        home.node()
    home.write_node({"pid": 1})
    with pytest.raises(NodeError, match="no node runs over"):  # what a killed node has left
        home.node()
    home.lock()
    assert home.node() == {"pid": 1}
    home.unlock()


def test_what_a_stopped_node_leaves_is_taken_away_and_what_it_keeps_is_not(home: Home) -> None:
    home.socket("alpha").touch()
    home.box("alpha").touch()
    home.halt("madness", by="me", at=1.0)
    home.secret("node.key")
    home.clear_run()
    assert sorted(path.name for path in home.run.rglob("*")) == ["box", "metrics", "shown", "trials"]
    assert home.halt_reason() == "madness"
    assert (home.keys / "node.key").exists()


def test_the_default_home_is_the_variables_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARK_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.delenv("ARK_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_home() == tmp_path / "ark"


@pytest.mark.parametrize("how", ["halt", "halt_once"])
def test_trading_can_be_halted_on_a_full_disk_with_the_reason_and_again_after_a_resume(how: str) -> None:
    with small_disk("2m") as disk:
        home = Home(disk / "home")
        home.prepare()
        home.reserve()
        for reason in ("first", "second"):
            with filled(disk):
                getattr(home, how)(reason, by="me", at=1.0)
                assert home.halt_reason() == reason
                assert home.halt_once("another", by="me", at=1.0) is False
                assert home.halt_reason() == reason
            home.resume()
            assert home.halt_reason() is None
        assert sorted(path.name for path in home.data.iterdir()) == [".halt.reserve"]


def test_a_second_halt_on_a_full_disk_halts_though_nothing_is_left_in_reserve() -> None:
    with small_disk("2m") as disk:
        home = Home(disk / "home")
        home.prepare()
        home.reserve()
        with filled(disk):
            home.halt("first", by="me", at=1.0)
            home.halt("second", by="me", at=2.0)
            assert home.halt_reason() == "first"
        home.resume()
        (home.data / ".halt.reserve").unlink()
        with filled(disk):
            home.halt("third", by="me", at=3.0)
            assert home.halt_reason() == "halted"


def test_epochs_secrets_and_known_boxes_need_no_room() -> None:
    with small_disk("2m") as disk:
        home = Home(disk / "home")
        home.prepare()
        key = home.secret("node.key")
        first = home.raise_epoch()
        BlackBox(home.box("alpha"), incarnation=1).last_words("over")
        with filled(disk):
            assert home.raise_epoch() == first + 1
            assert home.secret("node.key") == key
            home.clear_run(keep_boxes=True)
            box = BlackBox(home.box("alpha"), incarnation=2)
            assert box.before == ""
            box.beat(epoch=1, handled=0, received=0, sent=0)
            with pytest.raises(OSError, match="No space left"):
                home.keep_isolated("pipeline", {"alpha": "x" * 5000})
        assert home.isolated() == {}


def test_an_epoch_that_cannot_be_kept_is_still_a_greater_one(home: Home) -> None:
    first = home.raise_epoch()
    with unwritable(home.epoch_file):
        second = home.raise_epoch(first)
        assert second > first
    assert home.raise_epoch(second) == second + 1
    home.epoch_file.write_text("what is this?")
    assert home.raise_epoch() > second
