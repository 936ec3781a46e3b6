"""Cases for the rule book: a sound action, what is changed in it, and which rules must speak against that, exactly.

A case is data and takes the judge as an argument, so that the same tables also try a judge that was made wrong on
purpose (see `mutate.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal as D
from typing import Any

from graveyard import RULES, Account, Action, ClientOrder, Done, Facts, Judgement, Source, WorkingOrder

Judge = Callable[..., Judgement]

NOW = 1_700_000_000.0
LONG = Action(
    "trade", "AAPL", "buy", "market", D(50), D(100), D(95), D(110), D(1), reasons=("breakout", "nasdaq")
)  # fmt: skip
SHORT = dataclasses.replace(LONG, side="sell", stop_loss=D(105), target=D(90))
DATA = Action("read_data", "", "", "", None, None, None, None, None, reasons=("report",), sensitivity="internal")
ACCOUNT = Account(D(100_000), D(100_000), {}, D(0), D(0), D(0), (), (), 0)
FACTS = Facts(
    halted=False,
    market_price=D(100),
    now=NOW,
    live=True,
    seal_fault="",
    watchdog_age_s=0.5,
    gateway_age_s=0.5,
    ledger_writable=True,
    logs_redacted=True,
    home_private=True,
    credentials_sealed=True,
    personal="",
    hops=4,
    sources=(Source("nasdaq", "exchange"),),
    restricted=frozenset(),
    no_trade=frozenset(),
    consents=frozenset({"live_trading"}),
    client_orders=(),
    last_price=D(100),
    price_age_s=1.0,
    average_volume=D(1_000_000),
    volume_ratio=D(1),
    move=D("0.01"),
    session_left_s=3600.0,
)
ACTION_FIELDS = tuple(field.name for field in dataclasses.fields(Action))
ACCOUNT_FIELDS = tuple(field.name for field in dataclasses.fields(Account))
FACTS_FIELDS = tuple(field.name for field in dataclasses.fields(Facts))
NAMES = tuple(each.name for each in RULES)
FIVE = {name: D(100) for name in ("A", "B", "C", "D", "E")}
FOUR = dict(list(FIVE.items())[:4])
WORDS = ("deny", "ask", "warn", "mercy")


def triple(base: Action = LONG, **changes: Any) -> tuple[Action, Account, Facts]:
    """A sound action, account and facts with some fields changed; no field's name is in two of the three."""

    def part(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: value for name, value in changes.items() if name in names}

    unknown = set(changes) - {*ACTION_FIELDS, *ACCOUNT_FIELDS, *FACTS_FIELDS}
    assert not unknown, f"no such field: {unknown}"
    return (
        dataclasses.replace(base, **part(ACTION_FIELDS)),
        dataclasses.replace(ACCOUNT, **part(ACCOUNT_FIELDS)),
        dataclasses.replace(FACTS, **part(FACTS_FIELDS)),
    )


def spoken(judgement: Judgement) -> dict[str, str]:
    """Which rules speak against an action, and how: `deny`, `ask`, `warn`, or `mercy`."""
    return {
        each.rule.name: ("deny" if each.denies else "ask" if each.asks else "mercy" if each.mercy else "warn")
        for each in judgement.findings
    }


def messages(judgement: Judgement) -> dict[str, str]:
    """What the rules say that speak against an action."""
    return {each.rule.name: each.message for each in judgement.findings}


@dataclass(frozen=True)
class Case:
    """One change to a sound action, and what must come of it.

    Attributes:
        rule: The rule that the case is about.
        name: What is changed, for people.
        word: What the rule must say: `pass`, or one of `WORDS`.
        changes: The changed fields.
        base: The action that is changed.
        says: What the rule's message must contain, or its statement where it passes.
        also: What other rules must say, by name; every rule that is not named must pass.
    """

    rule: str
    name: str
    word: str
    changes: Mapping[str, Any]
    base: Action = LONG
    says: str = ""
    also: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.rule}: {self.name}: {self.word}"

    def complaint(self, judge: Judge) -> str:
        """What is wrong with the judge by this case; empty for nothing."""
        given = triple(self.base, **self.changes)
        judgement = judge(*given)
        expected = dict(self.also) if self.word == "pass" else {self.rule: self.word, **self.also}
        if spoken(judgement) != expected:
            return f"{self}: {spoken(judgement)}, not {expected}: {messages(judgement)}"
        denied, asked = "deny" in expected.values(), "ask" in expected.values()
        if (judgement.denied, judgement.asks, judgement.approved) != (
            denied,
            asked and not denied,
            not asked and not denied,
        ):
            return f"{self}: the judgement as a whole is not what its findings are"
        told = judge(*given, telling=True)
        if told.findings != judgement.findings:
            return f"{self}: telling changes the findings to {told.findings}"
        text = {each.rule.name: each.text for each in told.statements}[self.rule]
        return "" if self.says in text else f"{self}: {text!r} does not say {self.says!r}"


def passes(rule: str, name: str, *, base: Action = LONG, says: str = "", also: Any = None, **changes: Any) -> Case:
    """A case that no rule speaks against, but those in `also`."""
    return Case(rule, name, "pass", changes, base, says, also or {})


def denies(rule: str, name: str, *, base: Action = LONG, says: str = "", also: Any = None, **changes: Any) -> Case:
    """A case that the rule denies. Rules in `also` deny, too, or say what is said there."""
    others = also if isinstance(also, Mapping) else dict.fromkeys(also or (), "deny")
    return Case(rule, name, "deny", changes, base, says, others)


def missing(field: str, rules: Iterable[str], *, live: bool = False, word: str = "deny") -> list[Case]:
    """Cases for a fact that is missing: each of the rules speaks, and names it."""
    rules = tuple(rules)
    return [
        Case(
            name, f"{field} missing{' on paper' if live else ''}", word,
            {field: None, **({"live": False} if live else {})}, LONG, field,
            {other: word for other in rules if other != name},
        )
        for name in rules
    ]  # fmt: skip


def complaints(cases: Iterable[Case], judge: Judge) -> list[str]:
    """Everything that is wrong with the judge by these cases."""
    return [found for case in cases if (found := case.complaint(judge))]


def resting(side: str, price: str, quantity: int = 10, *, symbol: str = "AAPL", leg: str = "entry") -> WorkingOrder:
    """An own order that waits at the broker."""
    return WorkingOrder(symbol, side, D(quantity), D(price), leg)


def done(what: str, side: str, quantity: int = 50, price: str = "100") -> Done:
    """Something that was done in the symbol a moment ago."""
    return Done(what, NOW - 5, side, D(quantity), D(price))


def client(side: str, symbol: str = "AAPL") -> ClientOrder:
    """An order of a client that waits."""
    return ClientOrder(symbol, side, D(1000))


def source(standing: str, name: str = "tip", **changes: Any) -> Source:
    """A source with that standing."""
    return Source(name, standing, **changes)
