"""The papers of money: the statement as both sides sign it, and the yearly clearing. PDF, data inside."""

import datetime as dt
from typing import Any

from audit import clock, pdf
from audit.text import rate, yuan
from institutions.models import Institution
from settlement import statements
from settlement.capitals import capitals
from settlement.models import Clearing, Statement
from settlement.statement_page import identity, paid_by, steps_of, table_of
from settlement.statement_steps import PROCEDURE
from settlement.statements import FIGURES

LISTED = 200  #: deductions printed on the form; the rest are in the export
AGENCY = "医疗保险服务经办机构"


def render(row: Statement, *, by: str, at: dt.datetime) -> bytes:
    """The signed form of a statement; the same bytes for the same statement, person and minute."""
    form = form_of(row)
    data = {name: getattr(row, name) for name in FIGURES} | {
        "number": row.number, "institution": row.institution_code, "scheme": row.scheme,
        "period": f"{row.period:%Y-%m}", "state": row.state, "edition": row.edition,
        "paid": form["paid"], "digest": row.digest, "example": row.example,
        "payers": paid_by([row])[row.pk],
    }  # fmt: skip
    return pdf.render(
        "reports/statement.html", {"form": form, "demo": form["demo"]}, at=at,
        identifier=pdf.identifier_of("statement", row.number, str(row.edition), row.state, at.isoformat()),
        attachments=[pdf.json_attachment("statement.json", data, f"{row.number} 的数据")],
        watermark=f"{by} {clock.local(at):%Y-%m-%d %H:%M}",
    )  # fmt: skip


def form_of(row: Statement) -> dict[str, Any]:
    """What the form of a statement shows, as plain JSON."""
    institution = Institution.objects.select_related("region").get(pk=row.institution_code)
    paid = statements.paid_of([row]).get(row.pk, 0)
    deductions = list(row.deductions.exclude(state="withdrawn")[:LISTED])
    stamped = [
        entry["label"] for key, entry in row.basis.items()
        if entry.get("example") and key != "confirmation"
    ]  # fmt: skip
    return {
        "statement": {"number": row.number, "scheme": row.get_scheme_display(),
                      "signed_name": row.signed_name, "digest": row.digest},
        "institution": {"name": institution.name, "code": institution.code},
        "agency": f"{institution.region.name}{AGENCY}", "paid": paid,
        "month": f"{row.period.year}年{row.period.month}月", "state": PROCEDURE.states[row.state].label,
        "final": row.is_final, "steps": table_of(steps_of(row, paid)), "identity": identity(row),
        "payable": yuan(row.payable), "capitals": capitals(row.payable),
        "facts": [
            ["结算笔数", f"{row.claims}笔，冲正{row.reversals}笔"], ["费用总额", f"{yuan(row.fee)}元"],
            ["待审未付", f"{row.held_claims}笔，{yuan(row.held)}元"], ["考核系数", rate(row.coefficient)],
        ],
        "deductions": [
            {"claim": one.claim_id, "reason": one.get_reason_display(), "note": one.note,
             "clause": one.clause, "amount": yuan(one.amount)} for one in deductions
        ],
        "more": max(row.deductions.exclude(state="withdrawn").count() - LISTED, 0),
        "example": row.example, "stamped": stamped, "demo": institution.is_demo,
        "signed_at": f"{clock.local(row.signed_at):%Y年%m月%d日 %H:%M}" if row.signed_at else "",
    }  # fmt: skip


def render_clearing(row: Clearing, *, by: str, at: dt.datetime) -> bytes:
    """The signed form of a yearly clearing."""
    institution = Institution.objects.select_related("region").get(pk=row.institution_code)
    total = row.balance + row.returned
    context: dict[str, Any] = {
        "clearing": row, "institution": institution, "agency": f"{institution.region.name}{AGENCY}",
        "rows": clearing_rows(row), "total": yuan(total), "capitals": capitals(total),
        "tiers": clearing_tiers(row), "example": row.example, "demo": institution.is_demo,
        "stamped": [entry["label"] for entry in row.basis.values() if row.example],
        "final": row.state == Clearing.State.APPROVED,
    }  # fmt: skip
    data = {name: getattr(row, name) for name in (
        "year", "scheme", "institution_code", "budget", "used", "retained", "borne", "deposit_held",
        "returned", "forfeited", "return_ratio", "score", "tiers", "state")}  # fmt: skip
    return pdf.render(
        "reports/clearing.html", context, at=at,
        identifier=pdf.identifier_of("clearing", str(row.pk), row.state, at.isoformat()),
        attachments=[pdf.json_attachment("clearing.json", data, "年终清算数据")],
        watermark=f"{by} {clock.local(at):%Y-%m-%d %H:%M}",
    )  # fmt: skip


def clearing_rows(row: Clearing) -> list[dict[str, Any]]:
    """The figures of a clearing as rows with their clause."""
    sharing = row.basis.get("budget_sharing", {}).get("clause")
    deposit = row.basis.get("deposit_return_by_score", {}).get("clause")
    over = row.difference < 0
    use: tuple[str, int, str, Any, bool] = (
        "统筹基金使用", row.used,
        f"服务年度{row.year}，{row.claims}笔，含互联网医院，审核扣款已扣除", sharing, False,
    )  # fmt: skip
    against_indicator: list[tuple[str, int, str, Any, bool]] = [
        ("年度总额指标", row.budget, "年初下达与年中调整之和", sharing, False), use,
        ("超支" if over else "结余", abs(row.difference), "", None, True),
        ("机构分担超支" if over else "结余留用", -row.borne if over else row.retained,
         "按分担档次", sharing, False),
    ]  # fmt: skip
    rows: list[tuple[str, int, str, Any, bool]] = [
        *(against_indicator if row.budget else [
            ("年度总额指标", 0, "未下达，不计结余留用与超支分担，只返还质量保证金", None, False), use,
        ]),
        ("质量保证金余额", row.deposit_held, "全年各月预留", deposit, False),
        ("返还质量保证金", row.returned, f"年度考核{(row.score or 0) / 100:g}分，返还{rate(row.return_ratio)}"
         if row.score is not None else "", deposit, False),
        ("不予返还", -row.forfeited, "", deposit, False),
        ("清算应付", row.balance + row.returned, "计入入账月份结算单的特殊调整", None, True),
    ]  # fmt: skip
    return [
        {"label": label, "amount": yuan(amount), "note": note, "clause": clause, "total": total}
        for label, amount, note, clause, total in rows
    ]


def clearing_tiers(row: Clearing) -> list[dict[str, str]]:
    """How the difference fell into tiers."""
    return [
        {"from": yuan(tier["from"]), "slice": yuan(tier["slice"]), "ratio": rate(tier["ratio"]),
         "part": yuan(tier["part"])}
        for tier in row.tiers
    ]  # fmt: skip
