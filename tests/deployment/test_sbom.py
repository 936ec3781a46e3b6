"""Bills of materials: everything that a release needs, in exact versions, and the same bytes each time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from deployment import manifest, sbom
from deployment.content import ReleaseError
from deployment.manifest import Manifest

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")


def requiring(*requires: str, **more: Any) -> Manifest:
    tree = {"name": "small", "version": "1", "agents": {"joey": "a:B"}, "migrations": {"joey": "restart"}}
    return manifest.declare({**tree, "requires": list(requires), **more})


def test_it_lists_what_is_needed_with_what_that_needs() -> None:
    bill = sbom.bill(requiring("uvicorn>=0.40"))
    tree = json.loads(bill)

    assert (tree["bomFormat"], tree["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom.components(bill) == {name: metadata.version(name) for name in ("uvicorn", "click", "h11")}
    needs = {each["ref"]: each.get("dependsOn", []) for each in tree["dependencies"]}
    assert needs["release"] == [f"pkg:pypi/uvicorn@{metadata.version('uvicorn')}"]
    assert f"pkg:pypi/h11@{metadata.version('h11')}" in needs[needs["release"][0]]
    assert "timestamp" not in tree["metadata"]


def test_two_processes_write_the_same_bytes() -> None:
    program = (
        "import sys; from deployment import manifest, sbom;"
        " sys.stdout.buffer.write(sbom.bill(manifest.parse(sys.stdin.buffer.read())))"
    )
    release = requiring("structlog", "rich", "uvicorn")

    said = subprocess.run(
        [sys.executable, "-c", program],
        input=manifest.encode(release),
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": "1"},
    )

    assert said.stdout == sbom.bill(release) == sbom.bill(requiring("uvicorn", "rich", "structlog"))


def test_two_releases_have_two_serial_numbers() -> None:
    bills = [sbom.bill(requiring(*requires)) for requires in ((), ("h11",))] + [sbom.bill(requiring(version="2"))]

    assert len({json.loads(bill)["serialNumber"] for bill in bills}) == 3


def test_a_distribution_that_is_missing_is_named() -> None:
    with pytest.raises(ReleaseError, match="nothing-like-it is not installed"):
        sbom.bill(requiring("nothing-like-it"))


def test_markers_and_extras_decide_what_is_needed() -> None:
    assert sbom.resolve(('never; python_version < "3"',)) == {}
    plain, standard = (set(sbom.resolve((text,))) for text in ("ark-runtime", "ark-runtime[redis]"))
    assert standard - plain == {"redis"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "no bill of materials"),
        (b'{"bomFormat": "SPDX", "metadata": {"component": {"name": "small", "version": "1"}}}', "is SPDX"),
        (b'{"bomFormat": "CycloneDX", "metadata": {"component": {"name": "x", "version": "1"}}}', "that of x 1"),
        (b'{"bomFormat": "CycloneDX", "metadata": {"component": {"name": "small", "version": "1"}}}', "lacks h11"),
        (
            b'{"bomFormat": "CycloneDX", "metadata": {"component": {"name": "small", "version": "1"}},'
            b' "components": [{"name": "h11", "version": "0.1"}]}',
            "lists h11 0.1",
        ),
    ],
)
def test_a_bill_that_is_not_the_releases_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ReleaseError, match=why):
        sbom.check(text, requiring("h11>=0.10"))


def test_its_own_bill_is_good() -> None:
    release = requiring("h11>=0.10", 'never; python_version < "3"')

    sbom.check(sbom.bill(release), release)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx.model.bom", None)

    with pytest.raises(ReleaseError, match=r"pip install 'ark-runtime\[releases\]'"):
        sbom.bill(requiring())
