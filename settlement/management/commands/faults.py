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
from django.utils import timezone

from institutions.access import EVERYTHING, scoped
from pricing.commands import load_shipped
from settlement import failpoints
from settlement.bench import portal
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
        parser.add_argument("--lanes", type=int, default=3, help="faults side by side")
        parser.add_argument("--only", default="", help="faults whose name contains this")
        parser.add_argument("--json", default="", help="a file for the outcomes")

    def handle(self, *args, **options):
        if not settings.FAIL_POINTS:
            raise CommandError("FAIL_POINTS is off: DJANGO_ENV=test python manage.py faults")
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
            lanes = self.prepared(servers, folder, options["lanes"])
            for place, _ in lanes:
                stack.enter_context(place)
            outcomes = self.sweep(runs.Lanes(lanes), options)
        self.report(outcomes, options)

    def sweep(self, lanes: runs.Lanes, options: dict) -> list[runs.Outcome]:
        calm = runs.calm_of(*lanes.lanes[0])
        self.stdout.write(f"calm: {calm.batch} {calm.posts} {calm.given_back}")
        outcomes = []
        for seed in range(options["first"], options["first"] + options["seeds"]):
            faults = [
                fault for fault in runs.planned(seed)
                if options["only"] in fault.name and (fault.outside != "disk" or self.small)
            ]  # fmt: skip
            for outcome in lanes.outcomes(faults, seed=seed, calm=calm):
                outcomes.append(outcome)
                self.stdout.write(line_of(outcome))
                self.stdout.flush()
        return outcomes

    def prepared(self, servers: Any, folder: Path, lanes: int) -> list[tuple[Place, runs.Outside]]:
        """The template (policies, a hospital, a confirmed batch), claims to be sent, and the lanes."""
        with scoped(EVERYTHING):
            load_shipped(by=material.BY, at=timezone.now())
        made = material.prepared(patients=PATIENTS)
        (folder / "posts.json").write_text(json.dumps(made.posts))
        connections.close_all()  # a database with sessions is not copied
        waiting = str(settings.DATABASES["default"]["NAME"])
        return [
            (
                Place(
                    servers.urls(), f"redis+socket://{servers.valkey_socket}?virtual_host={lane}",
                    folder, waiting, made.batch, lane,
                ),
                self.outside(servers, lane),
            )
            for lane in range(lanes)
        ]  # fmt: skip

    def outside(self, servers: Any, lane: int) -> runs.Outside:
        broker = redis.Redis(unix_socket_path=str(servers.valkey_socket), db=lane)
        acts: dict[str, Callable[[], object]] = {
            "flushall": broker.flushall,
            "broker": lambda: restart(servers, servers.queue / "valkey.pid"),
            "postgres": lambda: restart(servers, servers.data / "postmaster.pid"),
            "disk": lambda: full_disk(servers),
        }
        return runs.Outside(broker.flushdb, acts)

    def report(self, outcomes: list[runs.Outcome], options: dict) -> None:
        sound = sum(outcome.sound for outcome in outcomes)
        points = {o.kills for o in outcomes if o.kills and o.struck}
        slowest = max((o.seconds for o in outcomes), default=0.0)
        self.stdout.write(
            f"{sound} of {len(outcomes)} runs equal the calm run; processes were killed at "
            f"{len(points)} of {len(failpoints.POINTS)} points; slowest end {slowest:.1f} s after the "
            "strike or the worker's return"
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
