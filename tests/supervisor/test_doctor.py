"""The doctor: what is wrong, why, what came before and what to do, from whatever there is to look at."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.commands.approve import login_name
from supervisor.chronicle import entries, plain, span, story, when
from supervisor.doctor import Finding, examine, is_wrong, lines
from tests.node import ECHO, comes_back, node, wait_until

NOW = 1_800_000_000.0
TRACE = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def child(name: str = "joey", state: str = "running", **fields: Any) -> dict[str, Any]:
    return {"name": name, "parent": "pipeline", "kind": "agent", "state": state, "uptime_s": 90.0, **fields}


def status(*children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    signals = {"accepted": 5, "in_flight": 0, "completed": 5, "held": 0, "dead_letters": 0}
    return {
        "state": "running",
        "ready": True,
        "halted": False,
        "halt_reason": None,
        "children": [child("gateway"), *(children or (child(),))],
        "signals": signals,
        **fields,
    }


def event(ago_s: float, kind: str, name: str = "joey", **fields: Any) -> dict[str, Any]:
    return {"at": NOW - ago_s, "event": kind, "name": name, **fields}


def death(ago_s: float, trace_id: str = "", name: str = "joey") -> dict[str, Any]:
    at_work = f" in handle of {trace_id}" if trace_id else ""
    reason = f"exit code 70{at_work}: Traceback (most recent call last):\n  File x\nValueError: poison\n"
    return event(ago_s, "exited", name, reason=reason, trace_id=trace_id)


def report(*alerts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"at": NOW - 1, "health": 1.0, "agents": {}, "alerts": list(alerts), **fields}


def alert(fault: str, name: str = "node", **fields: Any) -> dict[str, Any]:
    words = {
        "severity": "warning",
        "answer": "warn",
        "state": "raised",
        "reason": "seen",
        "advice": "look",
        "count": 1,
    }
    return {"name": name, "fault": fault, **words, **fields}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [each.what for each in findings]
    return findings[0]


def commands(finding: Finding) -> list[str]:
    return [step.command for step in finding.advice if step.command]


def test_where_nothing_is_wrong_nothing_is_found() -> None:
    assert examine(status(), [event(90, "started")], report(), NOW) == []
    assert lines([], NOW) == ["Nothing is wrong."]


def test_a_file_with_flags_that_does_not_count_is_told_with_why() -> None:
    (found,) = examine(status(), [], report(), NOW, flags="its signature is not that of the trusted key")
    assert found.severity == "warning"
    assert "signature" in found.why
    assert [step.command for step in found.advice] == ["ark-run flag verify", "ark-run flag list"]


def test_a_child_that_is_well_is_told_of_when_asked_for() -> None:
    found = only(examine(status(), [event(90, "started")], report(), NOW, agent="joey"))

    assert found.what == "joey is running, for 90 seconds."
    assert not is_wrong([found])


# The node


def test_a_node_that_was_stopped_is_told_from_one_that_was_killed() -> None:
    started = event(90, "node_started", "")
    stopped = only(examine(None, [started, event(5, "node_stopped", "")], None, NOW, runs=False))
    killed = only(examine(None, [started, event(5, "exited")], None, NOW, runs=False))
    failed = only(examine(None, [started, event(5, "node_failed", "", reason="a port")], None, NOW, runs=False))

    assert "stopped in order" in stopped.why
    assert "was killed" in killed.why
    assert failed.why == "It ended by itself: a port"
    assert stopped.since == failed.since == NOW - 5
    assert all("ark-run start" in commands(each) for each in (stopped, killed, failed))


def test_a_home_where_nothing_ever_ran_is_told_so() -> None:
    assert "none ever has" in only(examine(None, [], None, NOW, runs=False)).what


def test_a_front_door_that_does_not_answer_is_told_with_what_its_gateway_did() -> None:
    found = only(examine({"state": "unreachable"}, [event(3, "hung", "gateway", reason="busy")], None, NOW))

    assert "does not answer" in found.what
    assert "hung, and was killed: busy" in found.why


@pytest.mark.parametrize(
    ("by", "reason", "who", "command"),
    [
        ("anna", "I saw something", "anna halted it", "ark-run resume"),
        ("watchdog", "the seal of the rule book is broken: x", "The watchdog halted it", "ark-run seal verify"),
        ("hrm", "max_daily_loss: 6 %", "hrm halted it", "ark-run rules"),
        ("kenny", "storage: kenny.db is damaged", "kenny halted it", "df -h"),
        ("watchdog", "joey: it failed again", "The watchdog halted it", "supervisor events"),
    ],
)
def test_a_halt_names_who_why_and_what_to_look_at_before_it_is_lifted(
    by: str, reason: str, who: str, command: str
) -> None:
    log = [event(60, "halt", "", by=by, reason=reason)]
    found = only(examine(status(halted=True, halt_reason=reason), log, report(), NOW))

    assert found.severity == "emergency"
    assert found.why == f"{who}: {reason}"
    assert found.since == NOW - 60
    assert any(each.startswith(command) for each in commands(found))
    assert commands(found)[-1].startswith("ark-run resume --reason")


def test_a_halt_that_the_log_does_not_know_is_blamed_on_nobody() -> None:
    log = [event(60, "halt", "", by="anna", reason="another time")]
    found = only(examine(status(halted=True, halt_reason="now"), log, None, NOW))

    assert found.why == "It was halted: now"
    assert found.since is None


def test_a_node_that_is_down_and_halted_is_told_to_be_down_first() -> None:
    found = examine(
        status(halted=True, halt_reason="x", state="stopped"), [event(9, "started")], None, NOW, runs=False
    )

    assert [each.severity for each in found] == ["critical", "warning"]


# Its children


def test_a_person_who_isolated_is_named() -> None:
    log = [event(60, "isolate", by="anna", reason="odd confidence")]
    found = only(examine(status(child(state="isolated", mailbox_depth=7)), log, report(), NOW))

    assert found.why == "anna isolated it: odd confidence"
    assert "7 signals wait" in found.what
    assert found.since == NOW - 60
    assert commands(found) == ['supervisor release joey --reason "WHAT WAS MENDED"']


def test_an_isolation_by_the_watchdog_is_told_with_what_it_measured_and_the_signal() -> None:
    log = [
        *(death(70 + number, TRACE) for number in range(3)),
        event(
            60,
            "alert",
            fault="failures",
            state="raised",
            reason="5 in a row",
            advice="see x; when that is mended: supervisor release joey",
        ),
        event(59.9, "isolate", by="watchdog", reason="failures: too many"),
    ]
    found = only(examine(status(child(state="isolated")), log, report(), NOW))

    assert found.why == (
        "The Watchdog isolated it: failures: too many (measured: 5 in a row)."
        f" Before that it ended 3 times, at last: exit code 70 in handle of {TRACE}: ValueError: poison"
    )
    assert commands(found)[0] == f"ark-run trace {TRACE}"
    assert [step.what for step in found.advice if not step.command] == ["see x"]
    assert found.history[-1].what.startswith("was isolated by watchdog")


def test_a_hang_that_is_over_is_a_note_with_its_signal() -> None:
    log = [
        event(60, "hung", reason=f"no heartbeat for 2.1 s (2 missed), busy with {TRACE} in handle"),
        event(59.95, "alert", fault="hang", state="raised", reason="no heartbeat for 2.1 s"),
        event(59.9, "exited", reason="killed by SIGKILL", trace_id=TRACE),
        event(59.8, "started"),
    ]
    found = only(examine(status(), log, report(), NOW))

    assert found.severity == "note"
    assert found.what == "joey hung and was replaced; it runs again, and nothing is lost."
    assert commands(found) == [f"ark-run trace {TRACE}"]
    assert not is_wrong([found])


def test_who_was_replaced_for_something_else_is_not_said_to_have_hung() -> None:
    log = [
        event(60, "replaced", reason="it holds 2,000 MiB of memory (at most 1,024 MiB)"),
        event(59.9, "exited", reason="killed by SIGKILL"),
        event(59.8, "started"),
    ]
    found = only(examine(status(), log, report(), NOW))
    assert found.what == "joey was replaced by the Watchdog; it runs again, and nothing is lost."

    found = only(examine(status(child(state="starting", reason="it holds much")), log[:2], report(), NOW))
    assert found.what == "joey was replaced by the Watchdog; now it is starting."


def test_one_signal_that_kills_again_and_again_is_named() -> None:
    log = [event(50, "started"), death(40, OTHER), *(death(30 - number, TRACE) for number in range(3))]
    found = only(examine(status(child(state="backoff", reason="x")), log, report(), NOW))

    assert found.severity == "critical"
    assert "4 times" in found.what
    assert f"3 of these times it was at work on the signal {TRACE}" in found.why
    assert "ValueError: poison" in found.why
    assert commands(found)[:2] == [f"ark-run trace {TRACE}", "ark-run dead-letters list"]


def test_many_signals_that_kill_point_at_the_agent() -> None:
    log = [death(30 - number, f"{number}{TRACE[1:]}") for number in range(4)]
    found = only(examine(status(), log, report(), NOW))

    assert found.advice[0].what.startswith("4 different signals did this")
    assert commands(found)[0].startswith("ark-run trace ")


def test_deaths_without_a_signal_lead_to_the_events() -> None:
    found = only(examine(status(), [death(30 - number) for number in range(3)], report(), NOW))

    assert found.severity == "warning"
    assert "The last time: exit code 70: ValueError: poison" in found.why
    assert commands(found) == ["supervisor events --last 50"]


def test_what_was_before_a_release_is_not_held_against_a_child() -> None:
    log = [*(death(30 - number, TRACE) for number in range(3)), event(5, "release", reason="mended")]

    assert examine(status(), log, report(), NOW) == []


def test_one_that_cannot_start_is_told_from_one_that_dies() -> None:
    log = [event(5, "exited", reason="boot: exit code 3: no module x", trace_id="")]
    found = only(examine(status(child(state="backoff", reason="boot: exit code 3: no module x")), log, None, NOW))

    assert found.why == "It cannot start: exit code 3: no module x"


def test_one_that_a_person_stopped_can_be_started() -> None:
    log = [event(60, "stop", by="anna", reason="port needed")]
    found = only(examine(status(child(state="stopped")), log, report(), NOW))

    assert found.why == "anna stopped it: port needed"
    assert commands(found) == ["supervisor start joey"]


def test_one_that_waits_for_the_disk_says_so() -> None:
    found = only(examine(status(child(reason="storage: joey.db: no space is left on the disk")), [], report(), NOW))

    assert "waits until it can" in found.what
    assert commands(found) == ["df -h"]


def test_one_that_waits_for_the_disk_no_more_is_well_while_its_alert_still_stands() -> None:
    log = [event(9, "storage", reason="storage: full"), event(1, "storage_mended", reason="storage: full")]

    assert examine(status(), log, report(alert("storage", "joey")), NOW) == []


def test_those_that_went_down_with_another_are_one_finding() -> None:
    down = [child(name, "starting", reason="stopped with gateway: hung") for name in ("kyle", "joey")]
    found = only(examine(status(*down), [], report(), NOW))

    assert found.what == "kyle, joey went down with gateway, and start after it."


# Around it


def test_dead_letters_and_held_decisions_are_told() -> None:
    waiting = {"dead_letters": 2, "held": 1}
    dead, held = examine(status(signals=waiting), [death(5000, TRACE)], report(), NOW)

    assert "2 signals" in dead.what
    assert "poison" in dead.why
    assert commands(dead)[0] == "ark-run dead-letters list"
    assert held.severity == "note"


@pytest.mark.parametrize(("free", "severity"), [(50 << 20, "critical"), (500 << 20, "warning")])
def test_a_disk_that_is_nearly_full_is_told(free: int, severity: str) -> None:
    assert only(examine(status(), [], report(), NOW, free_bytes=free)).severity == severity
    assert examine(status(), [], report(), NOW, free_bytes=5 << 30) == []


def test_a_webhook_that_takes_nothing_is_told_by_the_report_or_by_the_log() -> None:
    failing = event(60, "webhook_failing", "watchdog", reason="https://x takes no alerts: refused")
    state = {"failing_since": NOW - 60, "waiting": 3, "last_error": "refused"}

    assert "3 wait" in only(examine(status(), [], report(webhook=state), NOW)).what
    assert "refused" in only(examine(status(), [failing], report(), NOW)).why
    assert examine(status(), [failing, event(5, "webhook_works", "watchdog")], report(), NOW) == []
    assert examine(status(), [failing, event(5, "started", "watchdog")], report(), NOW) == []


def test_a_clock_that_was_set_back_is_told() -> None:
    assert "set back" in only(examine(status(), [event(-3600, "started")], report(), NOW)).what


def test_an_alert_that_nothing_else_tells_is_told_with_its_advice() -> None:
    found = only(examine(status(), [], report(alert("memory", "joey", reason="2 GiB", since=NOW - 9)), NOW))

    assert (found.subject, found.what, found.since) == ("joey", "joey: 2 GiB", NOW - 9)
    assert found.advice[-1].what == "look"


def test_an_alert_that_says_the_same_as_a_finding_is_not_told_twice() -> None:
    active = [alert("isolated", "joey"), alert("failures", "joey"), alert("halted"), alert("dead_letter")]
    sick = status(child(state="isolated"), halted=True, halt_reason="x", signals={"dead_letters": 1})

    assert len(examine(sick, [], report(*active), NOW)) == 3


def test_an_alert_for_which_trading_is_halted_is_told_with_the_halt() -> None:
    broken = "the seal of the rule book is broken: x"
    sick = status(halted=True, halt_reason=broken)

    assert only(examine(sick, [], report(alert("seal", reason=broken)), NOW)).severity == "emergency"


def test_a_hang_that_is_over_is_told_once_and_other_trouble_of_that_child_besides() -> None:
    log = [event(9, "hung", reason="no heartbeat")]
    active = [alert("hang", "joey"), alert("latency", "joey", reason="slow")]

    assert [each.severity for each in examine(status(), log, report(active[0]), NOW)] == ["note"]
    assert examine(status(), log, report(*active), NOW)[0].what == "joey: slow"


def test_a_report_that_is_old_is_not_believed_and_told() -> None:
    old = report(alert("memory", "joey"), at=NOW - 60)

    assert only(examine(status(), [], old, NOW)).what == "The Watchdog has written no report for 60 seconds."


def test_who_asks_for_one_child_hears_of_it_and_of_the_node() -> None:
    sick = status(child("kyle", "isolated"), child("joey", "isolated"), halted=True, halt_reason="x")

    assert {each.subject for each in examine(sick, [], report(), NOW, agent="joey")} == {"node", "joey"}


def test_every_command_of_ark_names_the_home_where_it_must() -> None:
    sick = status(child(state="isolated"), halted=True, halt_reason="x", signals={"dead_letters": 1, "held": 1})
    found = examine(sick, [death(9, TRACE)], report(), NOW, option=" --home '/a b'")

    said = [command for each in found for command in commands(each)]
    assert said
    assert all(command.endswith(" --home '/a b'") for command in said)


def test_a_name_or_a_trace_from_a_log_cannot_bring_a_command_along() -> None:
    evil = "joey; rm -rf ~"
    log = [
        event(9 - number, "exited", evil, reason=f"busy with {TRACE}$(x)", trace_id="$(reboot)")
        for number in range(3)
    ]
    found = examine(status(child(evil, "isolated")), log, report(), NOW)

    assert [command for each in found for command in commands(each)] == [
        "supervisor release 'joey; rm -rf ~' --reason \"WHAT WAS MENDED\""
    ]


# Whatever is in the log

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["joey", "node", "isolated", "backoff", "storage: x", TRACE, "boot: x", "stopped with joey"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [
        "started",
        "exited",
        "hung",
        "isolate",
        "release",
        "halt",
        "alert",
        "storage",
        "node_started",
        "node_failed",
        "webhook_failing",
        "webhook_gave_up",
        "rebuilt",
        "stop",
    ]
)


def mapping(*keys: str, **known: Any) -> Any:
    return st.fixed_dictionaries({}, optional={**dict.fromkeys(keys, ODD), **known})


TIMES = ODD | st.floats(NOW - 900, NOW)
NAMES = ODD | st.just("joey")
TEXTS = ("reason", "by", "trace_id", "fault", "state", "advice", "kind")
EVENTS = st.lists(ODD | mapping(*TEXTS, at=TIMES, event=KINDS, name=NAMES), max_size=12)
CHILDREN = st.lists(ODD | mapping("state", "reason", "mailbox_depth", "uptime_s", name=NAMES))
STATUS = ODD | mapping("state", "halted", "halt_reason", "signals", children=ODD | CHILDREN)
REPORT = ODD | mapping(
    "webhook",
    at=ODD | st.just(NOW),
    alerts=ODD | st.lists(mapping("name", "fault", "severity", "answer", "reason", "advice", "since")),
)


@given(STATUS, EVENTS, REPORT, st.booleans(), st.data())
def test_it_never_raises_whatever_there_is_to_look_at(
    status: Any, events: Any, report: Any, runs: bool, more: st.DataObject
) -> None:
    agent = more.draw(st.sampled_from(["", "joey"]))
    free = more.draw(st.none() | st.integers(0, 1 << 40))
    findings = examine(status, events, report, NOW, runs=runs, agent=agent, free_bytes=free)

    told = lines(findings, NOW)
    assert all(line.isprintable() for line in told)
    assert is_wrong(findings) == (told[0] != "Nothing is wrong.")
    json.dumps([[each.what, each.why, each.since] for each in findings], allow_nan=False)


@given(EVENTS)
def test_a_story_is_short_and_in_its_order(events: Any) -> None:
    told = story(entries(events))

    assert len(told) <= 8
    assert all(words for _, words in told)


@given(st.floats() | st.none(), st.floats())
def test_any_time_can_be_told(at: float | None, now: float) -> None:
    assert isinstance(when(at, now), str)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_span_can_be_told(seconds: float) -> None:
    assert span(seconds)


@given(ODD)
def test_plain_text_is_one_line_of_bounded_length(value: Any) -> None:
    assert plain(value).isprintable()
    assert len(plain(value)) <= 303


# A real node


def test_a_real_hang_isolation_halt_and_poison_are_explained() -> None:
    with node(ECHO + "[watchdog]\ninterval_s = 0.5\nmissed = 4\n") as one:

        def ask(*extra: str) -> tuple[int, str]:
            done = one.run("supervisor", "doctor", *extra)
            assert done.stderr == ""
            return done.returncode, done.stdout

        wait_until(lambda: ask()[0] == 0, "nothing is wrong")

        pid = one.child("beta")["pid"]
        os.kill(pid, signal.SIGSTOP)
        comes_back(one, "beta", pid)
        assert "beta hung and was replaced" in ask("beta")[1]

        one.run("supervisor", "isolate", "alpha", "--reason", "odd confidence")
        code, said = ask("alpha")
        assert code == 3
        assert "alpha is isolated" in said
        assert "odd confidence" in said
        assert f'supervisor release alpha --reason "WHAT WAS MENDED" --home {one.home.path}' in said
        assert f"{login_name()} isolated it" in said
        one.run("supervisor", "release", "alpha", "--reason", "mended")

        one.run("supervisor", "stop", "alpha", "--reason", "a test")
        said = ask("alpha")[1]
        assert f"{login_name()} stopped it: a test" in said
        assert "supervisor start alpha" in said
        one.run("supervisor", "start", "alpha")

        one.run("ark-run", "halt", "--reason", "I saw something")
        assert "halted it: I saw something" in ask()[1]
        one.run("ark-run", "resume", "--reason", "a test")

        with one.client() as client:
            poison = {"symbol": "AAPL", "direction": "long", "price": 1.0, "metadata": {"poison": "beta"}}
            trace_id = client.inject(poison)["trace_id"]
        wait_until(lambda: one.status()["signals"]["dead_letters"], "it is a dead letter")
        code, said = ask()
        assert code == 3
        assert f"ark-run trace {trace_id}" in said
        assert "given up on" in said

        findings = json.loads(one.run("supervisor", "doctor", "--json").stdout)
        assert findings["well"] is False

        refused = one.run("supervisor", "doctor", "nobody")
        assert refused.returncode == 1
        assert "there is no 'nobody' here" in refused.stderr

        one.stop()
        code, said = ask()
        assert code == 4
        assert "It was stopped in order." in said

        one.start()
        one.kill_everything()
        code, said = ask()
        assert code == 4
        assert "It was killed, or the machine went down" in said


def test_a_node_whose_gateway_is_stuck_is_told_to_run() -> None:
    with node(ECHO) as one:
        pid = one.child("gateway")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            done = one.run("supervisor", "doctor")
            assert done.returncode == 3
            assert "does not answer" in done.stdout
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
