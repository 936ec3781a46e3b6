"""The Graveyard: the rules that no agent, no setting and no operator can loosen. Standard library only."""

from graveyard.ethics import Finding, Judgement, Statement, judge
from graveyard.facts import LARGEST, Account, Action, ClientOrder, Done, Facts, Source, WorkingOrder
from graveyard.rules import CATEGORIES, CEILINGS, RULES, Limits, Rule, rule, ruleset_digest, tick_of

__all__ = [
    "CATEGORIES",
    "CEILINGS",
    "LARGEST",
    "RULES",
    "Account",
    "Action",
    "ClientOrder",
    "Done",
    "Facts",
    "Finding",
    "Judgement",
    "Limits",
    "Rule",
    "Source",
    "Statement",
    "WorkingOrder",
    "judge",
    "rule",
    "ruleset_digest",
    "tick_of",
]
