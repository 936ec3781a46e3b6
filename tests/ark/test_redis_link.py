"""The address of a Redis, and its password, which no file or message of ours ever repeats."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark.config import load
from ark.errors import ConfigError, NodeError
from ark.redis_link import check_url, describe, find_password, split_password, without

PASSWORD = "h4rd-to-guess"


@pytest.mark.parametrize(
    ("url", "rest", "password", "place"),
    [
        ("redis://localhost", "redis://localhost", "", "localhost:6379"),
        ("redis://h:7/2", "redis://h:7/2", "", "h:7"),
        ("redis://:p%40%2Fw@h:7/2", "redis://h:7/2", "p@/w", "h:7"),
        ("rediss://me:pw@h/0?ssl_cert_reqs=none", "rediss://me@h/0?ssl_cert_reqs=none", "pw", "h:6379"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1", "", "/run/redis.sock"),
        ("unix://:pw@/run/redis.sock", "unix:///run/redis.sock", "pw", "/run/redis.sock"),
    ],
)
def test_an_address_is_split_into_what_may_be_told_and_the_password(
    url: str, rest: str, password: str, place: str
) -> None:
    check_url(url, "here")
    assert split_password(url) == (rest, password)
    assert describe(rest) == place


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@h",
        f"redis://:{PASSWORD}@",
        f"redis://:{PASSWORD}@h:port",
        f"redis://:{PASSWORD}@h:99999",
        f"redis://:{PASSWORD}#@h",
        f"redis://:{PASSWORD}/@h",
        f"redis://:1/{PASSWORD}@h",
        f"redis://h:1?password={PASSWORD}",
        f"redis://h:1/0?{PASSWORD}",
        f"redis://[{PASSWORD}",
        f"redis://:{PASSWORD} @h",
        f"redis://:{PASSWORD}\x07@h",
        f"unix://:{PASSWORD}@",
        PASSWORD,
    ],
)
@pytest.mark.parametrize("place", ["file", "variable"])
def test_a_wrong_address_is_refused_without_being_repeated(url: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "ark.toml"
    path.write_text(f"[redis]\nurl = {json.dumps(url)}\n" if place == "file" else "")
    with pytest.raises(ConfigError) as caught:
        load(path, {"REDIS_URL": url} if place == "variable" else {})
    assert "redis.url" in caught.value.line
    assert PASSWORD not in caught.value.line


def test_a_password_in_the_file_is_refused_with_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "ark.toml"
    path.write_text(f'[redis]\nurl = "redis://:{PASSWORD}@localhost"\n')
    with pytest.raises(ConfigError, match="REDIS_PASSWORD") as caught:
        load(path, {"REDIS_URL": "redis://localhost"})
    assert PASSWORD not in str(caught.value)


def test_a_password_of_the_variable_is_not_in_the_configuration_and_is_found_again(tmp_path: Path) -> None:
    environment = {"REDIS_URL": f"redis://:{PASSWORD}@localhost:7000/1"}
    config = load(None, environment)
    assert config.redis.url == "redis://localhost:7000/1"
    assert PASSWORD not in repr(msgspec.to_builtins(config))
    assert find_password(config.redis.url, "", tmp_path, environment) == PASSWORD


def test_the_variable_goes_before_the_file_and_the_address_before_both(tmp_path: Path) -> None:
    url, file = "redis://localhost", tmp_path / "password"
    file.write_text("of the file\n")
    file.chmod(0o600)
    variable = {"REDIS_PASSWORD": "of the variable"}
    assert find_password(url, "", tmp_path, {}) == ""
    assert find_password(url, "password", tmp_path, {}) == "of the file"
    assert find_password(url, str(file), Path("/nowhere"), {}) == "of the file"
    assert find_password(url, "password", tmp_path, variable) == "of the variable"
    assert find_password(url, "password", tmp_path, {**variable, "REDIS_URL": "redis://:a@localhost"}) == "a"
    assert find_password(url, "password", tmp_path, {"REDIS_URL": "redis://:a@other"}) == "of the file"


def test_a_password_file_that_others_can_read_or_nobody_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="cannot read"):
        find_password("redis://localhost", "password", tmp_path, {})
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o640)
    with pytest.raises(NodeError, match="chmod 600"):
        find_password("redis://localhost", "password", tmp_path, {})


def test_a_text_of_the_server_that_repeats_the_password_is_masked() -> None:
    said = f"unknown command 'AUTH', with args beginning with: '{PASSWORD}'"
    assert PASSWORD not in without(PASSWORD, said)
    assert without("", said) == said


@given(st.text(max_size=60))
def test_no_address_of_any_shape_breaks_the_check(url: str) -> None:
    try:
        check_url(url, "here")
    except ConfigError:
        return
    split_password(url)
    describe(split_password(url)[0])
