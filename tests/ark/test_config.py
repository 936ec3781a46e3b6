"""Configuration: the file, then variables, then options; mistakes are named by their key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import ENVIRONMENT, RESERVED, Config, is_loopback, load
from ark.errors import ConfigError
from ark.topology import tree


def written(folder: Path, text: str) -> Path:
    path = folder / "ark.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str, environment: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        load(written(folder, text), environment or {})
    assert "\n" not in str(error.value)
    return error.value


def refusal(action: Callable[[], Config]) -> str | None:
    """The field that is wrong; None: nothing is."""
    try:
        assert isinstance(action(), Config)
    except ConfigError as error:
        return error.field or "?"
    return None


def test_without_a_file_everything_has_its_default() -> None:
    config = load(None, {})
    assert config.gateway.endpoint == "tcp://127.0.0.1:5555"
    assert config.pipeline.agents == ("kyle", "joey", "hrm", "kenny", "aletheia")
    assert config.agents["kyle"].class_ == "actors.kyle:Kyle"


def test_an_option_beats_a_variable_and_a_variable_beats_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[gateway]\nwindow = 1\nbacklog = 1\nstall_s = 1.0")
    environment = {"ARK_GATEWAY_WINDOW": "2", "ARK_GATEWAY_BACKLOG": "2"}
    gateway = load(path, environment, {("gateway", "window"): 3, ("gateway", "stall_s"): None}).gateway
    assert (gateway.window, gateway.backlog, gateway.stall_s) == (3, 2, 1.0)


def test_the_originals_variables_keep_their_names() -> None:
    environment = {
        "KENNY_MAX_ACTIONS_PER_MINUTE": "30",
        "KENNY_BURST_LIMIT": "5",
        "AGENT_HEARTBEAT_INTERVAL": "2.5",
        "METRICS_SERVER_ENABLED": "FALSE",
    }
    config = load(None, environment)
    assert config.agents["kenny"].settings == {"max_actions_per_minute": 30, "burst_limit": 5}
    assert config.watchdog.interval_s == 2.5
    assert config.metrics.enabled is False


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_a_variable_that_makes_no_sense_is_an_error_or_plain_text(variable: str) -> None:
    for value in ("", "nan", "-1", "x" * 1000, "1e999", "true", "\udcff"):
        field = refusal(lambda value=value: load(None, {variable: value}))
        assert field in (None, ".".join(ENVIRONMENT[variable]))


@pytest.mark.parametrize(
    ("text", "field", "near"),
    [
        ("[gatway]", "gatway", "gateway"),
        ("[gateway]\nendpiont = ''", "gateway.endpiont", "endpoint"),
        ("[watchdog]\ninterval = 1", "watchdog.interval", "interval_s"),
        ("[supervision]\nintensty = 1", "supervision.intensty", "intensity"),
        ("[agents.kyle]\nclas = 'a:B'", "agents.kyle.clas", "class"),
        ("[agents.kile]\nclass = 'a:B'", "agents.kile", "kyle"),
        ("[pipeline]\nagent = []", "pipeline.agent", "agents"),
        ("[metrics]\nlisten_on = ''", "metrics.listen_on", "listen"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    text: str, field: str, near: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, text)
    assert field in str(error)
    assert f"did you mean {near!r}" in str(error)
    assert error.field == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("gateway = 5", "gateway"),
        ("[gateway]\nwindow = 0", "gateway.window"),
        ("[gateway]\nwindow = 'many'", "gateway.window"),
        ("[gateway]\nbacklog = -1", "gateway.backlog"),
        ("[gateway]\nstall_s = nan", "gateway.stall_s"),
        ("[gateway]\nstall_s = inf", "gateway.stall_s"),
        ("[gateway]\nendpoint = 'http://127.0.0.1:1'", "gateway.endpoint"),
        ("[gateway]\nendpoint = 'tcp://127.0.0.1'", "gateway.endpoint"),
        ("[gateway]\nendpoint = 'tcp://127.0.0.1:0'", "gateway.endpoint"),
        ("[gateway]\nendpoint = 'tcp://127.0.0.1:65536'", "gateway.endpoint"),
        ("[gateway]\ncurve = false\nendpoint = 'tcp://0.0.0.0:5555'", "gateway.curve"),
        ("[gateway]\ncurve = false\nendpoint = 'tcp://*:5555'", "gateway.curve"),
        ("[gateway]\ncurve = false\nendpoint = 'tcp://192.168.0.1:5555'", "gateway.curve"),
        ("[gateway]\ncurve = false\nevents = 'tcp://eth0:5556'", "gateway.curve"),
        ("[gateway]\nevents = 'tcp://127.0.0.1:5555'", "gateway.events"),
        ("[gateway]\nsymbols = [1]", "gateway.symbols[0]"),
        ("[metrics]\nlisten = '0.0.0.0:9090'", "metrics.listen"),
        ("[metrics]\nlisten = '127.0.0.1:99999'", "metrics.listen"),
        ("[metrics]\nlisten = '127.0.0.1'", "metrics.listen"),
        ("[pipeline]\nagents = []", "pipeline.agents"),
        ("[pipeline]\nagents = ['kyle', 'kyle']", "pipeline.agents"),
        ("[pipeline]\nagents = ['new']", "agents.new.class"),
        ("[pipeline]\nagents = ['Kyle']", "pipeline.agents[0]"),
        ('[pipeline]\nagents = ["kyle\\n"]', "pipeline.agents[0]"),
        ("[pipeline]\nagents = ['abcdefghijklmnopq']", "pipeline.agents[0]"),
        ("[agents.kyle]\nclass = 'kyle'", "agents.kyle.class"),
        ("[agents.kyle]\nclass = 'os:system; true'", "agents.kyle.class"),
        ("[watchdog]\nmissed = 1.5", "watchdog.missed"),
        ("[pipeline]\nstrategy = 'all_for_one'", "pipeline.strategy"),
        ("[supervision]\njitter = 1.0", "supervision.jitter"),
        ("[agents.kyle]\nrestart = 'sometimes'", "agents.kyle.restart"),
        ("[agents.kyle]\nrestart = true", "agents.kyle.restart"),
        ("[agents.kyle]\nshutdown_s = -1", "agents.kyle.shutdown_s"),
        ("[agents.kyle]\nstart_timeout_s = 0", "agents.kyle.start_timeout_s"),
        ("[watchdog]\ngraveyard_interval_s = 60", "watchdog.graveyard_interval_s"),
        ("[watchdog]\nmax_failure_rate = 1.5", "watchdog.max_failure_rate"),
        ("[watchdog]\nauto_isolation = 'yes'", "watchdog.auto_isolation"),
        ("[watchdog]\nanswers = 'halt'", "watchdog.answers"),
        ("[watchdog]\nanswers.hang = 3", "watchdog.answers.hang"),
        ("[watchdog.answers]\nseal = 'warn'", "watchdog.answers.seal"),
        ("[agents.kenny]\npatience_s = -1", "agents.kenny.patience_s"),
        ("[agents.kenny]\nmemory_limit_mb = 1.5", "agents.kenny.memory_limit_mb"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(text: str, field: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).field == field


def test_a_word_that_is_no_choice_is_answered_with_the_choices(tmp_path: Path) -> None:
    error = refused(tmp_path, "[agents.kyle]\nrestart = 'sometimes'")
    assert "must be one of permanent, transient, temporary, not 'sometimes'" in str(error)


def test_an_agent_has_the_specification_that_its_table_gives_and_otherwise_everybodys(tmp_path: Path) -> None:
    text = """
        [supervision]
        shutdown_s = 3.0
        [pipeline]
        strategy = "rest_for_one"
        [agents.kyle]
        restart = "transient"
        shutdown_s = 9.0
        [agents.joey]
        shutdown_s = 0
        start_timeout_s = 40.0
    """
    pipeline = tree(load(written(tmp_path, text), {}), "1")["children"][-1]
    agents = {each["name"]: each for each in pipeline["options"]["children"]}
    keys = ("restart", "shutdown_s", "start_timeout_s")
    assert [agents["kyle"][key] for key in keys] == ["transient", 9.0, 15.0]
    assert [agents["joey"][key] for key in keys] == ["permanent", 0.0, 40.0]
    assert [agents["hrm"][key] for key in keys] == ["permanent", 3.0, 15.0]
    assert (pipeline["shutdown_s"], pipeline["start_timeout_s"]) == (18.0, 120.0)
    assert pipeline["options"]["strategy"] == "rest_for_one"


@pytest.mark.parametrize(
    ("fault", "answer", "known"),
    [("disk_full", "restart", "warn, halt"), ("failures", "kill", "warn, restart, isolate, halt")],
)
def test_an_answer_that_a_fault_cannot_have_is_refused_with_those_that_it_can(
    fault: str, answer: str, known: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, f"[watchdog]\nanswers.{fault} = '{answer}'")
    assert error.field == f"watchdog.answers.{fault}"
    assert f"must be one of {known}, not {answer!r}" in str(error)


def test_answers_that_are_not_named_keep_their_default(tmp_path: Path) -> None:
    answers = load(written(tmp_path, "[watchdog.answers]\ndisk_full = 'warn'"), {}).watchdog.answers
    assert (answers.disk_full, answers.storage, answers.failures) == ("warn", "halt", "isolate")


@pytest.mark.parametrize("name", RESERVED)
def test_no_agent_can_take_the_name_of_a_process_of_arks_own(name: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"[pipeline]\nagents = ['{name}']\n[agents.{name}]\nclass = 'a:B'")
    assert repr(name) in str(error)


def test_a_variable_over_a_file_that_is_wrong_there_is_still_the_files_error(tmp_path: Path) -> None:
    assert refused(tmp_path, "gateway = 5", {"ARK_GATEWAY_WINDOW": "5"}).field == "gateway"


@pytest.mark.parametrize("content", [b"[gateway", b"\xff\xfe", b"a = ", b"\0"])
def test_a_file_that_is_no_toml_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ark.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path, {})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"cannot read {path}"):
            load(path, {})


def test_an_agent_of_ones_own_is_found_beside_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[pipeline]\nagents = ['mine']\n[agents.mine]\nclass = 'mine:Mine'\npath = 'code'")
    assert load(path, {}).agents["mine"].path == str(tmp_path / "code")


def test_the_configuration_survives_its_way_to_a_process(tmp_path: Path) -> None:
    config = load(written(tmp_path, "[gateway]\nsymbols = ['AAPL']\n[agents.kyle.settings]\na = {b = [1]}"), {})
    wire = msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(config)))
    assert msgspec.convert(wire, Config) == config


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
places = st.sampled_from(
    [
        *(tuple(place) for place in ENVIRONMENT.values()),
        ("gateway", "symbols"),
        ("pipeline", "agents"),
        ("pipeline", "secrets"),
        ("agents",),
        ("agents", "kyle"),
        ("agents", "kyle", "class"),
    ]
)


@given(st.dictionaries(places, values, max_size=3))
def test_whatever_is_set_gives_a_configuration_or_a_named_error(overrides: dict[tuple[str, ...], Any]) -> None:
    refusal(lambda: load(None, {}, overrides))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "*", "::", "10.0.0.1", "127.0.0.1.evil.com", "localhost.evil", "lo", ""]
)
def test_anything_else_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://alerts.example/hook?key=value",
        "https://user:word@alerts.example:8443",
        "http://127.0.0.1:9093/api/v2/alerts",
        "http://localhost/",
        "http://[::1]:8080/",
    ],
)
def test_alerts_go_over_tls_or_stay_on_the_machine(url: str) -> None:
    assert load(None, {"WATCHDOG_WEBHOOK_URL": url}).watchdog.webhook == url


@pytest.mark.parametrize(
    "url",
    [
        "alerts.example/topsecret",
        "ftp://alerts.example/topsecret",
        "http://alerts.example/topsecret",
        "http://127.0.0.1.alerts.example/topsecret",
        "https:///topsecret",
        "https://alerts.example:99999/topsecret",
        "https://alerts.example:0/topsecret",
        "https://[::1/topsecret",
        "https://alerts.example/top secret/topsecret",
        "https://älerts.example/topsecret",
    ],
)
def test_an_address_of_a_webhook_that_is_wrong_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, {}, {("watchdog", "webhook"): url})
    assert error.value.field == "watchdog.webhook"
    assert "topsecret" not in error.value.line


@pytest.mark.parametrize(
    ("settings", "curve"),
    [
        ({}, False),
        ({"curve": True}, True),
        ({"curve": False}, False),
        ({"endpoint": "tcp://0.0.0.0:5555"}, True),
        ({"events": "tcp://*:5556"}, True),
        ({"endpoint": "tcp://10.0.0.1:5555", "curve": True}, True),
        ({"endpoint": "ipc:///tmp/door"}, False),
    ],
)
def test_keys_are_asked_for_beyond_loopback_and_where_it_is_said(settings: dict[str, Any], curve: bool) -> None:
    loaded = load(None, {}, {("gateway", key): value for key, value in settings.items()})

    assert loaded.gateway.curve is curve


@pytest.mark.parametrize("key", ["endpoint", "events"])
def test_beyond_loopback_keys_cannot_be_switched_off(key: str) -> None:
    field = refusal(lambda: load(None, {"ARK_GATEWAY_CURVE": "false"}, {("gateway", key): "tcp://0.0.0.0:6000"}))

    assert field == "gateway.curve"
