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
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ark.errors import ConfigError

__all__ = [
    "AgentConfig",
    "Config",
    "GatewayConfig",
    "MetricsConfig",
    "PipelineConfig",
    "SupervisionConfig",
    "WatchdogConfig",
    "is_beyond_loopback",
    "load",
]

RESERVED = ("root", "gateway", "watchdog", "exporter", "deployer", "pipeline", "operator")
"""Names of the tree's own processes and sockets, which no agent can have."""

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
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
        stall_s: Without any outcome for so long, everything unfinished is sent again.
        symbols: If not empty, the only symbols that the door lets in.
    """

    endpoint: str = "tcp://127.0.0.1:5555"
    events: str = "tcp://127.0.0.1:5556"
    curve: bool | None = None
    window: Annotated[int, Meta(ge=1, le=10_000)] = 512
    backlog: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
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
    """

    agents: Annotated[tuple[Name, ...], Meta(min_length=1)] = ("kyle", "joey", "hrm", "kenny", "aletheia")
    secrets: dict[Name, tuple[Name, ...]] = msgspec.field(
        default_factory=lambda: {"approval": ("hrm", "kenny"), "ruling": ("gateway", "hrm")}
    )


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One agent.

    Attributes:
        class_: `module:Class`.
        path: A folder to import it from, relative to `ark.toml`; where absent, the file's own folder.
        settings: The agent's own settings.
    """

    class_: Annotated[str, Meta(pattern=r"^[\w.]+:\w+\Z")] = msgspec.field(name="class", default="")
    path: str = ""
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
        stable_s: After it ran for so long, the waiting begins anew.
        shutdown_s: How long a process gets for an orderly stop before it is killed; a supervisor twice as long.
        start_timeout_s: How long a process gets until it is ready; a supervisor three times as long.
        rebuilds: So often within a minute `ark-run start` builds a tree anew that went down as a whole.
    """

    intensity: Annotated[int, Meta(ge=1, le=100_000)] = 50
    period_s: Seconds = 30.0
    backoff_base_s: Seconds = 0.01
    backoff_cap_s: Seconds = 0.5
    stable_s: Seconds = 10.0
    shutdown_s: Seconds = 2.0
    start_timeout_s: Seconds = 15.0
    rebuilds: Annotated[int, Meta(ge=0, le=100_000)] = 50


class WatchdogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process whose loop has not gone round for `missed` times `interval_s` is hung, and restarted.

    Attributes:
        interval_s: The interval of heartbeats.
        missed: How many may be missed.
        graveyard_interval_s: The interval of checks of the rule book's seal; while it is broken, trading is halted.
        webhook: Where alerts are sent by HTTP POST; empty: nowhere. `https://`, or `http://` to this machine
            itself: neither alerts nor tokens cross a network in the clear.
        webhook_token_file: A file with the bearer token for it, mode 0600, relative to the home, such as
            `keys/webhook`. Without one, the variable `WATCHDOG_WEBHOOK_TOKEN` may hold the token.
    """

    interval_s: Seconds = 1.0
    missed: Annotated[int, Meta(ge=1, le=1000)] = 2
    graveyard_interval_s: Annotated[float, Meta(gt=0, le=10)] = 10.0
    webhook: str = ""
    webhook_token_file: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    gateway: GatewayConfig = GatewayConfig()
    metrics: MetricsConfig = MetricsConfig()
    pipeline: PipelineConfig = PipelineConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
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
    "ARK_SUPERVISION_INTENSITY": ("supervision", "intensity"),
    "ARK_SUPERVISION_PERIOD_S": ("supervision", "period_s"),
    "ARK_WATCHDOG_MISSED": ("watchdog", "missed"),
    "WATCHDOG_WEBHOOK_URL": ("watchdog", "webhook"),
}
"""Environment variables and the settings that they set; the original's keep their names."""

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
    environment = os.environ if environment is None else environment
    for variable, place in ENVIRONMENT.items():
        if variable in environment:
            text = environment[variable]
            if not text.isprintable():
                raise ConfigError(f"{variable} holds unprintable characters: {text!r}", field=".".join(place))
            _put(tree, place, _scalar(text))
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
        agents[name] = AgentConfig(class_=class_, path=location, settings=agent.settings)
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
    _check_webhook(config.watchdog.webhook, where)
    gateway = msgspec.structs.replace(config.gateway, curve=_wants_curve(config.gateway, where))
    return msgspec.structs.replace(config, agents=agents, gateway=gateway)


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


def _check_webhook(url: str, where: str) -> None:
    """No error shows the address: its path or its query may be a secret."""

    def refuse(why: str, hint: str = "https://HOST/PATH") -> ConfigError:
        return ConfigError(f"{where}: watchdog.webhook {why}", hint=hint, field="watchdog.webhook")

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
            "would send alerts in the clear beyond this machine", "use https, or a relay on 127.0.0.1 that does"
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


def _known_keys(prefix: str) -> list[str]:
    kinds: dict[str, type[msgspec.Struct]] = {
        "": Config,
        "gateway": GatewayConfig,
        "metrics": MetricsConfig,
        "pipeline": PipelineConfig,
        "supervision": SupervisionConfig,
        "watchdog": WatchdogConfig,
    }
    kind = kinds.get(prefix, AgentConfig)
    return [field.encode_name for field in msgspec.structs.fields(kind)]


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
