"""The page of a running node in a real browser: what it shows, what may be done there, and who can use it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.chromium import Browser, Page, chromium, needs_chromium
from tests.node import PATIENT, ROOT, Node, node, wait_until
from tests.picture import with_few_colours
from tests.rollout.releases import plant

pytestmark = [needs_chromium, pytest.mark.browser]

SCREENSHOT = os.environ.get("ARK_SCREENSHOT", "")
"""Where the README's picture goes, relative to the repository; empty: nowhere."""
CONFIG = f"{PATIENT}max_violations_per_min = 100000\n" + ("" if SCREENSHOT else "[slo]\nlatency_ms = 600000\n")
"""The demo's bars are denied by the dozen, and wait before whom these tests isolate: no faults to be shown here."""
STEPS_BY_HAND = {
    "stages": [50, 100],
    "shadow_s": 600.0,
    "baseline_s": 600.0,
    "stage_s": 600.0,
    "signals": 0,
    "judge": {"late_allowed": 0.9, "late_limit": 0.95},
}
"""A rollout that takes no step but when it is told to, and holds for nobody's lateness: the machine may be busy."""
LARGE = {
    "symbol": "KO",
    "direction": "long",
    "price": 70.0,
    "position_size_pct": 0.09,
    "stop_loss": 67.0,
    "target": 77.0,
}
"""A plan that a person is asked about."""
PROBES = (ROOT / "tests" / "page_probes.js").read_text()
NAMED = {
    "DisclosureTriangle",
    "button",
    "checkbox",
    "dialog",
    "figure",
    "image",
    "link",
    "region",
    "table",
    "textbox",
}
"""Roles that say nothing without a name."""


@pytest.fixture(scope="module")
def starting() -> Iterator[Node]:
    with node(CONFIG, start=False) as one:
        yield one.start("--demo", "--rate", "30", wait=False)


@pytest.fixture(scope="module")
def browser(starting: Node) -> Iterator[Browser]:
    """It comes up beside the node, as both take seconds."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def tree(starting: Node, browser: Browser) -> Node:
    starting.wait_ready()
    return starting


@pytest.fixture(scope="module")
def only_tab(browser: Browser, tree: Node) -> Page:
    tab = browser.open(f"http://{tree.metrics}/", script=PROBES)
    tab.wait("document.body.dataset.link === 'live'", "the page is live")
    tab.wait("document.querySelectorAll('#latency .main-svg').length", "the lines are drawn")
    tab.wait("document.querySelectorAll('#outcomes tbody tr').length === 20", "the demo's outcomes are shown")
    return tab


@pytest.fixture
def page(only_tab: Page, tree: Node) -> Iterator[Page]:
    """The tab that all tests share; none may leave a complaint behind, or have asked anybody but the node."""
    yield only_tab
    only_tab.evaluate("document.querySelectorAll('dialog[open]').forEach((each) => each.close())")
    complaints, only_tab.complaints[:] = list(only_tab.complaints), ()
    assert complaints == []
    assert {url for url in only_tab.requests if not url.startswith(f"http://{tree.metrics}/")} == set()


def test_every_process_of_the_tree_is_shown_as_the_status_has_it(page: Page, tree: Node) -> None:
    shown = page.wait("document.querySelector('#processes tbody tr') && probe.processes()", "rows")

    children = tree.status()["children"]
    assert list(shown) == [child["name"] for child in children]
    for child in children:
        row = shown[child["name"]]
        assert [row[head] for head in ("State", "PID", "Version")] == [
            child["state"],
            str(child["pid"]),
            child["version"],
        ]
    page.wait("document.title.startsWith('All is well')", "one glance says that all is well")


def test_a_kill_and_the_recovery_are_shown_within_two_seconds(page: Page, tree: Node) -> None:
    killed = tree.child("kenny")["pid"]
    at = time.monotonic()
    os.kill(killed, signal.SIGKILL)

    row = "(row => row.Restarts === '1' && row.State === 'running' && row)(probe.processes().kenny)"
    shown = page.wait(row, "the page shows the kill and the recovery", within_s=2.0)

    assert time.monotonic() - at < 2.0
    assert int(shown["PID"]) != killed
    assert "SIGKILL" in shown["Reason"]
    page.wait("document.querySelector('.seen li')?.textContent.includes('kenny')", "it stands among what was seen")
    page.wait("document.querySelector('#announcer').textContent.includes('kenny')", "it is announced")


def test_the_word_and_the_reason_of_an_outcome_are_shown_and_a_click_tells_its_story(page: Page) -> None:
    page.click("#pause")
    try:
        shown = page.evaluate("probe.texts('#outcomes tbody tr')")
        page.click("#outcomes tbody button")
        story = page.wait(
            "document.querySelectorAll('.timeline tbody tr').length && probe.texts('.timeline tbody tr')",
            "its story",
        )

        assert len(shown) == 20
        assert {"denied", "no setup"} & {row[2] for row in shown}
        assert all(row[3] for row in shown if row[2] == "denied")
        assert [row[0] for row in story] == ["kyle", "joey", "hrm", "kenny", "aletheia"]
        page.press("Escape")
        assert page.evaluate("document.activeElement === document.querySelector('#outcomes tbody button')")
    finally:
        page.click("#pause")


def test_states_are_announced_and_the_passing_of_seconds_is_not(page: Page) -> None:
    assert page.evaluate("probe.listen()") > 2

    def silent_second() -> bool:
        before = page.evaluate("probe.said = 0; document.querySelector('#link').textContent")
        page.wait(f"document.querySelector('#link').textContent !== {json.dumps(before)}", "the clock goes on")
        return bool(page.evaluate("probe.said") == 0)

    # What is new of the test before may be said meanwhile; but if each second were, there would never be silence.
    wait_until(silent_second, "a second in which nothing is said", within_s=5.0)


def test_the_page_needs_no_scrolling_sideways_on_a_phone(page: Page) -> None:
    page.size(360, 740, mobile=True)
    try:
        page.wait("getComputedStyle(document.querySelector('#processes tbody tr')).display === 'flex'", "cards")
        assert page.evaluate("probe.outside()") == []
        assert page.evaluate("document.documentElement.scrollWidth") == 360
    finally:
        page.size(1280, 900)


def test_the_tab_key_reaches_every_control_and_each_shows_its_focus(page: Page) -> None:
    page.click("#pause")
    page.wait("document.body.classList.contains('paused')", "outcomes stand still")
    try:
        count = page.evaluate("(window.wanted = new Set(probe.focusable())).size")
        assert count > 10
        for _ in range(count + 1):  # the way round leads over the browser's own frame
            page.press("Tab")
            if page.evaluate("wanted.delete(document.activeElement)"):
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert page.evaluate("[...wanted].map((each) => each.outerHTML)") == []
    finally:
        page.click("#pause")


def test_assistive_technology_is_told_names_landmarks_headings_and_captions(page: Page) -> None:
    assert unnamed(page) == []
    told = page.accessible()
    roles = [each["role"] for each in told]
    assert [roles.count(landmark) for landmark in ("banner", "main", "contentinfo")] == [1, 1, 1]
    levels = [each["properties"]["level"] for each in told if each["role"] == "heading"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"columnheader", "rowheader", "cell"} <= set(roles)
    assert page.evaluate("document.documentElement.lang") == "en"


def test_only_a_token_lets_a_person_act_and_his_name_and_reason_are_kept(page: Page, tree: Node) -> None:
    to_act = "[...document.querySelectorAll('.operator-only button')].some((each) => each.checkVisibility())"
    assert not page.evaluate(to_act)
    page.click("#operate")
    page.wait("document.querySelector('#token-dialog').open", "it asks for a token")
    assert unnamed(page) == []
    assert page.evaluate("probe.faint()") == []
    page.write("ark_wrong")
    page.press("Enter")
    page.wait("!document.querySelector('#token-dialog .error').hidden", "it says what is wrong")
    assert "not known" in page.evaluate("document.querySelector('#token-dialog .error').textContent")
    assert all("401" in each for each in page.complaints)
    page.complaints.clear()
    page.evaluate("document.querySelector('#token').value = ''")
    page.write(token_of(tree, "anna"))
    page.press("Enter")
    page.wait("document.querySelector('#operate').textContent.endsWith('anna')", "anna operates the node")

    act(page, "[aria-label='Isolate joey']", "odd confidence")
    page.wait("probe.processes().joey.State === 'isolated'", "it is isolated")
    page.wait("document.querySelector('.problems').textContent.includes('supervisor release joey')", "what to type")
    assert page.evaluate("document.activeElement.textContent") == "Release"
    act(page, "[aria-label='Release joey']", "looked into it")
    page.wait("probe.processes().joey.State === 'running'", "it runs again")

    with tree.client() as client:
        client.inject(LARGE)
    page.wait("document.querySelector('.held')?.textContent.includes('KO')", "what is held is listed")
    act(page, "[aria-label^='Refuse KO']", "too large")
    page.wait("!document.querySelector('.held').checkVisibility()", "nothing is held any more")

    page.click("#halt")
    page.write("news")
    page.press("Enter")
    assert page.evaluate("document.querySelector('#act-dialog').open"), "a halt wants a tick, too"
    page.click("#confirmed")
    page.press("Enter")
    page.wait("document.title.startsWith('Trading is halted')", "it is halted")
    act(page, "#resume", "over")
    page.wait("document.title.startsWith('All is well')", "all is well")

    page.click("#operate")
    page.wait("document.querySelector('#operate').textContent === 'Operate'", "nobody operates it any more")
    assert not page.evaluate(to_act)
    acts = json.loads(tree.run("ark-run", "audit", "acts", "--json").stdout)
    done = [(each["act"], each["reason"]) for each in acts if each["by"] == "anna"]
    assert done == [
        ("isolate", "odd confidence"),
        ("release", "looked into it"),
        ("refuse", "too large"),
        ("halt", "news"),
        ("resume", "over"),
    ]


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, scheme: str) -> None:
    page.prefer(prefers_color_scheme=scheme)
    page.wait(f"matchMedia('(prefers-color-scheme: {scheme})').matches", scheme)

    # The lines are drawn anew, in the other ink, a frame later.
    page.wait("probe.faint().length === 0", "every text can be read", within_s=2.0)


def test_numbers_are_written_for_people(page: Page) -> None:
    # One test for all: spread over processes, each of them would need a node and a browser of its own.
    for call, result in (
        ("span(0.24)", "0.2 s"),
        ("span(59.9)", "59 s"),
        ("span(200)", "3 min 20 s"),
        ("span(7500)", "2 h 5 min"),
        ("span(null)", "\N{EN DASH}"),
        ("fixed('101234.5')", "101,234.50"),
        ("fixed('abc')", "abc"),
        ("signed(-1.5)", "\N{MINUS SIGN}1.50"),
        ("signed('2')", "+2.00"),
        ("price('190.019')", "190.02"),
        ("price('0.000125')", "0.000125"),
        ("percent(0.995)", "99.5 %"),
        ("many(1, 'signal')", "1 signal"),
        ("many(1200, 'process', 'processes')", "1,200 processes"),
    ):
        assert said(page, call) == result


def test_what_is_to_be_typed_is_told_from_what_is_to_be_read(page: Page) -> None:
    def split(text: str) -> Any:
        return said(page, f"parts({json.dumps(text)}).map((each) => each.text ?? Object.entries(each)[0])")

    doctor = ["command", "supervisor doctor joey"]
    assert split("see supervisor doctor joey; then wait") == ["see ", doctor, "; then wait"]
    assert split("`supervisor doctor joey`, then look") == [doctor, ", then look"]
    assert split("who waits (`mailbox`)?") == ["who waits (", ["code", "mailbox"], ")?"]
    assert split("nothing to type") == ["nothing to type"]


def test_what_is_wrong_is_said_once_the_worst_first(page: Page) -> None:
    def alert(name: str, fault: str, severity: str) -> dict[str, Any]:
        return {"name": name, "fault": fault, "severity": severity, "reason": "r", "advice": "a", "since": 5}

    def found(**state: Any) -> Any:
        return said(page, f"problems({json.dumps(state)}).map((each) => [each.severity, each.subject, each.since])")

    assert found() == []
    assert found(signals={"held": 2}) == [["note", "node", None]]
    assert found(signals={"dead_letters": 1}, alerts=[alert("node", "dead_letter", "critical")]) == [
        ["critical", "node", 5]
    ]
    assert found(
        children=[{"name": "joey", "state": "isolated"}],
        alerts=[alert("node", "disk_low", "warning"), alert("joey", "isolated", "critical")],
    ) == [["critical", "joey", 5], ["warning", "node", 5]]
    assert found(node={"halted": True}, alerts=[alert("node", "seal", "emergency")])[0][0] == "emergency"
    slos = [{"name": "hrm_latency", "state": "unknown"}, {"name": "availability", "state": "violated"}]
    assert [each[1] for each in found(slos=slos)] == ["availability"]


def test_one_glance_says_whether_all_is_well(page: Page) -> None:
    def level(**state: Any) -> Any:
        return said(page, f"verdict({json.dumps(state)}).level")

    ready = {"ready": True, "halted": False}
    assert level(node=ready) == "well"
    assert level(node=ready, signals={"held": 1}) == "note"
    assert level(node={"ready": False}) == "warning"
    assert level(node=ready, children=[{"name": "a", "state": "isolated"}]) == "trouble"
    assert level(node={"ready": True, "halted": True, "halt_reason": "odd"}) == "halted"


def test_heartbeats_are_no_news_and_replaced_processes_are(page: Page) -> None:
    def news(before: dict[str, Any], after: dict[str, Any]) -> Any:
        return said(page, f"changes({json.dumps(before)}, {json.dumps(after)})")

    kenny = {"name": "kenny", "state": "running", "restarts": 0, "pid": 1, "heartbeat_age_s": 0.1}
    later = {**kenny, "heartbeat_age_s": 0.2}
    again = {**kenny, "restarts": 1, "pid": 2, "reason": "killed"}
    assert news({"children": [kenny]}, {"children": [later]}) == []
    assert news({"children": [kenny]}, {"children": [again]}) == [
        "kenny was replaced: process 1 ended, process 2 runs: killed"
    ]
    assert news({"slos": [{"name": "x", "state": "unknown"}]}, {"slos": [{"name": "x", "state": "met"}]}) == []
    assert news({"slos": [{"name": "x", "state": "met"}]}, {"slos": [{"name": "x", "state": "violated"}]}) == [
        "objective x is violated"
    ]


def test_a_minute_in_which_nothing_ended_has_no_latency(page: Page) -> None:
    series = {
        "at": [60, 61, 120],
        "throughput": [1, 3, 0],
        "p50_ms": [4, None, None],
        "p95_ms": [9, 8, None],
    }

    assert said(page, f"minutes({json.dumps(series)})") == [
        {"from": 60, "rate": 2, "p50": 4, "p95": 9},
        {"from": 120, "rate": 0, "p50": None, "p95": None},
    ]


def test_the_same_is_there_as_a_table_where_no_lines_can_be_drawn(browser: Browser, tree: Node) -> None:
    with a_tab(browser) as tab:
        tab.go(f"http://{tree.metrics}/")
        tab.wait("!document.querySelector('#no-charts').hidden", "it says that there are no lines")
        tab.wait("document.querySelectorAll('#charts tbody tr').length", "the table")
        assert tab.complaints == []


def test_a_part_that_cannot_be_drawn_takes_no_other_along(browser: Browser, tree: Node) -> None:
    state = {**state_of(tree), "portfolio": {"positions": 5}, "rollout": {"evidence": 5}, "slos": [{"name": 5}]}
    with a_tab(browser) as tab:
        tab.forge("/live", b"event: state\ndata: " + json.dumps(state).encode() + b"\n\n", "text/event-stream")
        tab.go(f"http://{tree.metrics}/")
        tab.wait("document.querySelector('#said').textContent.includes('account')", "it says what it cannot draw")
        assert len(tab.evaluate("probe.processes()")) == len(state["children"])
        assert tab.evaluate("probe.texts('#outcomes tbody tr').length") == len(state["outcomes"])


def test_a_rollout_is_shown_on_a_phone_and_led_by_whoever_has_a_token(browser: Browser, tree: Node) -> None:
    state = {**state_of(tree), "rollout": ROLLOUT}
    with a_tab(browser) as tab:
        tab.forge("/live", b"event: state\ndata: " + json.dumps(state).encode() + b"\n\n", "text/event-stream")
        tab.size(360, 740)
        tab.go(f"http://{tree.metrics}/")
        text = "document.querySelector('#rollout').innerText"
        tab.wait(f"{text}.includes('Rollout: stage, 25 %')", "it is there")
        shown = " ".join(tab.evaluate(text).split())
        assert "joey from the installed package to aaaaaaaaaaaa" in shown
        assert "joey: denied 3 3 3" in shown
        assert "25 % of the evidence that it is worse" in shown
        assert "50 % of the evidence that it is as good" in shown
        assert "1 more approval of ben before 50" in shown
        assert "about 1 min 35 s" in shown
        assert "0.04 from the canary, 0.08 from the baseline" in shown
        assert "Abort" not in shown
        assert tab.evaluate("probe.outside()") == []
        assert tab.evaluate("probe.faint()") == []
        assert unnamed(tab) == []

        tab.click("#operate")
        tab.wait("document.querySelector('#token-dialog').open", "it asks for a token")
        tab.write(token_of(tree, "ben"))
        tab.press("Enter")
        tab.wait("document.querySelector('#operate').textContent.endsWith('ben')", "ben operates the node")
        buttons = (
            "[...document.querySelectorAll('#rollout .tools button')].filter((each) => each.checkVisibility())"
        )
        assert tab.evaluate(f"{buttons}.map((each) => each.textContent)") == [
            "Pause",
            "Approve",
            "Promote",
            "Abort",
        ]
        # What is forged comes once, so that the page takes the node for lost, and its buttons cannot be pressed.
        tab.evaluate("document.querySelector('#rollout [data-word=abort]').onclick()")
        tab.wait("document.querySelector('#act-dialog').open", "it asks for a reason")
        tab.write("odd sizes")
        tab.press("Enter")
        tab.wait("!document.querySelector('#act-dialog .error').hidden", "the deploy actor knows of no such one")
        assert "no rollout '20261121-120000'" in tab.evaluate(
            "document.querySelector('#act-dialog .error').textContent.replaceAll('\"', \"'\")"
        )


def test_how_a_rollout_stands_is_said_in_words(page: Page) -> None:
    def says(**changes: Any) -> Any:
        return said(page, f"rolloutSays({json.dumps({**ROLLOUT, **changes})})")

    assert says()["level"] == "note"
    assert says()["why"] == "undecided: too few"
    assert says()["holds"] == ["1 more approval of ben before 50"]
    paused = says(state="paused", under="stage", last={"why": "lunch"})
    assert (paused["title"], paused["why"], paused["stopped"]) == ("Rollout: paused in stage, 25 %", "lunch", True)
    assert "Nobody leads it" in says(lease_s=-3.0)["why"]
    back = says(state="rolled_back", is_over=True, last={"why": "worse"})
    assert (back["title"], back["why"], back["level"]) == ("Rollout: rolled back", "worse", "warning")
    assert says(state="permanent", is_over=True)["level"] == "well"

    over = {"rollout": {**ROLLOUT, "state": "rolled_back", "is_over": True}}
    assert said(page, f"changes({json.dumps({'rollout': ROLLOUT})}, {json.dumps({**over, 'node': None})})") == [
        "rollout: rolled back"
    ]
    assert said(page, f"problems({json.dumps(over)})[0].severity") == "note"


def test_whatever_a_node_says_stays_text(browser: Browser, tree: Node) -> None:
    hostile = '"><img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
    alert = {"name": "a", "fault": "b", "severity": "c", "reason": "d", "advice": "e", "count": 2, "since": 1}
    state = poisoned({**state_of(tree), "rollout": ROLLOUT, "alerts": [alert]}, hostile)
    with a_tab(browser) as tab:
        tab.forge("/live", b"event: state\ndata: " + json.dumps(state).encode() + b"\n\n", "text/event-stream")
        tab.size(360, 740)
        tab.go(f"http://{tree.metrics}/")
        for part in ("problems ul", "rollout .why", "rollout .example", "processes tbody", "outcomes tbody"):
            text = f"document.querySelector('#{part}').textContent"
            tab.wait(f"{text}.includes({json.dumps(hostile)})", f"{part} shows it as it is")

        assert tab.evaluate("window.hacked") is None
        assert tab.evaluate("document.querySelectorAll('img, main script').length") == 0
        assert tab.evaluate("probe.outside()") == []
        assert tab.complaints == []


def test_a_picture_can_be_made_of_a_node_with_a_quarantine(browser: Browser, tree: Node, only_tab: Page) -> None:
    if SCREENSHOT:
        # The lines are to have something to tell, and so are the newest outcomes.
        wait_until(lambda: len(state_of(tree)["series"]["at"]) > 120, "two minutes", within_s=150.0)
        wait_until(lambda: "denied" in json.dumps(state_of(tree)["outcomes"][:6]), "a denial", within_s=20.0)
    assert tree.run("supervisor", "isolate", "joey", "--reason", "odd confidence").returncode == 0
    try:
        only_tab.size(1360, 1240)
        only_tab.wait(
            "document.querySelector('.problems').textContent.includes('since')", "the Watchdog says since when"
        )
        picture = only_tab.picture()
        assert struct.unpack(">II", picture[16:24]) == (1360, 1240)
        if SCREENSHOT:
            small = with_few_colours(browser, picture)
            assert len(small) < 300_000
            (ROOT / SCREENSHOT).write_bytes(small)
    finally:
        only_tab.size(1280, 900)
        assert tree.run("supervisor", "release", "joey", "--reason", "the picture is taken").returncode == 0


def test_the_picture_in_the_readme_is_there_and_small() -> None:
    assert "docs/page.png" in (ROOT / "README.md").read_text()
    assert 20_000 < (ROOT / "docs" / "page.png").stat().st_size < 300_000


def test_a_lost_connection_is_shown_as_such_and_so_is_its_return(only_tab: Page, tree: Node) -> None:
    assert tree.run("supervisor", "stop", "exporter", "--reason", "to see what the page says").returncode == 0
    only_tab.wait("document.body.dataset.link === 'lost'", "the page knows that it hears nothing")
    assert "Connection lost since" in only_tab.evaluate("document.querySelector('#verdict-title').textContent")
    assert "Connection lost" in only_tab.evaluate("document.title")
    assert only_tab.evaluate("getComputedStyle(document.querySelector('.columns')).filter") == "grayscale(1)"

    assert tree.run("supervisor", "start", "exporter").returncode == 0
    only_tab.wait("document.body.dataset.link === 'live'", "it is heard again")
    only_tab.wait("document.title.startsWith('All is well')", "all is well again")
    only_tab.wait("document.querySelector('.seen').textContent.includes('connected again')", "it has seen that")

    assert [each for each in only_tab.complaints if "ERR_" not in each] == []
    only_tab.complaints.clear()


def test_a_real_rollout_is_shown_as_it_goes_and_obeys_the_keyboard(page: Page, tree: Node) -> None:
    pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")

    def shows(title: str) -> None:
        page.wait(f"document.querySelector('#rollout h2').textContent === 'Rollout: {title}'", title)

    def pressed(word: str, title: str) -> None:
        """Reach a button of the rollout with the tab key alone, press it, give a reason, and see what comes."""
        reached = f"document.activeElement.dataset.word === {json.dumps(word)}"
        for _ in range(100):
            if page.evaluate(reached):
                break
            page.press("Tab")
        assert page.evaluate(reached), f"the tab key does not lead to {word}"
        page.press("Enter")
        page.wait("document.querySelector('#act-dialog').open", "it asks for a reason")
        page.write(f"to see {word}")
        page.press("Enter")
        page.wait("!document.querySelector('#act-dialog').open", "it is done", within_s=15.0)
        shows(title)

    def ready() -> None:
        holds = "document.querySelector('#rollout .holds').textContent"
        page.wait(f"!{holds}.includes('ready and in force')", "its arms are there")

    def told(code: int) -> tuple[str, str | None]:
        done = tree.run("ark-run", "deploy", "status", "--json")
        assert done.returncode == code, done
        document = json.loads(done.stdout)
        return document["state"], document["under"]

    release = plant(tree.home, "joey", "good")
    plan = {"roles": {"joey": release}, "settings": STEPS_BY_HAND, "override": "nothing is measured here"}
    with tree.client() as client:
        client.request("deploy.start", plan=plan)
    shows("shadow")
    page.wait("probe.processes()['joey.canary']?.Version === '2.0.0'", "its arms are there")
    assert f"joey from the installed package to {release[:12]}" in page.evaluate(
        "document.querySelector('#rollout .what').textContent"
    )
    buttons = "[...document.querySelectorAll('#rollout .tools button')].filter((each) => each.checkVisibility())"
    assert page.evaluate(f"{buttons}.length") == 0
    page.click("#operate")
    page.write(token_of(tree, "ada"))
    page.press("Enter")
    page.wait("document.querySelector('#operate').textContent.endsWith('ada')", "ada operates the node")
    assert page.evaluate(f"{buttons}.map((each) => each.textContent)") == ["Pause", "Promote", "Abort"]

    pressed("pause", "paused in shadow")
    assert told(3) == ("paused", "shadow")
    assert page.evaluate("document.activeElement.textContent") == "Resume"
    pressed("resume", "shadow")
    assert told(0) == ("shadow", None)
    ready()
    pressed("promote", "baseline")
    ready()
    pressed("promote", "stage, 50 %")
    shown = "document.querySelector('#rollout .evidence').textContent"
    page.wait(f"{shown}.includes('decided differently')", "the evidence of both is shown")
    pressed("abort", "rolled back")
    assert told(0) == ("rolled_back", None)
    assert page.evaluate(f"{buttons}.length") == 0
    page.wait("!('joey.canary' in probe.processes())", "its arms are gone")
    page.wait("document.title.startsWith('All is well')", "all is well again")
    acts = json.loads(tree.run("ark-run", "audit", "acts", "--json").stdout)
    assert [(each["act"], each["reason"]) for each in acts if each["by"] == "ada"] == [
        (f"deploy.{word}", f"to see {word}") for word in ("pause", "resume", "promote", "promote", "abort")
    ]


COUNTED = {"trials": 40, "signals": 40, "denied": 3, "failed": 0, "late": 0, "slow": 1, "broken": 0}
ROLLOUT = {
    "id": "20261121-120000",
    "state": "stage",
    "under": None,
    "strategy": "canary",
    "roles": {"joey": "a" * 64},
    "stable": {"joey": ""},
    "share": 25.0,
    "canary_share": 0.25,
    "baseline_share": 0.25,
    "by": "anna",
    "since": 1_790_000_000.0,
    "deadline": 1_790_007_200.0,
    "is_over": False,
    "holds": ["no verdict yet: too few", "1 more approval of ben before 50"],
    "signals": 130,
    "expected_s": 95.0,
    "lease_s": 4.2,
    "last": {"why": "as good as the baseline", "by": "deployer"},
    "arms": {"joey": {"canary": COUNTED, "baseline": COUNTED, "stable": COUNTED, "pairs": {"compared": 130}}},
    "verdict": {
        "answer": "undecided",
        "why": "too few",
        "hold": False,
        "metrics": [
            {
                "role": "joey",
                "name": "pairs.denied",
                "n": 130,
                "harm": 0.65,
                "harm_at": 2.6,
                "health": 0.65,
                "health_at": 1.3,
                "can_fail": True,
                "must_pass": True,
                "why": "of 130 signals",
            }
        ],
        "counterexample": {
            "role": "joey",
            "trace_id": "7add652e-240f-4cf3-91a3-842e67a08b4a",
            "symbol": "IBM",
            "path": "setup.size",
            "canary": "0.04",
            "baseline": "0.08",
        },
    },
}


def said(page: Page, call: str) -> Any:
    """What one of the functions behind the page's words gives."""
    return page.evaluate(f"import('/static/words.js').then((words) => words.{call})")


def token_of(tree: Node, name: str) -> str:
    """A new token for a person."""
    file = tree.home.path.parent / f"{name}.token"
    assert tree.run("ark-run", "keys", "token", name, "--out", str(file)).returncode == 0
    return file.read_text().strip()


def act(page: Page, button: str, reason: str) -> None:
    """Press a button that asks for a reason, and give it."""
    page.click(button)
    page.wait("document.querySelector('#act-dialog').open", "it asks for a reason")
    page.write(reason)
    page.press("Enter")
    page.wait("!document.querySelector('#act-dialog').open", "it is done", within_s=15.0)


def unnamed(page: Page) -> list[dict[str, Any]]:
    """What assistive technology is told of without a name."""
    return [each for each in page.accessible() if each["role"] in NAMED and not each["name"].strip()]


@contextmanager
def a_tab(browser: Browser) -> Iterator[Page]:
    """A tab of its own, without Plotly, which takes a second to be read."""
    tab = browser.open(script=PROBES)
    tab.forge("/static/plotly.min.js", b"", "text/javascript")
    try:
        yield tab
    finally:
        tab.close()


def state_of(tree: Node) -> dict[str, Any]:
    """The document as it is now."""
    with closing(http.client.HTTPConnection(tree.metrics, timeout=10)) as line:
        line.request("GET", "/state")
        state: dict[str, Any] = json.loads(line.getresponse().read())
        return state


def poisoned(value: Any, text: str) -> Any:
    """The same document with this text in the place of every other."""
    if isinstance(value, dict):
        return {key: poisoned(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, text) for each in value]
    return text if isinstance(value, str) else value
