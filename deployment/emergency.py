"""The way back without the deploy actor: by the files of the home alone, whatever hangs.

Three things are done, in this order. A note says what was done, so that a deploy actor that comes back does not
lead the rollout on. The permanent releases are written: what each agent is to run from. And the routing table is
taken away: from the moment an agent looks again no signal is the canary's, and a supervisor starts again what runs
from another release than the permanent one.

A deploy actor that lives and only does not answer may be just about to write a table. What it writes then counts
for as long as the table's lease, five seconds after the moment at which it was decided, and no longer than until it
looks again: it finds the note, and goes back itself. So the note is there before anything else is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

import apsw
import msgspec

from ark import interventions
from ark.equipment import INSTALLED, Equipment, permanent_releases, write_permanent_releases
from ark.errors import ArkError, JournalError, NodeError
from ark.files import replace_file
from ark.home import Home
from ark.journal import open_for_reading
from ark.rollouts import read_rollout
from deployment.deploy_book import FILE, Kept
from deployment.progress import OVER
from deployment.releases import open_release, resolve
from deployment.rollout import worth_undoing

__all__ = ["NOTE", "Note", "clear_note", "go_back", "read_note", "way_back"]

NOTE = "rollback.json"
"""Its name in the home's data folder."""
_NOTHING = frozenset(("plan", "rolled_back", "passed"))
"""States of a rollout that has nothing to take back."""


class Note(msgspec.Struct, frozen=True):
    """That somebody went back by the files.

    Attributes:
        by, reason: Who, and why.
        at: When, seconds since the epoch.
        rollout: Which rollout is at its end by that; empty for none.
        roles: The release that each agent went back to, by digest; empty for the installed package.
        is_chosen: Whether these were named with `--to`, and are not those that were stable before the rollout.
    """

    by: str
    reason: str
    at: float
    rollout: str = ""
    roles: dict[str, str] = {}
    is_chosen: bool = False


def way_back(home: Home, to: str, *, by: str, reason: str, now: float) -> Note:
    """What is to be done.

    Args:
        home: The node's.
        to: The release to go back to; empty for what was stable before the newest rollout that brought one.
        by, reason: Who wants it, and why.
        now: Seconds since the epoch.

    Raises:
        NodeError: There is nothing to go back from, or nobody knows where to.
        ReleaseError: There is no such release, or it must not be run.
    """
    shown, hint = _shown(home, now), "name the release to go back to with --to"
    if to:
        # One that has ended is not led back: what it wrote since is not what somebody wants rid of.
        ends = shown or _in_the_book(home)
        name = ends.rollout if ends is not None and ends.state not in OVER else ""
        return Note(by, reason, now, name, _roles_of(home, to), is_chosen=True)
    meant = shown if shown is not None and shown.state not in _NOTHING else _in_the_book(home) or shown
    if meant is None:
        raise NodeError("nothing was ever rolled out here", hint=hint)
    if meant.state in _NOTHING:
        raise NodeError(f"{meant.rollout} is {meant.state.replace('_', ' ')} already", hint=hint)
    if meant.state == "permanent":
        known = permanent_releases(home.permanent_file)
        now_run = {role: each.digest for role, each in known.items()}
        later = sorted(role for role, release in meant.roles.items() if now_run.get(role, "") != release)
        if later:
            raise NodeError(f"{', '.join(later)} has had another release since {meant.rollout}", hint=hint)
    return Note(by, reason, now, meant.rollout, meant.stable)


def go_back(home: Home, note: Note, *, alone: bool = True) -> list[str]:
    """Do it.

    Args:
        home: The node's.
        note: What is to be done.
        alone: Whether the deploy actor has no part in it.

    Returns:
        What could not be done beside it, in words for people.

    Raises:
        NodeError: The permanent releases cannot be written, or one must not be run. The traffic is back even so.
    """
    troubles = []
    try:
        replace_file(home.data / NOTE, msgspec.json.format(msgspec.json.encode(note)) + b"\n", durable=True)
    except OSError as error:
        why = error.strerror or error
        troubles.append(f"the deploy actor cannot be told ({why}): `supervisor stop deployer` before it goes on")
    problem = ""
    try:
        _make_permanent(home, note.roles)
    except OSError as error:
        problem = error.strerror or str(error)
    except ArkError as error:
        problem = error.line
    home.routes_file.unlink(missing_ok=True)
    details = {"rollout": note.rollout, "releases": note.roles, "without_the_deploy_actor": alone}
    if not interventions.record(home, "rollback", by=note.by, reason=note.reason, details=details):
        troubles.append("it does not stand in the ledger; the log has it")
    if problem:
        raise NodeError(
            f"no signal is the canary's any more, but the permanent releases are as they were: {problem}",
            hint="name another release with --to, or see `supervisor doctor`",
        )
    return troubles


def read_note(home: Home) -> Note | None:
    """What somebody did while the deploy actor did not answer; None for nothing."""
    try:
        return msgspec.json.decode((home.data / NOTE).read_bytes(), type=Note)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def clear_note(home: Home) -> None:
    """Take the note away: what it says stands in the rollout's own history."""
    (home.data / NOTE).unlink(missing_ok=True)


class _Seen(NamedTuple):
    """A rollout as the files have it: its name, its state, its new releases, and those before it."""

    rollout: str
    state: str
    roles: dict[str, str]
    stable: dict[str, str]


def _shown(home: Home, now: float) -> _Seen | None:
    """The newest rollout since the node began, as the deploy actor showed it last."""
    shown = read_rollout(home, now)
    if shown is None or not isinstance(shown.get("stable"), dict):
        return None
    roles = shown.get("roles")
    return _Seen(
        str(shown.get("id", "")),
        str(shown.get("state", "")),
        dict(roles) if isinstance(roles, dict) else {},
        dict(shown["stable"]),
    )


def _in_the_book(home: Home) -> _Seen | None:
    """The newest rollout that brought a release, in the deploy actor's own book, which it may have open."""
    try:
        with closing(open_for_reading(home.data / FILE, 0.5)) as book:
            rows: list[Any] = book.execute("SELECT content FROM rollouts ORDER BY number").fetchall()
        found = worth_undoing([msgspec.json.decode(content, type=Kept).rollout for (content,) in rows])
    except (JournalError, apsw.Error, msgspec.DecodeError, OSError):
        return None
    return None if found is None else _Seen(found.plan.id, found.state, found.plan.roles, found.plan.stable)


def _roles_of(home: Home, to: str) -> dict[str, str]:
    """The agents of a release that are in the pipeline; of the installed package those that run another one."""
    if to == "installed":
        return dict.fromkeys(permanent_releases(home.permanent_file), "")
    digest = resolve(home, to)
    release = open_release(home, digest)
    pipeline = home.settings().get("pipeline", {}).get("agents", ())
    roles = {role: digest for role in release.agents if not pipeline or role in pipeline}
    if not roles:
        raise NodeError(f"the release {release.short} has no agent of the pipeline")
    return roles


def _make_permanent(home: Home, roles: Mapping[str, str]) -> None:
    known = permanent_releases(home.permanent_file)
    wanted = {**known, **{role: _equipment(home, role, digest, known) for role, digest in roles.items()}}
    wanted = {role: each for role, each in wanted.items() if each.digest}
    if wanted != known:
        write_permanent_releases(home.permanent_file, wanted)


def _equipment(home: Home, role: str, digest: str, known: Mapping[str, Equipment]) -> Equipment:
    """What the role is to run from. While a rollout is under way that is permanent still, and nothing is opened."""
    if not digest:
        return INSTALLED
    if role in known and known[role].digest == digest:
        return known[role]
    return open_release(home, digest).equipment(role)
