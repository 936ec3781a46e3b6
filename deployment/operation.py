"""The deploy actor: makes the world as the rollout wants it, again and again.

What a rollout does next is `deployment.rollout.step`, a pure function. Each round looks at the node, takes a step,
writes it down, and only then makes the world so: the routing table, and with it the arms and what agents run from;
the permanent releases; and the one task of a way back. All of that may be done twice, so this process may be
killed anywhere. Who does not come back does not renew the table's lease, and everybody goes back by himself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec

from ark.config import Config
from ark.deploy_desk import Order, Reply
from ark.equipment import Equipment, permanent_releases, write_permanent_releases
from ark.errors import ArkError, ConfigError
from ark.files import replace_file
from ark.home import Home
from ark.logger import of_process
from ark.protocol import Code
from ark.routing import Table, TableFile, write_table
from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.desired import Desired, desired, observed
from deployment.emergency import Note, clear_note, go_back, read_note
from deployment.hard_rules import since
from deployment.judge import judge
from deployment.observation import (
    Outcomes,
    Watcher,
    differences,
    followed,
    open_positions,
    segments,
    unapproved,
)
from deployment.orders import plan_of, wish_of, word_of
from deployment.progress import Answer, Inputs, Moved, Rollout, Word, create, is_active, is_over
from deployment.releases import Release, open_release, resolve
from deployment.report import Rate, arms_of, document_of
from deployment.rollout import conflict, step, undo_conflict
from deployment.samples import Segment
from deployment.tasks import Tasks
from deployment.tripwires import Tripwires, check
from deployment.verdict import Policy, Verdict
from deployment.world import table_of, without_old_arms

__all__ = ["Operation"]

_JUDGE_S = 0.25
"""How often it is judged."""
_WEIGH_S = 2.0
_OWN = frozenset(("promoting", "bake"))
"""States in which the agents' own processes run the new release."""
_SHOW_S = 0.5
_KEEP_S = 1.0
"""So long may pass between two writings where nothing but time did."""
_OLD_S = 10.0
"""An order that has waited for longer is not done: whoever sent it has been told that nobody answers."""


class Operation:
    """Everything that the deploy actor does, beside its loop.

    Args:
        home: The node's home.
        config: The node's configuration.
        say: Says a map to the supervisor.
        reply: Sends an answer to the gateway.

    Attributes:
        tree: Each child of the tree as its supervisor describes it.
    """

    def __init__(
        self, home: Home, config: Config, *, say: Callable[..., None], reply: Callable[[Reply], None]
    ) -> None:
        self.tree: list[dict[str, Any]] = []
        self._home = home
        self._config = config
        self._say_up = say
        self._reply = reply
        self._log = of_process()
        self._outcomes = Outcomes(home)
        self._routes = TableFile(home.routes_file)
        self._kept: Kept | None = None
        self._watcher: Watcher
        self._words: list[Word] = []
        self._answers: dict[str, int] = {}
        self._opened: dict[str, Release] = {}
        self._verdict: Verdict | None = None
        self._inputs = Inputs()
        self._tasks = Tasks(home, config)
        self._rate = Rate()
        self._judged_at = self._weighed_at = self._written_at = self._renewed_at = self._shown_at = 0.0
        self._shown = b""
        self._restarted = True
        self._book = DeployBook(home.data / FILE)
        self._is_new_node = self._book.is_new_node(self._node_name())
        active = [kept for kept in self._book.all() if is_active(kept.rollout)]
        if active:
            self._take_up(active[-1])
        self._note: Note | None = None
        self._heed_note()

    @property
    def is_active(self) -> bool:
        """Whether a rollout is under way, so that it wants to be looked at."""
        return self._kept is not None

    def close(self) -> None:
        """Let the files go."""
        self._book.close()
        self._outcomes.close()

    def _node_name(self) -> str:
        """That of the node's start; a tree that is built anew under the same one keeps it."""
        with suppress(ArkError):
            facts = self._home.node()
            return f"{facts.get('pid')} {facts.get('started_at', '')}"
        return secrets.token_hex(8)

    # Orders

    def take(self, order: Order) -> None:
        """Do what a client asks, and answer, now or with the rollout's next step."""
        if time.time() - order.asked_at > _OLD_S:
            return
        self._heed_note()
        try:
            fields = self._obey(order)
        except ArkError as error:
            field = error.field if error.field in (None, "reason") or error.field.startswith("plan") else "plan"
            code = Code.INVALID if error.field else Code.REFUSED
            self._reply(Reply(order.number, code=code, message=str(error), field=field))
        else:
            if fields is not None:
                self._reply(Reply(order.number, fields))

    def _obey(self, order: Order) -> dict[str, Any] | None:
        """The fields of the reply; None where the rollout's next step gives it."""
        match order.op:
            case "deploy.status":
                return {"rollout": self._document(self._meant(order, optional=True))}
            case "deploy.explain":
                return {"rollout": self._document(self._meant(order), full=True)}
            case "deploy.history":
                return {"rollouts": self._history(order)}
            case "deploy.plan":
                return {"plan": self._describe(order)}
            case "deploy.start" if not order.rollout:
                return self._begin(order)
            case "rollback" if order.to:
                return self._go_to(order)
            case _:
                return self._say(order)

    def _meant(self, order: Order, *, optional: bool = False) -> Kept | None:
        if order.rollout:
            active = self._kept
            if active is not None and active.rollout.plan.id == order.rollout:
                return active
            found = self._book.find(order.rollout)
            if found is None:
                raise ConfigError(f"there is no rollout {order.rollout!r}; see `ark-run deploy history`")
            return found
        found = self._kept or next(reversed(self._book.all()), None)
        if found is None and not optional:
            raise ConfigError("nothing was ever rolled out here")
        return found

    def _history(self, order: Order) -> list[Any]:
        chosen = [each for each in self._book.all() if order.rollout in ("", each.rollout.plan.id)]
        return [document_of(each, Inputs(), full=bool(order.rollout)) for each in chosen[-order.limit :]]

    def _permanent(self) -> dict[str, str]:
        known = permanent_releases(self._home.permanent_file)
        return {role: known[role].digest if role in known else "" for role in self._config.pipeline.agents}

    def _roles(self, order: Order) -> dict[str, str]:
        """The release of each agent that an order names, by its whole digest, each verified."""
        wish, permanent = wish_of(order), self._permanent()
        roles = dict(wish.roles)
        if wish.release:
            release = self._open(self._digest(wish.release))
            named = release.agents if release.digest else permanent
            roles |= {role: wish.release for role in named if role in permanent}
        if wish.strategy == "aa":
            roles = {role: permanent.get(role, "") or "installed" for role in roles}
        found = {}
        for role, which in roles.items():
            found[role] = self._digest(which)
            self._open(found[role]).equipment(role)
        return found

    def _digest(self, which: str) -> str:
        return "" if which in ("", "installed") else resolve(self._home, which)

    def _open(self, digest: str) -> Release:
        """A release, verified when this process meets it first."""
        if digest not in self._opened:
            self._opened[digest] = open_release(self._home, digest)
        return self._opened[digest]

    def _plan(self, order: Order) -> Any:
        now = time.time()
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        taken = {each.rollout.plan.id for each in self._book.all()}
        name = next(each for each in (name, *(f"{name}-{n}" for n in range(2, 1000))) if each not in taken)
        return plan_of(
            order,
            self._roles(order),
            name=name,
            permanent=self._permanent(),
            settings=self._config.deploy,
            now=now,
        )

    def _describe(self, order: Order) -> dict[str, Any]:
        plan = self._plan(order)
        kept = Kept(create(plan, time.time(), self._book.newest_generation))
        against = [each.rollout for each in self._book.all()]
        document = document_of(kept, Inputs(budget=self._tasks.budget), full=True)
        return {**document, "conflict": conflict(plan, against), "plan": msgspec.to_builtins(plan)}

    def _begin(self, order: Order) -> dict[str, Any] | None:
        plan = self._plan(order)
        against = conflict(plan, [each.rollout for each in self._book.all()])
        if against:
            raise ConfigError(against)
        self._opened.clear()  # verified anew for every rollout
        kept = Kept(create(plan, time.time(), self._book.newest_generation))
        self._book.keep(kept)
        self._take_up(kept)
        wish = wish_of(order)
        if wish.override:
            self._words.append(Word("override", order.by, wish.override))
        self._expect(order, Word("start", order.by, order.reason, id=str(order.number)))
        return None

    def _say(self, order: Order) -> dict[str, Any] | None:
        kept = self._meant(order)
        assert kept is not None
        if order.op in ("deploy.undo", "rollback") and not is_active(kept.rollout):
            if kept.rollout.state != "permanent":
                raise ConfigError(f"{kept.rollout.plan.id} is {kept.rollout.state}; there is nothing to undo")
            others = [each.rollout for each in self._book.all()]
            against = undo_conflict(kept.rollout, others, self._permanent())
            if against:
                raise ConfigError(against)
        word = word_of(order)
        if self._kept is not kept:
            if self._kept is not None:
                raise ConfigError(f"{self._kept.rollout.plan.id} is under way; end it first")
            self._take_up(kept)
        self._expect(order, word)
        return None

    def _expect(self, order: Order, word: Word) -> None:
        self._words.append(word)
        self._answers[word.id] = order.number

    def _go_to(self, order: Order) -> dict[str, Any]:
        """Make an older release the permanent one at once, without a canary: an operator's word alone."""
        word_of(order)
        digest = self._digest(order.to)
        release, permanent = self._open(digest), self._permanent()
        roles = [role for role in (release.agents if digest else permanent) if role in permanent]
        if self._kept is None:
            self._make_permanent({role: release.equipment(role) for role in roles})
        else:  # what was chosen stays, whatever the rollout's own way back would make permanent
            chosen = dict.fromkeys(roles, digest)
            name = self._kept.rollout.plan.id
            go_back(self._home, Note(order.by, order.reason, time.time(), name, chosen, is_chosen=True))
            self._heed_note()
        self._say_up(
            say="event",
            kind="rollback",
            fields={"to": release.short, "roles": roles, "by": order.by, "reason": order.reason},
        )
        return {"roles": dict.fromkeys(roles, digest), "release": release.short}

    # One round

    def _take_up(self, kept: Kept) -> None:
        self._kept = kept
        self._watcher = Watcher(kept.facts, kept.sightings)
        self._verdict = None
        self._judged_at = self._weighed_at = 0.0
        self._rate = Rate()
        self._tasks.begin()

    def look(self) -> None:
        """One round."""
        kept = self._kept
        assert kept is not None
        now = time.time()
        self._tasks.tree = self.tree
        self._tasks.look(now)
        while self._tasks.changed:  # who has read its state must read it again
            reason = "its state was rolled back"
            self._say_up(
                say="request", number=0, op="restart", agent=self._tasks.changed.pop(), reason=reason, by="deployer"
            )
        self._heed_note()
        inputs = self._inputs = self._inputs_of(kept, self._words)
        self._words = []
        before = kept.rollout
        kept.rollout, effects = step(before, now, inputs)
        kept.facts, kept.sightings = self._watcher.facts, self._watcher.sightings
        if kept.to_zero_s is None and _is_back(before, kept.rollout):
            kept.to_zero_s = round(now - kept.rollout.since, 3)
        if _has_moved(before, kept.rollout) or now - self._written_at >= _KEEP_S:
            self._keep(kept, now)
        self._make_so(kept, desired(kept.rollout, now), now)
        for effect in effects:
            if isinstance(effect, Answer):
                self._answer(effect, kept)
            elif isinstance(effect, Moved):
                entry = effect.entry
                words = {"rollout": kept.rollout.plan.id, "state": entry.target, "why": entry.why, "by": entry.by}
                self._log.info("rollout", **words, share=entry.share, evidence=entry.evidence)
                self._say_up(say="event", kind="rollout", fields={**words, "share": entry.share})
            else:
                self._log.error("rollout_trouble", text=effect.text)
                self._say_up(say="event", kind="rollout_trouble", fields={"reason": effect.text})
        if is_over(kept.rollout):
            self._finish(kept, now)
        elif now - self._shown_at >= _SHOW_S or _has_moved(before, kept.rollout):
            self._shown_at = now
            self._show(kept)

    def _heed_note(self) -> None:
        """Go back where somebody has done so by the files, while this process did not answer."""
        note = read_note(self._home)
        if note is None or note == self._note:
            return
        self._note = note
        found = None if not note.rollout else self._book.find(note.rollout)
        if self._kept is None and found is not None and found.rollout.state == "permanent":
            self._take_up(found)
        active = self._kept
        if active is not None and active.rollout.plan.id == note.rollout:
            do: Literal["abort", "undo"] = "abort" if is_active(active.rollout) else "undo"
            self._words.append(Word(do, note.by, note.reason, at_once=True))
        else:
            self._end_note()

    def _end_note(self) -> None:
        """What was done by the files stands in the history now."""
        if self._note is not None:
            clear_note(self._home)
            self._note = None

    def _answer(self, answer: Answer, kept: Kept) -> None:
        number = self._answers.pop(answer.id, None)
        if number is None:
            return
        if answer.ok:
            self._reply(Reply(number, {"text": answer.text, "rollout": self._document(kept)}))
        else:
            self._reply(Reply(number, code=Code.REFUSED, message=answer.text))
            if kept.rollout.state == "plan":  # nobody asked for a plan that waits
                self._words.append(Word("abort", why=answer.text))

    def _inputs_of(self, kept: Kept, words: Sequence[Word]) -> Inputs:
        """What is so at this moment."""
        rollout, now = kept.rollout, time.time()
        roles = list(rollout.plan.roles)
        known = {each["name"]: each for each in self.tree}
        running = {role: known[role]["release"] for role in roles if known.get(role, {}).get("state") == "running"}
        warm: dict[str, dict[str, str]] = {}
        for role in roles:
            for arm in ("canary", "baseline"):
                child = known.get(f"{role}.{arm}")
                if child is not None and child["state"] == "running":
                    warm.setdefault(role, {})[arm] = child["release"]
        verdict, signals = None, 0
        seen: list[Segment] = []
        if kept is self._kept:
            tables = self._book.tables(rollout.plan.id)
            tables = {number: shares for number, shares in tables.items() if number <= rollout.generation}
            seen = segments(self._home, roles, tables, self._outcomes.tracks())
            signals = observed(rollout, seen)
            kept.arms = msgspec.Raw(msgspec.json.encode(arms_of(seen)))
            self._rate.see(sum(each.pairs.compared for each in seen) / len(roles), now)
            self._watch(roles, list(tables), "canary" if rollout.here in _OWN else "stable", now)
            if rollout.here in ("shadow", "baseline", "stage", "promoting", "bake"):
                verdict = self._judge(kept, seen, list(tables), now)
        restarted, self._restarted = self._restarted, False
        new, self._is_new_node = self._is_new_node, False
        return Inputs(
            verdict=verdict,
            facts=self._watcher.facts if kept is self._kept else None,
            segments=tuple(seen),
            warm=warm,
            running=running,
            generation=followed(self._home, roles),
            signals=signals,
            words=tuple(words),
            budget=self._tasks.budget,
            task=self._tasks.result,
            node_restarted=new,
            deployer_restarted=restarted,
        )

    def _watch(self, roles: list[str], generations: list[int], own: str, now: float) -> None:
        self._watcher.see(self.tree, roles, own)
        if now - self._weighed_at >= _WEIGH_S:
            self._weighed_at = now
            self._watcher.weigh(self.tree, roles, time.monotonic())
            health = self._tasks.invariants()
            self._watcher.facts = msgspec.structs.replace(
                self._watcher.facts, seal_broken=health.seal_broken, audit_broken=health.audit_broken
            )
        refused = unapproved(self._home, roles, generations)
        if refused != self._watcher.facts.unapproved:
            self._watcher.facts = msgspec.structs.replace(self._watcher.facts, unapproved=refused)

    def _judge(self, kept: Kept, seen: list[Segment], generations: list[int], now: float) -> Verdict | None:
        if now - self._judged_at < _JUDGE_S:
            return self._verdict
        self._judged_at = now
        rollout = kept.rollout
        facts = since(self._watcher.facts, rollout.answered)
        examples = differences(self._home, rollout.plan.roles, generations)
        settings = rollout.plan.settings
        if settings.policy == "tripwires":
            policy = msgspec.convert(settings.judge, Tripwires)
            kept.looks, self._verdict = check(kept.looks, seen, facts, policy, now=now, since=rollout.since)
        else:
            split = {"split": "key", **settings.judge}
            chosen = msgspec.convert(split, Policy)
            self._verdict = judge(seen, facts, examples, chosen, answered=rollout.answered_segments)
        kept.evidence = msgspec.Raw(msgspec.json.encode(self._verdict))
        kept.examples = msgspec.Raw(msgspec.json.encode(examples[:20]))
        return self._verdict

    def _keep(self, kept: Kept, now: float) -> None:
        if kept.revision is None and kept.rollout.here in ("promoting", "bake"):
            kept.revision = self._tasks.revision()
        self._book.keep(kept)
        self._written_at = now

    # Making it so

    def _make_so(self, kept: Kept, wanted: Desired, now: float) -> None:
        self._routes.look()
        before = self._routes.table
        made = table_of(
            wanted,
            before=before,
            opened=self._open,
            open_symbols=() if before is not None and _same(before, wanted) else open_positions(self._home),
            slow_s=self._config.slo.hrm_latency_ms / 1000,
        )
        if made is None:
            if before is not None:
                self._home.routes_file.unlink(missing_ok=True)
        else:
            if before is None or before.generation != made.generation:
                self._book.begin_table(made.generation, made.rollout, made.roles.items())
            made = without_old_arms(made, self.tree)
            if before is None or not _agree(before, made) or now - self._renewed_at >= 1.0:
                write_table(self._home.routes_file, made)
                self._renewed_at = now
        if is_active(kept.rollout) or is_over(kept.rollout):
            chosen = self._note.roles if self._note is not None and self._note.is_chosen else {}
            permanent = {**wanted.permanent, **chosen}
            self._make_permanent({role: self._open(release).equipment(role) for role, release in permanent.items()})
        if wanted.task is not None:
            self._tasks.do(wanted.task, kept, self.tree, now)

    def _make_permanent(self, roles: dict[str, Equipment]) -> None:
        known = permanent_releases(self._home.permanent_file)
        wanted = {**known, **roles}
        wanted = {role: each for role, each in wanted.items() if each.digest}
        if wanted != known:
            write_permanent_releases(self._home.permanent_file, wanted)

    def _finish(self, kept: Kept, now: float) -> None:
        self._keep(kept, now)
        self._kept = None
        self._end_note()
        self._show(kept)

    # Showing it

    def _document(self, kept: Kept | None, *, full: bool = False) -> dict[str, Any] | None:
        if kept is None:
            return None
        inputs = self._inputs if kept is self._kept else Inputs()
        return document_of(kept, inputs, rate=self._rate.per_s, full=full)

    def _show(self, kept: Kept) -> None:
        """For the page and for `supervisor status`, which must not have to ask."""
        content = msgspec.json.encode(self._document(kept))
        if content != self._shown:
            self._shown = content
            with suppress(OSError):  # on a full disk nobody sees it, and it goes on
                replace_file(self._home.rollout_file, content, durable=False)


def _has_moved(before: Rollout, after: Rollout) -> bool:
    """Whether something changed that must not be forgotten; time passes by itself."""
    neutral = partial(msgspec.structs.replace, at=0.0, watched=0.0, was_ready=False)
    return bool(neutral(before) != neutral(after))


def _is_back(before: Rollout, after: Rollout) -> bool:
    """Whether it has just become certain that everybody follows the table that gives the canary nothing."""
    was_on, is_on = (each.rollback is not None and each.rollback.phase == "table" for each in (before, after))
    return was_on and not is_on


def _same(table: Table, wanted: Desired) -> bool:
    return wanted.table is not None and (table.rollout, table.generation) == (
        wanted.table.rollout,
        wanted.table.generation,
    )


def _agree(one: Table, other: Table) -> bool:
    """Whether two tables say the same but for their lease."""
    return bool(msgspec.structs.replace(one, lease_until=0.0) == msgspec.structs.replace(other, lease_until=0.0))
