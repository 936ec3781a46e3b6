"""Privacy and autonomy: people's data, wishes and last word, just inside and just outside of each limit."""

from __future__ import annotations

import dataclasses
from decimal import Decimal as D

import pytest

from graveyard import judge
from tests.graveyard.cases import DATA, SHORT, Case, denies, missing, passes

USER_DATA, CONSENT, LOGS, CREDENTIALS = (
    "protect_user_data", "require_consent", "anonymize_logs", "encrypt_credentials"
)  # fmt: skip
REASONS, WISHES, REVERSIBLE, PERSON = (
    "transparent_reasoning", "preserve_user_autonomy", "reversible_actions", "human_in_loop_critical"
)  # fmt: skip
PERSONAL = dataclasses.replace(DATA, subject="ann", sensitivity="personal", encrypted=True)
SHARE = dataclasses.replace(DATA, kind="share_data")
YES = {"person": True}
ALLOWED = frozenset({"read_data:ann"})
AGREED = {"consents": ALLOWED}

PRIVACY = [
    passes(USER_DATA, "closed to others", says="closed to others, no text holds personal data"),
    denies(USER_DATA, "open to others", home_private=False, says="can be read by others"),
    denies(USER_DATA, "open to others, data", base=DATA, home_private=False),
    denies(USER_DATA, "a one is no truth", home_private=1, says="`home_private` is 1"),
    *(denies(USER_DATA, f"{value!r} is no plain nothing", personal=value, says=f"holds {value!r}")
      for value in (False, 0, [])),
    denies(USER_DATA, "a text with a name in it", personal="an e-mail address", says="holds an e-mail address"),
    denies(USER_DATA, "secret data is shared", base=SHARE, sensitivity="secret", encrypted=True, **YES,
           says="secret data is not shared"),
    passes(USER_DATA, "secret data is read", base=DATA, sensitivity="secret", encrypted=True),
    passes(USER_DATA, "internal data is shared", base=SHARE, **YES),
    passes(CONSENT, "to trade live", says="live_trading was consented to"),
    denies(CONSENT, "to something else", consents=frozenset({"read_data:ann", "live"}), says="live_trading"),
    denies(CONSENT, "to nothing, and nobody knows whether it is paper", consents=frozenset(), live=None),
    *(denies(CONSENT, f"{value!r} is no list", consents=value, says="`consents` is no list")
      for value in ("live_trading", ("live_trading",), "", True)),
    denies(CONSENT, "a text is no list on paper, either", consents="live_trading", live=False),
    denies(CONSENT, "a text is no list for data, either", base=PERSONAL, consents="read_data:ann"),
    denies(CONSENT, "to nothing, and paper is not plain", consents=frozenset(), live=0),
    passes(CONSENT, "to nothing, on paper", consents=frozenset(), live=False, says="on paper nobody's money"),
    passes(CONSENT, "to nothing, and it is nobody's data", base=DATA, consents=frozenset(), says="nobody's data"),
    passes(CONSENT, "to use a person's data", base=PERSONAL, **AGREED, says="read_data:ann was consented to"),
    denies(CONSENT, "to use another person's", base=PERSONAL, subject="bob", **AGREED, says="read_data:bob"),
    denies(CONSENT, "to read it, not to write it", base=PERSONAL, kind="write_data", **AGREED,
           says="write_data:ann"),
    denies(CONSENT, "to read it, not on paper either", base=PERSONAL, live=False, consents=frozenset()),
    denies(CONSENT, "personal data of nobody", base=PERSONAL, subject="", **AGREED),
    denies(CONSENT, "public data of a person", base=PERSONAL, sensitivity="public", consents=frozenset()),
    denies(CONSENT, "to trade is not to read", base=PERSONAL),
    passes(LOGS, "masked", says="the log masks"),
    denies(LOGS, "not masked", logs_redacted=False, says="lets through"),
    denies(LOGS, "not masked, data", base=DATA, logs_redacted=False),
    denies(LOGS, "a one is no truth", logs_redacted=1, says="`logs_redacted` is 1"),
    passes(CREDENTIALS, "sealed", says="no credential lies open"),
    denies(CREDENTIALS, "open", credentials_sealed=False, says="a credential lies open"),
    denies(CREDENTIALS, "open, data", base=DATA, credentials_sealed=False),
    denies(CREDENTIALS, "a one is no truth", credentials_sealed=1, says="`credentials_sealed` is 1"),
    *(denies(CREDENTIALS, f"{each} data with encryption {encrypted}", base=PERSONAL, sensitivity=each, **AGREED,
             encrypted=encrypted, says=f"read_data of {each} data without encryption")
      for each in ("personal", "secret") for encrypted in (False, None, 1)),
    passes(CREDENTIALS, "internal data without encryption", base=DATA, encrypted=False),
    passes(CREDENTIALS, "personal data with encryption", base=PERSONAL, **AGREED),
    passes(CREDENTIALS, "a trade has nothing to encrypt", sensitivity="secret", encrypted=False),
]  # fmt: skip
JUST = D(1000)
"""A usual day of which a twentieth is 50 units."""
THIN = {"price": D(10_000), "market_price": D(10_000), "last_price": D(10_000), "stop_loss": D(9900),
        "target": D(10_200), "equity": D(10_000_000), "day_start_equity": D(10_000_000)}  # fmt: skip
"""A price at which so few units are worth enough for the name not to be thin."""
AUTONOMY = [
    passes(REASONS, "a pattern and a source", says="because of breakout; nasdaq"),
    Case(REASONS, "none", "warn", {"reasons": ()}, says="nobody says why"),
    Case(REASONS, "blank ones", "warn", {"reasons": ("", " \t\n")}),
    Case(REASONS, "none for data", "warn", {"reasons": ()}, DATA),
    denies(REASONS, "one that is no text", reasons=(1,),
           says="it could not be judged: AttributeError: 'int' object"),
    passes(REASONS, "one that is not blank", reasons=(" ", "note"), says="because of note"),
    passes(WISHES, "another symbol", no_trade=frozenset({"MSFT"}), says="none of a person's 1 standing wishes"),
    denies(WISHES, "the symbol", no_trade=frozenset({"MSFT", "AAPL"}), says="wishes AAPL not to be traded"),
    *(denies(WISHES, f"{value!r} is no list", no_trade=value, says="`no_trade` is no list")
      for value in ("MSFT", "AAPL", (), "", True)),
    denies(WISHES, "a text is no list for data, either", base=DATA, no_trade="MSFT"),
    denies(WISHES, "the symbol, short", base=SHORT, no_trade=frozenset({"AAPL"})),
    passes(REVERSIBLE, "a twentieth of a day", **THIN, average_volume=JUST, says="50 units of 1000"),
    denies(REVERSIBLE, "a hair more", **THIN, average_volume=JUST, quantity=D("50.001"), says="the limit is 5 %"),
    denies(REVERSIBLE, "nothing is traded", average_volume=D(0), says="50 units of 0"),
    passes(REVERSIBLE, "data can be put back", base=DATA, kind="write_data", says="put the earlier version back"),
    passes(REVERSIBLE, "data that is gone", base=DATA, kind="delete_data", **YES,
           says="cannot be undone; a person"),
    passes(REVERSIBLE, "data needs no volume", base=DATA, average_volume=None,
           says="undone by: nothing is changed"),
    *missing("average_volume", (REVERSIBLE, "no_pump_and_dump")),
    *missing("average_volume", (REVERSIBLE, "no_pump_and_dump"), live=True, word="mercy"),
    passes(PERSON, "8 % of the equity", quantity=D(80),
           says="8 % of the equity in one action, 0.08 times the equity in all, leverage 1; a person is asked above"
           " 8 % or 1.5 times"),
    Case(PERSON, "a hair more", "ask", {"quantity": D("80.001")}, says="8.0001 %"),
    Case(PERSON, "a market order that may come to more", "ask", {"quantity": D(80), "market_price": D("100.01")}),
    Case(PERSON, "a short of more", "ask", {"quantity": D("80.001")}, SHORT),
    passes(PERSON, "a claim of 8 %", position_size_pct=D("0.08")),
    Case(PERSON, "a claim of more", "ask", {"position_size_pct": D("0.0801")}),
    passes(PERSON, "leverage of 1.5", leverage=D("1.5"), says="leverage 1.5;"),
    Case(PERSON, "more leverage", "ask", {"leverage": D("1.5001")}),
    passes(PERSON, "large, and a person allowed it", quantity=D(90), leverage=D(2), **YES,
           says="or 1.5 times; a person allowed it"),
    # Large is one action, geared is all that there would be. What is held already is bounded by max_position_size.
    passes(PERSON, "a small one beside what is held", exposures={"AAPL": D(5000)},
           says="5 % of the equity in one action, 0.1 times the equity in all"),
    Case(PERSON, "a large one of another symbol", "ask", {"quantity": D("80.001"), "exposures": {"MSFT": D(9000)}}),
    passes(PERSON, "a limit to buy counts at its limit", quantity=D(80), entry="limit", market_price=D(109)),
    passes(PERSON, "8 % of less equity", equity=D(62_500), day_start_equity=D(62_500)),
    Case(PERSON, "a hair more of less equity", "ask", {"equity": D("62499.99"), "day_start_equity": D(62_500)}),
    passes(PERSON, "one and a half times the equity in all", exposures={"B": D(145_000)},
           says="1.5 times the equity in all"),
    Case(PERSON, "a cent more in all", "ask", {"exposures": {"B": D("145000.01")}},
         says="5 % of the equity in one action, 1.5 times the equity in all, leverage 1"),
    passes(PERSON, "one and a half times in several symbols",
           exposures={"B": D(72_000), "C": D(72_000), "AAPL": D(1000)}),
    Case(PERSON, "a cent more in several symbols", "ask",
         {"exposures": {"B": D(72_000), "C": D(72_000), "AAPL": D("1000.01")}}),
    Case(PERSON, "geared at the market's price", "ask",
         {"exposures": {"B": D(145_000)}, "market_price": D("100.01")}),
    passes(PERSON, "geared, and a person allowed it", exposures={"B": D(160_000)}, **YES,
           says="1.65 times the equity in all, leverage 1"),
    denies(PERSON, "geared, and a person refused it", exposures={"B": D(160_000)}, person=False),
    denies(PERSON, "an exposure of another symbol below zero", exposures={"B": D(-1)}, also=["max_leverage"],
           says="`exposures` must be above 0"),
    denies(PERSON, "an exposure below zero, and a person allowed it", exposures={"B": D(-1)}, **YES,
           also=["max_leverage"]),
    denies(PERSON, "large, and a person's yes is no plain one", quantity=D(90), person=1),
    denies(PERSON, "a person refused it", person=False, says="a person refused it"),
    denies(PERSON, "a person refused to read data", base=DATA, person=False),
    denies(PERSON, "a person refused what is large", quantity=D(90), person=False),
    passes(PERSON, "data can be read", base=DATA, says="read_data can be undone"),
    Case(PERSON, "data is deleted", "ask", {"kind": "delete_data"}, DATA, "delete_data cannot be undone"),
    Case(PERSON, "data is shared", "ask", {"kind": "share_data"}, DATA, "share_data cannot be undone"),
    passes(PERSON, "data is deleted, and a person allowed it", base=DATA, kind="delete_data", **YES,
           says="delete_data cannot be undone; a person allowed it"),
    Case(PERSON, "large, and denied by another rule", "ask", {"quantity": D(90), "halted": True},
         also={"emergency_halt_enabled": "deny"}),
]  # fmt: skip
CASES: list[Case] = [*PRIVACY, *AUTONOMY]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_people_are_asked_and_spared(case: Case) -> None:
    assert case.complaint(judge) == ""
