"""Ordering a report: asked for, gathered once inside the reader's scope, printed in parts, kept.

The database is the queue: a task carries an id, a row lock is the lease, what a dead worker left is rung
for again by the sweep. A cancelled order stops before its next part. The figures are read at one moment,
which the report names, and frozen before the first page is laid out; every page comes from them.
"""

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils.module_loading import import_string

from audit import clock, reports, tasks, trail
from audit.doorbell import ring
from audit.models import Checkpoint, Report
from institutions.access import EVERYTHING, scoped
from institutions.models import Office, Region, User
from institutions.refusals import Refusal, refused
from settlement.looks import taken
from settlement.terms import cite
from supervision.models import ReportOrder, ReportPart
from supervision.reports import press
from supervision.reports.book import span_name
from supervision.reports.kinds import KINDS, Kind
from supervision.reports.wish import Wish

LOCK = 0x0DE5_0DE5  #: advisory keys of orders that are gathered or joined
Moment = dt.datetime | Callable[[], dt.datetime]
GATHER_TASK, PART_TASK = "supervision.gather_report", "supervision.print_part"
FINISH_TASK = "supervision.finish_report"
ATTEMPTS = 3
AGENCY_SIDE = "医保经办"
TAILS = ("特别行政区", "维吾尔自治区", "壮族自治区", "回族自治区", "自治区", "自治州", "省", "市")
State = ReportOrder.State
Kept = TypeVar("Kept")


@transaction.atomic
def order(*, kind: str, wish: Wish, user: User, by: str, at: dt.datetime) -> ReportOrder:
    """Ask for a report about what `user` may see; a worker makes it."""
    chosen = KINDS.get(kind)
    if chosen is None or not (user.may("reports.make") and user.may(chosen.permission)):
        raise refused("kind", "KIND", "无权编制此类报告", "not allowed", status=403)
    if chosen.needs_institution and not wish.institution:
        raise refused("institution", "REQUIRED", "请选择医疗机构", "choose an institution")
    if "day" in chosen.asks and wish.day is None:
        raise refused("day", "REQUIRED", "请填写前后分界日", "choose the dividing day")
    wish.check(user)
    if chosen.about_one is not None:
        wish = chosen.about_one(wish, user)
    place = Region.objects.get(pk=wish.region)
    row = ReportOrder.objects.create(
        kind=kind, title=_title(chosen, wish, place), number=_number(place, at),
        parameters=wish.as_json(), region_code=wish.region, institution_code=wish.institution,
        asked_at=at.replace(microsecond=0), asked_by=by,
    )  # fmt: skip
    _record(row, "reportorder.open", by, row.asked_at, {"kind": kind, "parameters": row.parameters})
    transaction.on_commit(partial(ring, GATHER_TASK, [row.pk]))
    return row


@transaction.atomic
def cancel(*, order_id: int, by: str, at: dt.datetime) -> ReportOrder:
    """Stop an order: no further part is begun, nothing is kept."""
    row = ReportOrder.objects.select_for_update().get(pk=order_id)
    if not row.is_open:
        raise refused("state", "ENDED", "报告已经结束，不能取消", "has ended", status=409)
    row.state, row.finished_at = State.CANCELLED, at
    row.save(update_fields=["state", "finished_at"])
    # A part under way holds its own row and wants this one next: it is left alone, see print_part.
    row.parts.filter(done_at__isnull=False).update(content=None)
    _record(row, "reportorder.cancel", by, at, {"parts_done": row.parts_done})
    return row


def file_of(row: ReportOrder) -> bytes:
    """The PDF of a finished report; Refusal (409) where it is not the one that was recorded."""
    return _unchanged(reports.read, row, "文件")


def content_of(row: ReportOrder) -> dict[str, Any]:
    """The data behind a finished report; Refusal (409) where they are not those that were recorded."""
    return _unchanged(reports.content_of, row, "数据")


def opened(row: ReportOrder, *, by: str, at: dt.datetime) -> None:
    """Record that somebody takes a report away; of a file about a person it is about that person."""
    kind, made = KINDS[row.kind], row.report
    if made is None:
        raise LookupError(f"report order {row.pk} is not finished")
    taken(
        persons=kind.persons(Wish.of(row.parameters)) if kind.persons else (), by=by, at=at,
        action="report.read", subject=f"report:{made.pk}", region_code=row.region_code,
        institution_code=row.institution_code, detail={"sm3": made.sm3},
    )  # fmt: skip


def found_changed(row: ReportOrder, refusal: Refusal, *, by: str, at: dt.datetime) -> None:
    """Record that what is kept of a report is not what was recorded, wherever somebody came upon it."""
    trail.record(
        by=by, at=at, action="report.check", subject=f"report:{row.report_id}", outcome="refused",
        region_code=row.region_code, institution_code=row.institution_code,
        detail={"code": refusal.code},
    )  # fmt: skip


def _unchanged(read: Callable[[Report], Kept], row: ReportOrder, what: str) -> Kept:
    if row.report is None:
        raise LookupError(f"report order {row.pk} is not finished")
    try:
        return read(row.report)
    except reports.ChangedFileError as error:
        raise changed(what) from error


def changed(what: str) -> Refusal:
    """The refusal of a kept report whose file or data are not those that were recorded."""
    detail = f"所存报告的{what}与登记的 SM3 不符或已缺失，不予提供；请保存现场并报告审计管理员"
    return refused("report", "REPORT_CHANGED", detail, "was changed", status=409)


@contextmanager
def _alone(order_id: int) -> Iterator[bool]:
    """Whether no other process works on the whole of this order; a dead worker's session frees it.

    The order's row stays free meanwhile: whoever cancels does not wait for figures or pages.
    """
    key = (LOCK << 32) + order_id
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        (mine,) = cursor.fetchone()
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


@contextmanager
def _snapshot() -> Iterator[None]:
    """A transaction whose every reading sees one moment (where it is the outermost, as in workers)."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with scoped(EVERYTHING):
            yield


def gather(*, order_id: int, at: Moment) -> bool:
    """Gather the figures of a waiting order and lay out its front; whether this call did it.

    A clock given as `at` is read once the snapshot of the figures stands: nothing that they saw, the
    checkpoint included, is later than the moment that the report names.
    """
    with _alone(order_id) as mine:
        return mine and _gather(order_id, at)


def _gather(order_id: int, at: Moment) -> bool:
    with scoped(EVERYTHING):
        row = _leased(order_id, State.WAITING)
        if row is None:
            return False
        if row.attempts >= ATTEMPTS:
            _fail(row, "多次未能生成，请缩小范围后重试", _read(at))
            return False
        ReportOrder.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1)
    fault, document = "", {}
    try:
        with _snapshot():
            document = document_of(row, at)
    except Refusal as refusal:
        fault = refusal.detail[0]
    laid = None if fault else _laid_out(document)
    with scoped(EVERYTHING):
        row = _leased(order_id, State.WAITING)
        if row is None:  # cancelled meanwhile
            return False
        if laid is None:
            _fail(row, fault, _read(at))
            return False
        _keep_front(row, document, laid)
    return True


def _read(at: Moment) -> dt.datetime:
    return at() if callable(at) else at


def _leased(order_id: int, state: str) -> ReportOrder | None:
    rows = ReportOrder.objects.select_for_update(skip_locked=True)
    return rows.filter(pk=order_id, state=state).first()


@dataclass(frozen=True)
class _Laid:
    """The front of a report and how its register is cut: each part with its slice."""

    front: bytes
    pages: int
    plan: list[press.Part]
    slices: Iterator[bytes]


def _laid_out(document: dict[str, Any]) -> _Laid:
    book = press.book_of(document)
    front, pages = press.print_front(document, book)
    plan = press.parts_of(book, first_page=pages + 1)
    slices = (press.canonical(press.slice_of(document, book, part)) for part in plan)
    return _Laid(front, pages, plan, slices)


def _keep_front(row: ReportOrder, document: dict[str, Any], laid: _Laid) -> None:
    where = {"order": row, "region_code": row.region_code, "institution_code": row.institution_code}
    ReportPart.objects.create(
        **where, number=0, first_row=0, rows=0, first_page=1, pages=laid.pages, content=laid.front,
        done_at=dt.datetime.fromisoformat(document["at"]),
    )  # fmt: skip
    for part, piece in zip(laid.plan, laid.slices, strict=True):
        ReportPart.objects.create(**where, **asdict(part), slice=piece)
    row.document = press.canonical(document)
    row.rows = sum(part.rows for part in laid.plan)
    row.pages = press.pages_of(laid.pages, laid.plan)
    row.state, row.parts_total, row.parts_done = State.PRINTING, 1 + len(laid.plan), 1
    row.save()
    transaction.on_commit(partial(_ring_for, row.pk))


def _ring_for(order_id: int) -> None:
    """Wake workers for what an order still needs."""
    with scoped(EVERYTHING):
        waiting = list(
            ReportPart.objects.filter(order=order_id, done_at__isnull=True).values_list(
                "pk", flat=True
            )
        )
    ring(PART_TASK, waiting) if waiting else ring(FINISH_TASK, [order_id])


def print_part(*, part_id: int, at: dt.datetime) -> bool:
    """Lay out one part from its slice; one that is done, taken, cancelled or unknown is passed over."""
    with scoped(EVERYTHING):
        part = (
            ReportPart.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(pk=part_id, done_at__isnull=True, order__state=State.PRINTING)
            .select_related("order").defer("order__document").first()
        )  # fmt: skip
        if part is None or part.slice is None:
            return False
        piece = press.Part(part.number, part.first_row, part.rows, part.first_page, part.pages)
        try:
            content = press.print_part(json.loads(bytes(part.slice)), piece, part.order.pages)
        except ValueError:  # would fail for ever: the same rows give the same pages
            _misfit(part, at)
            return False
        going = ReportOrder.objects.filter(pk=part.order_id, state=State.PRINTING)
        if not going.update(parts_done=F("parts_done") + 1):  # cancelled meanwhile
            return False
        part.content, part.done_at, part.slice = content, at, None
        part.save(update_fields=["content", "done_at", "slice"])
    if _complete(part.order_id):
        ring(FINISH_TASK, [part.order_id])
    return True


def _misfit(part: ReportPart, at: dt.datetime) -> None:
    """End the order of a part that cannot be laid out; one that was cancelled meanwhile stays cancelled."""
    rows = ReportOrder.objects.select_for_update().filter(state=State.PRINTING)
    if row := rows.filter(pk=part.order_id).first():
        _fail(row, f"第{part.number}片排版后的页数不符，请联系系统管理员", at)


def _complete(order_id: int) -> bool:
    with scoped(EVERYTHING):
        rows = ReportOrder.objects.filter(pk=order_id, state=State.PRINTING)
        return rows.filter(parts_done=F("parts_total")).exists()


def finish(*, order_id: int, at: dt.datetime) -> bool:
    """Join the parts of an order and keep the report; whether this call did it."""
    with _alone(order_id) as mine:
        return mine and _finish(order_id, at)


def _finish(order_id: int, at: dt.datetime) -> bool:
    with scoped(EVERYTHING):
        row = ReportOrder.objects.filter(pk=order_id, state=State.PRINTING).first()
        if row is None or row.document is None or row.parts_done < row.parts_total:
            return False
        front, *parts = row.parts.order_by("number")
        plan = [press.Part(p.number, p.first_row, p.rows, p.first_page, p.pages) for p in parts]
        document = json.loads(bytes(row.document))
        if any(part.content is None for part in (front, *parts)):  # cancelled meanwhile
            return False
    printed = press.join(_file(front), front.pages, (_file(part) for part in parts), plan)
    with scoped(EVERYTHING):
        row = _leased(order_id, State.PRINTING)
        if row is None:
            return False
        sealed = document["seal"]["checkpoint"]
        row.report = reports.keep(
            kind=row.kind, title=row.title, number=row.number, document=printed.content,
            content=document, parameters=row.parameters, by=row.asked_by,
            at=dt.datetime.fromisoformat(document["at"]), kept_at=at,
            key=uuid.UUID(document["report"]), template=press.FRONT, renderer=press.renderer(),
            checkpoint=Checkpoint.objects.filter(pk=sealed).first() if sealed else None,
            region_code=row.region_code, institution_code=row.institution_code,
        )  # fmt: skip
        row.state, row.finished_at, row.pages = State.DONE, at, printed.pages
        row.save()
        row.parts.update(content=None)
    return True


def _file(part: ReportPart) -> bytes:
    if part.content is None:
        raise ValueError(f"part {part.number} of {part.order_id} has no pages")
    return bytes(part.content)


def make_now(*, order_id: int, at: dt.datetime) -> ReportOrder:
    """Gather, print and keep an order in this process, part by part (demonstration, commands, tests)."""
    gather(order_id=order_id, at=at)
    with scoped(EVERYTHING):
        waiting = list(
            ReportPart.objects.filter(order=order_id, done_at__isnull=True).values_list(
                "pk", flat=True
            )
        )
    for part_id in waiting:
        print_part(part_id=part_id, at=at)
    finish(order_id=order_id, at=at)
    with scoped(EVERYTHING):
        return ReportOrder.objects.get(pk=order_id)


def sweep() -> int:
    """Ring again for every order that waits: a lost message loses nothing."""
    with scoped(EVERYTHING):
        rows = ReportOrder.objects.order_by("pk")
        waiting = list(rows.filter(state=State.WAITING).values_list("pk", flat=True))
        printing = list(rows.filter(state=State.PRINTING).values_list("pk", flat=True))
    if waiting:
        ring(GATHER_TASK, waiting)
    for order_id in printing:
        _ring_for(order_id)
    return len(waiting) + len(printing)


def document_of(row: ReportOrder, at: Moment) -> dict[str, Any]:
    """Everything that the paper will say, as plain JSON, read inside the scope of whoever asked."""
    kind, wish = KINDS[row.kind], Wish.of(row.parameters)
    user = User.objects.select_related("region", "institution").get(username=row.asked_by)
    moment = clock.local(_read(at))  # after the first reading: the snapshot stands
    with scoped(user.scope_codes()):
        figures = kind.gather(wish, user)
        demo = wish.institutions(user).filter(is_demo=True).exists()
        scope = wish.scope_name()
    key = uuid.uuid4()
    place = Region.objects.get(pk=row.region_code)
    return {
        "format": 1, "report": str(key), "kind": row.kind, "title": row.title, "number": row.number,
        "organ": organ_of(user, place), "scope": scope, "parameters": row.parameters,
        "span": span_name(row.parameters["since"], row.parameters["until"]), "by": row.asked_by,
        "by_name": str(user), "at": moment.isoformat(),
        "asked_at": clock.local(row.asked_at).isoformat(timespec="seconds"),
        "clause": _clause(kind, wish, place), "examples": _examples(figures), "demo": demo,
        "seal": seal_of(key, _stood(figures)), "figures": figures,
    }  # fmt: skip


def _stood(figures: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint that the figures are proven under, whatever was signed since; else the newest."""
    if "checkpoint" not in figures:
        return trail.checkpoint()
    return Checkpoint.objects.filter(size=figures["size"], text=figures["checkpoint"]).first()


def seal_of(key: uuid.UUID, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """A signed checkpoint as lines of text; what the QR says; where to check the paper."""
    address = reports.address_of(key)
    note = f"核验地址：{address}"
    if checkpoint is None:
        return {"checkpoint": None, "lines": ["制作时留痕日志尚无检查点"], "qr": address,
                "note": note}  # fmt: skip
    signed = f"{clock.local(checkpoint.at):%Y-%m-%d %H:%M:%S}"
    return {
        "checkpoint": checkpoint.pk, "qr": checkpoint.text, "note": f"{note}　二维码为签名检查点全文",
        "lines": [
            f"留痕检查点　{checkpoint.origin}　条数 {checkpoint.size:,}　签发 {signed}",
            f"树根（{checkpoint.alg.upper()}）{bytes(checkpoint.root).hex()}",
            checkpoint.text.strip().splitlines()[-1],
        ],
    }  # fmt: skip


def _examples(figures: dict[str, Any]) -> list[str]:
    if not figures["example"]:
        return []
    named = figures.get("form", {}).get("stamped", [])
    return [f"“{label}”" for label in named] or ["结算所用部分参数"]


def _clause(kind: Kind, wish: Wish, place: Region) -> str:
    """The clauses of the region's own document that a report serves; '' when it has none of them."""
    found = [cite(place.policy_region, wish.until, clause) for clause in kind.clauses]
    kept = [reference for reference in found if reference]
    if not kept:
        return ""
    return f"{kept[0]['document']} {'、'.join(reference['clause'] for reference in kept)}"


def organ_of(user: User, place: Region) -> str:
    """Who issues a report: the agency or the bureau of the region."""
    role = import_string(settings.ROLE_TABLE).get(user.role)
    agency = role is not None and role.side == AGENCY_SIDE
    kind = Office.Kind.AGENCY if agency else Office.Kind.BUREAU
    office = Office.objects.filter(region=place, kind=kind).first()
    if office is not None:
        return office.name
    return f"{place.name}{'医疗保险服务经办机构' if agency else '医疗保障局'}"


def short_name(place: Region) -> str:
    """A region as numbers of documents name it: 南通市 → 南通."""
    for tail in TAILS:
        if place.name.endswith(tail) and len(place.name) > len(tail) + 1:
            return place.name.removesuffix(tail)
    return place.name


def _title(kind: Kind, wish: Wish, place: Region) -> str:
    if kind.key == "statement":
        return f"{wish.since.year}年{wish.since.month}月医疗保障基金结算单"
    return kind.title if wish.institution else f"{place.name}{kind.title}"


def _number(place: Region, at: dt.datetime) -> str:
    name, year = short_name(place), clock.local(at).year
    return f"{name}医保报〔{year}〕{tasks.next_number(f'report:{name}:{year}')}号"


def _fail(row: ReportOrder, fault: str, at: dt.datetime) -> None:
    row.state, row.fault, row.finished_at = State.FAILED, fault[:300], at
    row.save(update_fields=["state", "fault", "finished_at"])
    _record(row, "reportorder.fail", row.asked_by, at, {"fault": fault[:300]}, outcome="refused")


def _record(
    row: ReportOrder, action: str, by: str, at: dt.datetime, detail: dict[str, Any],
    outcome: str = "ok",
) -> None:  # fmt: skip
    trail.record(
        by=by, at=at, action=action, subject=row.subject, region_code=row.region_code,
        institution_code=row.institution_code, outcome=outcome,
        detail={"number": row.number, **detail},
    )  # fmt: skip
