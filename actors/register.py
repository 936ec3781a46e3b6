"""The operator's register: what must not be traded, who said yes to what, whose word counts, which clients wait.

A TOML file that HRM reads again whenever it changes, so that an entry takes effect with the next signal:

    restricted = ["XYZ"]                 # no_insider_trading
    no_trade = ["TSLA"]                  # preserve_user_autonomy
    consents = ["live_trading"]          # require_consent

    [sources]                            # validate_data_sources, no_insider_trading, no_pump_and_dump
    newswire = "news"
    rumours = { standing = "promotional" }
    desk = { standing = "licensed", embargo_until = 2026-01-31T14:30:00Z }
    broken_feed = { standing = "exchange", quarantined = true }

    [[client_orders]]                    # no_front_running; an empty list says that no client waits
    symbol = "AAPL"
    side = "buy"
    quantity = 500
"""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from graveyard import ClientOrder, Source
from graveyard.rules import Standing

__all__ = ["Register", "Registrar", "SourceEntry"]

KNOWN: Mapping[str, Standing] = {
    "insider_tip": "private",
    "insider": "private",
}
"""Sources that are known without a register: the original's forbidden one. A source's name is the sender's own
word, so that no name is good by itself."""
_NOBODY: frozenset[str] = frozenset()


class SourceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the register says of a source.

    Attributes:
        standing: What it is; see `graveyard.rules.STANDINGS`.
        quarantined: Whether it is not to be listened to.
        embargo_until: Until when what it says is not public.
    """

    standing: Standing
    quarantined: bool = False
    embargo_until: dt.datetime | None = None


class _Waiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    symbol: str
    side: Literal["buy", "sell"]
    quantity: Annotated[float, Meta(gt=0)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    restricted: frozenset[str] = _NOBODY
    no_trade: frozenset[str] = _NOBODY
    consents: frozenset[str] = _NOBODY
    sources: dict[str, Standing | SourceEntry] = {}
    client_orders: tuple[_Waiting, ...] | None = None


class Register(msgspec.Struct, frozen=True):
    """The register at a moment; None where nobody knows.

    Attributes:
        restricted, no_trade, consents, client_orders: As in `graveyard.Facts`.
        sources: What is known of each source, by its name in small letters.
        fault: Why the file could not be read; empty if it could, or if there is none.
    """

    restricted: frozenset[str] | None
    no_trade: frozenset[str] | None
    consents: frozenset[str] | None
    client_orders: tuple[ClientOrder, ...] | None
    sources: Mapping[str, Source]
    fault: str = ""

    def source(self, name: str) -> Source:
        """What is known of a source; one that nobody entered is unregistered."""
        return self.sources.get(name.strip().lower()) or Source(name[:64], "unregistered")


class Registrar:
    """Keeps the register up to date.

    Args:
        path: The file; None for none.
        restricted, no_trade, consents, sources: What stands in the settings, beside the file.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        restricted: Iterable[str] = (),
        no_trade: Iterable[str] = (),
        consents: Iterable[str] = (),
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._restricted = _symbols(restricted)
        self._no_trade = _symbols(no_trade)
        self._consents = frozenset(consents)
        self._sources = _sources({**KNOWN, **(sources or {})})
        self._seen: tuple[int, int, int] | None = None
        self._register = Register(self._restricted, self._no_trade, self._consents, None, self._sources)
        self.current()

    def current(self) -> Register:
        """The register as it stands now. A stat call where the file has not changed."""
        if self._path is None:
            return self._register
        try:
            status = os.stat(self._path)
        except OSError as error:
            self._seen = None
            self._register = self._unreadable(error.strerror or str(error))
            return self._register
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._seen = seen
            self._register = self._read(self._path)
        return self._register

    def _read(self, path: Path) -> Register:
        try:
            file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
        except OSError as error:
            self._seen = None  # what is wrong may pass without the file being changed
            return self._unreadable(error.strerror or str(error))
        except (ValueError, RecursionError) as error:  # whatever stands in it, the judge goes on
            return self._unreadable(str(error))
        orders = file.client_orders
        return Register(
            self._restricted | _symbols(file.restricted),
            self._no_trade | _symbols(file.no_trade),
            self._consents | file.consents,
            None
            if orders is None
            else tuple([ClientOrder(o.symbol.strip().upper(), o.side, Decimal(str(o.quantity))) for o in orders]),
            {**self._sources, **_sources(file.sources)},
        )

    def _unreadable(self, why: str) -> Register:
        """What nobody can read, nobody knows: every rule that needs it denies."""
        return Register(None, None, None, None, self._sources, f"the register {self._path} cannot be read: {why}")


def _symbols(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().upper() for name in names)


def _sources(entries: Mapping[str, str | SourceEntry]) -> dict[str, Source]:
    found = {}
    for name, entry in entries.items():
        key = name.strip().lower()
        if isinstance(entry, str):
            found[key] = Source(key, entry)
            continue
        until = entry.embargo_until
        if until is not None and until.tzinfo is None:
            until = until.replace(tzinfo=dt.UTC)
        embargo = 0.0 if until is None else until.timestamp()
        found[key] = Source(key, entry.standing, entry.quarantined, embargo)
    return found
