"""`bench`: figures as JSON lines and a table, each beside a floor of the same run."""

import json
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from institutions.access import EVERYTHING, scoped
from pricing.commands import load_shipped
from pricing.releases import current
from settlement import sheets
from settlement.bench import batches, data, floor, growth, kernel, portal, single
from settlement.periods import posting_month

USUAL_N = 100_000
NAIVE_CLAIMS = 300
WORKERS = {1: "batch.1worker", 2: "batch.2workers", 4: "batch.4workers"}  #: by processes
SINGLE = ("single.p50", "single.p99", "single.rps")
PAGES = 40  #: times that a page is opened beside nothing, and at least beside batches
SINGLE_CLAIMS = 400
#: What a claim is here, and what others measured with the same shape.
SHAPE = (
    "A claim is one consultation and two drugs: the shape that openIMIS measures with (one item and two "
    "services). Its batch settles 84 to 140 such claims a second on a machine of two cores, its single path "
    "11. Everything here is durable (fsync, synchronous_commit) and complete: facts of each claim, ledger "
    "legs, person-years, accounts, event and SM3 digest of each chunk, all keys, checks and triggers. "
    "The floor moves the same finished rows, those of persons too, out of and into equal tables and does "
    "nothing else. The claims of a batch are invented and written by the loader itself; a file of the "
    f"product holds at most {sheets.MAX_CLAIMS:,}, a million comes in several (docs/scaling.md)."
)
MEANINGS = {
    "batch.1worker": "a batch, one worker, all durable; floor: COPY of the same rows, one stream",
    "batch.2workers": "the same with two workers; floor: two streams",
    "batch.4workers": "the same with four workers; floor: four streams",
    "batch.growth": "cost per claim of a batch of n; floor: of five of half n (most 100,000), in turns",
    "batch.rss_mb": "peak resident memory of a worker; floor: the most it may be",
    "batch.updates": "updated or deleted rows of claims, lines and results",
    "kernel.settle": "the kernel: checks and fold, lines/s",
    "kernel.vs_python": "the kernel's fold alone, lines/s; floor: the same fold in plain Python",
    "kernel.share": "share of the kernel in the time of the same chunk; the middle one of a batch",
    "kernel.difference": "fen between the kernel and plain Python",
    "batch.vs_orm": "a batch, claims/s; floor: model objects, a transaction per claim, in turns",
    "single.p50": "one claim by HTTP, one connection; floor: bare statements of the same rows",
    "single.p99": "the same, the slowest of a hundred; floor: the slowest of a hundred bare ones",
    "single.rps": "claims by HTTP, eight connections; floor: bare statements, eight connections",
    "precheck.p50": "hints on a visit of one line by HTTP; floor: a trial of it, at most two of them",
    "single.in_batch": "one claim by HTTP while two workers settle batches of N; floor: while none does",
    "page.in_batch": "the list of claims opened in turns with those; floor: while no batch is settled",
    "start.again": "second start until a page is served",
    "report.pages_per_second": "pages of a register of 200, laid out by two worker processes and joined",
    "report.rss_mb": "peak resident memory of such a worker; floor: the most it may be",
    "audit.year_1m": "all rules over a year of claims, read to stored, scaled to 1,000,000; floor: the most",
    "rules.recall": "planted violations of the rule that an audit finds",
    "rules.precision": "findings of the rule that are planted ones",
    "rules.crossed": "findings of the rule that touch what was planted for another; n: with the right ones",
    "rules.false_findings": "findings in the same practice without plants; n: claims",
    "list.first_page": "first page of claims under the slowest of all filters, page and interface",
}


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    floor: float | None
    ratio: float | None
    n: int


class Command(BaseCommand):
    help = "测量：批量结算、内核、单笔、启动和列表；在自己的数据库中进行"

    def add_arguments(self, parser):
        parser.add_argument("--n", type=int, default=USUAL_N, help="claims in the batch")
        parser.add_argument(
            "--only", default="", help="figures whose names start with one of these (a,b)"
        )
        parser.add_argument("--out", default=str(settings.BASE_DIR / "docs" / "benchmarks.md"))

    def handle(self, *args, **options):
        if options["n"] < 1_000:
            raise CommandError("N must be 1,000 or more")
        self.n, self.only, self.figures = options["n"], options["only"].split(","), []
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with the command
        with tempfile.TemporaryDirectory(prefix="portal-bench-") as var, portal.own_servers(var):
            with scoped(EVERYTHING):
                load_shipped(by=data.BY, at=timezone.now())
                data.region()
            with transaction.atomic(using="settler"), connections["settler"].cursor() as cursor:
                posting_month(data.REGION, data.AT, cursor=cursor)
                posting_month(data.REGION, timezone.now(), cursor=cursor)
            batches.warm(data.loaded_batch(1_000, seed=9, tag="W"))
            try:
                self.measure()
            finally:  # what was measured before a failure is kept
                self.table()
                Path(options["out"]).write_text(self.page(), encoding="utf-8")

    def measure(self) -> None:
        """Growth first: its copies are made of the empty database."""
        for names, step in (
            (("batch.growth",), self.growth),
            ((*WORKERS.values(), "batch.rss_mb", "batch.updates"), self.batch),
            (("batch.vs_orm", "kernel.share"), self.in_turns),
            (("kernel.settle", "kernel.vs_python", "kernel.difference"), self.kernel),
            ((*SINGLE, "precheck.p50", "page.in_batch"), self.single),
            (("list.first_page",), self.lists),
            (("audit", "rules"), self.audits),
            (("report",), self.report),
            (("start.again",), self.start),
        ):
            if self.wanted(*names):
                step()

    def lists(self) -> None:
        if not any(figure.name in WORKERS.values() for figure in self.figures):
            batches.rate(data.loaded_batch(self.n, seed=1, tag="A"), 2)
        self.figure("list.first_page", portal.first_page(), "ms", 100.0, self.n)

    def audits(self) -> None:
        """What supervision measures: a higher package, by name."""
        for figure in import_string("supervision.bench.measure.figures")(self.n):
            self.figure(*figure)

    def report(self) -> None:
        found = import_string("supervision.bench.reports.measure")()
        self.figure("report.pages_per_second", found.pages_per_second, "pages/s", None, found.pages)
        self.figure("report.rss_mb", found.rss_mb, "MB", 300.0, found.pages)

    def start(self) -> None:
        self.figure("start.again", portal.start_again(), "s", 5.0, 1)

    def wanted(self, *names: str) -> bool:
        """Whether one of these figures, or of these families of figures, was asked for."""
        return any(
            name.startswith(only) or only.startswith(f"{name}.")
            for name in names for only in self.only
        )  # fmt: skip

    def figure(self, name: str, value: float, unit: str, base: float | None, n: int) -> None:
        """Print and keep a wanted figure; the ratio is value over floor, also where smaller is better."""
        if not self.wanted(name):
            return
        ratio = value / base if base else None
        figure = Figure(name, _short(value) or 0.0, unit, _short(base), _short(ratio), n)
        self.figures.append(figure)
        self.stdout.write(json.dumps(asdict(figure), ensure_ascii=False))
        self.stdout.flush()

    def batch(self) -> None:
        before = batches.updates()
        first = data.loaded_batch(self.n, seed=1, tag="A")
        _, memory = batches.rate(first, 2)
        work = floor.shares(first)
        for workers, name in WORKERS.items():
            if self.wanted(name):
                again = data.loaded_batch(self.n, seed=1, tag=f"B{workers}x")
                speed, base = floor.alternating(again, work, workers)
                self.figure(name, speed, "claims/s", base, self.n)
        self.figure("batch.rss_mb", memory, "MB", 600.0, self.n)
        self.figure("batch.updates", batches.updates() - before, "rows", None, self.n)

    def in_turns(self) -> None:
        batch = data.loaded_batch(self.n, seed=2, tag="T")
        other = data.loaded_batch(NAIVE_CLAIMS, seed=3, tag="C")
        found = batches.in_turns(batch, other)
        self.figure("batch.vs_orm", found.per_second, "claims/s", found.naive, NAIVE_CLAIMS)
        self.figure("kernel.share", found.kernel, "of wall time", 0.05, self.n)

    def kernel(self) -> None:
        n = min(max(self.n, 1_000), 333_334)
        invented = data.invent(n, batches.np.arange(1, n // 5 + 2), seed=4, tag="K")
        rules = current().rules("wenzhou", data.AT.date())
        if rules is None:
            raise CommandError("no policy is published")
        done = kernel.compare(invented.claims, invented.lines, rules)
        self.figure("kernel.settle", done.settled, "lines/s", None, done.lines)
        self.figure("kernel.vs_python", done.folded, "lines/s", done.plain, done.lines)
        self.figure("kernel.difference", done.difference, "fen", None, done.lines)

    def single(self) -> None:
        with scoped(EVERYTHING):
            numbers = single.prepare()
        port = portal.free_port()
        with single.web(port):
            client = single.by_http(port, numbers)
            if self.wanted(*SINGLE):
                bare = single.bare(single.values_of_one(numbers[0]))
                base, found = single.compared([bare, client], SINGLE_CLAIMS)
                self.figure("single.p50", found.p50_ms, "ms", base.p50_ms, SINGLE_CLAIMS)
                self.figure("single.p99", found.p99_ms, "ms", base.p99_ms, SINGLE_CLAIMS)
                self.figure(
                    "single.rps", found.per_second, "claims/s", base.per_second, SINGLE_CLAIMS
                )
            if self.wanted("precheck.p50"):
                trial, hints = single.compared(single.reminding(port, numbers), SINGLE_CLAIMS)
                self.figure("precheck.p50", hints.p50_ms, "ms", trial.p50_ms, SINGLE_CLAIMS)
            if self.wanted("single.in_batch", "page.in_batch"):
                self.beside_a_batch(client, single.a_page(port))

    def beside_a_batch(self, client: Callable, page: Callable[[], None]) -> None:
        """A claim and a page while a batch is settled, and just before while none is."""
        alone, calm = single.compared([client, lambda: page], PAGES)
        acts = client(), page
        times: list[list[float]] = [[] for _ in acts]
        while len(times[-1]) < PAGES:  # a small batch is over soon: another one follows
            batch = data.loaded_batch(self.n, seed=7, tag=f"H{len(times[-1])}x")
            single.meanwhile(partial(batches.rate, batch, 2), acts, times)
        for name, calmly, busy in zip(
            ("single.in_batch", "page.in_batch"), (alone, calm), times, strict=True
        ):
            self.figure(name, statistics.median(busy), "ms", calmly.p50_ms, len(busy))

    def growth(self) -> None:
        large, small = growth.measure(self.n)
        self.figure("batch.growth", large * 1e6, "µs/claim", small * 1e6, self.n)

    def table(self) -> None:
        for figure in self.figures:
            self.stdout.write(
                f"{figure.name:18} {figure.value:>12,g} {figure.unit:12}"
                f" floor {figure.floor if figure.floor is not None else '–':>12}"
                f" ratio {figure.ratio if figure.ratio is not None else '–':>8} n {figure.n:,}"
            )

    def page(self) -> str:
        head = (
            "# Measured\n\nWritten by `make bench`; do not edit. Rates depend on the machine and "
            "on what else runs; the ratio to a floor measured in the same run is what counts.\n\n"
            f"{os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{timezone.localdate():%Y-%m-%d}, N = {self.n:,} claims of "
            f"{data.LINES_PER_CLAIM} lines.\n\n{SHAPE}\n\n"
            "| figure | value | unit | floor | ratio | n | what |\n|---|--:|---|--:|--:|--:|---|\n"
        )
        rows = [
            f"| {f.name} | {f.value:,g} | {f.unit} | {'' if f.floor is None else f'{f.floor:,g}'} |"
            f" {'' if f.ratio is None else f.ratio} | {f.n:,} | {_meaning(f.name)} |"
            for f in self.figures
        ]
        return head + "\n".join(rows) + "\n"


def _short(value: float | None) -> float | None:
    """Four significant digits."""
    return None if value is None else float(f"{value:.4g}")


def _meaning(name: str) -> str:
    """What a figure is; one of a family (`rules.recall.…`) is explained by the family."""
    return MEANINGS.get(name) or MEANINGS[name.rpartition(".")[0]]
