"""Make, sign, bring in, check and delete releases: versions of agents that can run beside each other.

A release is a folder in the node's home, named by the SHA-256 of its content, signed, and never changed. It holds
the source of its agents; distributions come from the environment, and are checked. docs/releases.md says how to
write `ark-release.toml`, which tells what the release is.

examples:
  ark-run release keygen
  ark-run release build ./my_agents
  ark-run release build --git . --ref v1.4.0 --subdirectory agents
  ark-run release list
  ark-run release export 3fa81c04 my-agents.tar
  ark-run release import my-agents.tar --home /var/lib/ark
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ark import interventions
from ark.commands.approve import login_name
from ark.commands.held import plain
from ark.errors import NodeError
from ark.home import Home
from deployment import release_keys
from deployment.content import DECLARATION
from deployment.dsse import key_id
from deployment.release_archive import unpack
from deployment.release_folder import digests
from deployment.release_views import Listing, listing
from deployment.releases import Examination, Release, ReleaseError, admit, build, examine, export, remove
from deployment.sources import Source, from_folder, from_git, from_wheel

__all__ = ["HELP", "configure", "run"]

HELP = "versions of agents: build, import, export, list, verify, keygen, trust, remove"

_BUILD = """\
Build a release from a folder, a wheel or a commit, sign it, and keep it in the home. Nothing of the code is run,
and a commit is read without touching the checkout.

What it is stands in ark-release.toml at the top of the source. Options count before it, and replace it where there
is none; a wheel states its name, version and requirements itself. Left out are names that begin with a dot,
*.dist-info and *.egg-info, and of a folder __pycache__ and *.pyc, which a commit or a wheel must not hold.

examples:
  ark-run release build ./my_agents
  ark-run release build ./plain_folder --agent joey=my_joey:Joey --name my-joey --version 1.0.0
  ark-run release build dist/my_agents-1.0.0-py3-none-any.whl --agent joey=my_agents.joey:Joey
  ark-run release build --git . --ref v1.4.0 --subdirectory agents
  ark-run release build --git ../ark --ref main --only actors --agent joey=actors.joey:Joey --name joey --version 2
"""
_IMPORT = """\
Take in a release that was built elsewhere: a file that `ark-run release export` wrote, or a folder of another home.
It is refused where a byte of it was changed, where no key that this home trusts has signed it, or where it does not
fit the messages, the ARK and the distributions that are here.
"""
_VERIFY = """\
Read every file of a release, and check digest, modes, manifest, bill of materials, signature, and whether it fits
what is installed here. Whatever opens a release does the same first.

exit codes:
  0  it may be run
  1  it must not; standard error says why
"""
_KEYGEN = """\
Make a key that signs releases, mode 0600, and its public half beside it, which other homes are told of with
`ark-run release trust`. This home trusts it at once.
"""
_TRUST = """\
Let releases be run that a key has signed, list such keys, or let a key's signature count no more, from the next
start of a process on.

examples:
  ark-run release trust anna.pub
  ark-run release trust
  ark-run release trust --revoke anna
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def place(name: str, summary: str, text: str = "") -> argparse.ArgumentParser:
        made = places.add_parser(
            name,
            help=summary,
            description=text or f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # The common options may stand behind the action, too; only where they are given do they count.
        made.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        return made

    key = release_keys.default_key(os.environ)
    making = place("build", "from a folder, a wheel or a commit", _BUILD)
    making.add_argument("source", nargs="?", type=Path, metavar="SOURCE", help="the folder or the wheel")
    making.add_argument("--git", type=Path, metavar="REPO", help="build from a commit of this repository instead")
    making.add_argument("--ref", metavar="REF", help="which commit, branch or tag (default: HEAD)")
    making.add_argument("--subdirectory", metavar="DIR", help="the folder in the repository that is released")
    making.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="take this package or module alone; repeatable"
    )
    making.add_argument("--manifest", type=Path, metavar="FILE", help=f"an {DECLARATION} that lies elsewhere")
    making.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="ROLE=module:Class",
        help="an agent that it brings; may be repeated",
    )
    making.add_argument("--name", metavar="NAME", help="its name")
    making.add_argument("--version", metavar="VERSION", help="its version")
    making.add_argument("--key", type=Path, default=key, metavar="FILE", help="signs it (default: %(default)s)")
    making.add_argument(
        "--allow-unsigned", action="store_true", help="do not sign it; this home runs it all the same"
    )
    making.add_argument("--irreversible", action="store_true", help="agents may have no way back for their state")

    bringing = place("import", "take in a release that was built elsewhere", _IMPORT)
    bringing.add_argument("source", type=Path, metavar="FILE", help="the tar file, or a release's folder")
    bringing.add_argument("--digest", default="", metavar="DIGEST", help="refuse any other than this one")
    bringing.add_argument("--allow-unsigned", action="store_true", help="take it even if nobody has signed it")
    bringing.add_argument("--irreversible", action="store_true", help="take it even if there is no way back")

    sending = place("export", "write a release into a tar file for another machine")
    sending.add_argument("release", metavar="DIGEST", help="its digest, or at least 4 digits of it")
    sending.add_argument("file", type=Path, metavar="FILE", help="the tar file; it must not be there yet")

    place("list", "every release of the home, with who signed it and what uses it")

    checking = place("verify", "check everything about a release, or about all of them", _VERIFY)
    checking.add_argument("releases", nargs="*", metavar="DIGEST", help="which (default: all)")

    keying = place("keygen", "make a key that signs releases", _KEYGEN)
    keying.add_argument("--key", type=Path, default=key, metavar="FILE", help="where (default: %(default)s)")
    keying.add_argument("--name", metavar="NAME", help="as whose this home knows it (default: your login)")
    keying.add_argument("--no-trust", action="store_true", help="do not trust it in this home")

    trusting = place("trust", "whose signatures count in this home", _TRUST)
    trusting.add_argument("file", nargs="?", type=Path, metavar="KEY.pub", help="a public key (PEM) to trust")
    trusting.add_argument("--name", metavar="NAME", help="as whose it is known (default: the file's name)")
    trusting.add_argument("--revoke", metavar="NAME", help="trust this one no more")

    removing = place("remove", "delete a release that nothing uses")
    removing.add_argument("release", metavar="DIGEST", help="its digest, or at least 4 digits of it")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    home = Home(arguments.home)
    if arguments.action in ("build", "import", "keygen", "trust"):
        home.prepare()
    elif not home.keys.is_dir():
        raise NodeError(f"{home.path} is no node's home", hint="name it with --home or ARK_HOME")
    match arguments.action:
        case "build":
            return _build(home, arguments)
        case "import":
            return _import(home, arguments)
        case "export":
            release = export(home, arguments.release, arguments.file)
            facts = {"digest": release.digest, "file": str(arguments.file.absolute())}
            _say(arguments, facts, f"{_named(release)} is in {arguments.file}")
        case "list":
            found = listing(home)
            lines = [_row(each) for each in found] or ["there is no release; make one with `ark-run release build`"]
            _say(arguments, {"releases": msgspec.to_builtins(found)}, *lines)
        case "verify":
            return _verify(home, arguments)
        case "keygen":
            _keygen(home, arguments)
        case "trust":
            _trust(home, arguments)
        case _:
            digest = remove(home, arguments.release)
            _record(home, "release_removed", digest)
            _say(arguments, {"digest": digest}, f"the release {digest[:12]} is gone")
    return 0


def _build(home: Home, arguments: argparse.Namespace) -> int:
    source, where = _source(arguments)
    if arguments.manifest is not None:
        where = arguments.manifest.name
        try:
            source = source._replace(declaration=arguments.manifest.expanduser().read_bytes())
        except OSError as error:
            raise ReleaseError(f"cannot read {arguments.manifest}: {error.strerror or error}") from error
    key = None if arguments.allow_unsigned else release_keys.signing_key(arguments.key)
    release, is_new = build(
        home,
        source,
        said=_options(arguments),
        where=where,
        key=key,
        irreversible=arguments.irreversible,
        by=login_name(),
        at=time.time(),
    )
    return _taken(home, arguments, release, "built" if is_new else "")


def _source(arguments: argparse.Namespace) -> tuple[Source, str]:
    if arguments.git is None:
        if arguments.ref or arguments.subdirectory:
            raise ReleaseError("--ref and --subdirectory are for --git", hint="add --git REPO", field="git")
        if arguments.source is None:
            raise ReleaseError("there is nothing to build", hint="name a folder or a wheel, or --git REPO")
        if arguments.source.suffix == ".whl":
            return from_wheel(arguments.source, arguments.only), DECLARATION
        return from_folder(arguments.source, arguments.only), str(arguments.source / DECLARATION)
    if arguments.source is not None:
        raise ReleaseError(
            f"{arguments.source} and --git are two sources", hint="--subdirectory names a folder in the repository"
        )
    where = arguments.subdirectory or ""
    return from_git(arguments.git, arguments.ref or "HEAD", where, arguments.only), DECLARATION


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of the manifest."""
    said: dict[str, Any] = {key: getattr(arguments, key) for key in ("name", "version") if getattr(arguments, key)}
    agents = {}
    for text in arguments.agent:
        role, equals, place = text.partition("=")
        if not equals or role in agents:
            raise ReleaseError(
                f"--agent {text}: {'the role is named twice' if equals else 'there is no role'}",
                hint="--agent ROLE=module:Class",
                field="agent",
            )
        agents[role] = place
    return said | ({"agents": agents} if agents else {})


def _import(home: Home, arguments: argparse.Namespace) -> int:
    release, is_new = admit(
        home,
        unpack(arguments.source),
        expected=arguments.digest,
        allow_unsigned=arguments.allow_unsigned,
        irreversible=arguments.irreversible,
        by=login_name(),
        at=time.time(),
    )
    return _taken(home, arguments, release, "imported" if is_new else "")


def _taken(home: Home, arguments: argparse.Namespace, release: Release, done: str) -> int:
    """Say what came of a build or an import, and write it down."""
    assert release.manifest is not None
    unsigned = release.signed_by is None
    if done:
        _record(
            home, f"release_{done}", release.digest, name=release.name, version=release.version, unsigned=unsigned
        )
    facts = {
        "digest": release.digest,
        "name": release.name,
        "version": release.version,
        "agents": dict(release.agents),
        "folder": str(release.folder),
        "signed_by": release.signed_by,
        "unsigned": unsigned,
        "new": bool(done),
        "irreversible": release.manifest.without_way_back,
    }
    if unsigned:
        print(
            "WARNING: this release is not signed. Nobody can tell who made it, or whether it was changed on its way"
            " here. This home will run it all the same.",
            file=sys.stderr,
        )
    if release.manifest.without_way_back:
        agents = ", ".join(release.manifest.without_way_back)
        print(f"WARNING: there is no way back for the state of {agents}.", file=sys.stderr)
    lines = [f"{_named(release)} {'is ' + done if done else 'was here already'}"]
    lines += [f"  {role:<12} {place}" for role, place in sorted(release.agents.items())]
    lines += [f"  digest       {release.digest}", f"  signed by    {release.signed_by or 'NOBODY'}"]
    _say(arguments, facts, *lines)
    return 0


def _verify(home: Home, arguments: argparse.Namespace) -> int:
    found = [examine(home, which) for which in arguments.releases or digests(home)]
    facts = [
        {
            "digest": each.digest,
            "ok": not each.faults,
            "faults": [{"message": str(fault), "field": fault.field} for fault in each.faults],
            "notes": each.notes,
            "signed_by": each.signed_by,
            "unsigned": each.unsigned,
            "statement": each.statement,
        }
        for each in found
    ]
    lines = [line for each in found for line in _verdict(each)]
    _say(arguments, {"releases": facts}, *(lines or ["there is no release"]))
    if not arguments.json:
        for each in found:
            for fault in each.faults:
                print(f"fault: {each.digest[:12]}: {plain(fault)}", file=sys.stderr)
    return 1 if any(each.faults for each in found) else 0


def _verdict(found: Examination) -> list[str]:
    name = f"{found.manifest.name} {found.manifest.version}" if found.manifest else ""
    lines = [f"{found.digest[:12]}  {'must NOT be run' if found.faults else 'good':<15}  {name}".rstrip()]
    made: Mapping[str, Any] = found.statement.get("predicate", {})
    if found.signed_by:
        lines.append(f"  signed by {', '.join(found.signed_by)}, made {plain(made.get('created', '?'))}")
    elif found.unsigned:
        lines.append("  signed by NOBODY, and let in with --allow-unsigned")
    origin = made.get("source")
    if isinstance(origin, dict):
        lines.append("  from " + ", ".join(f"{plain(key)} {plain(value)}" for key, value in origin.items()))
    return lines + [f"  note: {plain(note)}" for note in found.notes]


def _keygen(home: Home, arguments: argparse.Namespace) -> None:
    name = None if arguments.no_trust else arguments.name or re.sub(r"[^a-z0-9._-]", "_", login_name().lower())[:32]
    if name is not None:
        release_keys.check_name(name)
    key = release_keys.make(arguments.key).public_key()
    public = arguments.key.expanduser().with_suffix(".pub")
    lines = [
        f"{arguments.key} signs releases from now on: keep it, and give it to nobody",
        f"  {public} is its public half, for `ark-run release trust` elsewhere",
        f"  the key is {key_id(key)}",
    ]
    if name is not None:
        release_keys.trust(home, name, key)
        _record(home, "release_key_trusted", name, key=key_id(key))
        lines.append(f"  {home.path} trusts it as {name}")
    facts = {"key": str(arguments.key), "public_key": str(public), "id": key_id(key), "trusted_as": name}
    _say(arguments, facts, *lines)


def _trust(home: Home, arguments: argparse.Namespace) -> None:
    if arguments.revoke is not None:
        if arguments.file is not None:
            raise ReleaseError("--revoke takes no file", hint="name the key as `ark-run release trust` lists it")
        release_keys.distrust(home, arguments.revoke)
        _record(home, "release_key_revoked", arguments.revoke)
        _say(arguments, {"revoked": arguments.revoke}, f"{arguments.revoke} is trusted no more")
    elif arguments.file is not None:
        key = release_keys.read_public(arguments.file.expanduser())
        name = arguments.name or arguments.file.stem
        release_keys.trust(home, name, key)
        _record(home, "release_key_trusted", name, key=key_id(key))
        facts = {"trusted": name, "id": key_id(key)}
        _say(arguments, facts, f"releases signed by {name} ({key_id(key)}) are run from now on")
    else:
        trusted = release_keys.trusted(home)
        keys = {name: key_id(key) for name, key in trusted.keys.items()}
        lines = [f"{name:<32} {key}" for name, key in keys.items()]
        for fault in trusted.faults:
            print(f"WARNING: {plain(fault)}", file=sys.stderr)
        _say(
            arguments,
            {"keys": keys, "faults": trusted.faults},
            *(lines or ["no key is trusted; make one with `ark-run release keygen`"]),
        )


def _named(release: Release) -> str:
    return f"{release.short}  {release.name} {release.version}"


def _row(each: Listing) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.at)) if each.at else "?"
    signer = each.signed_by or ("UNSIGNED" if each.unsigned else "?")
    size = f"{each.size / 1024:.0f} KiB"
    what, agents = f"{each.name} {each.version}", ",".join(sorted(each.agents))
    row = f"{each.digest[:12]}  {what:<28}  {agents:<12}  {signer:<12}  {size:>9}  {when}"
    marks = [*each.used, *([f"MUST NOT BE RUN: {plain(each.fault)}"] if each.fault else [])]
    return row + (f"  [{'; '.join(marks)}]" if marks else "")


def _record(home: Home, act: str, subject: str, **details: Any) -> None:
    interventions.record(home, act, by=login_name(), subject=subject, details=details)


def _say(arguments: argparse.Namespace, facts: Mapping[str, Any], *lines: str) -> None:
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(lines))
