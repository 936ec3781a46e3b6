"""Write the files by which Prometheus, Alertmanager and Grafana watch a node, for its own configuration.

The rules hold the limits of `[slo]`, `[watchdog]`, `[gateway]` and `[redis]`, and the scrape the address of
`metrics.listen`. What is there is written over, but for `prometheus.yml` and `alertmanager.yml`: they hold what is
yours. Where one of them differs, the new one is written beside it as `.new`.

examples:
  ark-run monitoring write /etc/ark-monitoring
  ark-run monitoring write ./monitoring --config ark.toml --metrics 127.0.0.1:9190
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from ark import config as configuration
from ark.commands.start import find_config
from ark.errors import NodeError
from deployment.alerting import Limits
from deployment.observability import PROMETHEUS_PORT, write_files

__all__ = ["HELP", "configure", "run"]

HELP = "files for Prometheus, Alertmanager and Grafana: write"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    places = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    write = places.add_parser(
        "write",
        help="write them into a folder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    write.add_argument("folder", type=Path, metavar="DIR", help="where to; made if it is not there")
    write.add_argument("--config", type=Path, metavar="FILE", help="ark.toml (default: as for `ark-run start`)")
    write.add_argument(
        "--metrics", metavar="HOST:PORT", help="the exporter, where `ark-run start` was told another"
    )
    # The common options may stand behind the action, too; only where they are given do they count.
    write.add_argument("--home", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="the node's home")
    write.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the files."""
    path = find_config(arguments.home, arguments.config)
    config = configuration.load(path, overrides={("metrics", "listen"): arguments.metrics})
    if not config.metrics.enabled:
        raise NodeError("this node has no exporter", hint="set metrics.enabled = true in ark.toml")
    folder: Path = arguments.folder.absolute()
    try:
        done = write_files(folder, Limits.of(config))
    except OSError as error:
        raise NodeError(
            f"cannot write {error.filename or folder}: {error.strerror or error}", hint="name another folder"
        ) from error
    if arguments.json:
        print(
            json.dumps({"folder": str(folder), "config": path and str(path), **msgspec.to_builtins(done)}, indent=2)
        )
        return 0
    print(f"{len(done.written)} files are in {folder}, for {path or 'the default configuration'}")
    for name in done.beside:
        print(f"  {name} is yours, and differs: the new one is {name}.new")
    if "alertmanager/alertmanager.yml" in done.written:
        print(
            "  alertmanager/alertmanager.yml: fill in the pager and the mail server, or nobody is told of anything"
        )
    print(f"  check it   promtool check config {folder}/prometheus/prometheus.yml")
    print(f"  start it   prometheus --config.file={folder}/prometheus/prometheus.yml \\")
    print(f"               --storage.tsdb.path={folder}/prometheus/data --enable-feature=exemplar-storage \\")
    print(f"               --web.listen-address=127.0.0.1:{PROMETHEUS_PORT}")
    return 0
