"""What a batch gives back: its result as CSV or workbook, made on demand, chunk by chunk."""

from collections.abc import Iterator
from itertools import islice

from django.db import connections

from audit.sheets import csv_lines, workbook
from institutions.money import yuan
from settlement.models import Batch, Chunk, Settlement

HEAD = (
    "申请单号", "结算状态", "服务日期", "实际发生费用", "政策范围内", "超标准自费", "范围外自费",
    "暂扣待审", "统筹基金", "个人账户", "个人现金", "机构承担", "示例参数",
)  # fmt: skip
ROWS = """SELECT c.claim_no, s.state, s.service_date, s.fee, s.in_scope, s.over_cap, s.out_of_scope,
        s.held, s.fund, s.account, s.cash, s.hospital, s.example
    FROM settlement_settlement s JOIN settlement_claim c ON c.id = s.claim_id AND c.period = %s
    WHERE s.claim_id BETWEEN %s AND %s AND s.batch_id = %s AND s.version = 1 ORDER BY s.claim_id"""
LABELS = dict(Settlement.State.choices)


def result_rows(batch: Batch) -> Iterator[list[str]]:
    """One row per settled claim; amounts in yuan. Holds one chunk in memory at a time."""
    for chunk in Chunk.objects.using("settler").filter(batch=batch).order_by("number").iterator():
        span = [batch.period, chunk.first_claim, chunk.last_claim, batch.pk]
        with connections["settler"].cursor() as cursor:
            cursor.execute(ROWS, span)
            rows = cursor.fetchall()
        for number, state, day, *amounts, example in rows:
            yield [
                number, LABELS[state], day.isoformat(), *map(yuan, amounts),
                "示例参数" if example else "",
            ]  # fmt: skip


def result_csv(batch: Batch) -> Iterator[bytes]:
    """The result as CSV, a thousand rows at a time."""
    lines = csv_lines(HEAD, result_rows(batch))
    while piece := "".join(islice(lines, 1_000)):
        yield piece.encode()


def result_workbook(batch: Batch) -> bytes:
    """The result as XLSX; every cell is text."""
    return workbook("结算结果", HEAD, result_rows(batch))
