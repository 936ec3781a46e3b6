"""Configuration: `ark.toml`, then environment variables, then options; the last one wins.

Every default stands in this module. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ark.deploy_settings import DeployConfig, FreezeWindow, Gate
from ark.errors import ConfigError
from ark.levels import Level
from ark.log import Limits
from ark.redis_link import check_url, split_password
from ark.slo import check, definitions

__all__ = [
    "AgentConfig",
    "Config",
    "GatewayConfig",
    "LogsConfig",
    "MetricsConfig",
    "PipelineConfig",
    "RedisConfig",
    "SloConfig",
    "SupervisionConfig",
    "TracesConfig",
    "WatchdogConfig",
    "is_beyond_loopback",
    "load",
]

RESERVED = (
    *("root", "gateway", "watchdog", "exporter", "deployer", "rollout", "feed", "pipeline", "operator"),
    *("all", "actors", "supervision", "thespian"),
)
"""Names of the tree's own processes, sockets and logs, and the word for all of them, which no agent can have."""

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Millis = Annotated[float, Meta(gt=0, le=86_400_000)]
Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,15}\Z")]


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The front door.

    Attributes:
        endpoint: Where requests come in.
        events: Where outcomes and events are published.
        curve: Whether clients at both must have a key, see `ark-run keys`. Where absent: true if one of them is
            beyond loopback, false otherwise. Beyond loopback it cannot be false.
        window: How many signals may be in the pipeline at once.
        backlog: How many accepted signals may wait for their outcome before the door says `busy`.
        back_pressure: While so much waits in an agent's mailbox, nothing more is sent into the pipeline.
        stall_s: Without any outcome for so long, everything unfinished is sent again.
        symbols: If not empty, the only symbols that the door lets in.
    """

    endpoint: str = "tcp://127.0.0.1:5555"
    events: str = "tcp://127.0.0.1:5556"
    curve: bool | None = None
    window: Annotated[int, Meta(ge=1, le=10_000)] = 512
    backlog: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    back_pressure: Annotated[int, Meta(ge=1, le=1_000_000)] = 800
    stall_s: Seconds = 30.0
    symbols: tuple[str, ...] = ()


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The exporter: metrics and health over HTTP.

    Attributes:
        listen: Its address, `HOST:PORT`, on loopback.
        enabled: Whether there is one.
    """

    listen: Annotated[str, Meta(pattern=r"^.+:\d{1,5}$")] = "127.0.0.1:9090"
    enabled: bool = True


class PipelineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pipeline.

    Attributes:
        agents: The agents by name, in the order in which a signal passes them.
        secrets: Who shares which secret: the agents' names, by the secret's name. The gateway always has `ruling`;
            an agent that holds signals for a person needs it, too.
        strategy: Whom the failure of one agent takes along: `one_for_one` nobody, `rest_for_one` those behind it,
            `one_for_all` all others.
    """

    agents: Annotated[tuple[Name, ...], Meta(min_length=1)] = ("kyle", "joey", "hrm", "kenny", "aletheia")
    secrets: dict[Name, tuple[Name, ...]] = msgspec.field(
        default_factory=lambda: {"approval": ("hrm", "kenny"), "ruling": ("gateway", "hrm")}
    )
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] = "one_for_one"


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One agent.

    Attributes:
        class_: `module:Class`.
        path: A folder to import it from, relative to `ark.toml`; where absent, the file's own folder.
        patience_s: How long it may be without a heartbeat, for agents that wait for a slow model; where 0, as long
            as everybody.
        memory_limit_mb: How much memory it may hold, in MiB; where 0, as much as everybody.
        restart: `permanent`: it is always started again; `transient`: after an abnormal end only; `temporary`:
            never. While an agent is down, signals wait before it.
        shutdown_s: How long it gets for an orderly stop before it is killed; with 0 it is killed at once. Where
            absent, as long as `supervision.shutdown_s` says.
        start_timeout_s: How long it gets until it is ready; where absent, as long as
            `supervision.start_timeout_s` says.
        settings: The agent's own settings.
    """

    class_: Annotated[str, Meta(pattern=r"^[\w.]+:\w+\Z")] = msgspec.field(name="class", default="")
    path: str = ""
    patience_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    memory_limit_mb: Annotated[int, Meta(ge=0)] = 0
    restart: Literal["permanent", "transient", "temporary"] = "permanent"
    shutdown_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    start_timeout_s: Seconds | None = None
    settings: dict[str, Any] = {}


class SupervisionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How supervisors restart; see `supervisor.policy`.

    A restart costs some 20 ms and loses nothing, so the intensity is generous: it is there to end a loop of
    crashes, not to punish an incident. A child that cannot stay up is started at most about every
    `backoff_cap_s`, which exceeds the intensity within half a minute.

    Attributes:
        intensity: So many restarts within `period_s` are borne; one more, and the supervisor gives up.
        period_s: The length of that window.
        backoff_base_s: How long a child waits before its second restart in a row; it doubles from there.
        backoff_cap_s: The longest that it waits.
        jitter: By which share each of these waits is made longer or shorter at random, so that children that died
            together do not come back together.
        stable_s: After it ran for so long, the waiting begins anew.
        shutdown_s: How long a process gets for an orderly stop before it is killed; a supervisor twice as long.
        start_timeout_s: How long a process gets until it is ready; a supervisor three times as long.
        rebuilds: So often within a minute `ark-run start` builds a tree anew that went down as a whole.
    """

    intensity: Annotated[int, Meta(ge=1, le=100_000)] = 50
    period_s: Seconds = 30.0
    backoff_base_s: Seconds = 0.01
    backoff_cap_s: Seconds = 0.5
    jitter: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    stable_s: Seconds = 10.0
    shutdown_s: Seconds = 2.0
    start_timeout_s: Seconds = 15.0
    rebuilds: Annotated[int, Meta(ge=0, le=100_000)] = 50


ChildAnswer = Literal["warn", "restart", "isolate", "halt"]
NodeAnswer = Literal["warn", "halt"]


class AnswersConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the Watchdog does about each fault: `warn` raises an alert and does no more; `restart` replaces the
    process; `isolate` puts the agent into quarantine, where nothing reaches it and its signals wait; `halt` halts
    trading, and isolates the agent if the fault is one agent's. A service, which cannot be isolated, is restarted
    instead. A broken seal of the rule book always halts.

    Attributes:
        hang: A process beats no more. It is replaced at least.
        failures: Too many different signals in a row ended an agent, or were called failed by it.
        failure_rate: Too great a share of an agent's signals did.
        latency: An agent takes too long for a signal on average.
        memory: A process holds more memory than it may.
        descriptors: A process has nearly all the file descriptors that it may have open.
        restarts: A child was restarted too often within a minute.
        down: A child that should run has not run for `down_s`.
        quarantines: The Watchdog has isolated the same agent too often.
        front_door: The front door answers late or not at all.
        mailbox: More waits in an agent's mailbox than may.
        backlog: The journal of accepted signals is nearly as full as it may become.
        redis: The Redis of the feed answers late or not at all, or too much waits in it.
        violations: The rule book denied too many orders within a minute.
        dead_letter: A signal was given up on, and nobody has dealt with it yet.
        clock_jump: The wall clock was set forwards or backwards.
        disk_low: Little space is left on the disk under the node's home.
        disk_full: Hardly any is.
        storage: A journal cannot be written or is damaged; the process that owns it waits.
    """

    hang: ChildAnswer = "restart"
    failures: ChildAnswer = "isolate"
    failure_rate: ChildAnswer = "isolate"
    latency: ChildAnswer = "isolate"
    memory: ChildAnswer = "restart"
    descriptors: ChildAnswer = "restart"
    restarts: ChildAnswer = "warn"
    down: NodeAnswer = "warn"
    quarantines: NodeAnswer = "halt"
    front_door: NodeAnswer = "warn"
    mailbox: NodeAnswer = "warn"
    backlog: NodeAnswer = "warn"
    redis: NodeAnswer = "warn"
    violations: NodeAnswer = "warn"
    dead_letter: NodeAnswer = "warn"
    clock_jump: NodeAnswer = "warn"
    disk_low: NodeAnswer = "warn"
    disk_full: NodeAnswer = "halt"
    storage: NodeAnswer = "halt"


class WatchdogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the Watchdog looks at, how often, and from where on something is a fault; `[watchdog.answers]` says what
    it does about each.

    Attributes:
        interval_s: The interval of heartbeats.
        missed: A process whose loop has not gone round for so many intervals is hung.
        agents_interval_s: The interval of looks at how agents deal with their signals.
        bus_interval_s: The interval of looks at the front door, the mailboxes, the backlog and Redis.
        graveyard_interval_s: The interval of checks of the rule book's seal; while it is broken, trading is halted.
        webhook: Where alerts are sent by HTTP POST; empty: nowhere. `https://`, or `http://` to this machine
            itself: neither alerts nor tokens cross a network in the clear.
        webhook_token_file: A file with the bearer token for it, mode 0600, relative to the home, such as
            `keys/webhook`. Without one, the variable `WATCHDOG_WEBHOOK_TOKEN` may hold the token.
        events_interval_s: The interval of looks at denials, dead letters and the clock.
        resources_interval_s: The interval of looks at memory, descriptors and disk.
        window_s: Over how long an agent's failures and latency are counted. A release begins anew.
        max_failures_in_a_row: So many different signals in a row may fail, but one.
        max_failure_rate: The greatest share of an agent's signals that may fail.
        min_requests: The rate and the latency are judged from more than so many signals on.
        max_latency_ms: The greatest mean time of an agent for a signal, from its coming to its answer.
        max_restarts_per_min: How often a child may be restarted within a minute.
        down_s: How long a child that should run may be without a running process.
        max_round_trip_ms: How long the front door may take for an answer.
        max_queue_depth: How much may wait in a mailbox.
        backlog_share: How full the journal of accepted signals may become, as a share of `gateway.backlog`.
        max_violations_per_min: How many orders the rule book may deny within a minute.
        max_clock_jump_s: How far the wall clock may move against the steady one between two looks.
        memory_limit_mb: How much memory a process may hold, in MiB; an agent may have its own limit.
        descriptors_share: How many descriptors a process may have open, as a share of its limit.
        disk_low_mb: The least free space, in MiB, below which it is low.
        disk_full_mb: The least free space, in MiB, below which the disk counts as full.
        max_quarantines: So many quarantines of one agent within `quarantine_period_s` are too many.
        quarantine_period_s: The length of that window.
        repeat_s: A fault that lasts is told and answered again after so long.
        clear_s: A fault that has not been seen for so long is over.
        auto_isolation: Whether the Watchdog may isolate; if not, it warns.
        emergency_halt: Whether the Watchdog may halt trading; if not, it isolates the agent that a fault of one
            process is about, and warns of all others. A broken seal halts all the same.
        answers: What it does about each fault; a table of its own.
    """

    interval_s: Seconds = 1.0
    missed: Annotated[int, Meta(ge=1, le=1000)] = 2
    agents_interval_s: Seconds = 5.0
    bus_interval_s: Seconds = 2.0
    graveyard_interval_s: Annotated[float, Meta(gt=0, le=10)] = 10.0
    webhook: str = ""
    webhook_token_file: str = ""
    events_interval_s: Seconds = 1.0
    resources_interval_s: Seconds = 5.0
    window_s: Seconds = 60.0
    max_failures_in_a_row: Annotated[int, Meta(ge=1, le=100_000)] = 5
    max_failure_rate: Share = 0.2
    min_requests: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    max_latency_ms: Annotated[float, Meta(gt=0)] = 5000.0
    max_restarts_per_min: Annotated[int, Meta(ge=1, le=100_000)] = 10
    down_s: Seconds = 30.0
    max_round_trip_ms: Annotated[float, Meta(gt=0)] = 1000.0
    max_queue_depth: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    backlog_share: Share = 0.8
    max_violations_per_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    max_clock_jump_s: Seconds = 1.0
    memory_limit_mb: Annotated[int, Meta(ge=1)] = 1024
    descriptors_share: Share = 0.8
    disk_low_mb: Annotated[int, Meta(ge=0)] = 1024
    disk_full_mb: Annotated[int, Meta(ge=0)] = 100
    max_quarantines: Annotated[int, Meta(ge=1, le=1000)] = 3
    quarantine_period_s: Seconds = 3600.0
    repeat_s: Seconds = 300.0
    clear_s: Seconds = 10.0
    auto_isolation: bool = True
    emergency_halt: bool = True
    answers: AnswersConfig = AnswersConfig()


class RedisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The feed: signals from a Redis stream; see "Signals from Redis" in operations.md.

    The package for it comes with `pip install 'ark-runtime[redis]'`.

    Attributes:
        url: The Redis, `redis://HOST:6379/0`, `rediss://` for TLS, or `unix:///path/to/redis.sock`; empty for no
            feed. A password stands in `REDIS_URL`, `REDIS_PASSWORD` or a file, never here.
        password_file: A file of mode 0600 with the password, such as `keys/redis.password`; relative to the home.
        stream: The stream that signals are read from.
        group: The consumer group that reads it, one for each node.
        max_depth: More entries than this that wait in the stream are too many.
    """

    url: str = ""
    password_file: str = ""
    stream: Annotated[str, Meta(min_length=1, max_length=512)] = "ark:signals"
    group: Annotated[str, Meta(min_length=1, max_length=512)] = "ark"
    max_depth: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1000


class SloConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service level objectives, see "Service level objectives" in operations.md. That every outcome has its row
    in the ledger, and that nothing is decided otherwise than the rule book says, are invariants without a setting.

    An objective so low that one of its burn alerts could never fire is refused.

    Attributes:
        availability: The share of signals that must not end as failed or expired.
        latency_ms: The time that a decision may take, from the acceptance of the signal to its outcome.
        latency_share: The share of decisions that must keep to it.
        hrm_latency_ms: The time that HRM may take for a signal.
        hrm_latency_share: The share of signals for which it must keep to it.
        window_s: Over how long it is judged whether an objective is met now.
        budget_days: Over how long the share of bad events may be spent, and for how long one violation of an
            invariant stands.
    """

    availability: Annotated[float, Meta(gt=0, lt=1)] = 0.995
    latency_ms: Millis = 400.0
    latency_share: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    hrm_latency_ms: Millis = 120.0
    hrm_latency_share: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    window_s: Annotated[float, Meta(ge=60, le=86_400)] = 300.0
    budget_days: Annotated[int, Meta(ge=7, le=90)] = 30


class TracesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the ways of signals go that have ended, by OTLP; see "Traces elsewhere" in operations.md.

    The packages for it come with `pip install 'ark-runtime[otlp]'`.

    Attributes:
        otlp_endpoint: The collector's address for OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is
            added where it does not end so. Empty: they go nowhere. `https://`, or `http://` to this machine itself.
        otlp_headers_file: A file with headers for it, a line `NAME: VALUE` for each, mode 0600, relative to the
            home, such as `keys/otlp`. Without one, the variable `OTEL_EXPORTER_OTLP_HEADERS` may hold them.
        sample: The share of the signals whose ways go there; those that failed always do. Of a signal with a
            `traceparent` that says itself whether it is sampled.
    """

    otlp_endpoint: str = ""
    otlp_headers_file: str = ""
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0


class LogsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The logs of all processes, `logs/NAME.log`; see "Logs" in operations.md.

    Attributes:
        level: From which level on they write. `supervisor log-level` changes it in a node that runs.
        levels: Levels of single processes by name, as `levels.kenny = "debug"`.
        format: How `ark-run start` shows what matters on its terminal: `text` for people, `json` for machines.
        max_mb: A log that is larger is put aside, MiB.
        keep: So many that were put aside stay beside each log.
        retention_days: What was written longer ago is deleted; a log is put aside, too, when a `keep`-th of that
            has passed since its first line.
        most_per_s: So many lines below `warning` a process writes within a second, and ten times as many from there
            on; how many it has left out stands in its log. With 0 it writes all.
    """

    level: Level = "info"
    levels: dict[Name, Level] = {}
    format: Literal["text", "json"] = "text"
    max_mb: Annotated[int, Meta(ge=1, le=10_000)] = 10
    keep: Annotated[int, Meta(ge=0, le=1000)] = 5
    retention_days: Annotated[float, Meta(gt=0, le=36_500)] = 30.0
    most_per_s: Annotated[int, Meta(ge=0, le=1_000_000)] = 200

    @property
    def limits(self) -> Limits:
        """How large and how old each log becomes."""
        return Limits(self.max_mb << 20, self.keep, self.retention_days * 86_400.0)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    gateway: GatewayConfig = GatewayConfig()
    metrics: MetricsConfig = MetricsConfig()
    slo: SloConfig = SloConfig()
    pipeline: PipelineConfig = PipelineConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    redis: RedisConfig = RedisConfig()
    traces: TracesConfig = TracesConfig()
    logs: LogsConfig = LogsConfig()
    deploy: DeployConfig = DeployConfig()
    agents: dict[Name, AgentConfig] = {}


_STANDARD = {
    "kyle": "actors.kyle:Kyle",
    "joey": "actors.joey:Joey",
    "hrm": "actors.hrm:HRM",
    "kenny": "actors.kenny:Kenny",
    "aletheia": "actors.aletheia:Aletheia",
}
"""The agents that come with ARK, as text: the runtime imports none of them."""

ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "KENNY_MAX_ACTIONS_PER_MINUTE": ("agents", "kenny", "settings", "max_actions_per_minute"),
    "KENNY_BURST_LIMIT": ("agents", "kenny", "settings", "burst_limit"),
    "AGENT_HEARTBEAT_INTERVAL": ("watchdog", "interval_s"),
    "ARK_GATEWAY_ENDPOINT": ("gateway", "endpoint"),
    "ARK_GATEWAY_EVENTS": ("gateway", "events"),
    "ARK_GATEWAY_CURVE": ("gateway", "curve"),
    "ARK_GATEWAY_WINDOW": ("gateway", "window"),
    "ARK_GATEWAY_BACKLOG": ("gateway", "backlog"),
    "ARK_GATEWAY_STALL_S": ("gateway", "stall_s"),
    "ARK_METRICS_LISTEN": ("metrics", "listen"),
    "METRICS_SERVER_ENABLED": ("metrics", "enabled"),
    "SLO_AVAILABILITY_TARGET": ("slo", "availability"),
    "SLO_P95_LATENCY_MS": ("slo", "latency_ms"),
    "SLO_HRM_EVAL_LATENCY_MS": ("slo", "hrm_latency_ms"),
    "SLO_WINDOW_SECONDS": ("slo", "window_s"),
    "ARK_SUPERVISION_INTENSITY": ("supervision", "intensity"),
    "ARK_SUPERVISION_PERIOD_S": ("supervision", "period_s"),
    "ARK_WATCHDOG_MISSED": ("watchdog", "missed"),
    "WATCHDOG_WEBHOOK_URL": ("watchdog", "webhook"),
    "WATCHDOG_AUTO_ISOLATION": ("watchdog", "auto_isolation"),
    "WATCHDOG_QUARANTINE_ENABLED": ("watchdog", "auto_isolation"),
    "WATCHDOG_EMERGENCY_HALT_ENABLED": ("watchdog", "emergency_halt"),
    "WATCHDOG_MAX_LATENCY_MS": ("watchdog", "max_latency_ms"),
    "WATCHDOG_MAX_FAILURE_RATE": ("watchdog", "max_failure_rate"),
    "WATCHDOG_MAX_CONSECUTIVE_FAILURES": ("watchdog", "max_failures_in_a_row"),
    "WATCHDOG_MAX_QUEUE_DEPTH": ("watchdog", "max_queue_depth"),
    "WATCHDOG_MAX_GRAVEYARD_VIOLATIONS_PER_MIN": ("watchdog", "max_violations_per_min"),
    "REDIS_BACKPRESSURE_THRESHOLD": ("gateway", "back_pressure"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("traces", "otlp_endpoint"),
    "REDIS_URL": ("redis", "url"),
    "REDIS_STREAM": ("redis", "stream"),
    "REDIS_QUEUE_MAX_DEPTH": ("redis", "max_depth"),
    "ARK_LOG_LEVEL": ("logs", "level"),
    "ARK_LOG_BACKUP_COUNT": ("logs", "keep"),
    "LOG_FORMAT": ("logs", "format"),
    "LOG_RETENTION_DAYS": ("logs", "retention_days"),
}
"""Environment variables and the settings that they set; the original's keep their names."""

_ADDRESSES = (("redis", "url"), ("watchdog", "webhook"), ("traces", "otlp_endpoint"))
"""What no error shows."""
_TCP = re.compile(r"tcp://(.+):(\d{1,5})")

Overrides = Mapping[tuple[str, ...], Any]


def load(
    path: Path | None, environment: Mapping[str, str] | None = None, overrides: Overrides | None = None
) -> Config:
    """Read the configuration.

    Args:
        path: The file; None for none.
        environment: Variables; those of the process where absent.
        overrides: Settings by path, such as `{("gateway", "endpoint"): "tcp://127.0.0.1:7000"}`.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or wrong; the message names it.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error
    _check_password(tree, str(path))
    environment = os.environ if environment is None else environment
    for variable, place in ENVIRONMENT.items():
        if variable in environment:
            text = environment[variable]
            if not text.isprintable():
                shown = "" if place in _ADDRESSES else f": {text!r}"  # a password may stand in it
                raise ConfigError(f"{variable} holds unprintable characters{shown}", field=".".join(place))
            # The original's words are written large: ARK_LOG_LEVEL=INFO.
            _put(tree, place, _scalar(text.strip().lower() if place[0] == "logs" else text))
    for place, value in (overrides or {}).items():
        if value is not None:
            _put(tree, place, value)
    return _convert(tree, str(path) if path else "the configuration", path)


def _convert(tree: dict[str, Any], where: str, path: Path | None) -> Config:
    try:
        config = msgspec.convert(tree, Config, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), where, tree) from None
    agents = dict(config.agents)
    folder = path.parent.absolute() if path else Path.cwd()
    for name in config.pipeline.agents:
        agent = agents.get(name, AgentConfig())
        class_ = agent.class_ or _STANDARD.get(name, "")
        if not class_:
            raise ConfigError(
                f"{where}: pipeline.agents names {name!r}, but there is no agents.{name}.class",
                hint=f'add [agents.{name}] with class = "module:Class"',
                field=f"agents.{name}.class",
            )
        location = str(folder / agent.path) if agent.path or class_ != _STANDARD.get(name) else ""
        agents[name] = msgspec.structs.replace(agent, class_=class_, path=location)
    unused = set(agents) - set(config.pipeline.agents)
    if unused:
        name = min(unused)
        near = difflib.get_close_matches(name, config.pipeline.agents, 1, 0.5)
        raise ConfigError(
            f"{where}: agents.{name} stands in no pipeline" + (f"; did you mean {near[0]!r}?" if near else ""),
            hint="name it in pipeline.agents",
            field=f"agents.{name}",
        )
    if len(set(config.pipeline.agents)) != len(config.pipeline.agents):
        raise ConfigError(f"{where}: pipeline.agents names an agent twice", field="pipeline.agents")
    taken = [name for name in config.pipeline.agents if name in RESERVED]
    if taken:
        raise ConfigError(
            f"{where}: no agent can be named {taken[0]!r}",
            hint=f"ARK's own are {', '.join(RESERVED)}",
            field="pipeline.agents",
        )
    _check_endpoints(config, where)
    _check_address(config.watchdog.webhook, "watchdog.webhook", where, what="alerts", hint="https://HOST/PATH")
    _check_address(
        config.traces.otlp_endpoint,
        "traces.otlp_endpoint",
        where,
        what="traces",
        hint="http://127.0.0.1:4318, or https://HOST:4318",
        bare=True,
    )
    if config.traces.otlp_endpoint and not config.metrics.enabled:
        raise ConfigError(
            f"{where}: traces.otlp_endpoint is set, but metrics.enabled is false, and the exporter feeds it",
            hint="take one of them away, also from the environment",
            field="traces.otlp_endpoint",
        )
    for slo in definitions(config.slo):
        check(slo, where)
    gateway = msgspec.structs.replace(config.gateway, curve=_wants_curve(config.gateway, where))
    if config.redis.url:
        check_url(config.redis.url, where)
    redis = msgspec.structs.replace(config.redis, url=split_password(config.redis.url)[0])
    return msgspec.structs.replace(config, agents=agents, gateway=gateway, redis=redis)


def is_beyond_loopback(gateway: GatewayConfig) -> bool:
    """Whether other machines may reach the front door or the events."""
    hosts = (_TCP.fullmatch(endpoint) for endpoint in (gateway.endpoint, gateway.events))
    return any(match and not is_loopback(match[1]) for match in hosts)


def _wants_curve(gateway: GatewayConfig, where: str) -> bool:
    beyond = is_beyond_loopback(gateway)
    if gateway.curve is False and beyond:
        raise ConfigError(
            f"{where}: gateway.curve is false, but {gateway.endpoint} and {gateway.events} would listen beyond"
            " loopback, where clients must have a key",
            hint="leave gateway.curve away, or listen on 127.0.0.1",
            field="gateway.curve",
        )
    return beyond if gateway.curve is None else gateway.curve


def _check_password(tree: dict[str, Any], where: str) -> None:
    """Refuse a password in the file; from the environment it is taken out of the address."""
    redis = tree.get("redis")
    url = redis.get("url") if isinstance(redis, dict) else None
    if isinstance(url, str) and url:
        check_url(url, where)
        if split_password(url)[1]:
            raise ConfigError(
                f"{where}: redis.url holds a password",
                hint="name it in REDIS_URL or REDIS_PASSWORD, or in a file that redis.password_file names",
                field="redis.url",
            )


def _check_endpoints(config: Config, where: str) -> None:
    for key in ("endpoint", "events"):
        endpoint = getattr(config.gateway, key)
        match = _TCP.fullmatch(endpoint)
        if not (match and is_port(match[2])) and not endpoint.startswith("ipc://"):
            raise ConfigError(
                f"{where}: gateway.{key} is {endpoint!r}", hint="tcp://127.0.0.1:PORT", field=f"gateway.{key}"
            )
    if config.gateway.endpoint == config.gateway.events:
        raise ConfigError(
            f"{where}: gateway.endpoint and gateway.events are the same",
            hint="outcomes are published on a socket of their own",
            field="gateway.events",
        )
    host, _, port = config.metrics.listen.rpartition(":")
    if not is_port(port):
        raise ConfigError(
            f"{where}: metrics.listen is {config.metrics.listen!r}", hint="127.0.0.1:PORT", field="metrics.listen"
        )
    if not is_loopback(host):
        raise ConfigError(
            f"{where}: metrics.listen {config.metrics.listen} would listen beyond loopback",
            hint="listen on 127.0.0.1 and let a proxy authenticate",
            field="metrics.listen",
        )


def _check_address(url: str, field: str, where: str, *, what: str, hint: str, bare: bool = False) -> None:
    """Check where something is sent by HTTP. No error shows the address: its path or its query may be a secret.

    Args:
        url: The address; empty for nowhere.
        field: The setting.
        where: Where it was read.
        what: What is sent there.
        hint: What an address looks like.
        bare: Whether it must hold no user, password, query or fragment.
    """

    def refuse(why: str, hint: str = hint) -> ConfigError:
        return ConfigError(f"{where}: {field} {why}", hint=hint, field=field)

    if not url:
        return
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise refuse("holds a space, a control character or a letter beyond ASCII")
    try:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port
    except ValueError:
        raise refuse("is no address") from None
    if address.scheme not in ("http", "https") or not host or port == 0:
        raise refuse("is no address of http or https")
    if address.scheme == "http" and not is_loopback(host):
        raise refuse(
            f"would send {what} in the clear beyond this machine", "use https, or a relay on 127.0.0.1 that does"
        )
    if bare and ("@" in address.netloc or address.query or address.fragment):
        raise refuse(
            "holds a user, a password, a query or a fragment",
            "what proves who you are stands in OTEL_EXPORTER_OTLP_HEADERS or in traces.otlp_headers_file",
        )


def is_port(text: str) -> bool:
    """Whether a number of an address is a port that can be named to clients."""
    return 0 < int(text) < 65_536


def is_loopback(host: str) -> bool:
    """Whether a host of an address is this machine's own."""
    return host in ("localhost", "::1", "[::1]") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


def _explain(message: str, where: str, tree: dict[str, Any]) -> ConfigError:
    """Turn msgspec's words into ours: the setting's full name, and the nearest known one for an unknown key."""
    place = re.search(r"`\$\.?(.*)`$", message)
    prefix = place[1] if place else ""
    if prefix.startswith("agents[...]"):
        prefix = prefix.replace("[...]", f".{_wrong_agent(tree['agents'])}", 1)
    unknown = re.search(r"unknown field `(.*?)`", message)
    if not unknown:
        text = message.split(" - at ", maxsplit=1)[0]
        choices = _choices(prefix)
        if choices and text.startswith("Invalid enum value"):
            text = f"must be one of {', '.join(choices)}, not {text.removeprefix('Invalid enum value ')}"
        return ConfigError(f"{where}: {prefix or 'the file'}: {text}", field=prefix or None)
    known = _known_keys(prefix)
    field = f"{prefix}.{unknown[1]}" if prefix else unknown[1]
    near = difflib.get_close_matches(unknown[1], known, 1, 0.4)
    nearest = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
    return ConfigError(f"{where}: unknown key {field!r}; {nearest}", field=field)


def _wrong_agent(agents: dict[str, Any]) -> str:
    """The first agent whose settings are wrong; msgspec does not say which."""
    for name, settings in agents.items():
        try:
            msgspec.convert(settings, AgentConfig, strict=True)
        except msgspec.ValidationError:
            return name
    return "..."


def _choices(place: str) -> tuple[str, ...]:
    """The words that a setting can be; none for one that is no choice."""
    table, _, key = place.rpartition(".")
    types = [field.type for field in _fields(table) if field.encode_name == key]
    return get_args(types[0]) if types and get_origin(types[0]) is Literal else ()


def _known_keys(prefix: str) -> list[str]:
    return [field.encode_name for field in _fields(prefix)]


def _fields(prefix: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    kinds: dict[str, type[msgspec.Struct]] = {
        "": Config,
        "gateway": GatewayConfig,
        "metrics": MetricsConfig,
        "slo": SloConfig,
        "pipeline": PipelineConfig,
        "supervision": SupervisionConfig,
        "watchdog": WatchdogConfig,
        "watchdog.answers": AnswersConfig,
        "redis": RedisConfig,
        "traces": TracesConfig,
        "logs": LogsConfig,
        "deploy": DeployConfig,
        "deploy.gates": Gate,
        "deploy.freeze": FreezeWindow,
    }
    return msgspec.structs.fields(kinds.get(re.sub(r"\[\d+\]$", "", prefix), AgentConfig))


def _put(tree: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            return  # the file is wrong there, and is told so when all of it is read
        tree = below
    tree[place[-1]] = value


def _scalar(text: str) -> bool | int | float | str:
    lowered = text.strip().lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
