"""`ark-run monitoring write`: files for the node's own configuration, and one clear line where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ark.cli import main


def test_it_writes_for_the_configuration_of_the_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, folder = tmp_path / "home", tmp_path / "files"
    home.mkdir()
    (home / "ark.toml").write_text("[watchdog]\nmax_queue_depth = 77\n")

    code = main(["monitoring", "write", str(folder), "--home", str(home), "--metrics", "127.0.0.1:9555"])

    assert code == 0
    said = capsys.readouterr().out
    assert str(home / "ark.toml") in said
    assert "promtool check config" in said
    assert "fill in the pager" in said
    assert "ark_mailbox_depth > 77" in (folder / "prometheus" / "rules" / "freshness.yml").read_text()
    assert "127.0.0.1:9555" in (folder / "prometheus" / "prometheus.yml").read_text()


def test_for_machines_it_names_what_it_wrote_and_what_it_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for metrics in ("127.0.0.1:9090", "127.0.0.1:9555"):
        assert main(["monitoring", "write", str(tmp_path), "--metrics", metrics, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))

    assert "prometheus/prometheus.yml" in said[0]["written"]
    assert said[0]["beside"] == []
    assert said[1]["beside"] == ["prometheus/prometheus.yml"]
    assert said[1]["folder"] == str(tmp_path)


def test_a_folder_that_cannot_be_written_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["monitoring", "write", str(tmp_path / "file")]) == 1

    said = capsys.readouterr().err
    assert said.startswith("error: cannot write")
    assert said.count("\n") == 1


def test_a_node_without_an_exporter_cannot_be_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ark.toml").write_text("[metrics]\nenabled = false\n")

    assert main(["monitoring", "write", str(tmp_path), "--home", str(tmp_path)]) == 1
    assert "metrics.enabled = true" in capsys.readouterr().err
