"""What is no canary's fault must not be called one, and what is good becomes permanent."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.node import wait_until
from tests.rollout.faults import LONG, first_live
from tests.rollout.releases import BOTH
from tests.rollout.scene import Rollouts, rollouts
from tests.rollout.shared_joey import TRIGGER

__all__ = ["ENVIRONMENT", "both", "good"]

ENVIRONMENT = {TRIGGER: "HOME/../breaks-both"}
WATCHED_S = 8.0
"""For so long a fault of both arms goes on; a canary's own is found in a tenth of that."""
DECLARED = {
    "path": "setup.position_size_pct",
    "before": "0.005",
    "after": "0.004",
    "why": "Half a percent has been too much.",
}


def both(seed: int) -> Iterator[tuple[str, str]]:
    """Break what both arms import; gives the name of each case, and what is not as it should be."""
    with rollouts(BOTH, seed=seed, environment=ENVIRONMENT) as played:
        trigger = played.home.path.parent / "breaks-both"
        for what in ("raise", "sleep"):
            began = time.time()
            played.start("joey", played.plant("joey", "good", shared=True), **LONG)
            played.reach_share(50)
            first_live(played, "joey", began)
            trigger.write_text(what)
            broken_at = time.time()
            wait_until(lambda at=broken_at: time.time() > at + WATCHED_S, "it has gone on for long enough")  # type: ignore[misc]
            document = played.now()
            trigger.unlink()
            differs = "" if document["state"] in ("stage", "paused", "inconclusive") else str(document["last"])
            if not document["holds"]:
                differs = differs or "nothing holds it"
            played.ask("deploy.abort", reason="seen enough")
            played.finish()
            yield f"both {what}: {document['state']}, {document['verdict']['why'][:100]}", differs
        yield from _ended(played)


def good(seed: int) -> Iterator[tuple[str, str]]:
    """Releases with nothing wrong; gives likewise."""
    with rollouts(seed=seed) as played:
        yield _end(played, "good joey", "joey", played.plant("joey", "good"), "permanent")
        yield _end(played, "back to what is installed", "joey", "installed", "permanent")
        yield _end(played, "good hrm", "hrm", played.plant("hrm", "good"), "permanent")
        yield _end(played, "good kenny", "kenny", played.plant("kenny", "good"), "permanent")
        yield _end(played, "aa", "joey", "", "passed", strategy="aa")
        release = played.plant("joey", "good")
        yield _end(played, "blue-green", "joey", release, "permanent", strategy="blue-green")
        yield _end(played, "back again", "joey", "installed", "permanent")
        release = played.plant("joey", "smaller")
        yield _end(played, "an undeclared change", "joey", release, "rolled_back")
        release = played.plant("joey", "smaller", changes=(DECLARED,))
        yield _end(played, "the same, declared", "joey", release, "permanent")
        yield from _ended(played)


def _end(
    played: Rollouts, name: str, role: str, release: str, expected: str, *, strategy: str = "canary"
) -> tuple[str, str]:
    began = time.time()
    played.start(role, release, strategy=strategy)
    document = played.finish(120.0)
    found = f"{name}: {document['state']} after {time.time() - began:.1f} s"
    return found, "" if document["state"] == expected and not document["troubles"] else str(document["last"])


def _ended(played: Rollouts) -> Iterator[tuple[str, str]]:
    try:
        played.settle()
        assert played.one.stop() == 0, "the node did not stop in order"
        yield f"audit: {dict(played.audit())}", ""
    except AssertionError as error:
        yield "audit", f"{error or error.__traceback__}"
