"""One request of 手工报销, prepared for its page: progress, what it says, documents, money, payments."""

from typing import Any

from django.urls import reverse

from audit import clock
from audit.models import Move
from audit.text import yuan
from institutions.holidays import load_calendar
from institutions.models import Document, User
from institutions.naming import Login
from settlement import reimbursement_papers, reimbursements
from settlement.models import Claim, PaymentOrder, Reimbursement
from settlement.payment_sources import kept_of, owed_for_claim

PHASES = ("受理", "审核", "复核", "拨付", "完成")


def phases(case: Reimbursement) -> list[dict[str, str]]:
    """The way of a request; where it ended without payment the step it stopped at has failed."""
    states = reimbursements.table().states
    moves = list(Move.objects.filter(subject=case.subject).order_by("pk"))
    ended = case.state in ("refused", "withdrawn")
    now = states[case.state].phase
    if ended:
        now = states[moves[-1].source].phase
    at = PHASES.index(now)
    first = {states[move.target].phase: str(move.on) for move in reversed(moves)}
    shown = []
    for number, label in enumerate(PHASES):
        state = "done" if number < at or case.state == "paid" else "next"
        if number == at and case.state != "paid":
            state = "failed" if ended or case.state == "returned" else "now"
        shown.append({"label": label, "state": state, "at": first.get(label, "")})
    return shown


def sentence(case: Reimbursement) -> str:
    """Where it stands, in one sentence that can be read out on the telephone."""
    last = Move.objects.filter(subject=case.subject).order_by("-pk").first()
    since = f"{case.entered_on:%Y年%m月%d日}"
    words = {
        "submitted": f"申请已于{since}收到，等待受理",
        "accepted": f"申请已于{since}受理，正在审核材料",
        "supplement": f"{since}已一次性告知需补正的材料，收到后继续审核",
        "calculated": f"已计算，应付个人 {yuan(case.payable or 0)} 元，等待另一人复核",
        "approved": f"复核通过，应付个人 {yuan(case.payable or 0)} 元，等待列入拨付清单",
        "paying": f"应付个人 {yuan(case.payable or 0)} 元，已列入拨付清单",
        "paid": f"{yuan(case.payable or 0)} 元已于{since}支付",
        "returned": f"银行未能入账（{last.note if last else ''}），需更正收款账户",
        "account_check": "收款账户已更正，等待另一人复核",
        "refused": f"不予报销：{last.note if last else ''}",
        "withdrawn": f"参保人已于{since}撤回申请",
    }  # fmt: skip
    return f"{words[case.state]}。"


def left(case: Reimbursement) -> dict[str, Any] | None:
    """The clock as the deadline component shows it."""
    if not case.due_clause or case.closed_at is not None:
        return None
    days = None
    if case.due is not None:
        calendar, today = load_calendar(case.region_code), clock.today()
        late = today > case.due
        span = (case.due, today) if late else (today, case.due)
        days = calendar.working_days_between(*span) * (-1 if late else 1)
    return {"days": days, "due": case.due, "clause": case.due_clause, "stopped": case.stopped}


def facts(case: Reimbursement) -> list[dict[str, Any]]:
    way = {
        "mail": ("快递单号", case.tracking_no), "deferred": ("约定提交日", case.deferred_until),
        "appointment": ("预约", f"{case.slot} {case.slot.office.name}" if case.slot else "已取消"),
    }[case.kind]  # fmt: skip
    return [
        {"label": "参保人", "value": case.person.name_masked, "sub": case.person.id_masked},
        {"label": "险种", "value": case.person.get_scheme_display()},
        {"label": "联系电话", "value": f"**** {case.phone_tail}" if case.phone_tail else ""},
        {"label": "就诊机构", "value": case.provider.name, "sub": case.provider_id},
        {"label": "就诊日期", "value": str(case.service_date)},
        {"label": "未联网结算原因", "value": case.get_cause_display()},
        {"label": "电子发票号", "value": case.e_invoice_no, "code": True},
        {"label": "发票金额", "value": f"{yuan(case.amount)} 元"},
        {"label": "报销方式", "value": case.get_kind_display(), "sub": f"{way[0]} {way[1] or ''}"},
        {"label": "收款方式", "value": case.get_way_display(),
         "sub": f"{case.holder_masked} {case.bank} {case.account_masked}".strip()},
        {"label": "登记", "value": f"{clock.local(case.opened_at):%Y-%m-%d %H:%M}",
         "sub": Login(case.opened_by)},
    ]  # fmt: skip


def money(case: Reimbursement) -> list[dict[str, Any]]:
    """What the kernel made of it; empty before the calculation."""
    row = reimbursements.settlement_of(case)
    if row is None:
        return []
    claim = Claim.objects.filter(pk=case.claim_id or 0).first()
    kept, due = kept_of(case.subject), owed_for_claim(case.claim_id)
    paid = {"label": "已付个人", "value": f"{yuan(kept)} 元", "tone": "warn" if kept > due else "",
            "sub": f"多付 {yuan(kept - due)} 元，待追回" if kept > due else ""}  # fmt: skip
    return [
        {"label": "结算单据", "value": claim.claim_no if claim else "", "code": True,
         "url": reverse("claim", args=[case.claim_id])},
        {"label": "费用", "value": f"{yuan(row.fee)} 元"},
        {"label": "政策范围内", "value": f"{yuan(row.in_scope)} 元"},
        {"label": "超标准自费（丙2类）", "value": f"{yuan(row.over_cap)} 元"},
        {"label": "范围外", "value": f"{yuan(row.out_of_scope)} 元"},
        {"label": "待审", "value": f"{yuan(row.held)} 元", "tone": "warn" if row.held else ""},
        {"label": "应付个人", "value": f"{yuan(case.payable or 0)} 元",
         "sub": "使用示例参数" if row.example else ""},
        *([paid] if kept else ()),
        {"label": "计算", "value": Login(case.calculated_by)},
        {"label": "复核", "value": Login(case.approved_by)},
    ]  # fmt: skip


def file(user: User, row: Document) -> dict[str, Any]:
    kinds = reimbursements.table().data["documents"]
    return {
        "name": row.name, "kind": kinds.get(row.kind, row.kind), "by": row.uploaded_by,
        "at": clock.local(row.uploaded_at), "sm3": row.digest,
        "url": reverse("document", args=[row.pk]) if user.may("documents.view") else "",
    }  # fmt: skip


def move(row: Move) -> dict[str, Any]:
    kinds = reimbursements.table().data["documents"]
    items = "、".join(kinds.get(key, key) for key in row.facts.get("items", ()))
    basis = row.facts.get("basis", "")
    bad = row.target in ("refused", "withdrawn", "returned")
    return {
        "at": f"{clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by, "title": row.label,
        "text": "；".join(part for part in (items, row.note) if part), "tone": "bad" if bad else "ok",
        "clause": {"document": basis or row.clause, "clause": ""} if basis or row.clause else None,
    }  # fmt: skip


def orders(case: Reimbursement) -> list[dict[str, Any]]:
    rows = PaymentOrder.objects.filter(subject=case.subject).select_related("list").order_by("-pk")
    return [
        {"label": f"第 {row.attempt} 次支付", "value": f"{yuan(row.amount)} 元 · {row.get_state_display()}",
         "sub": f"{row.list.number} {row.account_masked} {row.reason}".strip(),
         "url": reverse("payment", args=[row.list_id])}
        for row in rows
    ]  # fmt: skip


def papers(case: Reimbursement) -> list[dict[str, str]]:
    return [
        {"label": label, "url": reverse("reimbursement-paper", args=[case.pk, kind])}
        for kind, label in reimbursement_papers.possible(case)
    ]
