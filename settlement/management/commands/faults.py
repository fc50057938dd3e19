"""`faults`: the kill sweep. The same batch under every fault ends with the ledger of the calm run."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.test import Client
from django.utils import timezone

from institutions.access import EVERYTHING, scoped
from pricing.commands import load_shipped
from settlement.bench import portal, single
from settlement.faults import material, runs
from settlement.faults.place import Place

PATIENTS = 400
DISK_BYTES = 1536 * 1024 * 1024
LEFT_BYTES = 3 * 1024 * 1024


class Command(BaseCommand):
    help = "故障演练：在各断点杀死进程、停服务，恢复后账务必须与无故障时一致"

    def add_arguments(self, parser):
        parser.add_argument("--seeds", type=int, default=2, help="how many plans")
        parser.add_argument("--first", type=int, default=1, help="the first seed")
        parser.add_argument("--only", default="", help="faults whose name contains this")
        parser.add_argument("--json", default="", help="a file for the outcomes")
        parser.add_argument("--post", default="", help="send the claims of a file and end")

    def handle(self, *args, **options):
        if not settings.FAIL_POINTS:
            raise CommandError("FAIL_POINTS is off: DJANGO_ENV=test python manage.py faults")
        if options["post"]:
            send(Path(options["post"]))
            return
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with the command
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-faults-")))
            folder.chmod(0o755)
            disk = folder / "disk"
            disk.mkdir(mode=0o755)
            self.small = stack.enter_context(small_disk(disk))
            if not self.small:
                self.stdout.write("no disk of its own can be mounted here: “disk full” is left out")
            servers = stack.enter_context(portal.own_servers(str(disk)))
            outcomes = self.sweep(servers, folder, options)
        self.report(outcomes, options)

    def sweep(self, servers: Any, folder: Path, options: dict) -> list[runs.Outcome]:
        place, outside = self.prepared(servers, folder)
        calm = runs.settled(place, "portal", runs.CALM, outside, seed=0, calm="")
        calm_posts = runs.received(place, "portal", runs.CALM, seed=0, calm="")
        self.stdout.write(f"calm: {calm.state}, {calm.sm3} {calm_posts.state} {calm_posts.sm3}")
        outcomes = []
        for seed in range(options["first"], options["first"] + options["seeds"]):
            for fault in runs.planned(seed):
                left_out = fault.outside == "disk" and not self.small
                if options["only"] not in fault.name or left_out:
                    continue
                if fault.point in runs.RECEIVE:
                    outcome = runs.received(place, "portal", fault, seed=seed, calm=calm_posts.sm3)
                else:
                    outcome = runs.settled(
                        place, "portal", fault, outside, seed=seed, calm=calm.sm3
                    )
                outcomes.append(outcome)
                self.stdout.write(line_of(outcome))
                self.stdout.flush()
        return outcomes

    def prepared(self, servers: Any, folder: Path) -> tuple[Place, runs.Outside]:
        """The template: policies, a hospital, a confirmed batch, claims to be sent."""
        with scoped(EVERYTHING):
            load_shipped(by=material.BY, at=timezone.now())
        made = material.prepared(patients=PATIENTS)
        (folder / "posts.json").write_text(json.dumps(made.posts))
        connections.close_all()  # a database with sessions is not copied
        urls = servers.urls()
        socket = f"redis+socket://{servers.valkey_socket}"
        broker = redis.Redis(unix_socket_path=str(servers.valkey_socket))

        def flush() -> None:
            broker.flushall()

        acts: dict[str, Callable[[], None]] = {
            "flushall": flush,
            "broker": lambda: restart(servers, servers.queue / "valkey.pid"),
            "postgres": lambda: restart(servers, servers.data / "postmaster.pid"),
            "disk": lambda: full_disk(servers),
        }
        return Place(urls, socket, folder), runs.Outside(flush, acts)

    def report(self, outcomes: list[runs.Outcome], options: dict) -> None:
        sound = sum(outcome.sound for outcome in outcomes)
        points = {o.fault.rpartition(" ")[2] for o in outcomes if o.struck}
        slowest = max((o.seconds for o in outcomes), default=0.0)
        self.stdout.write(
            f"{sound} of {len(outcomes)} runs equal the calm run; {len(points)} points struck; "
            f"slowest close {slowest:.1f} s after the worker's return"
        )
        if options["json"]:
            text = json.dumps(
                [asdict(outcome) for outcome in outcomes], ensure_ascii=False, indent=1
            )
            Path(options["json"]).write_text(text, encoding="utf-8")
        if sound != len(outcomes):
            raise CommandError(f"{len(outcomes) - sound} runs differ")


def line_of(outcome: runs.Outcome) -> str:
    word = "equal" if outcome.sound else "DIFFERS"
    return (
        f"seed {outcome.seed:<3} {outcome.fault:42} nth {outcome.nth}  {word:8}"
        f" restarts {outcome.restarts}  {outcome.seconds:6.2f} s  {'; '.join(outcome.notes)}"
    )


def send(path: Path) -> None:
    """Post claims with their keys, one after the other; any answer but 201 is an error."""
    for key, claim in json.loads(path.read_text()):
        answer = Client().post(
            "/api/v1/claims", json.dumps(claim), content_type="application/json",
            headers={"Authorization": f"Bearer {single.TOKEN}", "Idempotency-Key": key},
        )  # fmt: skip
        if answer.status_code != 201:
            sys.exit(f"{key}: {answer.status_code} {answer.content.decode()[:500]}")


def restart(servers: Any, pid_file: Path) -> None:
    """Kill a server, leave it away for a moment, start it again."""
    runs.kill_server(pid_file)
    time.sleep(1)
    servers.start()


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of limited size at `folder`, where the system permits to mount one."""
    size = f"size={DISK_BYTES},mode=755"
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=False,
        capture_output=True,
    ).returncode  # fmt: skip
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["/bin/umount", "-l", str(folder)], check=False)


def full_disk(servers: Any) -> None:
    """Fill the servers' disk, let the batch run against it, make room, start what ended."""
    filler = servers.var / "filler"
    room = os.statvfs(servers.var)
    free = room.f_bavail * room.f_frsize - LEFT_BYTES
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free, 1))
    time.sleep(6)
    filler.unlink()
    servers.start()
