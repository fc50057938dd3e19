"""`make run`: PostgreSQL, Valkey, gunicorn, a Celery worker, one for reports and beat in the foreground.

Prepares the database, static files and demonstration data when they are not up to date, prints the
address when the page answers, restarts what dies with a growing pause, and on Ctrl-C (SIGINT,
SIGTERM, SIGHUP) ends every process, the servers last. DATABASE_URL and REDIS_URL replace the
private servers.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from config.demo import TODAY
from config.embedded import Servers

ROOT = Path(__file__).resolve().parent.parent
HOST = os.environ.get("HOST") or "127.0.0.1"
PORT = int(os.environ.get("PORT") or 8000)
# Listening everywhere includes this machine, which has an address.
ADDRESS = f"http://{'127.0.0.1' if HOST == '0.0.0.0' else HOST}:{PORT}/"
VAR_DIR = Path(os.environ.get("VAR_DIR") or ROOT / "var").resolve()
READY_SECONDS = 60
# The worker may finish its chunk (CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT); then it is killed.
STOP_SECONDS = 40
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60  # a process that lived this long starts its pauses anew

CELERY = [sys.executable, "-m", "celery", "-A", "config.celery"]
COMMANDS = {
    "web": [
        *(sys.executable, "-m", "gunicorn", "config.wsgi", "--preload", "--no-control-socket"),
        *("--bind", f"{HOST}:{PORT}", "--workers", "3", "--graceful-timeout", "20"),
        *("--timeout", "120"),  # a large extract of the register is checked while its sender waits
    ],
    "worker": [
        *CELERY,
        *("worker", "--hostname", "worker@%h", "--concurrency", "2", "--loglevel", "INFO"),
        *("--without-gossip", "--without-mingle"),
    ],
    "printer": [
        *(*CELERY, "--skip-checks"),  # they load every page, which who prints never needs
        *("worker", "--hostname", "printer@%h", "--queues", "reports", "--concurrency", "2"),
        *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
    ],
    "beat": [*CELERY, "beat", "--pidfile=", "--loglevel", "INFO"],
}


def say(text: str) -> None:
    """One line to the terminal, at once."""
    print(text, flush=True)


def fingerprint(paths: Iterable[Path], *more: str) -> str:
    """Digest of file contents and words: the same text means nothing to do."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def manage(*arguments: str) -> None:
    """Runs one management command in a process of its own; ends the run when it fails."""
    say(f"  manage.py {' '.join(arguments)}")
    if subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=False).returncode:
        sys.exit(f"manage.py {arguments[0]} failed")


def prepare(*, embedded: bool) -> None:
    """Migrates, collects static files, loads regions, policies and demonstration data where they changed."""
    packages = ROOT / "requirements.txt"
    # A new cluster under an old address is a new database; a server elsewhere is always asked.
    cluster = VAR_DIR / "postgres" / "PG_VERSION"
    born = cluster.stat().st_mtime_ns if embedded else time.time_ns()
    database = f"{os.environ['DATABASE_URL']} {born}"
    steps = {
        "migrate": (
            fingerprint([packages, *ROOT.glob("*/migrations/*.py")], database),
            ["migrate", "--noinput", "-v0"],
        ),
        "static": (
            fingerprint(
                [packages, *(path for path in (ROOT / "static").rglob("*") if path.is_file())],
                os.environ.get("DJANGO_ENV", ""),
            ),
            ["collectstatic", "--noinput", "-v0"],
        ),
        "policies": (
            fingerprint(
                [
                    ROOT / "institutions" / "regions.yaml",
                    *(ROOT / "pricing/policies").glob("*.yaml"),
                ],
                database,
            ),
            ["prepare"],
        ),
        "demo": (
            fingerprint([], os.environ["DATABASE_URL"] if not embedded else database),
            ["demo"],
        ),
    }
    if os.environ.get("DJANGO_ENV") == "production":
        del steps["demo"]
    else:
        os.environ.setdefault("DEMO_TODAY", TODAY.isoformat())
    notes = VAR_DIR / "prepared.json"
    done = json.loads(notes.read_text()) if notes.exists() else {}
    for name, (digest, command) in steps.items():
        if done.get(name) != digest:
            manage(*command)
            done[name] = digest
            notes.write_text(json.dumps(done, indent=1))


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: kill -9 of this process must not leave a web server on the port.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Child:
    """One supervised process group with its log file and the pause before its next start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log = VAR_DIR / "logs" / f"{name}.log"
        self.pause = 1.0
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                COMMANDS[self.name],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this supervisor only
                preexec_fn=_die_with_parent,
            )
        self.began = time.monotonic()
        self.restart_at: float | None = None

    def watch(self) -> None:
        """Notes a death and starts again when the pause is over."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.start()
        elif self.process.poll() is not None:
            if now - self.began > STEADY_SECONDS:
                self.pause = 1.0
            self.signal(signal.SIGKILL)  # its own children must not outlive it
            status = self.process.returncode
            say(f"{self.name} ended ({status}), again in {self.pause:.0f} s; see {self.log}")
            self.restart_at = now + self.pause
            self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def signal(self, how: signal.Signals) -> None:
        """Sends a signal to the whole process group, if anything of it is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)


class Portal:
    """The three processes that serve, from the first start to the last end."""

    def __init__(self) -> None:
        self.stopping = 0
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping += 1

    def serve(self) -> int:
        """Starts everything and watches it until a signal; the exit status."""
        children = [Child("web")]
        try:
            if not self._wait_for_page(children[0]):
                return 0 if self.stopping else 1
            say(f"{ADDRESS}   (Ctrl-C stops; logs: {VAR_DIR / 'logs'})")
            open_browser()
            children += [Child(name) for name in COMMANDS if name != "web"]  # the page came first
            while not self.stopping:
                for child in children:
                    child.watch()
                time.sleep(0.2)
        finally:
            self._end(children)
        return 0

    def _wait_for_page(self, web: Child) -> bool:
        deadline = time.monotonic() + READY_SECONDS
        while not self.stopping:
            if web.process.poll() is not None or time.monotonic() > deadline:
                last = web.log.read_text(errors="replace").splitlines()[-8:]
                say("\n".join(["the web server does not start:", *last]))
                return False
            if page_answers():
                return True
            time.sleep(0.05)
        return False

    def _end(self, children: list[Child]) -> None:
        say("stopping")
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        asked, deadline = self.stopping, time.monotonic() + STOP_SECONDS
        while any(child.process.poll() is None for child in children):
            if time.monotonic() > deadline or self.stopping > asked:  # a second Ctrl-C
                break
            time.sleep(0.05)
        for child in children:
            child.signal(signal.SIGKILL)
            child.process.wait()


def page_answers() -> bool:
    """Whether the portal answers that it and its servers work."""
    host = (os.environ.get("ALLOWED_HOSTS") or "localhost").split(",")[0].strip()
    request = urllib.request.Request(f"{ADDRESS}healthz", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def open_browser() -> None:
    """Opens the page where there is a screen; never fails."""
    opener = shutil.which("xdg-open")
    if opener and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        with contextlib.suppress(OSError):
            subprocess.Popen(
                [opener, ADDRESS],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )


def port_is_free() -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return False
        return True


def main(arguments: list[str]) -> int:
    """Runs the portal, or with `healthy` asks a running one (exit status 0 or 1)."""
    if arguments == ["healthy"]:
        return 0 if page_answers() else 1
    (VAR_DIR / "logs").mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((VAR_DIR / "run.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"a portal already runs on {VAR_DIR}; VAR_DIR=… PORT=… starts another")
        if not port_is_free():
            sys.exit(f"port {PORT} is taken; PORT=… make run uses another")
        portal = Portal()
        embedded = not os.environ.get("DATABASE_URL")
        if embedded:
            servers = stack.enter_context(Servers(VAR_DIR).lent())
            for name, address in servers.urls().items():
                os.environ.setdefault(name, address)
        prepare(embedded=embedded)
        return 0 if portal.stopping else portal.serve()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
