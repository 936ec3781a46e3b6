"""Alerts to a webhook: each is sent by HTTP POST, in order, at least once, until somebody has taken it.

What happens to an alert is decided by `decide`, which is pure:

- An answer 2xx: it is delivered.
- No answer, an answer that is none, 5xx, 408, 425 or 429: it is tried again, without end. The waits double from
  0.5 s to 60 s, with jitter, so that many nodes do not come back in one moment; a `Retry-After` lengthens a wait to
  five minutes at most. The alerts behind it wait, too.
- Any other answer says that this address or this alert is wrong. A redirect is one of them: it is not followed,
  since an alert and its token go nowhere but where they were sent. After three such answers the alert is given up,
  so that it does not hold up those behind it.

The Watchdog's own thread only hands an alert over. One thread writes to the disk, another one sends: neither a disk
nor a receiver that stalls can stop the Watchdog or the other of the two. At most 1,000 alerts wait; for one more
the oldest is dropped. No proxy is used, whatever the environment says.
"""

from __future__ import annotations

import base64
import math
import os
import queue
import random
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

import msgspec

import ark
from ark.config import WatchdogConfig
from ark.home import Home
from ark.http_post import Answer, backoff, post
from ark.log import Log
from ark.masking import mask_fields
from supervisor.spool import Spool, Waiting

__all__ = ["TOKEN_VARIABLE", "Tries", "Webhook", "decide"]

TOKEN_VARIABLE = "WATCHDOG_WEBHOOK_TOKEN"
"""The environment variable with the bearer token, where no file is named."""

MOST_REFUSALS = 3
MOST_WAITING = 1_000
TIMEOUT_S = 5.0
"""For connecting, and again for the whole answer."""
TRANSIENT = frozenset((408, 425, 429))
"""Answers of 4xx that say `later`, not `wrong`."""

DISK = "alerts-disk"
"""The name of the thread that works for the disk."""

_HANDOVER_S = 0.1
_LOAD_S = 5.0
_TELL_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Tries:
    """What `decide` keeps from try to try. Start with `Tries()`.

    Attributes:
        failed: Tries in a row that delivered nothing.
        refused: Answers to this alert which say that it is wrong.
    """

    failed: int = 0
    refused: int = 0


Step: TypeAlias = Literal["delivered", "given_up", "again"]


def decide(tries: Tries, answer: Answer, lot: float) -> tuple[Tries, Step, float]:
    """Say what an answer means, by the rules above.

    Args:
        tries: From the try before.
        answer: What came of this one.
        lot: For the jitter, at least 0 and below 1.

    Returns:
        What to keep, what becomes of the alert, and after how many seconds the next try is.
    """
    if 200 <= answer.status < 300:
        return Tries(), "delivered", 0.0
    is_refusal = 0 < answer.status < 500 and answer.status not in TRANSIENT
    tries = Tries(tries.failed + 1, tries.refused + is_refusal)
    if tries.refused >= MOST_REFUSALS:
        return Tries(), "given_up", 0.0
    return tries, "again", backoff(tries.failed, answer, lot)


class Webhook:
    """Sends alerts to one address.

    Args:
        home: The node's home; what waits lies in its `data/alerts/`.
        url: The address, `http://` or `https://`. A user and a password in it are sent as `Authorization: Basic`.
            Neither they nor its path nor its query are ever logged: with many receivers these are the secret.
        token: A bearer token.
        token_file: A file with the bearer token, read before each try, so that a new one needs no restart.
        most_waiting: How many alerts may wait.
        timeout_s: How long connecting may take, and again the whole answer.
        lot: Gives numbers from 0 to below 1, for the jitter.
    """

    def __init__(
        self,
        home: Home,
        url: str,
        *,
        token: str = "",
        token_file: Path | None = None,
        most_waiting: int = MOST_WAITING,
        timeout_s: float = TIMEOUT_S,
        lot: Callable[[], float] = random.random,
    ) -> None:
        self._address = urlsplit(url)
        self._place = f"{self._address.scheme}://{self._address.hostname}"
        if self._address.port:
            self._place += f":{self._address.port}"
        self._node = f"{socket.gethostname()}/{home.path.name}"
        self._token = token
        self._token_file = token_file
        self._most = most_waiting
        self._timeout_s = timeout_s
        self._lot = lot
        self._log = Log(home.logs / "supervision.log")
        self._spool = Spool(home.data / "alerts")
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._loaded = threading.Event()
        self._is_disk_slow = False
        self._disk_error = ""
        self._delivered = self._given_up = self._dropped = 0
        self._told_drop_at = -math.inf
        self._failing_since: float | None = None
        self._last_error = ""
        self._ending = False
        self._threads: list[threading.Thread] = []

    @classmethod
    def of(
        cls, home: Home, settings: WatchdogConfig, environment: Mapping[str, str] = os.environ
    ) -> Webhook | None:
        """The webhook that the settings name; None where they name none.

        Args:
            home: The node's home; a token's file is named relative to it.
            settings: The Watchdog's.
            environment: Where the token may stand if no file is named.
        """
        if not settings.webhook:
            return None
        file = home.path / settings.webhook_token_file if settings.webhook_token_file else None
        return cls(home, settings.webhook, token=environment.get(TOKEN_VARIABLE, ""), token_file=file)

    def start(self) -> None:
        """Begin to send, first what an earlier process has left. The threads end with their process."""
        for name, run in ((DISK, self._work_for_disk), ("alerts-send", self._send_all)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, patience_s: float = 2 * TIMEOUT_S) -> None:
        """Begin nothing more, and wait for what is under way. What was not sent waits for the next process."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for thread in reversed(self._threads):  # what the sender has done is still noted on the disk
            if thread.name == DISK:
                self._jobs.put(None)
            thread.join(patience_s)

    def put(self, alert: Mapping[str, Any]) -> None:
        """Take an alert. Returns as soon as it is written down, and after 0.1 s where the disk is slow.

        It never raises, whatever the alert holds.
        """
        try:
            waiting = self._prepare(alert)
        except Exception as error:  # noqa: BLE001
            self._tell("webhook_gave_up", f"an alert cannot be written as JSON: {type(error).__name__}")
            return
        with self._changed:
            self._waiting.append(waiting)
            self._drop_oldest()
            self._changed.notify_all()
        if self._jobs.qsize() > 4 * self._most:
            return  # a disk that stalls: they are sent from memory
        written = threading.Event()

        def keep() -> None:
            try:
                self._spool.keep(waiting)
                self._disk_error = ""
            finally:
                written.set()
                self._is_disk_slow = False

        self._jobs.put(keep)
        if self._threads and not self._is_disk_slow:
            self._is_disk_slow = not written.wait(_HANDOVER_S)

    def state(self) -> dict[str, Any]:
        """How it stands, for the status.

        Returns:
            `to`: scheme, host and port of the address; `waiting`: how many; `delivered`, `given_up`, `dropped`: how
            many since the process began; `failing_since`: epoch seconds of the first failure in a row, or None;
            `last_error`; `disk_error`: why alerts cannot be written down, empty if they can.
        """
        with self._changed:
            return {
                "to": self._place,
                "waiting": len(self._waiting),
                "delivered": self._delivered,
                "given_up": self._given_up,
                "dropped": self._dropped,
                "failing_since": self._failing_since,
                "last_error": self._last_error,
                "disk_error": self._disk_error,
            }

    def faults(self) -> list[str]:
        """What is wrong with it now, in sentences."""
        state = self.state()
        found = []
        if state["failing_since"] is not None:
            found.append(
                f"alerts do not reach {state['to']} for {time.time() - state['failing_since']:.0f} s"
                f" ({state['last_error']}); {state['waiting']} wait"
            )
        if state["disk_error"]:
            found.append(f"alerts cannot be written down before they are sent: {state['disk_error']}")
        return found

    # Handing over

    def _prepare(self, alert: Mapping[str, Any]) -> Waiting:
        name = str(uuid.uuid4())
        plain = mask_fields(msgspec.to_builtins(dict(alert), str_keys=True, enc_hook=str))
        origin = {"id": name, "node": self._node, "ark": ark.__version__}
        return Waiting(name, msgspec.json.encode({"event": "alert", **plain, **origin}))

    def _drop_oldest(self) -> None:
        """Keep to the bound; the lock is held."""
        while len(self._waiting) > self._most:
            self._finish(self._waiting[0])
            self._dropped += 1
            if time.monotonic() - self._told_drop_at > _TELL_AGAIN_S:
                self._told_drop_at = time.monotonic()
                self._tell(
                    "webhook_dropped",
                    f"more than {self._most} alerts wait; the oldest are dropped, {self._dropped} so far",
                )

    def _finish(self, waiting: Waiting) -> None:
        """An alert waits no more; the lock is held."""
        waiting.is_over = True
        self._waiting.remove(waiting)
        self._jobs.put(partial(self._spool.forget, waiting))

    def _tell(self, event: str, reason: str, **fields: Any) -> None:
        self._jobs.put(partial(self._log.write, event, name="watchdog", reason=reason, **fields))

    # The disk's thread

    def _work_for_disk(self) -> None:
        self._try_on_disk(self._load)
        self._loaded.set()
        while (job := self._jobs.get()) is not None:
            self._try_on_disk(job)

    def _try_on_disk(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001
            text = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            if text != self._disk_error:
                self._log.write("webhook_unkept", name="watchdog", reason=f"alerts cannot be written down: {text}")
            self._disk_error = text

    def _load(self) -> None:
        left = list(self._spool.load())
        with self._changed:
            self._waiting.extendleft(reversed(left))
            self._drop_oldest()
            self._changed.notify_all()

    # The sender's thread

    def _send_all(self) -> None:
        self._loaded.wait(_LOAD_S)
        tries = Tries()
        last: Waiting | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if self._ending:
                    return
                waiting = self._waiting[0]
            if waiting is not last:
                tries = replace(tries, refused=0)
                last = waiting
            answer = self._post(waiting)
            tries, step, wait_s = decide(tries, answer, self._lot())
            with self._changed:
                self._note(waiting, answer, step)
                if step == "again":
                    self._changed.wait_for(lambda: self._ending, wait_s)

    def _note(self, waiting: Waiting, answer: Answer, step: Step) -> None:
        """Count what came of a try, and tell of what changed; the lock is held."""
        if step == "delivered":
            self._delivered += 1
            if self._failing_since is not None:
                self._tell("webhook_works", f"{self._place} takes alerts again")
            self._failing_since, self._last_error = None, ""
        else:
            self._last_error = answer.text
            if self._failing_since is None:
                self._failing_since = time.time()
                self._tell("webhook_failing", f"{self._place} takes no alerts: {answer.text}")
        if step == "given_up":
            self._given_up += 1
            self._tell(
                "webhook_gave_up",
                f"{self._place} refused an alert {MOST_REFUSALS} times: {answer.text}",
                id=waiting.id,
            )
        if step != "again" and not waiting.is_over:
            self._finish(waiting)

    def _post(self, waiting: Waiting) -> Answer:
        return post(self._address, waiting.body, lambda: self._headers(waiting), timeout_s=self._timeout_s)

    def _headers(self, waiting: Waiting) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ark/{ark.__version__}",
            "Idempotency-Key": waiting.id,
        }
        authorization = self._authorization()
        return {**headers, "Authorization": authorization} if authorization else headers

    def _authorization(self) -> str:
        token = self._token
        if self._token_file is not None:
            if self._token_file.stat().st_mode & 0o077:
                raise PermissionError(0, f"{self._token_file} can be read by others: chmod 600 it")
            token = self._token_file.read_text().strip()
        if token:
            return f"Bearer {token}"
        if self._address.username is None:
            return ""
        pair = f"{unquote(self._address.username)}:{unquote(self._address.password or '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
