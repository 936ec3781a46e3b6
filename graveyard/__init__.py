"""The Graveyard: the rules that no agent, no setting and no operator can loosen. Standard library only."""

from graveyard.ethics import Finding, Judgement, judge
from graveyard.facts import LARGEST, Account, Action, Facts
from graveyard.rules import CEILINGS, RULES, Limits, Rule, rule, ruleset_digest, tick_of

__all__ = [
    "CEILINGS",
    "LARGEST",
    "RULES",
    "Account",
    "Action",
    "Facts",
    "Finding",
    "Judgement",
    "Limits",
    "Rule",
    "judge",
    "rule",
    "ruleset_digest",
    "tick_of",
]
