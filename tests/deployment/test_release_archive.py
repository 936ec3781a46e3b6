"""Releases that travel: what arrives is what was sent, or it is refused."""

from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ark.errors import ArkError
from ark.home import Home
from deployment import dsse, release_keys
from deployment.content import File, ReleaseError, digest, entries
from deployment.release_archive import unpack
from deployment.release_folder import Bundle
from deployment.releases import Release, admit, build, export, open_release
from deployment.sources import from_folder
from tests.node import ROOT

pytest.importorskip("cyclonedx", reason="python -m pip install 'ark-runtime[releases]'")

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def home_at(path: Path, *keys: Ed25519PrivateKey) -> Home:
    home = Home(path)
    home.prepare()
    for number, key in enumerate(keys):
        release_keys.trust(home, f"key{number}", key.public_key())
    return home


def take(home: Home, bundle: Bundle, **options: bool | str) -> Release:
    return admit(home, bundle, by="ben", at=2.0, **options)[0]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Release, Path]:
    """A release of the example, and the file that it was exported to."""
    folder = tmp_path_factory.mktemp("sender")
    home = home_at(folder / "home", KEY)
    source = from_folder(ROOT / "examples" / "release")
    release = build(home, source, key=KEY, by="anna", at=1.0)[0]
    export(home, release.digest, folder / "release.tar")
    return release, folder / "release.tar"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that trusts the sender, and takes in nothing that is wrong."""
    return home_at(tmp_path_factory.mktemp("receiver"), KEY)


def test_what_is_exported_arrives(sent: tuple[Release, Path], tmp_path: Path) -> None:
    release, file = sent
    home = home_at(tmp_path / "home", KEY)

    arrived = take(home, unpack(file), expected=release.digest)

    assert arrived == open_release(home, release.digest)
    assert (arrived.digest, arrived.agents, arrived.signed_by) == (release.digest, release.agents, "key0")
    assert admit(home, unpack(file), by="ben", at=3.0)[1] is False


def test_an_export_has_the_same_bytes_wherever_it_is_made(sent: tuple[Release, Path], tmp_path: Path) -> None:
    release, file = sent
    home = home_at(tmp_path / "home", KEY)
    assert release.folder is not None
    take(home, unpack(release.folder))  # a folder is taken as well
    export(home, release.digest, tmp_path / "again.tar")

    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    with pytest.raises(ReleaseError, match="is there already"):
        export(home, release.digest, tmp_path / "again.tar")
    with pytest.raises(ReleaseError, match="what is installed is no release"):
        export(home, "installed", tmp_path / "installed.tar")


def test_the_release_of_a_stranger_is_refused(sent: tuple[Release, Path], tmp_path: Path) -> None:
    home = home_at(tmp_path / "home", OTHER)

    with pytest.raises(ReleaseError, match="no key that this home trusts") as caught:
        take(home, unpack(sent[1]), allow_unsigned=True)

    assert dsse.key_id(KEY.public_key()) in str(caught.value)
    assert dsse.key_id(OTHER.public_key()) in str(caught.value)


def test_an_unsigned_release_is_taken_only_where_that_is_said(sent: tuple[Release, Path], tmp_path: Path) -> None:
    home = home_at(tmp_path / "home", KEY)
    bundle = unpack(sent[1])._replace(envelope=None)

    with pytest.raises(ReleaseError, match="is not signed"):
        take(home, bundle)
    assert take(home, bundle, allow_unsigned=True).signed_by is None
    assert open_release(home, sent[0].digest).signed_by is None


def test_a_signature_for_another_release_is_refused(sent: tuple[Release, Path], tmp_path: Path) -> None:
    home = home_at(tmp_path / "home", KEY)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "small.py").write_text("class Small: pass")
    said = {"name": "small", "version": "1", "agents": {"joey": "small:Small"}}
    other = build(home, from_folder(tmp_path / "source"), said=said, key=KEY, by="anna", at=1.0)[0]
    assert other.folder is not None

    swapped = Bundle(unpack(other.folder).files, unpack(sent[1]).envelope)
    with pytest.raises(ReleaseError, match="it is not what was signed"):
        take(home, swapped)


def test_a_signature_over_something_else_is_none(sent: tuple[Release, Path], receiver: Home) -> None:
    bundle = unpack(sent[1])
    for kind, text in (("text/plain", b"{}"), ("application/vnd.in-toto+json", b"{}"), ("application/json", b"")):
        with pytest.raises(ReleaseError, match="no statement about a release"):
            take(receiver, bundle._replace(envelope=dsse.sign(kind, text, KEY)))


def test_a_release_that_was_expected_to_be_another_is_refused(sent: tuple[Release, Path], receiver: Home) -> None:
    with pytest.raises(ReleaseError, match="its digest is"):
        take(receiver, unpack(sent[1]), expected="0" * 64)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_no_flipped_bit_of_an_export_changes_what_arrives(
    sent: tuple[Release, Path], receiver: Home, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A bit of a header that means nothing may be flipped; then the very release arrives that was sent."""
    text = bytearray(sent[1].read_bytes())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path_factory.getbasetemp() / "flipped.tar"
    file.write_bytes(text)

    try:
        arrived = unpack(file)
        release = take(receiver, arrived)
    except ArkError:
        return
    assert release.digest == sent[0].digest == digest(entries(arrived.files))


@settings(max_examples=25)
@given(st.binary(max_size=1_000))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "noise.tar"
    file.write_bytes(text)

    with pytest.raises(ReleaseError):
        unpack(file)


CHANGES: dict[str, Callable[[dict[str, File]], dict[str, File]]] = {
    "another byte": lambda files: files | {"code/cautious_joey.py": File(b"LARGEST = 1")},
    "a program": lambda files: {path: file._replace(executable=True) for path, file in files.items()},
    "a file more": lambda files: files | {"code/more.py": File(b"")},
    "a file beside": lambda files: files | {"more.txt": File(b"")},
    "a file less": lambda files: {path: file for path, file in files.items() if path != "code/cautious_joey.py"},
    "another name": lambda files: {path.replace("cautious", "hasty"): file for path, file in files.items()},
    "another manifest": lambda files: (
        files | {"manifest.json": File(files["manifest.json"].content.replace(b"1.0.0", b"1.0.1"))}
    ),
    "another bill": lambda files: (
        files | {"sbom.cdx.json": File(files["sbom.cdx.json"].content.replace(b"1.6", b"1.5"))}
    ),
    "the Graveyard": lambda files: files | {"code/graveyard/rules.py": File(b"")},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_on_its_way_is_refused(sent: tuple[Release, Path], receiver: Home, change: str) -> None:
    bundle = unpack(sent[1])

    with pytest.raises(ReleaseError):
        take(receiver, bundle._replace(files=CHANGES[change](dict(bundle.files))))


def test_the_graveyard_does_not_come_in_unsigned_either(sent: tuple[Release, Path], receiver: Home) -> None:
    files = CHANGES["the Graveyard"](dict(unpack(sent[1]).files))

    with pytest.raises(ReleaseError, match="rules are sealed"):
        take(receiver, Bundle(files, None), allow_unsigned=True)


def test_a_compiled_module_does_not_come_in_whoever_signed_it(sent: tuple[Release, Path], receiver: Home) -> None:
    bundle = unpack(sent[1])
    for name in ("code/__pycache__/small.cpython-311.pyc", "code/colorsys.pyc", "code/graveyard.pyc"):
        with pytest.raises(ReleaseError, match="is compiled"):
            take(receiver, Bundle({**bundle.files, name: File(b"x")}, None), allow_unsigned=True)


DEEP = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def test_what_is_nested_too_deeply_is_refused(sent: tuple[Release, Path], receiver: Home) -> None:
    bundle = unpack(sent[1])
    for name in ("manifest.json", "sbom.cdx.json"):
        with pytest.raises(ReleaseError, match="recursion"):
            take(receiver, Bundle({**bundle.files, name: File(DEEP)}, None), allow_unsigned=True)
    with pytest.raises(ReleaseError, match="recursion"):
        take(receiver, bundle._replace(envelope=DEEP))


def test_no_network_is_needed(sent: tuple[Release, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    home = home_at(tmp_path / "home", KEY)
    source = from_folder(ROOT / "examples" / "release")

    assert take(home, unpack(sent[1])) == build(home, source, key=KEY, by="anna", at=1.0)[0]


def member(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("../../evil"), "leads out"),
        (member("/etc/evil"), "leads out"),
        (member("x/../../evil"), "leads out"),
        (member("x/code/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "a link or a special file"),
        (member("x/code/link", type=tarfile.LNKTYPE, linkname="x/manifest.json"), "a link or a special file"),
        (member("x/code/disk", type=tarfile.BLKTYPE), "a link or a special file"),
        (member("x/code/pipe", type=tarfile.FIFOTYPE), "a link or a special file"),
        (member("x/code/root", mode=0o4755), "runs as somebody else"),
        (member("x/manifest.json"), "is there twice"),
        (member("y/manifest.json"), "beside its folder"),
        (member("alone"), "beside its folder"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_file_that_reaches_beyond_itself_is_refused(tmp_path: Path, bad: tarfile.TarInfo, why: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        archive.addfile(member("x/manifest.json"))
        archive.addfile(bad)

    with pytest.raises(ReleaseError, match=why):
        unpack(tmp_path / "bad.tar")


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.addfile(member("x/manifest.json", size=2), io.BytesIO(b"{}"))

    with pytest.raises(ReleaseError, match="is no release"):
        unpack(tmp_path / "x.tar.gz")


def test_what_is_no_release_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"no manifest\.json"):
        unpack(tmp_path)
    with pytest.raises(ReleaseError, match="No such file"):
        unpack(tmp_path / "nothing")
