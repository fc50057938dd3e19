"""What a batch gives back: its result as CSV or workbook, made on demand, chunk by chunk; its errors."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice

from django.db import connections

from audit import trail
from audit.sheets import csv_lines, workbook
from institutions.money import yuan
from settlement.batch.frozen import ANYBODY, Span
from settlement.models import Batch, Chunk, Settlement

HEAD = (
    "申请单号", "结算状态", "服务日期", "实际发生费用", "政策范围内", "超标准自费", "范围外自费",
    "暂扣待审", "先行自付", "统筹基金", "大病保险", "医疗救助", "个人账户", "个人现金", "机构承担",
    "示例参数", "现状",
)  # fmt: skip
ROWS = """SELECT c.claim_no, s.state, s.service_date, s.fee, s.in_scope, s.over_cap, s.out_of_scope,
        s.held, s.first_self_pay, s.fund, s.major, s.assistance, s.account, s.cash, s.hospital,
        s.example, n.version, n.state
    FROM settlement_settlement s JOIN settlement_claim c ON c.id = s.claim_id AND c.period = %s
    CROSS JOIN LATERAL (SELECT version, state FROM settlement_settlement
        WHERE claim_id = s.claim_id ORDER BY version DESC LIMIT 1) n
    WHERE s.claim_id BETWEEN %s AND %s AND s.batch_id = %s AND s.person_id BETWEEN %s AND %s
        AND s.version = 1 ORDER BY s.claim_id"""
LEFT_OUT = """SELECT c.claim_no, c.service_date, c.fee FROM settlement_claim c
    WHERE c.period = %s AND c.id BETWEEN %s AND %s AND c.batch_id = %s
        AND c.person_id BETWEEN %s AND %s ORDER BY c.id"""
LABELS = dict(Settlement.State.choices)


def result_rows(batch: Batch) -> Iterator[list[str]]:
    """One row per settled claim; amounts in yuan. Holds one chunk in memory at a time.

    Amounts are those that the batch settled; the last column says what became of the claim since.
    What a person left out or cancelled follows, with the reason.
    """
    chunks = Chunk.objects.using("settler").filter(batch=batch).order_by("number")
    for chunk in chunks.filter(state=Chunk.State.DONE).iterator():
        rows = _of_chunk(ROWS, batch, chunk)
        for number, state, day, *amounts, example, version, now in rows:
            since = (
                ""
                if version == 1
                else LABELS[now]
                if version % 2 == 0
                else f"已重新结算：{LABELS[now]}"
            )
            yield [
                number, LABELS[state], day.isoformat(), *map(yuan, amounts),
                "示例参数" if example else "", since,
            ]  # fmt: skip
    for chunk in chunks.filter(state__in=Chunk.LEFT_OUT):
        for number, day, fee in _of_chunk(LEFT_OUT, batch, chunk):
            why = [number, "未结算", day.isoformat(), yuan(fee), *[""] * (len(HEAD) - 5)]
            yield [*why, f"{chunk.get_state_display()}：{batch.reason}"]


def _of_chunk(statement: str, batch: Batch, chunk: Chunk) -> list[tuple]:
    """Parts of a split chunk may lie in one range of ids: their persons tell them apart."""
    span = Span.of(chunk)
    given = [batch.period, span.first, span.last, batch.pk, *(span.persons or ANYBODY)]
    with connections["settler"].cursor() as cursor:
        cursor.execute(statement, given)
        return cursor.fetchall()


def result_csv(batch: Batch) -> Iterator[bytes]:
    """The result as CSV, a thousand rows at a time."""
    lines = csv_lines(HEAD, result_rows(batch))
    while piece := "".join(islice(lines, 1_000)):
        yield piece.encode()


def result_workbook(batch: Batch) -> bytes:
    """The result as XLSX; every cell is text."""
    return workbook("结算结果", HEAD, result_rows(batch))


def taken(batch: Batch, *, form: str, by: str, at: dt.datetime) -> None:
    """Record that somebody takes the result away."""
    trail.record(
        by=by, at=at, action="batch.result", subject=f"batch:{batch.pk}", detail={"format": form},
        region_code=batch.region_code, institution_code=batch.institution_code,
    )  # fmt: skip


def annotated(batch: Batch, *, by: str, at: dt.datetime) -> bytes | None:
    """The uploaded rows with everything wrong in each, credentials masked; None without errors.

    The rows say who was treated: taking them is an event.
    """
    if batch.annotated is None:
        return None
    trail.record(
        by=by, at=at, action="batch.annotated", subject=f"batch:{batch.pk}",
        region_code=batch.region_code, institution_code=batch.institution_code,
        detail={"file_sm3": batch.file_sm3},
    )  # fmt: skip
    return bytes(batch.annotated)
