"""The judgement by the operator's ruleset: all rules over one view, in the order of the stages.

- A breach of a rule with severity `error` or `critical` denies, of a `warning` warns; in a strict ruleset that
  denies as well.
- A fact that only a live market has (`MARKET_FACTS`) and that is missing warns on paper and denies with a live
  broker. Any other missing fact denies.
- The rules of the stage `pattern` judge a pattern's plan. A plan that is the signal's own needs no pattern: they
  are silent where none was found, and merely warn where one was found that is weak. Its overrides hold all the
  same.
- A stage that halts (`ethics`, `data`, `breakers`) and denies ends the judgement: the rules after it are not
  judged, and do not stand in `rules_checked`. Within a stage, one finding does not spare the others.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import msgspec

from actors import ruleset_context_checks, ruleset_plan_checks
from actors.messages import Violation
from actors.ruleset import Ruleset, for_pattern
from actors.ruleset_answers import Answer, Check, Sentence
from actors.ruleset_book import HALTING, RULESET_RULES, SEVERITIES, RulesetRule, Severity
from actors.ruleset_examination import PLACE, validated
from actors.ruleset_view import View
from graveyard import CEILINGS, Limits

__all__ = ["Rulebook", "RulesetFinding", "RulesetJudgement", "RulesetStatement", "judge_ruleset"]


class RulesetFinding(msgspec.Struct, frozen=True):
    """A rule that speaks against a plan.

    Attributes:
        rule: The rule.
        message: What it saw, in words.
        severity: As it counted here.
        denies: Whether it denies the plan.
        mercy: Whether a fact that only a live market has is missing on paper, and nothing else is wrong.
    """

    rule: RulesetRule
    message: str
    severity: Severity
    denies: bool
    mercy: bool = False

    def violation(self) -> Violation:
        """The finding as a decision carries it."""
        return Violation(self.rule.title, self.rule.stage, self.severity, self.message)


class RulesetStatement(msgspec.Struct, frozen=True):
    """What one rule says of a plan, also where it passed.

    Attributes:
        rule: The rule.
        word: `pass`, `breach`, `unknown` where a fact is missing, or `silent` where it has nothing to say.
        text: The numbers it saw, or why it is silent.
    """

    rule: RulesetRule
    word: Literal["pass", "breach", "unknown", "silent"]
    text: str


class RulesetJudgement(msgspec.Struct, frozen=True):
    """Every finding, in the order of the stages.

    Attributes:
        findings: Rules that deny or warn.
        rules_checked: Titles of all rules that were judged.
        halted_after: The stage that ended the judgement; empty if none did.
        statements: What each rule says, where that was asked for.
    """

    findings: tuple[RulesetFinding, ...]
    rules_checked: tuple[str, ...]
    halted_after: str = ""
    statements: tuple[RulesetStatement, ...] = ()

    @property
    def approved(self) -> bool:
        """Whether something was judged, and nothing denies."""
        return bool(self.rules_checked) and not any(each.denies for each in self.findings)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What denies."""
        return tuple(each.violation() for each in self.findings if each.denies)

    @property
    def warnings(self) -> tuple[Violation, ...]:
        """What merely warns."""
        return tuple(each.violation() for each in self.findings if not each.denies)

    @property
    def quality_warnings(self) -> int:
        """How many warn of the plan itself; for `actors.synthesis.graveyard_level`."""
        return sum(1 for each in self.findings if not each.denies and not each.mercy)


class _Line(NamedTuple):
    rule: RulesetRule
    sentence: Sentence
    severity: Severity


class _Stage(NamedTuple):
    name: str
    halts: bool
    lines: tuple[tuple[Check, _Line], ...]
    checked: tuple[str, ...]
    """Titles of all rules up to the end of this stage."""


CHECKS = {**ruleset_plan_checks.CHECKS, **ruleset_context_checks.CHECKS}
SWITCHED_OFF = Answer("silent", "the operator switched it off")


def _switched_off(view: View, rules: Ruleset) -> Answer:
    return SWITCHED_OFF


class Rulebook:
    """A ruleset, examined and made ready to judge by. Make it once.

    Args:
        ruleset: As it was set.
        limits: The Graveyard's.
        place: Where the ruleset stands in the configuration, for the errors.

    Raises:
        ConfigError: As `actors.ruleset_examination.validated`.
    """

    ruleset: Ruleset
    """With the original's overrides in it."""
    digest: str
    """SHA-256, in hexadecimal, over rules and settings."""

    def __init__(self, ruleset: Ruleset | None = None, limits: Limits = CEILINGS, place: str = PLACE) -> None:
        self.ruleset = validated(ruleset or Ruleset(), limits, place)
        self._by_pattern = {
            pattern: for_pattern(self.ruleset, override) for pattern, override in self.ruleset.overrides.items()
        }
        canonical = msgspec.json.encode([RULESET_RULES, self.ruleset], order="deterministic")
        self.digest = hashlib.sha256(canonical).hexdigest()
        stages: list[_Stage] = []
        checked: tuple[str, ...] = ()
        for name in self.ruleset.stage_order:
            rules = [rule for rule in RULESET_RULES if rule.stage == name]
            checked += tuple(rule.title for rule in rules if rule.id not in self.ruleset.disabled)
            stages.append(_Stage(name, name in HALTING, tuple(self._line(rule) for rule in rules), checked))
        self.stages = tuple(stages)

    def _line(self, rule: RulesetRule) -> tuple[Check, _Line]:
        check, sentence = CHECKS[rule.id]
        if rule.id in self.ruleset.disabled:
            check = _switched_off
        return check, _Line(rule, sentence, self.ruleset.severity.get(rule.id, rule.severity))

    def rules_for(self, pattern: str | None) -> Ruleset:
        """The ruleset as it holds for a pattern, or for none."""
        return self._by_pattern.get(pattern, self.ruleset) if pattern is not None else self.ruleset


def judge_ruleset(view: View, book: Rulebook, *, live: bool, telling: bool = False) -> RulesetJudgement:
    """Judge a plan by the ruleset.

    Args:
        view: The plan and all that is known.
        book: The ruleset.
        live: Whether orders go to a live broker.
        telling: Whether every rule should say what it saw, also where it passed or is silent.
    """
    rules = book.rules_for(view.pattern)
    findings: list[RulesetFinding] = []
    statements: list[RulesetStatement] = []
    for stage, halts, lines, checked in book.stages:
        denied = False
        for check, line in lines:
            answer = check(view, rules)
            if answer is None:
                if telling:
                    statements.append(RulesetStatement(line.rule, "pass", line.sentence(view, rules)))
                continue
            if answer.word != "silent":
                finding = _finding(line, answer, view, rules, live)
                findings.append(finding)
                denied = denied or finding.denies
            if telling:
                statements.append(RulesetStatement(line.rule, answer.word, _text(line, answer, view, rules)))
        if denied and halts:
            return RulesetJudgement(tuple(findings), checked, stage, tuple(statements))
    return RulesetJudgement(tuple(findings), checked, "", tuple(statements))


def _finding(line: _Line, answer: Answer, view: View, rules: Ruleset, live: bool) -> RulesetFinding:
    severity, mercy = line.severity, False
    if answer.word == "unknown":
        mercy = answer.market and not live
        severity = "warning" if mercy else max(severity, "error", key=SEVERITIES.index)
    if line.rule.stage == "pattern" and not view.from_pattern:
        severity = "warning"
    message = _text(line, answer, view, rules)
    return RulesetFinding(line.rule, message, severity, severity != "warning" or rules.strict, mercy)


def _text(line: _Line, answer: Answer, view: View, rules: Ruleset) -> str:
    return answer.text or line.sentence(view, rules)
