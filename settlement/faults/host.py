"""Processes forked from one that has imported the code: a start costs tenths of a second, not seconds.

    python -m settlement.faults.host        reads requests from its standard input, one JSON a line

A forked worker is otherwise the process that `celery worker` starts: its own session, pool and beat. The
host opens no connection and starts no thread, and waits for its children.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

BASE = Path(__file__).resolve().parents[2]


class Host:
    """The side of the harness. `environment` is that of every process; what differs is given with each."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "settlement.faults.host"], cwd=BASE, env=dict(environment),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink,
            )  # fmt: skip
        self._lock = threading.Lock()

    def ask(self, **request: Any) -> Any:
        """The answer to one request."""
        with self._lock:
            if self._process.stdin is None or self._process.stdout is None:
                raise RuntimeError("the host has no pipes")
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the host of the processes ended")
        return json.loads(line)

    def start(self, what: str, arguments: Sequence[str], environment: Mapping[str, str],
              log: Path) -> "Forked":  # fmt: skip
        """Fork a process that does one of DOES with these arguments."""
        pid = self.ask(
            what=what, arguments=list(arguments), environment=dict(environment), log=str(log)
        )
        return Forked(self, pid)

    def end(self) -> None:
        """The host ends when nobody asks any more."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(20)


class Forked:
    """A process of the host and its group."""

    def __init__(self, host: Host, pid: int) -> None:
        self.host, self.pid = host, pid
        self.status: int | None = None

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        if self.status is None:
            self.status = self.host.ask(poll=self.pid)
        return self.status

    def wait(self) -> int:
        """The exit status, when it has one."""
        if self.status is None:
            self.status = self.host.ask(wait=self.pid)
        return self.status or 0


def answer(request: dict[str, Any]) -> int | None:
    """Fork, or say how a child ended."""
    if "what" in request:
        return fork(request)
    wait = "wait" in request
    pid, status = os.waitpid(request["wait" if wait else "poll"], 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def fork(request: dict[str, Any]) -> int:
    """The child's id; the child never comes back from here."""
    reached, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.read(reached, 1)  # it leads a group of its own
        os.close(reached)
        return pid
    status = 1
    try:
        os.setsid()
        os.write(tell, b".")
        become(request)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def become(request: dict[str, Any]) -> None:
    """Take the environment, the log and the databases of the request, then do what it says."""
    from django.conf import settings

    from settlement import failpoints
    from settlement.bench.portal import point

    os.environ.update(request["environment"])
    with Path(request["log"]).open("ab") as sink, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SETTLER_URL"):
        setattr(settings, name, os.environ[name])
    point(settings.DATABASE_URL, settings.DATABASE_SETTLER_URL)
    failpoints.arm()
    DOES[request["what"]](*request["arguments"])


def celery(*arguments: str) -> None:
    """The command `celery` with these arguments."""
    from celery.bin.celery import main as run

    sys.argv = ["celery", *arguments]
    run()


def posts(path: str) -> None:
    """Send the claims of a file."""
    from settlement.faults.material import send

    send(Path(path))


def act(name: str, batch: str, broker: str) -> None:
    """What somebody does with a batch (material.ACTS); bells ring at the broker of the place."""
    from celery import current_app

    from settlement.faults.material import ACTS

    current_app.conf.broker_url = current_app.conf.broker_write_url = broker
    ACTS[name](int(batch))


DOES: dict[str, Callable[..., None]] = {"celery": celery, "posts": posts, "act": act}


def main() -> None:
    """Import what a worker imports, then serve until nobody asks any more."""
    import django
    from django.utils.module_loading import import_string

    django.setup()
    app = import_string("config.celery.app")  # wiring is read by name
    app.loader.import_default_modules()
    app.finalize()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
