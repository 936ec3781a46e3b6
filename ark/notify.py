"""Word to systemd, for a service of `Type=notify`: ready, alive, stopping, and a line for `systemctl status`.

It is the protocol of sd_notify(3): one datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names.
Where that variable is absent nothing is said. `Report` decides what is said and when, and is pure.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Literal, TypeAlias

from ark.privacy import redact

__all__ = ["Notifier", "Phase", "Report"]

Phase: TypeAlias = Literal["starting", "up", "rebuilding", "stopping"]
"""Where the node stands, as the guardian sees it."""

EXTENSION_S = 30.0
"""So much more time is asked for while a start or a stop goes on."""
EXTEND_EVERY_S = 5.0
LONGEST_STATUS = 500

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Sends to systemd. It never blocks and never raises: nothing depends on whether somebody listens.

    Args:
        address: The socket's path, or its abstract name with `@` before it; empty for nobody.
        watchdog_s: So long systemd bears without a sign of life; None: as long as it likes.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = address if address[:1] in ("/", "@") else ""
        self.watchdog_s = watchdog_s

    @classmethod
    def take(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """What systemd has set for this process, taken out of the environment, so that no child speaks for it."""
        address, period, pid = (environment.pop(name, "") for name in _VARIABLES)
        is_meant = pid in ("", str(os.getpid()))
        watchdog_s = int(period) / 1e6 if is_meant and period.isascii() and period.isdecimal() else 0.0
        return cls(address, watchdog_s or None)

    def tell(self, *lines: str) -> None:
        """Send lines such as `READY=1`; none: nothing."""
        if not lines or not self._address:
            return
        # A socket for each message: none is there when the next process is forked.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            where = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
            line.sendto("\n".join(lines).encode(errors="replace"), socket.MSG_DONTWAIT, where)


class Report:
    """Says what to tell, given how the node is. Each word is said once, signs of life again and again.

    A sign of life means that the root of the tree beats. A child that is down is no reason to withhold it: the tree
    mends that itself, and loses nothing by it, while systemd can only restart everything.

    Args:
        watchdog_s: As in `Notifier`.
    """

    def __init__(self, watchdog_s: float | None) -> None:
        self._ping_s = watchdog_s / 2 if watchdog_s else None
        self._was_up = False
        self._was_stopping = False
        self._status = ""
        self._pinged_at: float | None = None

    def lines(self, phase: Phase, *, reason: str, halted: str | None, beats: bool, now: float) -> list[str]:
        """The lines that are due.

        Args:
            phase: Where the node stands.
            reason: Why the tree is built anew; empty where it is not.
            halted: Why trading is halted; None while it is not.
            beats: Whether the root's heart beats.
            now: Seconds on a clock that never goes back.
        """
        due = []
        if phase == "up" and not self._was_up:
            self._was_up = True
            due.append("READY=1")
        if phase == "stopping" and not self._was_stopping:
            self._was_stopping = True
            self._pinged_at = None
            due.append("STOPPING=1")
        status = describe(phase, reason, halted)
        if status != self._status:
            self._status = status
            due.append(f"STATUS={status}")
        return due + self._sign_of_life(beats, now)

    def _sign_of_life(self, beats: bool, now: float) -> list[str]:
        is_up = self._was_up and not self._was_stopping
        every_s = self._ping_s if is_up else EXTEND_EVERY_S
        if every_s is None or not (beats or self._was_stopping):
            return []
        if self._pinged_at is not None and now - self._pinged_at < every_s:
            return []
        self._pinged_at = now
        return ["WATCHDOG=1" if is_up else f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1e6:.0f}"]


def describe(phase: Phase, reason: str, halted: str | None) -> str:
    """How the node is, in one line for `systemctl status`."""
    words = {
        "starting": "the tree is coming up",
        "up": "the tree is up",
        "rebuilding": f"the tree was down ({reason}) and is built anew",
        "stopping": "stopping",
    }[phase]
    if halted is not None and phase != "stopping":
        words = f"trading is HALTED: {halted}; {words}"
    line = " ".join(redact(words).split())
    return line if len(line) <= LONGEST_STATUS else f"{line[:LONGEST_STATUS]}..."
