"""Reconciliation with a hospital: its own ledger of a month against ours, line by line, in SQL.

Three keys: the person, the day, the serial number (claim number and line). The serial number pairs
the lines; a pair whose person, day or item is not the same is a difference of its own. What then is left on
both sides pairs by person, day and item: the claim is there, one number of it is wrong. Ours is what was
posted in the month: a claim reversed in it stands as reversed. Differences are worked off with a
reason; when none is left the month is balanced (已对平), and the statement page may say so.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Q
from django.urls import reverse as address

from audit import tasks, trail
from institutions import news
from institutions.models import Institution
from institutions.refusals import Refusal, refused
from settlement import commands, hospital_ledgers
from settlement.facts import Claimant
from settlement.hospital_ledgers import Parsed
from settlement.models import Discrepancy, HospitalLedger

State, Kind, Resolution = HospitalLedger.State, Discrepancy.Kind, Discrepancy.Resolution
PIECE = 20_000
COUNTS = (State.DIFFERENT, State.BALANCED)
UPLOAD, HANDLE = "reconciliations.upload", "reconciliations.handle"
NONE, OPEN, BALANCED = "none", "open", "balanced"
#: Which decisions fit which difference.
FITTING: dict[str, tuple[str, ...]] = {
    Kind.ONLY_OURS: (Resolution.OURS, Resolution.REVERSE),
    Kind.ONLY_THEIRS: (Resolution.OURS, Resolution.RESEND),
    Kind.NUMBER: (Resolution.OURS, Resolution.REVERSE_RESEND),
    Kind.IDENTITY: (Resolution.OURS, Resolution.REVERSE_RESEND),
    Kind.AMOUNT: (Resolution.OURS, Resolution.REVERSE_RESEND),
    Kind.STATE: (Resolution.OURS, Resolution.REVERSE),
    Kind.DUPLICATE: (Resolution.OURS,),
}
REVERSING = (Resolution.REVERSE, Resolution.REVERSE_RESEND)
RESENDING = (Resolution.RESEND, Resolution.REVERSE_RESEND)

PUT = """INSERT INTO settlement_ledgerrow (ledger_id, region_code, institution_code, row, claim_no,
        line_no, person_hash, service_date, item_code, fee, fund, state)
    SELECT %(ledger)s, %(region)s, %(institution)s, g.* FROM unnest(%(row)s::int[],
        %(claim_no)s::text[], %(line_no)s::smallint[], %(person)s::bytea[], %(day)s::date[],
        %(item)s::text[], %(fee)s::bigint[], %(fund)s::bigint[], %(state)s::text[]) g"""

#: Both ledgers joined by the serial number, the rest by person, day and item (equal fees first); what
#: differs, and how, goes into the table. Last column:
#: what the hospital says the funds owe it for the month by scheme ('': claims that are not ours); a
#: claim of an earlier month that was reversed in this one is taken back.
MATCH = """WITH posted AS (
    SELECT claim_id, max(scheme) AS scheme, max(version) AS last,
        max(version) FILTER (WHERE version %% 2 = 1) AS settled
    FROM settlement_settlement
    WHERE institution_code = %(institution)s AND period = %(period)s
        AND claim_id NOT IN (SELECT claim_id FROM settlement_enteredclaim) GROUP BY 1
), ours AS MATERIALIZED (
    SELECT c.id AS claim_id, c.claim_no, l.line_no, c.service_date AS day, l.item_code AS item,
        p.id_hash AS person, l.fee, posted.scheme, posted.settled IS NOT NULL AS here,
        CASE WHEN posted.last %% 2 = 0 THEN 'reversed' ELSE 'settled' END
            AS state, CASE WHEN r.decision = 0 THEN r.fund ELSE 0 END AS fund
    FROM posted JOIN settlement_claim c ON c.id = posted.claim_id
    JOIN settlement_insuredperson p ON p.id = c.person_id
    JOIN settlement_claimline l ON l.claim_id = c.id AND l.period = c.period
    JOIN settlement_lineresult r ON r.claim_id = c.id AND r.line_no = l.line_no
        AND r.version = coalesce(posted.settled, posted.last - 1)
), theirs AS MATERIALIZED (
    SELECT row, claim_no, line_no, service_date AS day, item_code AS item, person_hash AS person,
        fee, fund, state, row_number() OVER (PARTITION BY claim_no, line_no ORDER BY row) AS k
    FROM settlement_ledgerrow WHERE ledger_id = %(ledger)s
), numbered AS MATERIALIZED (
    SELECT o.claim_id, o.scheme, o.here, t.row, coalesce(o.claim_no, t.claim_no) AS claim_no,
        coalesce(o.line_no, t.line_no) AS line_no, coalesce(o.person, t.person) AS person,
        coalesce(o.day, t.day) AS day, coalesce(o.item, t.item) AS item, o.fee AS fee_ours,
        t.fee AS fee_theirs, o.fund AS fund_ours, t.fund AS fund_theirs,
        coalesce(o.state, '') AS state_ours, coalesce(t.state, '') AS state_theirs,
        CASE WHEN o.person <> t.person OR o.day <> t.day OR o.item <> t.item THEN 'identity'
            WHEN o.fee <> t.fee OR (o.state = t.state AND o.fund <> t.fund) THEN 'amount'
            WHEN o.state <> t.state THEN 'state' END AS kind
    FROM ours o FULL JOIN (SELECT * FROM theirs WHERE k = 1) t
        ON t.claim_no = o.claim_no AND t.line_no = o.line_no
), rest AS (  -- n: the how-manieth of its side among those of one person, day, item and fee
    SELECT *, row_number() OVER (PARTITION BY person, day, item, coalesce(fee_ours, fee_theirs),
        row IS NULL ORDER BY claim_no, line_no) AS n
    FROM numbered WHERE claim_id IS NULL OR row IS NULL
), equal AS (
    SELECT *, count(*) OVER (PARTITION BY person, day, item, coalesce(fee_ours, fee_theirs), n) = 2
        AS alike FROM rest
), ranked AS (  -- m: the same among those of whatever fee that found nobody with theirs
    SELECT *, row_number() OVER (PARTITION BY person, day, item, alike, row IS NULL
        ORDER BY claim_no, line_no) AS m FROM equal
), near AS MATERIALIZED (
    SELECT max(claim_id) AS claim_id, max(scheme) AS scheme, bool_or(here) AS here, max(row) AS row,
        coalesce(max(claim_no) FILTER (WHERE row IS NULL), max(claim_no)) AS claim_no,
        coalesce(max(line_no) FILTER (WHERE row IS NULL), max(line_no)) AS line_no,
        day, max(fee_ours) AS fee_ours, max(fee_theirs) AS fee_theirs, max(fund_ours) AS fund_ours,
        max(fund_theirs) AS fund_theirs, max(state_ours) AS state_ours,
        max(state_theirs) AS state_theirs,
        CASE WHEN count(*) = 1 THEN '' ELSE max(claim_no || '/' || line_no)
            FILTER (WHERE row IS NOT NULL) END AS claim_no_theirs,
        CASE WHEN count(*) = 2 THEN 'number' WHEN max(row) IS NULL THEN 'only_ours'
            ELSE 'only_theirs' END AS kind
    FROM ranked GROUP BY person, day, item, alike, CASE WHEN alike THEN n ELSE m END,
        CASE WHEN alike THEN coalesce(fee_ours, fee_theirs) END
), pairs AS (
    SELECT claim_id, claim_no, line_no, row, day, fee_ours, fee_theirs, fund_ours, fund_theirs,
        state_ours, state_theirs, claim_no_theirs, kind FROM near
    UNION ALL
    SELECT claim_id, claim_no, line_no, row, day, fee_ours, fee_theirs, fund_ours, fund_theirs,
        state_ours, state_theirs, '', kind
    FROM numbered WHERE claim_id IS NOT NULL AND row IS NOT NULL
    UNION ALL
    SELECT o.claim_id, t.claim_no, t.line_no, t.row, t.day, o.fee, t.fee, o.fund, t.fund,
        coalesce(o.state, ''), t.state, '', 'duplicate'
    FROM theirs t LEFT JOIN ours o ON t.claim_no = o.claim_no AND t.line_no = o.line_no
    WHERE t.k > 1
), put AS (
    INSERT INTO settlement_discrepancy (ledger_id, region_code, institution_code, kind, claim_id,
        claim_no, line_no, row, service_date, fee_ours, fee_theirs, fund_ours, fund_theirs,
        state_ours, state_theirs, claim_no_theirs, resolution, reason, resolved_by)
    SELECT %(ledger)s, %(region)s, %(institution)s, kind, claim_id, claim_no, line_no, row, day,
        fee_ours, fee_theirs, fund_ours, fund_theirs, state_ours, state_theirs, claim_no_theirs,
        '', '', ''
    FROM pairs WHERE kind IS NOT NULL RETURNING 1
), schemes AS (
    SELECT coalesce(n.scheme, o.scheme, '') AS scheme, sum(CASE WHEN t.state = 'settled' THEN t.fund
        WHEN NOT coalesce(n.here, o.here) THEN -t.fund ELSE 0 END)::bigint AS fund
    FROM theirs t LEFT JOIN near n ON n.row = t.row
    LEFT JOIN (SELECT DISTINCT claim_no, scheme, here FROM ours) o ON o.claim_no = t.claim_no
    GROUP BY 1
)
SELECT (SELECT count(*) FROM put),
    (SELECT count(*) FROM ours), (SELECT coalesce(sum(fee), 0)::bigint FROM ours WHERE state = 'settled'),
    (SELECT coalesce(sum(fund), 0)::bigint FROM ours WHERE state = 'settled'),
    (SELECT coalesce(sum(fee), 0)::bigint FROM theirs WHERE state = 'settled'),
    (SELECT coalesce(sum(fund), 0)::bigint FROM theirs WHERE state = 'settled'),
    (SELECT coalesce(json_object_agg(scheme, fund), '{}'::json) FROM schemes)"""


@dataclass(frozen=True)
class Standing:
    """Where the reconciliation of an institution's month stands: none, open or balanced.

    `ledger` is the id of the ledger that counts, `open` the differences that wait for somebody.
    """

    state: str
    ledger: int | None = None
    differences: int = 0
    open: int = 0

    @property
    def label(self) -> str:
        """In Chinese."""
        words = {NONE: "未对账", OPEN: f"有 {self.open} 项差异待处理", BALANCED: "已对平"}
        return words[self.state]


def state_of(institution_code: str, period: dt.date) -> Standing:
    """The reconciliation of an institution's month, as the statement page shows it."""
    found = HospitalLedger.objects.filter(
        institution_code=institution_code, period=period, state__in=COUNTS
    ).annotate(
        n=Count("differences"), waiting=Count("differences", filter=Q(differences__resolution=""))
    ).first()  # fmt: skip
    if found is None:
        return Standing(NONE)
    state = BALANCED if found.state == State.BALANCED else OPEN
    return Standing(state, found.pk, found.n, found.waiting)


# --- Upload and match ---


def check(
    *, institution: Institution, period: dt.date, file_name: str, content: bytes, by: str,
    at: dt.datetime,
) -> HospitalLedger:  # fmt: skip
    """The dry run of a ledger: every row error at once; without errors its rows are kept.

    Raises Refusal (422) for a file that cannot be read at all.
    """
    parsed = hospital_ledgers.read(file_name, content, period=period)
    with transaction.atomic():
        made = HospitalLedger.objects.create(
            region_code=institution.region_id, institution_code=institution.code,
            period=period.replace(day=1), file_name=file_name[:200], rows=len(parsed),
            file_sm3=hashlib.new("sm3", content).hexdigest(), uploaded_at=at, uploaded_by=by,
            errors=[error.as_dict() for error in parsed.errors[: hospital_ledgers.ERRORS_KEPT]],
        )  # fmt: skip
        if not parsed.errors:
            _put(made, parsed)
        _record("ledger.check", made, by=by, at=at, rows=made.rows, errors=len(parsed.errors))
    return made


def _put(made: HospitalLedger, parsed: Parsed) -> None:
    with connection.cursor() as cursor:
        for start in range(0, len(parsed), PIECE):
            cursor.execute(PUT, parsed.columns(start, start + PIECE) | _of(made))


def _of(made: HospitalLedger) -> dict[str, Any]:
    return {"ledger": made.pk, "region": made.region_code, "institution": made.institution_code,
            "period": made.period}  # fmt: skip


def match(*, ledger: HospitalLedger, by: str, at: dt.datetime) -> HospitalLedger:
    """Compare a checked ledger with ours; the ledger of that month before it no longer counts.

    Raises Refusal (409) for a file with errors, or one that was compared before.
    """
    with transaction.atomic():
        found = HospitalLedger.objects.select_for_update().get(pk=ledger.pk)
        if found.state != State.CHECKED or found.errors:
            detail = ("文件有错误或已经对账", "the file has errors or was compared before")
            raise Refusal(409, "LEDGER_STATE", detail)
        _supersede(found, by, at)
        with connection.cursor() as cursor:
            cursor.execute(MATCH, _of(found))
            different, ours, fee_ours, fund_ours, fee_theirs, fund_theirs, schemes = (
                cursor.fetchone()
            )
        found.totals = {
            "rows_ours": ours, "fee_ours": fee_ours, "fund_ours": fund_ours,
            "fee_theirs": fee_theirs, "fund_theirs": fund_theirs, "different": different,
            "schemes": schemes,
        }  # fmt: skip
        found.matched_at = at
        found.state = State.DIFFERENT if different else State.BALANCED
        found.balanced_at = None if different else at
        found.save()
        _record("ledger.match", found, by=by, at=at, **found.totals)
        if different:
            _ask(found, different, at)
        else:
            _tell(found, "对账已平，没有差异", at)
    return found


def _supersede(found: HospitalLedger, by: str, at: dt.datetime) -> None:
    before = HospitalLedger.objects.select_for_update().filter(
        institution_code=found.institution_code, period=found.period, state__in=COUNTS
    )
    for row in before:
        row.state = State.SUPERSEDED
        row.save(update_fields=["state"])
        tasks.close(subject=_subject(row), by=by, at=at)


def _ask(found: HospitalLedger, different: int, at: dt.datetime) -> None:
    tasks.open_task(
        subject=_subject(found), permission=HANDLE, at=at, region_code=found.region_code,
        title=f"处理对账差异：{_name(found)} {found.period:%Y年%m月}，{different} 项",
        institution_code=found.institution_code, url=address("reconciliation", args=[found.pk]),
    )  # fmt: skip
    _tell(found, f"对账有 {different} 项差异，经办机构正在处理", at)


def _name(found: HospitalLedger) -> str:
    return str(
        Institution.objects.filter(pk=found.institution_code).first() or found.institution_code
    )


# --- Working off ---


def resolve(
    *, ledger: HospitalLedger, differences: Iterable[int], resolution: str, reason: str, by: str,
    at: dt.datetime,
) -> int:  # fmt: skip
    """Decide one or many differences of a ledger with a reason; how many.

    A reversal is posted at once (whole claims, each once); what the hospital has to send again
    becomes one task of the hospital. Raises Refusal: 422 for a decision that does not fit.
    """
    if resolution not in Resolution.values:
        raise refused("resolution", "CHOICE", "请选择处理方式", "choose what is done")
    if not reason.strip():
        raise refused("reason", "REQUIRED", "请填写处理说明", "a reason is required")
    with transaction.atomic():
        found = HospitalLedger.objects.select_for_update().get(pk=ledger.pk)
        if found.state != State.DIFFERENT:
            detail = ("该账期没有待处理的差异", "no difference of it waits")
            raise Refusal(409, "LEDGER_STATE", detail)
        rows = list(found.differences.filter(pk__in=list(differences), resolution=""))
        _refuse_unfit(rows, resolution)
        if resolution in REVERSING:
            _reverse(found, rows, reason, by=by, at=at)
        if resolution in RESENDING and rows:
            _ask_to_resend(found, rows, at)
        found.differences.filter(pk__in=[row.pk for row in rows]).update(
            resolution=resolution, reason=reason.strip()[:200], resolved_by=by, resolved_at=at
        )
        _record("ledger.resolve", found, by=by, at=at, differences=len(rows),
                resolution=resolution, reason=reason)  # fmt: skip
        _balance(found, by=by, at=at)
    return len(rows)


def _refuse_unfit(rows: Sequence[Discrepancy], resolution: str) -> None:
    for row in rows:
        if resolution not in FITTING[row.kind]:
            chinese = f"“{row.get_kind_display()}”不能按“{Resolution(resolution).label}”处理"
            raise refused("resolution", "DOES_NOT_FIT", chinese, f"it does not fit {row.kind}")
        if resolution in REVERSING and row.state_ours != "settled":
            chinese = f"单据 {row.claim_no} 在中心已冲正，不能再冲正"
            raise refused("resolution", "NOTHING_TO_REVERSE", chinese, "it is reversed already")


def _reverse(
    found: HospitalLedger, rows: Sequence[Discrepancy], reason: str, *, by: str, at: dt.datetime
) -> None:
    """Reverse the claims of the differences, each once, in the order of their ids."""
    place = Institution.objects.select_related("region").get(pk=found.institution_code)
    claimant = Claimant.of(place)
    for claim in sorted({row.claim_id for row in rows if row.claim_id}):
        commands.reverse(
            institution=claimant, claim_id=claim, reason=f"对账：{reason}"[:200], by=by, at=at
        )


def _ask_to_resend(found: HospitalLedger, rows: Sequence[Discrepancy], at: dt.datetime) -> None:
    numbers = sorted({row.claim_no for row in rows})
    title = f"请重新上传 {len(numbers)} 张单据（{found.period:%Y年%m月}对账）"
    tasks.open_task(
        subject=f"{_subject(found)}/resend", permission=UPLOAD, at=at, title=title,
        region_code=found.region_code, institution_code=found.institution_code,
        url=address("reconciliation", args=[found.pk]),
    )  # fmt: skip
    _tell(found, title, at)


def _balance(found: HospitalLedger, *, by: str, at: dt.datetime) -> None:
    if found.differences.filter(resolution="").exists():
        return
    found.state, found.balanced_at = State.BALANCED, at
    found.save(update_fields=["state", "balanced_at"])
    tasks.close(subject=_subject(found), by=by, at=at)
    _record("ledger.balance", found, by=by, at=at)
    _tell(found, "对账差异已全部处理，账期已对平", at)


def resent(*, ledger: HospitalLedger, by: str, at: dt.datetime) -> None:
    """The institution says that what it was asked to send again is sent: its task is done."""
    with transaction.atomic():
        if tasks.close(subject=f"{_subject(ledger)}/resend", by=by, at=at):
            _record("ledger.resent", ledger, by=by, at=at)


def sums_by_kind(ledger: HospitalLedger) -> list[dict[str, Any]]:
    """Differences by class: how many, how many wait."""
    sums = (
        ledger.differences.order_by().values("kind").annotate(
            n=Count("pk"), waiting=Count("pk", filter=Q(resolution="")),
        ).order_by("kind")
    )  # fmt: skip
    return [dict(row) for row in sums]


def _tell(found: HospitalLedger, text: str, at: dt.datetime) -> None:
    news.tell(
        permission=UPLOAD, region_code=found.region_code, at=at, subject=_subject(found),
        institution_code=found.institution_code, text=f"{found.period:%Y年%m月}{text}",
        url=address("reconciliation", args=[found.pk]),
    )  # fmt: skip


def _subject(found: HospitalLedger) -> str:
    return f"ledger:{found.pk}"


def _record(
    action: str, found: HospitalLedger, *, by: str, at: dt.datetime, **detail: object
) -> None:
    trail.record(
        by=by, at=at, action=action, subject=_subject(found), region_code=found.region_code,
        institution_code=found.institution_code,
        detail={"period": found.period, "file_sm3": found.file_sm3, **detail},
    )  # fmt: skip
