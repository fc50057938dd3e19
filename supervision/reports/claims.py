"""费用结算明细表: every settlement and reversal of the months, persons masked.

(温医保办〔2021〕6号 二十三、二十四)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q

from audit.text import yuan
from institutions.models import User
from settlement.models import ClaimKey, InsuredPerson, Settlement
from supervision.reports.book import Book, Column, Rows
from supervision.reports.money import part, plain, settlements, sums, table, totals
from supervision.reports.wish import SCHEMES, Wish, named

READ = 2_000  #: rows read at once
STATES = dict(Settlement.State.choices)
COLUMNS = [
    Column("序号", 12, "c"), Column("医疗机构", 46), Column("单据号", 34, "x"),
    Column("参保人", 14), Column("证件号", 30, "x"), Column("险种", 17, "c"),
    Column("服务日期", 19, "c"), Column("费用", 18, "r"), Column("统筹基金", 18, "r"),
    Column("个人账户", 17, "r"), Column("个人现金", 17, "r"), Column("状态", 18, "c"),
]  # fmt: skip
HEAD = tuple(column.label for column in COLUMNS)


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """Sums and every row in the order of claims; names and numbers only masked."""
    rows = settlements(wish, user)
    places = sums(rows, "institution_code")
    names = named({row["institution_code"] for row in places})
    return {
        "totals": totals(rows), "months": plain(sums(rows, "period"), "period"),
        "states": plain(sums(rows, "state")),
        "institutions": [row | {"name": names.get(row["institution_code"], "")} for row in places],
        "rows": list(_rows(wish, user, names)), "example": rows.filter(example=True).exists(),
    }  # fmt: skip


def _rows(wish: Wish, user: User, names: Mapping[str, str]) -> Iterator[list[Any]]:
    rows = settlements(wish, user).order_by("claim_id", "version")
    after, number = Q(), 0
    while found := list(rows.filter(after)[:READ]):
        people = dict(
            (pk, masked) for pk, *masked in InsuredPerson.objects
            .filter(pk__in={row.person_id for row in found})
            .values_list("pk", "name_masked", "id_masked")
        )  # fmt: skip
        numbers = dict(
            ClaimKey.objects.filter(claim_id__in={row.claim_id for row in found})
            .values_list("claim_id", "claim_no")
        )  # fmt: skip
        for row in found:
            number += 1
            who = people.get(row.person_id, ["", ""])
            yield [
                number, names.get(row.institution_code, row.institution_code),
                numbers.get(row.claim_id, str(row.claim_id)), *who, row.scheme,
                f"{row.service_date}", row.fee, row.fund, row.account, row.cash, row.state,
            ]  # fmt: skip
        last = found[-1]
        after = Q(claim_id__gt=last.claim_id) | Q(claim_id=last.claim_id, version__gt=last.version)


def texts(row: list[Any]) -> list[str]:
    """A stored row as it is printed."""
    number, place, claim, name, identity, scheme, day, *amounts, state = row
    return [str(number), place, claim, name, identity, SCHEMES[scheme], day,
            *(yuan(amount) for amount in amounts), STATES[state]]  # fmt: skip


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """The sums, then the register."""
    whole = figures["totals"]
    book.heading("汇总")
    book.text(
        f"本表共{len(figures['rows']):,}行，其中结算{whole['claims']:,}笔、冲正"
        f"{whole['reversals']:,}笔；费用总额{yuan(whole['fee'])}元，统筹基金支付"
        f"{yuan(whole['fund'])}元，占{part(whole['fund'], whole['fee'])}。冲正以负数列示，"
        "姓名、证件号码已作脱敏处理。"
    )
    table(book, "分机构汇总", "医疗机构", [(row["name"], row) for row in figures["institutions"]])
    table(book, "分状态汇总", "状态", [(STATES[row["state"]], row) for row in figures["states"]])
    rows = Rows(figures["rows"], texts)
    book.list_rows("费用结算明细表", COLUMNS, rows, unit="金额单位：元")
