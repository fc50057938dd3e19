"""机构月结算单 as a kept report: the signed form with its deductions, and every claim of it.

(温医保办〔2021〕6号 二十四)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Q

from audit.text import yuan
from institutions.models import User
from institutions.refusals import refused
from settlement import statement_page, statement_paper, statements
from settlement.models import InsuredPerson, Settlement, Statement
from settlement.payers import LABELS
from supervision.reports.book import Book, Column
from supervision.reports.wish import Wish

STATES = dict(Settlement.State.choices)
READ = 2_000


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """What the signed form shows, and the lines of the statement."""
    row = find(wish, user)
    form = statement_paper.form_of(row)
    return {"form": form, "rows": _lines(row), "example": row.example, "number": row.number}


def find(wish: Wish, user: User) -> Statement:
    """The statement of a wish, inside the reader's scope."""
    key = wish.subject
    rows = wish.within(statements.seen_by(user))
    found = rows.filter(pk=int(key)).first() if key.isdigit() and len(key) < 19 else None
    if found is None:
        raise refused("subject", "SUBJECT", "没有此结算单", "no such statement")
    return found


def about(wish: Wish, user: User) -> Wish:
    """The month, institution and scheme of the statement that is asked for."""
    row = find(wish, user)
    return replace(
        wish, since=row.period, until=row.next_period - dt.timedelta(days=1),
        institution=row.institution_code, scheme=row.scheme,
    )  # fmt: skip


def _lines(row: Statement) -> list[list[Any]]:
    found: list[list[Any]] = []
    last = (0, 0)
    while True:
        after = Q(claim_id__gt=last[0]) | Q(claim_id=last[0], version__gt=last[1])
        part = list(statement_page.lines(row).filter(after)[:READ])
        masked = dict(
            InsuredPerson.objects.filter(pk__in={line.person_id for line in part})
            .values_list("pk", "id_masked")
        )  # fmt: skip
        found.extend(
            [one["number"], one["settlement"].version, one["person"],
             masked.get(one["settlement"].person_id, ""), f"{one['settlement'].service_date}",
             *(getattr(one["settlement"], name) for name in statement_page.AMOUNTS), one["deducted"],
             one["settlement"].state]
            for one in statement_page.described(row, part)
        )  # fmt: skip
        if len(part) < READ:
            return found
        last = (part[-1].claim_id, part[-1].version)


def _tables(form: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """The form as tables: what it is about, how the amount came about, what was deducted."""
    place = form["institution"]
    about = [
        ["医疗机构", f"{place['name']}（{place['code']}）"], ["经办机构", form["agency"]],
        ["状态", form["state"]], *form["facts"], ["应付金额（大写）", form["capitals"]],
        ["应付金额（小写）", form["payable"]],
    ]  # fmt: skip
    steps = [
        [step["label"], step["amount"], step["note"], " ".join((step["clause"] or {}).values())]
        for step in form["steps"]
    ]
    cut = [
        [str(row["claim"]), row["reason"], row["note"], row["clause"], row["amount"]]
        for row in form["deductions"]
    ]
    return [
        ("结算单", ["项目", "内容"], about), ("结算金额", ["项目", "金额", "计算", "依据"], steps),
        ("审核扣款明细", ["申请编号", "类别", "说明", "依据", "金额"], cut),
    ]  # fmt: skip


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """The form, then its lines."""
    book.body("reports/statement_body.html", figures["form"], _tables(figures["form"]))
    book.list_rows(
        f"结算单 {figures['number']} 明细",
        [Column("单据号", 36, "x"), Column("版本", 11, "c"), Column("参保人", 16), Column("证件号", 33, "x"),
         Column("服务日期", 20, "c"),
         *(Column(label, 17, "r") for label in ("费用", *LABELS.values(), "个人现金", "待审", "审核扣款")),
         Column("状态", 17, "c")],
        [[number, str(version), name, identity, day, *(yuan(amount) for amount in amounts),
          STATES[state]]
         for number, version, name, identity, day, *amounts, state in figures["rows"]],
        unit="金额单位：元",
    )  # fmt: skip
