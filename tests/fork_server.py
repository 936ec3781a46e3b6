"""Starts nodes and commands by forking, for tests.

Each of its own would import the same modules again, which is half of what the start of a node costs, and nearly all
that a command does.

`tests.node` runs it as a script. Its arguments are two descriptors: a socket to listen on, and that of a process
with which it ends. Who connects sends one line of JSON with `argv`, `environment`, and the files `input`, `output`
and `errors`. The answer is the pid of the process, and its exit code when it has ended.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import random
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import NoReturn

MODULES = (
    "zmq",
    "msgspec",
    "apsw",
    "numpy",
    "ark.commands.start",
    "ark.agent_worker",
    "ark.gateway",
    "ark.exporter",
    "supervisor.cli",
    "thespian.system.multiprocTCPBase",
    "supervisor.tree",
    "supervisor.watchdog",
    "deployment.deployer",
)
"""What `ark-run start` imports before its first fork, and no agent; what commands do; and what only the forked
processes of a node import, each for itself."""


def serve(listener: socket.socket, owner: int) -> list[str] | None:
    """Fork for everybody who asks; gives, in the process that was forked, the command line to run."""
    ended: dict[int, tuple[int, socket.socket]] = {}
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    poller.register(owner, select.POLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == owner:
                return None
            if descriptor == listener.fileno():
                asking, _ = listener.accept()
                request = json.loads(asking.makefile().readline())
                pid = os.fork()
                if not pid:
                    for each in (listener, asking, *(asked for _, asked in ended.values())):
                        each.close()
                    os.close(owner)
                    for each_pidfd in ended:
                        os.close(each_pidfd)
                    become(request)
                    return list(request["argv"])
                asking.sendall(b"%d\n" % pid)
                pidfd = os.pidfd_open(pid)
                ended[pidfd] = (pid, asking)
                poller.register(pidfd, select.POLLIN)
            else:
                pid, asking = ended.pop(descriptor)
                poller.unregister(descriptor)
                os.close(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with suppress(OSError):  # nobody wants to know any more
                    asking.sendall(b"%d\n" % code)
                asking.close()


def become(request: dict[str, object]) -> None:
    """Make this process as a shell would have started it."""
    os.setsid()
    to_write = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for target, name, flags in ((0, "input", os.O_RDONLY), (1, "output", to_write), (2, "errors", to_write)):
        descriptor = os.open(str(request[name]), flags, 0o644)
        os.dup2(descriptor, target)
        os.close(descriptor)
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()


def leave(program: Callable[[], int]) -> NoReturn:
    """Run a program, and end with its exit code as soon as what it said is written.

    An interpreter that ends takes everything apart that was ever imported. Here that is much, and all of it must be
    copied first since it is shared with who forked: ten times the work of a command.
    """
    code: object = 1
    try:
        code = program()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> int:
    """Serve; in a process that was forked, be the command."""
    del sys.path[0]  # the folder of this file, which no node has there
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in MODULES:
        importlib.import_module(name)
    for command in entry_points(group="ark.commands"):
        command.load()
    from ark.config import load
    from graveyard.seal import memory_faults

    memory_faults()  # keeps the rules as they were read, for the comparison that every node begins with
    load(None)  # and this the fields of the settings
    from setproctitle import getproctitle, setproctitle

    getproctitle()  # which finds its room now: it cannot any more once the environment is another one
    argv = serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    if argv is None:
        return 0
    import ark.cli
    import supervisor.cli

    sys.argv = argv
    setproctitle(" ".join(argv))
    leave({"ark-run": ark.cli.main, "supervisor": supervisor.cli.main}[os.path.basename(argv[0])])


if __name__ == "__main__":
    sys.exit(main())
