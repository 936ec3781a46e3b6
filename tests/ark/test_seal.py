"""The seal: what breaks it, who may sign, and that this repository's own is whole."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

import graveyard
from ark import seal
from ark.commands import start
from ark.commands.seal import main
from ark.errors import NodeError
from ark.home import Home
from ark.seal import Seal, SealError, Sealing, begin, check, fingerprint, load_or_make_key, pinned, sign

FOLDER = graveyard.seal.FOLDER


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "private" / "graveyard.key"


@pytest.fixture
def folder(tmp_path: Path, key: Path) -> Path:
    """A copy of the rule book, sealed with a key of its own."""
    copy = tmp_path / "graveyard"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__", "seal.json"))
    sign(key, copy)
    return copy


def reseal(folder: Path, **changes: Any) -> None:
    """Write another word into the seal, without signing it."""
    path = folder / "seal.json"
    said = json.loads(path.read_bytes()) | changes
    path.chmod(0o644)
    path.write_text(json.dumps(said))
    path.chmod(0o444)


def edit(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"0.10"', b'"0.90"') + b"\n")
    path.chmod(0o444)


def faults(folder: Path, **options: Any) -> tuple[str, ...]:
    report = check(memory=False, folder=folder, **options)
    assert report.ok == (not report.faults)
    return report.faults


def test_the_rules_of_this_repository_are_the_sealed_ones() -> None:
    report = check()
    found = [fault for fault in report.faults if "can be written" not in fault]  # that is done by installing

    assert not found, f"{'; '.join(found)}: after a change of graveyard/ that is meant to stay, run `make seal`"


# Checking


def test_what_was_just_signed_is_whole(folder: Path) -> None:
    report = check(folder=folder)

    assert report == seal.Report(True, graveyard.seal.digest(folder), (), report.key)
    assert len(report.key) == 64


def test_an_edited_file_is_named(folder: Path) -> None:
    edit(folder / "rules.py")

    assert faults(folder) == ("the rule book is not the sealed one: rules.py was changed",)


def test_a_file_that_was_added_or_removed_is_named(folder: Path) -> None:
    (folder / "more.py").touch(mode=0o444)
    (folder / "facts.py").unlink()

    assert faults(folder) == ("the rule book is not the sealed one: more.py was added, facts.py is missing",)


@pytest.mark.parametrize("name", ["digest", "sealed_at", "signature", "public_key"])
def test_no_word_of_the_seal_can_be_another(name: str, folder: Path) -> None:
    said = json.loads((folder / "seal.json").read_bytes())[name]
    reseal(folder, **{name: said.translate(str.maketrans("0123456789", "1234567890"))})

    assert "the signature of the seal is wrong" in faults(folder)


def test_a_digest_that_was_brought_up_to_date_without_the_key_does_not_pass(folder: Path) -> None:
    edit(folder / "rules.py")
    reseal(folder, digest=graveyard.seal.digest(folder), files=graveyard.seal.files(folder))

    assert faults(folder) == ("the signature of the seal is wrong",)


def test_who_signs_with_a_key_of_his_own_is_found_out(folder: Path, tmp_path: Path) -> None:
    trusted = check(folder=folder).key
    edit(folder / "rules.py")
    sign(tmp_path / "another.key", folder)

    (fault,) = faults(folder, key=trusted)
    assert fault.startswith("the seal is signed with the key ")
    assert fingerprint(trusted) in fault
    assert faults(folder) == ()


def test_a_file_that_can_be_written_breaks_the_seal(folder: Path) -> None:
    (folder / "ethics.py").chmod(0o644)
    (folder / "seal.json").chmod(0o446)

    assert faults(folder) == (
        "graveyard/ethics.py has mode 0644 and can be written",
        "graveyard/seal.json has mode 0446 and can be written",
    )


def test_a_change_in_memory_breaks_the_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graveyard, "judge", lambda *args: None)

    assert "graveyard.judge is not graveyard.ethics.judge" in check().faults


@pytest.mark.parametrize(
    "content", [None, b"", b"null", b"{}", b"\xff", b'{"format": 2}', b'{"format": 1, "digest": 5}']
)
def test_a_seal_that_cannot_be_read_is_a_fault(content: bytes | None, folder: Path) -> None:
    (folder / "seal.json").unlink()
    if content is not None:
        (folder / "seal.json").write_bytes(content)
        (folder / "seal.json").chmod(0o444)

    (fault,) = faults(folder)
    assert fault.startswith("the seal graveyard/seal.json cannot be read: ")


def test_no_rule_book_at_all_is_a_fault_and_no_error(tmp_path: Path) -> None:
    assert not check(folder=tmp_path / "nowhere").ok


def test_a_look_at_the_memory_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graveyard.seal, "memory_faults", lambda: 1 / 0)

    assert "the rule book in memory cannot be checked: ZeroDivisionError: division by zero" in check().faults


texts = st.text(max_size=70) | st.binary(max_size=40).map(bytes.hex)


@given(
    st.builds(
        Seal, st.just(1), texts, texts, texts, texts, st.dictionaries(st.sampled_from(["rules.py", "x"]), texts)
    )
)
def test_no_seal_that_somebody_makes_up_is_whole(made_up: Seal) -> None:
    assert not seal._is_signed(made_up)


def test_the_seal_is_what_it_says_it_is(folder: Path) -> None:
    said = json.loads((folder / "seal.json").read_bytes())

    assert list(said) == ["format", "digest", "public_key", "signature", "sealed_at", "files"]
    assert said["format"] == 1
    assert said["digest"] == graveyard.seal.digest(folder)
    assert msgspec.convert(said, Seal).files == graveyard.seal.files(folder)


# Checking again and again


def test_a_change_is_seen_at_the_next_check_and_its_repair_too(folder: Path) -> None:
    sealing = Sealing(folder=folder, key="")
    assert sealing.faults(100.0) == ""

    (folder / "rules.py").chmod(0o644)
    assert sealing.faults(101.9) == ""
    assert sealing.faults(102.0) == "graveyard/rules.py has mode 0644 and can be written"

    (folder / "rules.py").chmod(0o444)
    assert sealing.faults(103.9) != ""
    assert sealing.faults(104.0) == ""


def test_a_fault_that_is_there_at_the_beginning_is_seen_at_once(folder: Path) -> None:
    (folder / "rules.py").chmod(0o644)

    assert not Sealing(folder=folder, key="").report.ok


def test_a_clock_that_is_set_back_leads_to_a_check(folder: Path) -> None:
    sealing = Sealing(folder=folder, key="")
    assert sealing.faults(100.0) == ""

    (folder / "rules.py").chmod(0o644)

    assert sealing.faults(50.0) != ""


def test_faults_of_further_checks_stand_in_the_same_line(folder: Path) -> None:
    def fails() -> str:
        raise ValueError("no")

    sealing = Sealing(lambda: "the judge is another", lambda: "", fails, folder=folder, key="")

    assert sealing.faults(0.0) == ("the judge is another; a further check of the rule book failed: ValueError: no")


def test_the_key_of_the_start_is_the_one_that_counts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(seal.KEY_VARIABLE, check(folder=folder).key)
    assert Sealing(folder=folder).faults(0.0) == ""

    sign(tmp_path / "another.key", folder)

    assert "which this node trusts" in Sealing(folder=folder).faults(0.0)


# Beginning


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    return path


def test_a_start_protects_the_files_and_remembers_the_key(folder: Path, keys: Path) -> None:
    (folder / "rules.py").chmod(0o644)

    report = begin(keys, folder)

    assert report.ok
    assert pinned(keys) == report.key
    assert stat.S_IMODE((keys / "graveyard.pub").stat().st_mode) == 0o600
    assert begin(keys, folder).ok


def test_a_later_start_with_another_key_is_refused(folder: Path, keys: Path, tmp_path: Path) -> None:
    trusted = begin(keys, folder).key
    sign(tmp_path / "another.key", folder)

    with pytest.raises(NodeError, match=r"signed with another key, delete .*graveyard\.pub") as refused:
        begin(keys, folder)

    assert fingerprint(trusted) in str(refused.value)
    (keys / "graveyard.pub").unlink()
    assert begin(keys, folder).ok


def test_a_broken_seal_begins_with_its_faults_and_pins_nothing(folder: Path, keys: Path) -> None:
    reseal(folder, signature="00" * 64)

    assert begin(keys, folder).faults == ("the signature of the seal is wrong",)
    assert pinned(keys) == ""


# Signing


def test_the_private_key_is_made_once_for_its_owner_only(key: Path) -> None:
    made = load_or_make_key(key)

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert load_or_make_key(key).private_bytes_raw() == made.private_bytes_raw()


def test_a_private_key_beside_the_rules_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(FOLDER.parent)

    for path in (FOLDER / "x.key", FOLDER.parent / "x.key", tmp_path / "elsewhere" / "x.key"):
        with pytest.raises(SealError, match="beside the rules"):
            load_or_make_key(path)
        assert not path.exists()


def test_a_private_key_that_others_can_read_is_refused(key: Path) -> None:
    load_or_make_key(key)
    key.chmod(0o640)

    with pytest.raises(SealError, match="can be read by others"):
        load_or_make_key(key)


def test_what_is_no_ed25519_key_is_refused(key: Path) -> None:
    key.parent.mkdir()
    key.touch(mode=0o600)
    with pytest.raises(SealError, match="holds no private key"):
        load_or_make_key(key)

    key.write_bytes(
        generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(SealError, match="no Ed25519 key"):
        load_or_make_key(key)


def test_signing_again_replaces_a_seal_that_cannot_be_written(folder: Path, key: Path) -> None:
    edit(folder / "rules.py")

    sign(key, folder)

    assert faults(folder) == ()
    assert list(folder.glob(".seal*")) == []


# The command


def test_the_command_says_what_is_wrong_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seal, "check", lambda **_: seal.Report(False, "ab", ("rules.py was changed",), ""))

    assert main(["verify", "--home", str(tmp_path)]) == 1
    assert "fault: rules.py was changed" in capsys.readouterr().err

    assert main(["verify", "--json", "--home", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out)["faults"] == ["rules.py was changed"]


def test_the_command_signs_and_names_the_key(
    folder: Path, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sign(key, folder)
    monkeypatch.setattr(seal, "sign", lambda path: made)

    assert main(["sign", "--key", str(key)]) == 0
    out = capsys.readouterr().out
    assert made.digest in out
    assert fingerprint(made.public_key) in out


def test_a_demo_is_not_held_to_the_signer_of_an_earlier_one(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    start._begin_demo(home)
    (home.keys / seal.PIN).write_text("ab" * 32)

    start._begin_demo(home)

    assert pinned(home.keys) == ""
