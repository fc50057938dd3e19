"""One fault, one run: break something, let the supervisor start what ended, wait, compare."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np
from celery import current_app
from kombu import Connection, Producer

from settlement.batch.parts import CHUNK_TASK
from settlement.faults.place import Clone, Place, Worker, first_difference, working

LONGEST = 60.0  #: seconds in which nothing moves, until a run counts as stuck
SLEEP = 1.5  #: less than a session may stand still
TICK = 0.1
#: Points that a batch passes once per chunk, and those that it passes once.
PER_CHUNK = (
    "lease.counted", "lease.taken", "chunk.begun", "chunk.read", "chunk.locked", "chunk.settled",
    "chunk.copying", "chunk.copied.settlement", "chunk.copied.lineresult", "chunk.copied.leg", "chunk.years",
    "chunk.event", "chunk.done", "chunk.committed",
)  # fmt: skip
ONCE = ("load.begun", "load.read", "load.claims", "load.lines", "load.frozen", "load.stored",
        "close.summed", "close.saved", "sweep.begun", "sweep.rung")  # fmt: skip
RECEIVE = ("receive.keyed", "receive.locked", "receive.settled", "receive.stored")
#: What is done with the batch before the workers come (material.ACTS); the points that they pass only
#: then, and how often at least.
BEFORE = {
    "send_again": (("check.begun", "check.stored"), 1),
    "tire": (("split.made",), 2),
    "give_back": (("undo.begun", "undo.reversed"), 2),
}
KILLS = ("kill", "crash")
#: A stopped host: between lease and work (fenced by the epoch), inside the transaction, and (the point
#: chunk.copying) while the server waits for the rest of a COPY.
STOPPED = (
    "lease.taken",
    "lease.counted",
    "chunk.begun",
    "chunk.locked",
    "chunk.copied.leg",
    "chunk.done",
)
OUTAGES = ("flushall", "broker", "postgres", "sessions", "disk")
AGAIN = 3.0  #: seconds for which sessions are ended again and again, as fast as they come
#: What everybody feels who works on these servers.
EVERYBODY = ("flushall", "broker", "postgres", "disk")
WELL = ("closed", "reversed")
ENDED = (*WELL, "failed")


@dataclass(frozen=True)
class Fault:
    """What is broken where: a fail point and its action, what happens outside meanwhile, and what before."""

    point: str
    action: str
    nth: int = 1
    processes: int = 1
    outside: str = ""
    before: str = ""

    @property
    def name(self) -> str:
        word = self.outside or self.action or "nothing"
        return f"{word} at {self.point}" if self.point else word

    @property
    def ledger(self) -> str:
        """Which of the calm ledgers a batch must end with, however it was checked or split."""
        return "given_back" if self.before == "give_back" else "batch"


CALM, GIVEN_BACK = Fault("", ""), Fault("", "", before="give_back")


@dataclass
class Outcome:
    """How a run ended; `seconds` of work from the strike, or the last start of a worker, to the end.

    `kills` is the point at which a process is to be killed, if one is.
    """

    seed: int
    fault: str
    nth: int
    kills: str = ""
    struck: bool = False
    state: str = ""
    sm3: str = ""
    equal: bool = False
    restarts: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, fault: Fault, seed: int) -> "Outcome":
        kills = fault.point if fault.action in KILLS else ""
        return cls(seed, fault.name, fault.nth, kills)

    @property
    def sound(self) -> bool:
        return self.state in WELL and self.equal and not self.notes


def planned(seed: int) -> list[Fault]:
    """The faults of a seed: every point killed or crashed, each kind of outage at points by chance."""
    chance = np.random.default_rng(seed)

    def one(words: Sequence[str]) -> str:
        return words[int(chance.integers(len(words)))]

    def nth(most: int) -> int:
        return int(chance.integers(1, most + 1))

    faults = []
    for point in PER_CHUNK + ONCE:
        processes = 1 if point in ONCE else int(chance.choice([1, 1, 2]))
        most = 1 if point in ONCE else 4 // processes
        faults.append(Fault(point, one(KILLS), nth(most), processes))
    faults += [Fault(one(points), "raise") for points in (PER_CHUNK, ONCE[:6])]
    faults += [Fault(one(PER_CHUNK), "sleep", nth(4), outside=word) for word in OUTAGES]
    faults.append(Fault("", "", outside="trembling"))
    faults += [Fault(one(STOPPED[1:]), "stop"), Fault("lease.taken", "stop", nth(3))]
    faults.append(Fault("chunk.copying", "stop", nth(6)))
    faults.append(Fault("", "", outside="messages", processes=4))
    faults += [Fault(point, "kill", nth(8)) for point in RECEIVE]
    for act, (points, most) in BEFORE.items():
        faults += [Fault(point, one(KILLS), nth(most), before=act) for point in points]
    return faults


@dataclass
class Outside:
    """What can be done to the servers: empty the broker, stop it, kill PostgreSQL, fill the disk."""

    flush: Callable[[], object]
    acts: dict[str, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Calm:
    """The SM3 of the ledger without any fault: of a batch, of claims sent one by one, of one given back."""

    batch: str
    posts: str
    given_back: str


def calm_of(place: Place, outside: Outside) -> Calm:
    """Run without a fault. Whether a batch was loaded before or is now, the ledger is one."""
    batch = settled(place, place.waiting, CALM, outside, seed=0, calm="")
    loaded = settled(place, place.loaded, CALM, outside, seed=0, calm=batch.sm3)
    posts = received(place, place.waiting, CALM, seed=0, calm="")
    given_back = settled(place, place.loaded, GIVEN_BACK, outside, seed=0, calm="")
    if not loaded.sound or posts.state != "closed" or given_back.state != "reversed":
        raise ValueError(f"the calm run fails: {batch} {loaded} {posts} {given_back}")
    return Calm(batch.sm3, posts.sm3, given_back.sm3)


def outcome_of(place: Place, fault: Fault, outside: Outside, *, seed: int, calm: Calm) -> Outcome:
    """Run one fault: on claims sent one by one, on a batch to be loaded, or on one that is loaded."""
    if fault.point in RECEIVE:
        return received(place, place.waiting, fault, seed=seed, calm=calm.posts)
    whole = fault.point in ONCE or fault.outside == "messages" or fault.before == "send_again"
    template = place.waiting if whole else place.loaded
    return settled(place, template, fault, outside, seed=seed, calm=getattr(calm, fault.ledger))


@dataclass
class Lanes:
    """Places on the same servers, where faults that only their own workers feel happen side by side."""

    lanes: Sequence[tuple[Place, Outside]]
    free: "SimpleQueue[tuple[Place, Outside]]" = field(default_factory=SimpleQueue)

    def __post_init__(self) -> None:
        for lane in self.lanes:
            self.free.put(lane)

    def outcomes(self, faults: Sequence[Fault], *, seed: int, calm: Calm) -> Iterator[Outcome]:
        """The faults of a seed: those that everybody feels come last and alone."""

        def one(fault: Fault) -> Outcome:
            place, outside = self.free.get()
            try:
                return outcome_of(place, fault, outside, seed=seed, calm=calm)
            finally:
                self.free.put((place, outside))

        alone = [fault for fault in faults if fault.outside in EVERYBODY]
        with ThreadPoolExecutor(len(self.lanes)) as pool:
            yield from pool.map(one, [fault for fault in faults if fault not in alone])
        yield from map(one, alone)


def settled(place: Place, template: str, fault: Fault, outside: Outside, *, seed: int,
            calm: str) -> Outcome:  # fmt: skip
    """Run one fault on a batch that waits to be settled; `calm` is the SM3 without any fault."""
    outcome = Outcome.of(fault, seed)
    outside.flush()
    with place.clone(template) as clone:
        spent = place.folder / f"struck-{place.label}"
        plan = f"{fault.point}:{fault.nth}:{fault.action}" if fault.point else ""
        worker = Worker(clone, f"w{place.label}", fault.processes, plan, spent, seconds=SLEEP)
        if fault.before:
            place.act(fault.before, clone.urls)
        began = time.time()
        if fault.outside and not fault.point:
            spent.touch()  # nothing strikes: what is done outside is done at once
        with working(worker), _second(fault, clone, spent) as second:
            _until_ended(clone, worker, second, outcome, spent, _act_of(fault, outside, clone))
            ended = time.time()
            _awakened(worker, second, clone, outcome)
        outcome.struck = spent.exists()
        outcome.restarts = worker.starts - 1
        if outcome.restarts and fault.outside == "messages":
            outcome.notes.append("a message ended the worker")
        began = max(began, worker.began, spent.stat().st_mtime if outcome.struck else 0)
        outcome.seconds = round(max(ended - began, 0.0), 2)
        _compare(clone, outcome, calm, fault.ledger)
    if fault.point and not outcome.struck:
        outcome.notes.append("the point was not reached")
    return outcome


def _compare(clone: Clone, outcome: Outcome, calm: str, kind: str) -> None:
    """With the calm run, whose dump is kept; a difference is told by its first line."""
    outcome.sm3 = clone.sm3()
    outcome.equal = outcome.sm3 == calm
    if not calm:
        clone.keep(f"calm-{kind}")
    elif not outcome.equal and outcome.state in WELL:
        kept = clone.place.folder / f"calm-{kind}.dump"
        outcome.notes.append(first_difference(kept, clone.keep(f"other-{clone.place.label}")))


def _act_of(fault: Fault, outside: Outside, clone: Clone) -> Callable[[], object] | None:
    if fault.outside == "messages":
        return lambda: send_messages(clone, times=50)
    if fault.outside == "sessions":
        return clone.end_sessions
    if fault.outside == "trembling":
        return lambda: tremble(clone)
    return outside.acts.get(fault.outside)


def tremble(clone: Clone) -> None:
    """End the sessions again and again, at moments of chance."""
    chance = np.random.default_rng([clone.place.lane, clone.place.made])
    end = time.monotonic() + AGAIN
    while time.monotonic() < end:
        clone.end_sessions()
        time.sleep(float(chance.random()) * 0.1)


def _until_ended(clone: Clone, worker: Worker, second: Worker | None, outcome: Outcome, spent: Any,
                 act: Callable[[], object] | None) -> None:  # fmt: skip
    """Watch the batch and the workers; do once, when the point is struck, what is done outside.

    A slow machine is waited for; nothing that moves for LONGEST seconds is a stand-still.
    """
    seen: object = None
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        if act is not None and spent.exists():
            act()
            act = None
        signs = clone.signs()
        if signs is not None:
            outcome.state = signs[0]
        if outcome.state in ENDED:
            return
        if second is None:
            worker.watch()
        elif spent.exists() and not second.starts:
            worker.signal(signal.SIGSTOP)
            second.start()
        now = (signs, worker.starts, second and second.starts, act is None)
        if now != seen:
            seen, end = now, time.monotonic() + LONGEST
        time.sleep(TICK)
    outcome.notes.append(f"nothing moved for {LONGEST:.0f} s")


@contextlib.contextmanager
def _second(fault: Fault, clone: Clone, spent: Any) -> Iterator[Worker | None]:
    """For a worker that is stopped: another that takes over."""
    if fault.action != "stop":
        yield None
        return
    other = Worker(clone, f"v{clone.place.label}")
    try:
        yield other
    finally:
        other.end()


def _awakened(worker: Worker, second: Worker | None, clone: Clone, outcome: Outcome) -> None:
    """Continue the stopped worker after somebody else did its chunk: it must change nothing."""
    if second is None:
        return
    before = clone.sm3()
    worker.signal(signal.SIGCONT)
    time.sleep(2)
    if clone.sm3() != before:
        outcome.notes.append("the worker that came back changed the ledger")


def send_messages(clone: Clone, *, times: int) -> None:
    """Strange ones at once; then, as soon as there are chunks, many for each of them."""
    send_strange(clone)
    ids: Sequence[int] = []
    end = time.monotonic() + LONGEST / 2
    while not ids and time.monotonic() < end:
        ids = clone.ask("SELECT coalesce(array_agg(id), '{}') FROM settlement_chunk") or []
        time.sleep(TICK)
    with Connection(clone.place.broker) as connection:
        for chunk in list(ids) * times:
            current_app.send_task(CHUNK_TASK, args=[chunk], connection=connection)


def send_strange(clone: Clone) -> None:
    """Messages that no bell of ours rings: the worker notes and drops them, and goes on."""
    pickled, cut_off = "application/x-python-serialize", "application/json"
    with Connection(clone.place.broker) as connection:
        for args in ([2**40], [2**80], ["x"], [None], [True], [-1], [], [1, 2], ["y" * 5_000_000]):
            current_app.send_task(CHUNK_TASK, args=args, connection=connection)
        current_app.send_task("settlement.no_such_task", connection=connection)
        producer = Producer(connection)
        for kind, body in ((pickled, b"\x80\x04N."), (cut_off, b'{"args": ['), ("text/x", b"\xff")):
            producer.publish(
                body, routing_key="celery", exchange="", content_type=kind,
                content_encoding="binary", headers={"task": CHUNK_TASK, "id": "strange"},
            )  # fmt: skip


def received(place: Place, template: str, fault: Fault, *, seed: int, calm: str) -> Outcome:
    """Kill a process that takes single claims; whoever comes next sends the same keys again."""
    outcome = Outcome.of(fault, seed)
    with place.clone(template) as clone:
        spent = place.folder / f"struck-{place.label}"
        plan = f"{fault.point}:{fault.nth}:{fault.action}" if fault.point else ""
        status = -1
        while status and outcome.restarts < 5:
            status = _post(clone, plan, str(spent))
            outcome.restarts += bool(status)
        outcome.struck = spent.exists()
        outcome.state = "failed" if status else "closed"
        _compare(clone, outcome, calm, "posts")
    if fault.point and not outcome.struck:
        outcome.notes.append("the point was not reached")
    return outcome


def _post(clone: Clone, plan: str, spent: str) -> int:
    armed = {"FAILPOINT": plan, "FAILPOINT_SPENT": spent} if plan else {}
    folder = clone.place.folder
    sent = clone.place.host.start(
        "posts", [str(folder / "posts.json")], clone.urls | armed, folder / "posts.log"
    )
    return sent.wait()


def kill_server(pid_file: Any) -> None:
    """SIGKILL to the process that a pid file names."""
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
