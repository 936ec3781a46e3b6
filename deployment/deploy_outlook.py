"""What `ark-run deploy plan` looks up beside the node's own word: how releases differ, and how much is to do."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from urllib.parse import urlsplit

from ark.errors import NodeError
from ark.home import Home
from deployment.manifest import Change
from deployment.plan import Plan
from deployment.release_views import Comparison, diff
from deployment.releases import Release, open_release

__all__ = ["changes", "rate"]

_PATIENCE_S = 2.0
_LARGEST = 4 << 20


def changes(home: Home, plan: Plan) -> list[tuple[str, Comparison, tuple[Change, ...]]]:
    """How each agent's release differs from the stable one, and which changes of decisions it declares.

    Raises:
        ReleaseError: One cannot be read, or must not be run.
    """
    opened: dict[str, Release] = {}

    def release(digest: str) -> Release:
        if digest not in opened:
            opened[digest] = open_release(home, digest)
        return opened[digest]

    found = []
    for role, digest in sorted(plan.roles.items()):
        manifest = release(digest).manifest
        declared = tuple(each for each in (manifest.changes if manifest else ()) if each.agent == role)
        found.append((role, diff(release(plan.stable[role]), release(digest)), declared))
    return found


def rate(home: Home) -> float | None:
    """Signals a second over the last five minutes, as the exporter counted them; None where that is not known."""
    try:
        where = urlsplit(str(home.node().get("metrics") or ""))
        with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=_PATIENCE_S)) as line:
            line.request("GET", "/state")
            points = json.loads(line.getresponse().read(_LARGEST))["series"]["throughput"]
        known = [float(each) for each in points if each is not None]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, NodeError):
        return None
    return round(sum(known) / len(known), 3) if known else None
