"""The deploy actor: makes the world as the rollout wants it, again and again.

What a rollout does next is `deployment.rollout.step`, a pure function. Each round looks at the node, takes a step,
writes it down, and only then makes the world so: the routing table, and with it the arms and what agents run from;
the permanent releases; and the one task of a way back. All of that may be done twice, so this process may be
killed anywhere. Who does not come back does not renew the table's lease, and everybody goes back by himself.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import apsw
import msgspec

from ark import interventions
from ark.config import Config
from ark.deploy_desk import Order, Reply
from ark.equipment import Equipment, permanent_releases, write_permanent_releases
from ark.errors import ArkError, ConfigError, JournalError
from ark.files import replace_file
from ark.home import Home
from ark.logger import of_process
from ark.migration import goes_up
from ark.protocol import Code
from ark.routing import Table, TableFile, write_table
from deployment.deploy_book import FILE, DeployBook, Kept
from deployment.desired import Desired, desired, observed, shares
from deployment.emergency import Note, clear_note, go_back, read_note
from deployment.hard_rules import since
from deployment.judge import judge
from deployment.observation import (
    Outcomes,
    Watcher,
    differences,
    followed,
    marks,
    open_positions,
    segments,
    unapproved,
)
from deployment.orders import plan_of, wish_of, word_of
from deployment.progress import Answer, Inputs, Moved, Rollout, Word, create, is_active, is_over
from deployment.releases import Release, ReleaseError, open_release, resolve
from deployment.report import Rate, arms_of, document_of
from deployment.rollout import Effect, conflict, state_conflict, step, undo_conflict, worth_undoing
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
_RENEW_S = 1.0
"""How often the routing table's lease is renewed."""
_OLD_S = 10.0
"""An order that has waited for longer is not done: whoever sent it has been told that nobody answers."""
_RECORD_S = 1.0
"""So long somebody else may hold the book of what persons did."""
_TROUBLES = (ArkError, OSError, apsw.Error)
"""What a full disk, a file that cannot be read, or a release that must not be run any more come out as."""
_GIVEN_BACK = frozenset(("plan", "aborting", "rolled_back", "passed"))
"""States in which nothing is the new release's, or is about to be."""
_UNDO = frozenset(("deploy.undo", "rollback"))


class Operation:
    """Everything that the deploy actor does, beside its loop.

    Args:
        home: The node's home.
        config: The node's configuration.
        say: Says a map to the supervisor.
        reply: Sends an answer to the gateway.
        clock: Seconds since the epoch.
        ticks: Seconds on a clock that never goes back, by which everything is paced.

    Attributes:
        tree: Each child of the tree as its supervisor describes it.
    """

    def __init__(
        self,
        home: Home,
        config: Config,
        *,
        say: Callable[..., None],
        reply: Callable[[Reply], None],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tree: list[dict[str, Any]] = []
        self._home = home
        self._config = config
        self._say_up = say
        self._reply = reply
        self._clock = clock
        self._ticks = ticks
        self._log = of_process()
        self._outcomes = Outcomes(home)
        self._routes = TableFile(home.routes_file)
        self._kept: Kept | None = None
        self._watcher: Watcher
        self._words: list[Word] = []
        self._answers: dict[str, Order] = {}
        self._effects: list[Effect] = []
        self._trouble = ""
        self._opened: dict[str, Release] = {}
        self._verdict: Verdict | None = None
        self._inputs = Inputs()
        self._tasks = Tasks(home, config)
        self._rate = Rate()
        self._judged_at = self._weighed_at = self._written_at = self._renewed_at = self._shown_at = -math.inf
        self._shown = b""
        self._restarted = True
        self._book = DeployBook(home.data / FILE)
        self._node = self._node_name()
        self._is_new_node = self._book.node != self._node
        self._take_up_what_was_left()
        if self._kept is None:
            self._begin_node()
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

    def _begin_node(self) -> None:
        """A rollout that is under way has heard of the node's start, or there is none."""
        if self._is_new_node:
            self._book.begin_node(self._node)
            self._is_new_node = False

    def _take_up_what_was_left(self) -> None:
        """Go on with the rollout that is not settled: it is under way, or the files lack what its end decided."""
        for kept in self._book.unsettled():
            if kept.rollout.state == "plan":  # whoever wanted it started has been told that nobody answers
                word = Word("abort", "deployer", "the deploy actor ended before it was started")
                kept.rollout, _ = step(kept.rollout, self._clock(), Inputs(words=(word,)))
                self._book.keep(kept, settled=True)
            else:
                self._take_up(kept)

    # Orders

    def take(self, order: Order) -> None:
        """Do what a client asks, and answer, now or with the rollout's next step."""
        if self._clock() - order.asked_at > _OLD_S:
            return
        try:
            self._heed_note()
            fields = self._obey(order)
        except ArkError as error:
            field = error.field if error.field in (None, "reason") or error.field.startswith("plan") else "plan"
            code = Code.INVALID if error.field else Code.REFUSED
            self._reply(Reply(order.number, code=code, message=str(error), field=field))
        except (OSError, apsw.Error) as error:
            self._reply(Reply(order.number, code=Code.REFUSED, message=_in_words(error)))
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
        if self._kept is not None:
            return self._kept
        every = self._book.all()
        found = every[-1] if every else None
        if order.op in _UNDO:
            meant = worth_undoing([each.rollout for each in every])
            found = next((each for each in every if each.rollout is meant), None)
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
        now = self._clock()
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
        kept = Kept(create(plan, self._clock(), self._book.newest_generation))
        against = [each.rollout for each in self._book.all()]
        document = document_of(kept, Inputs(budget=self._tasks.budget), full=True)
        found = conflict(plan, against) or state_conflict(plan, marks(self._home, plan.roles))
        return {**document, "conflict": found, "plan": msgspec.to_builtins(plan)}

    def _begin(self, order: Order) -> dict[str, Any] | None:
        if self._kept is None:
            self._opened.clear()  # verified anew for every rollout
        plan = self._plan(order)
        against = conflict(plan, [each.rollout for each in self._book.all()])
        if self._kept is not None:  # also one of the same moment, which has not begun yet
            against = against or f"{self._kept.rollout.plan.id} is under way; wait for its end, or abort it"
        against = against or state_conflict(plan, marks(self._home, plan.roles))
        if against:
            raise ConfigError(against)
        kept = Kept(create(plan, self._clock(), self._book.newest_generation))
        self._book.keep(kept)
        self._take_up(kept)
        wish = wish_of(order)
        if wish.override:
            self._words.append(Word("override", order.by, wish.override))
        self._expect(order, Word("start", order.by, order.reason, id=str(order.number)))
        return None

    def _say(self, order: Order) -> dict[str, Any] | None:
        kept, word = self._meant(order), word_of(order)
        assert kept is not None
        if is_over(kept.rollout):
            if order.op not in _UNDO:
                return self._decline(kept, word)
            self._check_undo(kept.rollout)
        if self._kept is not kept:
            if self._kept is not None:
                raise ConfigError(f"{self._kept.rollout.plan.id} is under way; end it first")
            self._take_up(kept)
        self._expect(order, word)
        return None

    def _decline(self, kept: Kept, word: Word) -> dict[str, Any]:
        """What there is to say about a rollout that has ended. It is not taken up: nothing is made as it ended."""
        _, effects = step(kept.rollout, self._clock(), Inputs(words=(word,)))
        (answer,) = (each for each in effects if isinstance(each, Answer))
        if not answer.ok:
            raise ConfigError(answer.text)
        return {"text": answer.text, "rollout": self._document(kept)}

    def _check_undo(self, rollout: Rollout) -> None:
        """Refuse what would take back nothing, or what came later."""
        every = [each.rollout for each in self._book.all()]
        if rollout.state != "permanent":
            state, permanent = rollout.state.replace("_", " "), [e for e in every if e.state == "permanent"]
            earlier = next((each.plan.id for each in reversed(permanent)), "")
            hint = (
                f"`ark-run deploy undo --rollout {earlier} --reason TEXT` goes back from the one before"
                if earlier
                else ""
            )
            raise ConfigError(f"{rollout.plan.id} is {state}; there is nothing to undo", hint=hint)
        against = undo_conflict(rollout, every, self._permanent())
        if against:
            raise ConfigError(against)

    def _expect(self, order: Order, word: Word) -> None:
        self._words.append(word)
        self._answers[word.id] = order

    def _go_to(self, order: Order) -> dict[str, Any]:
        """Make an older release the permanent one at once, without a canary: an operator's word alone."""
        word_of(order)
        digest = self._digest(order.to)
        release, permanent = self._open(digest), self._permanent()
        roles = [role for role in (release.agents if digest else permanent) if role in permanent]
        if not order.now:
            self._check_untried(release, roles)
        if self._kept is None:
            self._make_permanent(dict.fromkeys(roles, digest))
            self._record(order, "", {"releases": dict.fromkeys(roles, digest)})
        else:  # what was chosen stays, whatever the rollout's own way back would make permanent
            chosen = dict.fromkeys(roles, digest)
            name = self._kept.rollout.plan.id
            note = Note(order.by, order.reason, self._clock(), name, chosen, is_chosen=True)
            go_back(self._home, note, alone=False)
            self._heed_note()
        self._say_up(
            say="event",
            kind="rollback",
            fields={"to": release.short, "roles": roles, "by": order.by, "reason": order.reason},
        )
        return {"roles": dict.fromkeys(roles, digest), "release": release.short}

    def _check_untried(self, release: Release, roles: Sequence[str]) -> None:
        """Refuse what could keep an agent from starting, with nobody there to take it back."""
        try:
            kept = marks(self._home, roles)
        except JournalError:
            return  # a state that nobody can read stands in no way back
        for role in roles:
            if goes_up(kept.get(role), release.equipment(role)):
                raise ConfigError(
                    f"{role}'s state would have to go up to {release.short}, which no canary has tried",
                    hint=f"`ark-run deploy start --release {release.short}` tries it; --now does it all the same",
                )

    # One round

    def _take_up(self, kept: Kept) -> None:
        self._kept = kept
        self._words = []  # those of another rollout
        self._watcher = Watcher(kept.facts, kept.sightings)
        self._verdict = None
        self._judged_at = self._weighed_at = self._written_at = -math.inf
        self._trouble = ""
        self._rate = Rate()
        self._tasks.begin()

    def look(self) -> None:
        """One round; while nothing is under way, only whether somebody has gone back by the files.

        What cannot be done ends nobody: the rollout turns back, and it is tried again.
        """
        if self._kept is None:
            with suppress(*_TROUBLES):  # the note stays, and is found again
                self._heed_note()
        kept = self._kept
        if kept is None:
            return
        try:
            self._go_round(kept)
            self._trouble = ""
        except _TROUBLES as error:
            self._stumble(kept, error)

    def _go_round(self, kept: Kept) -> None:
        now, tick = self._clock(), self._ticks()
        self._tasks.tree = self.tree
        self._tasks.look(tick)
        while self._tasks.changed:  # who has read its state must read it again
            reason = "its state was rolled back"
            self._say_up(
                say="request", number=0, op="restart", agent=self._tasks.changed.pop(), reason=reason, by="deployer"
            )
        self._heed_note()
        inputs = self._inputs = self._inputs_of(kept, self._words, now, tick)
        self._words = []
        before = kept.rollout
        kept.rollout, self._effects = step(before, now, inputs)
        kept.facts, kept.sightings = self._watcher.facts, self._watcher.sightings
        if kept.to_zero_s is None and _is_back(before, kept.rollout):
            kept.to_zero_s = round(now - kept.rollout.since, 3)
        has_moved = _has_moved(before, kept.rollout)
        if has_moved or inputs.node_restarted or tick - self._written_at >= _KEEP_S:
            self._written_at = -math.inf  # where it cannot be written now, the next round must
            self._keep(kept)
            self._written_at = tick
        self._begin_node()
        self._make_so(kept, desired(kept.rollout, now), now, tick)
        self._tell(kept)
        if is_over(kept.rollout):
            self._finish(kept)
        elif has_moved or tick - self._shown_at >= _SHOW_S:
            self._shown_at = tick
            self._show(kept)

    def _tell(self, kept: Kept) -> None:
        """Tell of what came of a step."""
        effects, self._effects = self._effects, []
        for effect in effects:
            if isinstance(effect, Answer):
                self._answer(effect, kept)
            elif isinstance(effect, Moved):
                entry = effect.entry
                words = {"rollout": kept.rollout.plan.id, "state": entry.target, "why": entry.why, "by": entry.by}
                self._log.info("rollout", **words, share=entry.share, evidence=entry.evidence)
                self._say_up(say="event", kind="rollout", fields={**words, "share": entry.share})
            else:
                self._alarm(effect.text)

    def _alarm(self, text: str) -> None:
        self._log.error("rollout_trouble", text=text)
        self._say_up(say="event", kind="rollout_trouble", fields={"reason": text})

    def _stumble(self, kept: Kept, error: Exception) -> None:
        """Leave everything to the stable release where the world cannot be made as the rollout wants it."""
        rollout, why = kept.rollout, _in_words(error)
        is_new, self._trouble = why != self._trouble, why
        if is_new:
            self._alarm(f"{rollout.plan.id}: {why}")
        lacks_release = isinstance(error, ReleaseError)
        if not is_over(rollout):
            with suppress(OSError):  # its lease ends by itself
                self._home.routes_file.unlink(missing_ok=True)
        if rollout.state not in _GIVEN_BACK and (rollout.state != "permanent" or lacks_release):
            self._words.append(Word("undo", why=f"it could not go on: {why}"))
        with suppress(*_TROUBLES):
            self._tell(kept)
            if is_over(rollout) and rollout.state != "permanent" and lacks_release:
                # Nothing can be run instead: what runs now is left, and people have been told.
                kept.rollout = msgspec.structs.replace(rollout, troubles=(*rollout.troubles, why))
                self._finish(kept)

    def _heed_note(self) -> None:
        """Go back where somebody has done so by the files, while this process did not answer."""
        note = read_note(self._home)
        if note is None or note == self._note:
            return
        found = None if not note.rollout else self._book.find(note.rollout)
        self._note = note
        if self._kept is None and found is not None and found.rollout.state == "permanent":
            self._take_up(found)
        active = self._kept
        if active is not None and active.rollout.plan.id == note.rollout:
            chosen = note.roles if note.is_chosen else {}
            self._words.append(Word("undo", note.by, note.reason, at_once=True, chosen=chosen))
        elif active is None or not note.is_chosen:
            self._end_note()
        # Otherwise what was chosen stays, whatever the one under way would make permanent, until that has ended.

    def _end_note(self) -> None:
        """What was done by the files stands in the history now."""
        if self._note is not None:
            clear_note(self._home)
            self._note = None

    def _answer(self, answer: Answer, kept: Kept) -> None:
        order = self._answers.pop(answer.id, None)
        if order is None:
            return
        if answer.ok and self._trouble and order.op not in (*_UNDO, "deploy.abort"):
            self._reply(Reply(order.number, code=Code.REFUSED, message=f"it turns back: {self._trouble}"))
        elif answer.ok:
            self._record(order, kept.rollout.plan.id, {"rollout": kept.rollout.plan.id})
            self._reply(Reply(order.number, {"text": answer.text, "rollout": self._document(kept)}))
        else:
            self._reply(Reply(order.number, code=Code.REFUSED, message=answer.text))
            if kept.rollout.state == "plan":  # nobody asked for a plan that waits
                self._words.append(Word("abort", why=answer.text))

    def _record(self, order: Order, subject: str, details: dict[str, Any]) -> None:
        """Keep who did what, for the ledger."""
        note = self._note
        if note is not None and order.op in _UNDO and (order.by, order.reason) == (note.by, note.reason):
            return  # who did not wait for the answer went by the files, which is kept already
        done = interventions.Done(order.op, order.by, subject, order.reason, details)
        interventions.record_all(self._home, [done], patience_s=_RECORD_S)

    def _inputs_of(self, kept: Kept, words: Sequence[Word], now: float, tick: float) -> Inputs:
        """What is so at this moment."""
        rollout = kept.rollout
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
            self._watch(roles, list(tables), "canary" if rollout.here in _OWN else "stable", tick)
            if rollout.here in ("shadow", "baseline", "stage", "promoting", "bake"):
                verdict = self._judge(kept, seen, list(tables), now, tick)
        restarted, self._restarted = self._restarted, False
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
            node_restarted=self._is_new_node,
            deployer_restarted=restarted,
        )

    def _watch(self, roles: list[str], generations: list[int], own: str, tick: float) -> None:
        self._watcher.see(self.tree, roles, own)
        if tick - self._weighed_at >= _WEIGH_S:
            self._weighed_at = tick
            self._watcher.weigh(self.tree, roles, tick)
            health = self._tasks.invariants()
            self._watcher.facts = msgspec.structs.replace(
                self._watcher.facts, seal_broken=health.seal_broken, audit_broken=health.audit_broken
            )
        refused = unapproved(self._home, roles, generations)
        if refused != self._watcher.facts.unapproved:
            self._watcher.facts = msgspec.structs.replace(self._watcher.facts, unapproved=refused)

    def _judge(
        self, kept: Kept, seen: list[Segment], generations: list[int], now: float, tick: float
    ) -> Verdict | None:
        if tick - self._judged_at < _JUDGE_S:
            return self._verdict
        self._judged_at = tick
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

    def _keep(self, kept: Kept) -> None:
        """Write it down, and with it how the agents' state was before the release decided anything.

        An `aa` writes in the name of the stable release, as the role itself does: nothing of that is undone.
        """
        rollout = kept.rollout
        if kept.revision is None and shares(rollout).canary > 0 and rollout.plan.strategy != "aa":
            kept.revision = self._tasks.revision()
        self._book.keep(kept)

    # Making it so

    def _make_so(self, kept: Kept, wanted: Desired, now: float, tick: float) -> None:
        self._routes.look()
        before = self._routes.table
        made = table_of(
            wanted,
            before=before,
            opened=self._open,
            positions=None if wanted.table is None else open_positions(self._home, wanted.table.by),
            now=now,
            slow_s=self._config.slo.hrm_latency_ms / 1000,
        )
        if made is None:
            self._home.routes_file.unlink(missing_ok=True)
        else:
            if before is None or before.generation != made.generation:
                self._book.begin_table(made.generation, made.rollout, made.roles.items())
            made = without_old_arms(made, self.tree)
            holds = before is not None and before.is_in_force(now) and _agree(before, made)
            if not holds or tick - self._renewed_at >= _RENEW_S:
                write_table(self._home.routes_file, made)
                self._renewed_at = tick
        if is_active(kept.rollout) or is_over(kept.rollout):
            chosen = self._note.roles if self._note is not None and self._note.is_chosen else {}
            self._make_permanent({**wanted.permanent, **chosen})
        if wanted.task is not None:
            self._tasks.do(wanted.task, kept, self.tree, now)

    def _make_permanent(self, roles: dict[str, str]) -> None:
        known = permanent_releases(self._home.permanent_file)
        wanted = {**known, **{role: self._equipment(role, digest, known) for role, digest in roles.items()}}
        wanted = {role: each for role, each in wanted.items() if each.digest}
        if wanted != known:
            write_permanent_releases(self._home.permanent_file, wanted)

    def _equipment(self, role: str, digest: str, known: dict[str, Equipment]) -> Equipment:
        """What a role is to run from. What is permanent already stays as it is, and is not opened for that."""
        found = known.get(role)
        return found if found is not None and found.digest == digest else self._open(digest).equipment(role)

    def _finish(self, kept: Kept) -> None:
        """The world is as the rollout's end wants it: from now on nothing is made so any more."""
        self._show(kept, is_under_way=False)
        self._book.keep(kept, settled=True)
        self._kept = None
        self._words = []
        self._end_note()

    # Showing it

    def _document(
        self, kept: Kept | None, *, full: bool = False, is_under_way: bool = True
    ) -> dict[str, Any] | None:
        if kept is None:
            return None
        inputs = self._inputs if is_under_way and kept is self._kept else Inputs()
        return document_of(kept, inputs, rate=self._rate.per_s, full=full)

    def _show(self, kept: Kept, *, is_under_way: bool = True) -> None:
        """For the page and for `supervisor status`, which must not have to ask."""
        content = msgspec.json.encode(self._document(kept, is_under_way=is_under_way))
        if content != self._shown:
            self._shown = content
            with suppress(OSError):  # on a full disk nobody sees it, and it goes on
                replace_file(self._home.rollout_file, content, durable=False)


def _in_words(error: Exception) -> str:
    """What went wrong, in one line for people."""
    if isinstance(error, ArkError):
        return error.line
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return f"{what}{error.strerror or error}"
    return f"data/{FILE}: {error}"


def _has_moved(before: Rollout, after: Rollout) -> bool:
    """Whether something changed that must not be forgotten; time passes by itself."""
    neutral = partial(msgspec.structs.replace, at=0.0, watched=0.0, was_ready=False)
    return bool(neutral(before) != neutral(after))


def _is_back(before: Rollout, after: Rollout) -> bool:
    """Whether it has just become certain that everybody follows the table that gives the canary nothing."""
    was_on, is_on = (each.rollback is not None and each.rollback.phase == "table" for each in (before, after))
    return was_on and not is_on


def _agree(one: Table, other: Table) -> bool:
    """Whether two tables say the same but for their lease."""
    return bool(msgspec.structs.replace(one, lease_until=0.0) == msgspec.structs.replace(other, lease_until=0.0))
