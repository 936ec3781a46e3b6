"""The way to a Redis: its address, where its password comes from, and the connection.

The password never stands in the configuration, which goes to every process and into a file: it is taken out of
the address where that came from the environment, and found again where a connection is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from ark.errors import BootError, ConfigError, NodeError
from ark.privacy import MASK, redact

__all__ = ["check_url", "describe", "find_password", "load_library", "open_redis", "split_password", "without"]

_SCHEMES = ("redis", "rediss", "unix")
_OPTIONS = ("db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
"""What may stand behind the `?` of an address; a password may not, since it would be told with the rest."""


def check_url(url: str, where: str) -> None:
    """Check an address; it is never repeated in an error, since a password may stand in it.

    Raises:
        ConfigError: It names no Redis.
    """
    wrong = ""
    try:
        parts = urlsplit(url)
        unknown = sorted(set(parse_qs(parts.query, keep_blank_values=True)) - set(_OPTIONS))
        if parts.scheme not in _SCHEMES:
            wrong = f"begins with none of {', '.join(f'{each}://' for each in _SCHEMES)}"
        elif parts.fragment or "@" in parts.path + parts.query:
            wrong = "has an @ or # that must be written as %40 or %23, or a password with a / or ?, %2F or %3F"
        elif parts.scheme == "unix" and not parts.path:
            wrong = "names no socket"
        elif parts.scheme != "unix" and not (parts.hostname and parts.port != 0):
            wrong = "names no host"
        elif unknown:
            wrong = f"has an option that is not known; known are {', '.join(_OPTIONS)}"
        elif not url.isprintable() or " " in url:
            wrong = "holds spaces or unprintable characters"
    except ValueError:
        wrong = "is not an address"
    if wrong:
        raise ConfigError(
            f"{where}: redis.url {wrong}",
            hint="redis://HOST:6379/0, or unix:///path/to/redis.sock",
            field="redis.url",
        )


def split_password(url: str) -> tuple[str, str]:
    """An address without its password, and the password; "" where it has none."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    if not colon:
        return url, ""
    netloc = f"{name}@{host}" if name else host
    # A path without a host keeps its two slashes only where it is put together by hand.
    rest = urlunsplit(("", "", parts.path, parts.query, ""))
    return f"{parts.scheme}://{netloc}{rest}", unquote(password)


def find_password(url: str, password_file: str, home: Path, environment: Mapping[str, str]) -> str:
    """The password: that of `REDIS_URL`, otherwise `REDIS_PASSWORD`, otherwise the file's; "" for none.

    Args:
        url: The address of the configuration, without a password.
        password_file: The file; relative to the home; "" for none.
        home: The node's home.
        environment: The variables of the process.

    Raises:
        NodeError: The file cannot be read, or others can read it.
    """
    named, password = split_password(environment.get("REDIS_URL", ""))
    if password and named == url:
        return password
    if environment.get("REDIS_PASSWORD"):
        return environment["REDIS_PASSWORD"]
    if not password_file:
        return ""
    path = home / Path(password_file).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise NodeError(f"redis.password_file {path} can be read by others", hint=f"chmod 600 {path}")
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NodeError(f"cannot read redis.password_file {path}: {why}", hint="write it, with mode 0600") from None


def describe(url: str) -> str:
    """Where a Redis is, for messages: its host and port, or its socket."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname}:{parts.port or 6379}"


def without(password: str, text: str) -> str:
    """A text for an operator without the password: a Redis may repeat what it did not understand."""
    return redact(text.replace(password, MASK) if password else text)


def load_library() -> Any:
    """The module `redis`, imported only where a Redis is used.

    Raises:
        BootError: It is not installed.
    """
    try:
        import redis
    except ImportError:
        raise BootError(
            "redis.url is set, but the Python package redis is not installed",
            hint="pip install 'ark-runtime[redis]', or take redis.url and REDIS_URL away",
        ) from None
    return redis


def open_redis(url: str, password: str, *, timeout_s: float) -> Any:
    """A client of a Redis that connects at its first command and tries nothing twice by itself.

    Args:
        url: The address, without a password.
        password: The password; "" for none.
        timeout_s: How long a connection and each answer may take.

    Raises:
        BootError: The library is not installed.
    """
    redis = load_library()
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        password=password or None,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # whose answers have the same shape in every version of the library
    )
