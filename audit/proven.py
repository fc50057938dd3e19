"""What can be shown of an event today: recomputed from its stored row up to the newest signed root.

Four steps, each of which may fail: the columns say what the body says, the body gives the leaf hash, the
log has that leaf at the event's place, its inclusion proof leads to the root. (RFC 9162 2.1.3)
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection

from audit import merkle, notes, proofs, sealer, trail
from audit.models import Archive, Checkpoint, Event, Leaf

ARCHIVED = "trail.archive"  #: the act that records an archive

#: What the columns of an event are called where they do not say what the body says.
COLUMNS = {
    "actor": "操作人", "action": "动作", "subject": "对象", "outcome": "结果", "region_code": "区域",
    "institution_code": "机构", "id": "事件编号", "at": "时间", "person_hash": "参保人哈希",
    trail.NO_JSON: "正文不是 JSON",
}  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """One event recomputed. `seq` and `checkpoint` are None while it waits for the sealer; `bound`:
    its body says whose data it was about, so that `person_hash` could be compared.
    """

    recomputed: bytes
    archive: Archive | None
    differing: tuple[str, ...]  #: columns, in Chinese
    seq: int | None
    checkpoint: Checkpoint | None
    way: tuple[bytes, ...]
    broken: tuple[str, ...]  #: why leaf, place or proof do not hold, in Chinese
    bound: bool

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that does not hold."""
        columns = (f"字段与正文不符（{'、'.join(self.differing)}）",) if self.differing else ()
        return (*columns, *self.broken)

    @property
    def holds(self) -> bool:
        """Whether nothing that could be recomputed differs."""
        return not self.faults

    @property
    def sealed(self) -> bool:
        """Whether a signed checkpoint covers it."""
        return self.checkpoint is not None


def proof_of(event: Event) -> Proof:
    """The proof of one event."""
    return proofs_of([event])[event.pk]


def proofs_of(events: Sequence[Event]) -> dict[uuid.UUID, Proof]:
    """The proofs of many events, in as many queries as for one."""
    leaves = {leaf.event: leaf for leaf in Leaf.objects.filter(event__in=[e.pk for e in events])}
    newest = trail.checkpoint()
    covered = {key: leaf for key, leaf in leaves.items() if newest and leaf.seq < newest.size}
    ways = _ways([leaf.seq for leaf in covered.values()], newest) if newest and covered else {}
    kept = _of_events(events, leaves)
    lost = sealer.passed_over([event.pk for event in events if event.pk not in leaves])
    found = {}
    for event in events:
        leaf = covered.get(event.pk)
        way = ways.get(leaf.seq) if leaf else None
        archive = kept.get(event.pk)
        recomputed = trail.leaf_hash(bytes(event.body), event.alg)
        broken = [] if archive or recomputed == bytes(event.leaf) else ["正文与叶哈希不符"]
        if event.pk in lost:
            broken.append("应已封存，但日志中没有它的位置")
        if leaf and newest:
            broken += _broken(event, leaf, newest, way)
        found[event.pk] = Proof(
            recomputed=recomputed, archive=archive, bound=archive is None and trail.bound(event),
            differing=() if archive else tuple(COLUMNS[name] for name in trail.differing(event)),
            seq=leaf.seq if leaf else None, checkpoint=newest if leaf else None,
            way=tuple(way or ()), broken=tuple(broken),
        )  # fmt: skip
    return found


@dataclass(frozen=True)
class First:
    """Of the events that say the same of one subject the one that was sealed first, proven.

    An event can be added to the log by whoever owns the database, but not before one that stands there:
    the place decides, never the time that an event gives itself. `others`: how many were added.
    """

    event: Event
    proof: Proof
    others: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Everything that does not hold, others of its kind included."""
        more = f"留痕中另有 {self.others} 条同类记录，以最先封存的一条为准"
        return (*((more,) if self.others else ()), *self.proof.faults)


def firsts(events: Iterable[Event]) -> dict[str, First]:
    """By subject the event sealed first; what waits for the sealer comes after what is sealed."""
    rows = list(events)
    shown = proofs_of(rows)
    of_subject: dict[str, list[Event]] = {}
    for event in sorted(rows, key=lambda row: (shown[row.pk].seq is None, shown[row.pk].seq or 0)):
        of_subject.setdefault(event.subject, []).append(event)
    return {
        subject: First(own[0], shown[own[0].pk], len(own) - 1)
        for subject, own in of_subject.items()
    }


def _broken(event: Event, leaf: Leaf, top: Checkpoint, way: Sequence[bytes] | None) -> list[str]:
    """What is wrong with the place of an event in the log."""
    if bytes(leaf.hash) != bytes(event.leaf):
        return ["叶哈希与日志所封存的不符"]
    if way is None:
        return ["日志缺少计算包含证明所需的哈希"]
    own = bytes(event.leaf)
    if not merkle.included(own, leaf.seq, top.size, way, bytes(top.root), top.alg):
        return ["包含证明不成立，推不出检查点的树根"]
    return []


def _ways(seqs: Sequence[int], top: Checkpoint) -> dict[int, list[bytes]]:
    """The inclusion proofs; a place whose proof needs a hash that is not there has none."""
    try:
        return dict(zip(seqs, proofs.inclusions(seqs, top.size, alg=top.alg), strict=True))
    except proofs.MissingNodeError:
        found = {}
        for seq in seqs:
            try:
                found[seq] = proofs.inclusion(seq, top.size, alg=top.alg)
            except proofs.MissingNodeError:
                continue
        return found


def archives() -> list[Archive]:
    """The archives that a sealed event records with the same range and SM3: a row alone proves nothing."""
    rows = {f"archive:{row.pk}": row for row in Archive.objects.all()}
    told = firsts(Event.objects.filter(action=ARCHIVED, subject__in=rows)) if rows else {}
    return [row for subject, row in rows.items() if _recorded(row, told.get(subject))]


def _recorded(row: Archive, first: First | None) -> bool:
    if first is None or first.proof.seq is None or not first.proof.holds:
        return False
    detail = (trail.said_of(first.event) or {}).get("detail", {})
    return all(detail.get(name) == getattr(row, name) for name in ("first", "last", "sm3"))


def _of_events(
    events: Iterable[Event], leaves: Mapping[uuid.UUID, Leaf]
) -> dict[uuid.UUID, Archive]:
    """The archives that hold the bodies of events that have none. Events that record one keep theirs."""
    empty = {
        e.pk: leaves[e.pk].seq
        for e in events
        if not e.body and e.action != ARCHIVED and e.pk in leaves
    }
    kept = archives() if empty else []
    return {
        key: archive for key, seq in empty.items() for archive in kept
        if archive.first <= seq < archive.last
    }  # fmt: skip


#: What `signed` found, in Chinese, and its tone.
SIGNATURE = {True: ("有效", "ok"), False: ("无效", "bad"), None: ("未能校验", "warn")}
UNCHECKED = "未能校验签名（openssl 不可用），请稍后再试"


def signed(checkpoint: Checkpoint) -> bool | None:
    """Whether the signature of a stored checkpoint fits its key, and its text its columns.

    None: it could not be checked, since the openssl command is missing or did not answer.
    """
    try:
        note = notes.parse(checkpoint.text)
        same = (note.size, note.root) == (checkpoint.size, bytes(checkpoint.root))
        return same and notes.verify(note, checkpoint.key.pem)
    except ValueError:
        return False
    except notes.SigningError:
        return None


# --- The whole log ---

CHUNK = 5_000  #: entries read at once
WAITING = "SELECT event.id FROM audit_event event WHERE {which}"


@dataclass
class Walk:
    """A walk through the whole log: how many entries, `unbound` and without a body among them."""

    entries: int = 0
    unbound: int = 0
    bare: int = 0
    size: int = 0  #: of the last checkpoint that agreed
    faults: tuple[str, ...] = ()

    def count(self, event: Event | None) -> None:
        """One entry more."""
        self.entries += 1
        self.bare += event is None or not event.body
        self.unbound += event is not None and bool(event.body) and not trail.bound(event)

    def compare(self, edge: merkle.Frontier, top: Checkpoint | None) -> Iterator[str]:
        """Whether the log as walked so far has the root that was signed at this size."""
        if top is None:
            return
        if edge.root() == bytes(top.root):
            self.size = top.size
        else:
            yield f"前 {top.size} 条的树根与检查点 {top.size} 不符"


def walk(*, signatures: bool = False) -> Walk:
    """Recompute every leaf, column, kept subtree and root of the log; the faults in the order of the log.

    Of the signatures only the newest is checked (openssl takes milliseconds for one), or all of them.
    """
    found, edge, faults, after = Walk(), merkle.Frontier(), [], -1
    tops = {row.size: row for row in Checkpoint.objects.defer("text")}
    while chunk := list(Leaf.objects.filter(seq__gt=after).order_by("seq")[:CHUNK]):
        after = chunk[-1].seq
        events = Event.objects.in_bulk([leaf.event for leaf in chunk])
        made: list[tuple[merkle.Place, bytes]] = []
        archived = _of_events(events.values(), {leaf.event: leaf for leaf in chunk})
        for leaf in chunk:
            event = events.get(leaf.event)
            wrong = _entry(leaf, event, edge.size, archived=leaf.event in archived)
            faults += [f"第 {leaf.seq} 条（{leaf.event}）：{why}" for why in wrong]
            found.count(event)
            made += edge.append(bytes(leaf.hash))
            faults += found.compare(edge, tops.pop(edge.size, None))
        faults += _subtrees(made)
    faults += [f"检查点 {size} 所称的条数多于日志" for size in sorted(tops)]
    rows = Checkpoint.objects.select_related("key").order_by("-size", "-pk")
    for top in rows.iterator() if signatures else rows[:1]:
        if not (valid := signed(top)):
            faults.append(f"检查点 {top.size} 的签名{SIGNATURE[valid][0]}")
    found.faults = (*faults, *_without_a_place())
    return found


def _subtrees(made: Sequence[tuple[merkle.Place, bytes]]) -> Iterator[str]:
    """The kept hashes that proofs are made of, where they are not what the leaves give."""
    stored = proofs.kept(place for place, _ in made)
    wrong = [place for place, computed in made if stored.get(place) != computed]
    if wrong:
        first = wrong[0]
        begin, end = first.idx << first.level, (first.idx + 1) << first.level
        more = f"，另有 {len(wrong) - 1} 个" if wrong[1:] else ""
        yield f"第 {begin} 至 {end - 1} 条的节点哈希缺失，或不是由其叶算得的{more}"


def _entry(leaf: Leaf, event: Event | None, place: int, *, archived: bool) -> Iterator[str]:
    """What is wrong with one entry of the log."""
    if leaf.seq != place:
        yield f"位置应为 {place}，其间有缺失"
    if event is None:
        yield "记录已不存在"
        return
    if bytes(leaf.hash) != bytes(event.leaf):
        yield "叶哈希与日志所封存的不符"
    if archived:
        return
    if trail.leaf_hash(bytes(event.body), event.alg) != bytes(event.leaf):
        yield "正文与叶哈希不符"
    if wrong := trail.differing(event):
        yield f"字段与正文不符（{'、'.join(COLUMNS[name] for name in wrong)}）"


def _without_a_place() -> Iterator[str]:
    """Events that were sealed once and have no place now."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING.format(which=sealer.UNSEALED))
        keys = [key for (key,) in cursor.fetchall()]
    for key in sorted(sealer.passed_over(keys)):
        yield f"记录 {key} 应已封存，但日志中没有它的位置"
