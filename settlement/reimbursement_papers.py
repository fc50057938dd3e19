"""Papers of 手工报销, made from its moves: 受理回执, 一次性告知书, 支付决定书, 不予报销决定书."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from audit import clock
from audit.models import Move
from audit.procedure import PROCEDURES
from audit.text import yuan
from institutions.models import Office, Region, User
from settlement.capitals import capitals
from settlement.models import Reimbursement
from settlement.reimbursement_steps import TABLE
from settlement.reimbursements import settlement_of

#: kind → step that it tells of, its title
KINDS = {
    "receipt": (("accept",), "手工报销受理回执"),
    "notice": (("notify",), "补正材料一次性告知书"),
    "payment": (("approve",), "手工报销支付决定书"),
    "refusal": (("refuse", "deny"), "不予报销决定书"),
}
TEMPLATE = "reports/reimbursement.html"


@dataclass(frozen=True)
class Paper:
    """A paper with the data behind it; `at` is when it was made."""

    title: str
    template: str
    context: dict[str, Any]
    data: dict[str, Any]
    at: dt.datetime


def possible(case: Reimbursement) -> list[tuple[str, str]]:
    """(kind, title) of the papers that a request has come to."""
    taken = set(Move.objects.filter(subject=case.subject).values_list("step", flat=True))
    undecided = case.state in (*Reimbursement.OVER, "calculated") or not case.approved_by
    return [
        (kind, title) for kind, (steps, title) in KINDS.items()
        if taken & set(steps) and not (kind == "payment" and undecided)
    ]  # fmt: skip


def make(case: Reimbursement, kind: str) -> Paper:
    """A paper of `possible`, as of the last move that it tells of."""
    steps, title = KINDS[kind]
    move = Move.objects.filter(subject=case.subject, step__in=steps).latest("pk")
    facts = _facts(case)
    context = {
        "title": title, "number": case.number, "issuer": _issuer(case), "facts": facts,
        "on": f"{clock.local(move.at):%Y年%m月%d日}", "kind": kind, "demo": case.person.is_demo,
        "items": _items(move), "note": move.note,
        "basis": move.facts.get("basis") or move.clause,
        "money": _money(case) if kind == "payment" else None,
        "due": case.due if kind == "receipt" else None, "due_clause": case.due_clause,
    }  # fmt: skip
    data = {"number": case.number, "kind": kind, "step": move.step, "on": str(move.on),
            "invoice": case.e_invoice_no, "amount_fen": case.amount, "payable_fen": case.payable,
            "items": context["items"], "note": move.note, "basis": context["basis"]}  # fmt: skip
    return Paper(title, TEMPLATE, context, data, move.at)


def _issuer(case: Reimbursement) -> str:
    office = Office.objects.filter(region=case.region_code, kind=Office.Kind.AGENCY).first()
    if office is not None:
        return office.name
    return f"{Region.objects.get(pk=case.region_code).name}医疗保险服务经办机构"


def _items(move: Move) -> list[str]:
    kinds = PROCEDURES[TABLE].data["documents"]
    return [kinds.get(key, key) for key in move.facts.get("items", ())]


def _facts(case: Reimbursement) -> list[dict[str, str]]:
    account = f"{case.holder_masked}　{case.bank}　{case.account_masked}" if case.bank else ""
    return [
        {"label": "申请人", "value": f"{case.person.name_masked}　{case.person.id_masked}"},
        {"label": "就诊机构", "value": case.provider.name},
        {"label": "就诊日期", "value": f"{case.service_date:%Y年%m月%d日}"},
        {"label": "电子发票号", "value": case.e_invoice_no},
        {"label": "发票金额", "value": f"{yuan(case.amount)} 元（{capitals(case.amount)}）"},
        {"label": "报销方式", "value": case.get_kind_display()},
        {"label": "收款账户", "value": account or case.get_way_display()},
    ]  # fmt: skip


def _money(case: Reimbursement) -> dict[str, str]:
    row = settlement_of(case)
    return {
        "in_scope": yuan(row.in_scope) if row else "", "over_cap": yuan(row.over_cap) if row else "",
        "out_of_scope": yuan(row.out_of_scope) if row else "",
        "payable": yuan(case.payable or 0), "capitals": capitals(case.payable or 0),
        **{name: str(User.objects.filter(username=by).first() or by)
           for name, by in (("calculated_by", case.calculated_by), ("approved_by", case.approved_by))},
        "example": "使用示例参数" if row and row.example else "",
    }  # fmt: skip
