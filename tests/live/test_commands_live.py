"""`ark-run rules`, `explain` and `check` over real nodes: what they print, what they give back, and that they do
nothing."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import apsw
import pytest

from actors.commands import check, explain, rules
from actors.ruleset_book import RULESET_RULES
from ark.cli import run_guarded
from ark.home import Home
from graveyard import RULES
from tests.live.desk import PULLBACK, judged, orders_sent, rows, signal
from tests.node import Node, node

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, over a node's home: exit code, standard output, standard error."""

    def command(module: ModuleType, home: Path, *arguments: str, typed: Any = None) -> tuple[int, str, str]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--home", type=Path, default=home)
        parser.add_argument("--json", action="store_true")
        module.configure(parser)
        text = typed if isinstance(typed, str) else json.dumps(typed)
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code = run_guarded(lambda: module.run(parser.parse_args(arguments)))
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return command


class Told:
    """A node with a signal of each kind."""

    def __init__(self, one: Node) -> None:
        self.home = one.home.path
        with one.client() as client:
            self.outcomes = {
                "approved": judged(client, symbol="GOOD"),
                "denied": judged(client, symbol="LARGE", position_size_pct=0.25),
                "held": judged(client, symbol="HELD", position_size_pct=0.09),
                "no_setup": judged(client, symbol="BARE", position_size_pct=None),
                "pattern": judged(client, symbol="DRIFT", **PULLBACK),
                "refused": judged(client, symbol="SORRY", position_size_pct=0.09),
                "late": judged(client, symbol="OLD", ts=1.0),
            }
            client.refuse(self.id("refused"), reason="no, thank you", by="ada")
            self.outcomes["refused"] = client.outcome(self.id("refused"), timeout_s=10.0)

    def id(self, kind: str) -> str:
        return str(self.outcomes[kind]["trace_id"])


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Node, Told]]:
    with node() as one:
        yield one, Told(one)


@pytest.fixture(scope="module")
def stopped() -> Iterator[tuple[Node, Told]]:
    """The same, and then the node was stopped."""
    with node() as one:
        told = Told(one)
        one.stop()
        yield one, told


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a limit of its own, a consent, and one order a minute."""
    register = tmp_path_factory.mktemp("register") / "register.toml"
    register.write_text('consents = ["share_data:client-7"]\n')
    own = f"max_position_size = 0.04\nregister = '{register}'\n"
    rate = "burst_limit = 1\nmax_actions_per_minute = 1\n"
    with node(f"[agents.hrm.settings]\n{own}[agents.kenny.settings]\n{rate}") as one:
        yield one


@pytest.fixture
def copy(stopped: tuple[Node, Told], tmp_path: Path) -> tuple[Home, Told]:
    """A copy of the stopped node's home, to be changed."""
    one, told = stopped
    shutil.copytree(one.home.data, tmp_path / "home" / "data")
    return Home(tmp_path / "home"), told


@pytest.fixture(params=["running", "stopped"])
def told(request: pytest.FixtureRequest) -> Told:
    """Both in turn."""
    _, one = request.getfixturevalue(request.param)
    assert isinstance(one, Told)
    return one


class TestRules:
    def test_every_rule_stands_there_with_its_value(self, told: Told, run: Run) -> None:
        code, out, _ = run(rules, told.home)
        assert code == 0
        for rule in RULES:
            assert f"  {rule.name} " in out
        for rule in RULESET_RULES:
            assert rule.title in out
        line = next(line for line in out.splitlines() if line.startswith("  max_position_size"))
        assert line.split()[:3] == ["max_position_size", "0.1", "HIGH"]

    def test_json_has_the_26_and_the_ruleset(self, told: Told, run: Run) -> None:
        code, out, _ = run(rules, told.home, "--json")
        found = json.loads(out)
        assert code == 0
        assert [each["rule"] for each in found["graveyard"]] == [rule.name for rule in RULES]
        assert len(found["graveyard"]) == 26
        assert [each["rule"] for each in found["ruleset"]] == [rule.title for rule in RULESET_RULES]
        assert all(each["protects"] and each["source"] for each in found["graveyard"])

    def test_what_each_rule_said_today_grows(self, running: tuple[Node, Told], run: Run) -> None:
        one, told = running

        def today() -> tuple[int, int]:
            found = json.loads(run(rules, told.home, "--json")[1])
            rule = next(each for each in found["graveyard"] if each["rule"] == "max_leverage")
            return rule["today"].get("denied", 0), found["decisions_today"].get("deny", 0)

        before = today()
        with one.client() as client:
            for _ in range(3):
                judged(client, symbol="GEARED", leverage=5)
        assert today() == (before[0] + 3, before[1] + 3)

    def test_a_stricter_limit_stands_beside_the_graveyards_and_holds(self, strict: Node, run: Run) -> None:
        _, out, _ = run(rules, strict.home.path)
        line = next(line for line in out.splitlines() if line.startswith("  max_position_size"))
        assert "0.04" in line
        assert "(the Graveyard's: 0.1)" in line
        with strict.client() as client:
            assert "the limit is 4 %" in judged(client, position_size_pct=0.05)["reason"]

    def test_it_works_as_a_process_of_its_own(self, running: tuple[Node, Told]) -> None:
        done = running[0].run("ark-run", "rules")
        assert (done.returncode, done.stderr) == (0, "")
        assert "THE GRAVEYARD" in done.stdout

    def test_before_any_start_the_defaults_are_listed(self, tmp_path: Path, run: Run) -> None:
        code, out, _ = run(rules, tmp_path / "nowhere")
        assert code == 0
        assert "today 0 approved, 0 held, 0 denied" in out


class TestExplain:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("approved", ["executed", "APPROVED, by the level `synthesis`", "the synthesis: "]),
            (
                "denied",
                [
                    "denied",
                    "DENIED, by the level `graveyard`",
                    "because of max_position_size (HIGH): `position_size_pct` is 25 %",
                    " NO   max_position_size",
                    "an earlier level had denied",
                ],
            ),
            (
                "held",
                ["held", "HELD for a person", "because of human_in_loop_critical", " ASK  human_in_loop_critical"],
            ),
            ("refused", ["ada refused it: no, thank you", "DENIED", " NO   human_in_loop_critical"]),
            ("pattern", ["executed", "(limit)", "because of post_earnings_drift"]),
        ],
    )
    def test_every_rule_tells_what_it_saw(self, kind: str, words: list[str], told: Told, run: Run) -> None:
        code, out, err = run(explain, told.home, told.id(kind))
        assert (code, err) == (0, "")
        for each in words:
            assert each in out
        for rule in RULES:
            assert f" {rule.name} " in out
        code, out, _ = run(explain, told.home, told.id(kind), "--json")
        found = json.loads(out)
        assert code == 0
        assert found["decision"]["number"] > 0
        assert found["rules_changed_since"] is False
        assert [each["rule"] for each in found["graveyard"]] == [rule.name for rule in RULES]
        assert found["zone"] == found["decision"]["zone"]
        assert [each["rule"] for each in found["violations"]][:1] == [
            each["rule"] for each in found["decision"]["violations"]
        ][:1]

    @pytest.mark.parametrize(
        ("kind", "words"), [("no_setup", "it ended as no_setup"), ("late", "it ended as expired")]
    )
    def test_what_nobody_judged_is_not_explained_and_says_how_it_ended(
        self, kind: str, words: str, told: Told, run: Run
    ) -> None:
        code, out, err = run(explain, told.home, told.id(kind))
        assert (code, out) == (1, "")
        assert f"nobody judged {told.id(kind)}: {words}" in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize("trace_id", ["0f8fad5b-d9cb-469f-a165-70867728950e", "nonsense"])
    def test_a_signal_that_never_was_is_said_to_be_unknown(self, trace_id: str, told: Told, run: Run) -> None:
        code, out, err = run(explain, told.home, trace_id)
        assert (code, out) == (1, "")
        assert "was ever accepted" in err
        assert len(err) < 300

    def test_a_rule_that_only_warns_is_no_refusal(self, running: tuple[Node, Told], run: Run) -> None:
        one, told = running
        with one.client() as client:
            silent = judged(client, symbol="GOOD", position_size_pct=None, quantity=1, source=None)
        assert silent["status"] == "executed"
        _, out, _ = run(explain, told.home, silent["trace_id"])
        assert "warn  transparent_reasoning" in out
        assert " NO  " not in out

    @pytest.mark.parametrize(
        "changed",
        [{"max_position_size": "0.04"}, {"ruleset": {"min_risk_reward": "2.6"}}],
        ids=["a limit", "the ruleset"],
    )
    def test_rules_that_were_changed_since_are_named(
        self, changed: dict[str, Any], copy: tuple[Home, Told], run: Run
    ) -> None:
        home, told = copy
        home.keep_settings({"agents": {"hrm": {"settings": changed}}})
        code, out, _ = run(explain, home.path, told.id("approved"))
        assert code == 0
        assert "the rules have changed since; what follows is by those in force now" in out
        assert json.loads(run(explain, home.path, told.id("approved"), "--json")[1])["rules_changed_since"] is True

    def test_what_is_not_kept_any_more_is_said_to_be_gone(self, copy: tuple[Home, Told], run: Run) -> None:
        home, told = copy
        connection = apsw.Connection(str(home.data / "hrm.db"))
        connection.execute("DELETE FROM hrm_judged")
        connection.close()
        code, out, err = run(explain, home.path, told.id("denied"))
        assert (code, out) == (1, "")
        assert "is not kept any more" in err

    def test_over_a_home_where_nothing_ever_ran_it_says_so(self, tmp_path: Path, run: Run) -> None:
        code, _, err = run(explain, tmp_path, "nonsense")
        assert code == 1
        assert "has this node ever run?" in err

    def test_it_works_as_a_process_of_its_own(self, stopped: tuple[Node, Told]) -> None:
        one, told = stopped
        done = one.run("ark-run", "explain", told.id("denied"))
        assert (done.returncode, done.stderr) == (0, "")
        assert "DENIED" in done.stdout


def quiet(one: Node) -> tuple[Any, ...]:
    """All that a sent signal would change."""
    return (
        one.status()["signals"],
        # What persons did is taken in a moment later, and no signal changes it.
        rows(one, "aletheia", "SELECT count(*) FROM ledger WHERE status <> 'intervention'"),
        rows(one, "hrm", "SELECT count(*) FROM hrm_judged"),
        rows(one, "hrm", "SELECT * FROM hrm_counts"),
        rows(one, "hrm", "SELECT * FROM hrm_reservations"),
        rows(one, "hrm", "SELECT count(*) FROM hrm_held"),
        rows(one, "kyle", "SELECT count(*) FROM bars"),
        orders_sent(one),
    )


@pytest.fixture
def home(running: tuple[Node, Told]) -> Iterator[Path]:
    """The running node's, in which nothing may have changed afterwards."""
    one, told = running
    before = quiet(one)
    yield told.home
    assert quiet(one) == before


def bar(close: float) -> dict[str, Any]:
    """A signal that shows a bar."""
    shown = {"ts": time.time() - 60, "open": close, "high": close, "low": close, "close": close, "volume": 1e6}
    return {**signal(symbol="BARS", price=close), "action": "observe", "features": {"bar": shown}}


class TestCheck:
    @pytest.mark.parametrize(
        ("proposed", "code", "zone", "words"),
        [
            pytest.param(signal(symbol="NEW"), 0, "approve", "APPROVED", id="approved"),
            pytest.param(
                signal(position_size_pct=0.25), 1, "deny", "because of max_position_size (HIGH)", id="denied"
            ),
            pytest.param(signal(symbol="NEW", position_size_pct=0.09), 3, "hold", "HELD for a person", id="held"),
            pytest.param(
                signal(stop_loss=None, position_size_pct=None), 4, "no_setup", "no pattern fits", id="no_setup"
            ),
            pytest.param(signal(ts=1.0), 1, "expired", "expired: ts: the signal is", id="too old"),
            pytest.param(
                signal(symbol="NEW", **PULLBACK), 0, "approve", "post_earnings_drift", id="a pattern's plan"
            ),
            pytest.param([signal(symbol="NEW")], 0, "approve", "APPROVED", id="a list of one"),
            pytest.param(bar(100.0), 4, "no_setup", "no pattern fits", id="a bar"),
            pytest.param(
                {**bar(100.0), **signal(action="trade")}, 0, "approve", "APPROVED", id="a trade with a bar"
            ),
            pytest.param(
                {**bar(-1.0), "price": 1.0}, 1, "denied", "denied: features.bar: ", id="a bar that is none"
            ),
        ],
    )
    def test_it_says_what_would_become_of_a_signal(
        self, proposed: Any, code: int, zone: str, words: str, *, home: Path, run: Run
    ) -> None:
        found, out, _ = run(check, home, "-", typed=proposed)
        assert found == code
        assert words in out
        found, out, _ = run(check, home, "-", "--json", typed=proposed)
        assert (found, json.loads(out)["zone"]) == (code, zone)

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            (signal(price=-1), "`price`: Expected `float` > 0.0"),
            (signal(symbol="aapl"), "`symbol` must be 1 to 32 characters"),
            (signal(direction=None), "`direction` is missing"),
            (signal(leverage="5"), "`leverage`: Expected `float`"),
            ('{"symbol": "AAPL", "direction": "long", "price": NaN}', "`price`"),
            ('{"symbol": "AAPL", "direction": "long", "price": 1' + "0" * 400 + "}", "this is no signal"),
            (signal(features={"rsi": float("inf")}), "`features.rsi` must be a finite number"),
            ([signal(), signal()], "standard input holds 2 objects; one at a time is judged"),
            ([], "standard input holds 0 objects; one at a time is judged"),
            ("", "standard input holds 0 objects"),
            ("this is not JSON", "standard input, line 1: not JSON"),
            ("5", "standard input: signal 1 is no JSON object"),
            ({"kind": "read_data", "secret": 1}, "unknown field `secret`"),
            ({"kind": 5}, "this is no action on data"),
            ({**signal(), "kind": "trade"}, "a signal is judged without a key `kind`"),
        ],
    )
    def test_what_cannot_be_judged_is_one_line_that_names_the_fault(
        self, typed: Any, words: str, home: Path, run: Run
    ) -> None:
        code, out, err = run(check, home, "-", typed=typed)
        assert (code, out) == (1, "")
        assert words in err
        assert err.count("\n") == 1

    def test_a_file_that_is_not_there_is_named(self, home: Path, run: Run) -> None:
        code, _, err = run(check, home, "/nowhere/signal.json")
        assert code == 1
        assert "cannot read /nowhere/signal.json" in err

    def test_a_key_that_is_left_out_is_named(self, home: Path, run: Run) -> None:
        _, out, _ = run(check, home, "-", typed=signal(symbol="NEW", hrm_approved=True))
        assert out.startswith("unknown keys were left out: hrm_approved\n")

    def test_it_says_what_the_node_says(self, running: tuple[Node, Told], run: Run) -> None:
        one, told = running
        changes = {"symbol": "SAME", "target": 104.0, "leverage": 3, "source": "a boaster"}
        _, out, _ = run(check, told.home, "-", "--json", typed=signal(**changes))
        with one.client() as client:
            outcome = judged(client, **changes)
        foreseen = json.loads(out)
        assert foreseen["violations"] == outcome["decision"]["violations"]
        seen = outcome["decision"]["warnings"]  # the node asks the ruleset no more, where the Graveyard denies
        assert foreseen["warnings"][: len(seen)] == seen

    @pytest.mark.parametrize(
        ("proposed", "code", "words"),
        [
            pytest.param(
                {"kind": "share_data", "sensitivity": "personal", "subject": "client-7", "encrypted": True},
                1, " NO   require_consent          nobody consented to share_data:client-7",
                id="G11 data sharing without consent rejected",
            ),
            pytest.param(
                {"kind": "read_data", "sensitivity": "internal"}, 0, "APPROVED: read_data",
                id="G17 file read approved",
            ),
            pytest.param(
                {"kind": "write_data", "sensitivity": "internal", "reasons": ["the earlier version is kept"]},
                0, "undone by: put the earlier version back", id="G18 file write with backup approved",
            ),
            pytest.param(
                {"kind": "delete_data", "sensitivity": "internal"}, 3, " ASK  human_in_loop_critical",
                id="G19 file delete needs a person",
            ),
            pytest.param(
                {"kind": "", "sensitivity": "public"}, 1, " NO   require_hrm_approval", id="G14 empty action denied"
            ),
            pytest.param({"kind": "fly_to_mars"}, 1, "`kind` is 'fly_to_mars'", id="G15 unknown kind denied"),
            pytest.param({"kind": "update_ethics"}, 1, "nobody changes the rule book", id="the rule book itself"),
            pytest.param({"kind": "read_data"}, 1, "`sensitivity` is ''", id="no sensitivity"),
            pytest.param(
                {"kind": "share_data", "sensitivity": "secret", "encrypted": True}, 1, "secret data is not shared",
                id="a secret",
            ),
            pytest.param(
                {"kind": "read_data", "sensitivity": "internal", "reasons": ["call 555-867-5309"]}, 1,
                " NO   protect_user_data", id="personal data in a reason",
            ),
        ],
    )  # fmt: skip
    def test_an_action_on_data_is_judged_by_the_graveyard_alone(
        self, proposed: dict[str, Any], code: int, words: str, home: Path, run: Run
    ) -> None:
        found, out, err = run(check, home, "-", typed=proposed)
        assert (found, err) == (code, "")
        assert words in out
        found, out, _ = run(check, home, "-", "--json", typed=proposed)
        assert found == code
        assert [each["rule"] for each in json.loads(out)["graveyard"]] == [rule.name for rule in RULES]

    def test_with_consent_a_person_is_asked_whether_data_is_shared(self, strict: Node, run: Run) -> None:
        shared = {"kind": "share_data", "sensitivity": "personal", "subject": "client-7", "encrypted": True}
        assert run(check, strict.home.path, "-", typed=shared)[0] == check.EXIT_HELD == 3
        another = {**shared, "subject": "client-8"}
        assert run(check, strict.home.path, "-", typed=another)[0] == check.EXIT_DENIED == 1

    def test_while_trading_is_halted_it_says_that(self, strict: Node, run: Run) -> None:
        strict.home.halt("to see", by="a test", at=0.0)
        try:
            _, out, _ = run(check, strict.home.path, "-", typed=signal())
        finally:
            strict.home.resume()
        assert "because of emergency_halt_enabled (HIGH): trading is halted: to see" in out

    def test_on_a_stopped_node_it_says_so_and_denies(self, stopped: tuple[Node, Told], run: Run) -> None:
        code, out, _ = run(check, stopped[1].home, "-", typed=signal(symbol="NEW"))
        assert code == 1
        assert out.startswith("no node runs over ")
        assert " NO   watchdog_monitoring      `watchdog_age_s` is missing" in out

    def test_a_pipeline_without_a_judge_judges_nothing(self, tmp_path: Path, run: Run) -> None:
        home = Home(tmp_path)
        home.prepare()
        home.keep_settings({"pipeline": {"agents": ["alpha", "omega"]}})
        code, out, err = run(check, tmp_path, "-", typed=signal())
        assert (code, out) == (1, "")
        assert "without kyle, joey, hrm nothing is judged" in err

    def test_it_works_as_a_process_of_its_own(self, running: tuple[Node, Told]) -> None:
        one = running[0]
        before = quiet(one)
        done = one.run("ark-run", "check", "-", input=json.dumps(signal(position_size_pct=0.25)))
        assert (done.returncode, done.stderr) == (1, "")
        assert "DENIED" in done.stdout
        assert quiet(one) == before


def test_a_decision_that_came_to_nothing_behind_the_judge_says_so(strict: Node, run: Run) -> None:
    with strict.client() as client:
        assert judged(client)["status"] == "executed"
        outcome = judged(client, symbol="MSFT")
    assert (outcome["decision"]["approved"], outcome["status"]) == (True, "denied")
    code, out, _ = run(explain, strict.home.path, outcome["trace_id"])
    assert code == 0
    assert "the judge approved it; after him it ended as denied: RATE_LIMIT_EXCEEDED" in out
