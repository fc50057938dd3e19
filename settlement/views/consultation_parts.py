"""What the page of a remote consultation shows: facts, notices, hospitals, progress, postings, moves."""

from collections.abc import Sequence
from typing import Any

from django.urls import reverse

from audit import clock
from audit.models import Move
from audit.tables import Cell, Column, Row, Table
from audit.text import rate, yuan
from institutions.access import PortalRequest
from institutions.naming import Login
from settlement import consultation as arithmetic
from settlement import consultation_steps as steps
from settlement.models import Consultation, Participant, Receipt, Voucher

Answer = Participant.Answer
ATTENDED = {None: "—", True: "已到会", False: "未到会，不计费"}
WORDS = {"collected": "全额确认收入", "paid": "付受邀方", "reduced": "冲减收入"}


def open_receipts(row: Participant) -> list[Receipt]:
    """The receipts of an invited hospital that are not void."""
    return [receipt for receipt in row.receipts.all() if receipt.void_at is None]


def facts(case: Consultation) -> list[dict[str, Any]]:
    """What is known of a consultation, in the order of its way."""
    known = steps.price_of(case).fen
    price = "未规定" if not case.charge_count else "未录入" if known is None else (
        f"{case.charge_count} 次 × {yuan(known)} 元")  # fmt: skip
    found: list[dict[str, Any]] = [
        {"label": "邀请方", "value": case.inviting.name, "sub": f"{case.department}"},
        {"label": "患者", "value": case.patient_masked, "sub": f"住院号 {case.inpatient_no}", "code": True},
        {"label": "知情同意", "value": case.get_consenter_display() or "未登记",
         "sub": f"{clock.local(case.consented_at):%Y-%m-%d %H:%M}" if case.consented_at else ""},
        {"label": "说明的价格", "value": f"{yuan(case.explained_price)} 元"
         if case.explained_price is not None else "—", "sub": "每个省级医院每次"},
        {"label": "会诊日期", "value": str(case.session_on or f"拟 {case.wanted_on}"),
         "sub": f"{case.minutes} 分钟" if case.minutes else ""},
        {"label": "计费", "value": price if case.session_on else "—",
         "sub": "多学科会诊，每个省级医院单计一次，乙类" if case.charge_count else ""},
        {"label": "病历记录", "value": case.entry or "—",
         "sub": "已撤回" if case.entry and case.entered_at is None else ""},
        {"label": "患者票据", "value": case.invoice_no or "—", "code": bool(case.invoice_no),
         "sub": f"{yuan(case.amount)} 元" if case.invoice_no and case.amount else ""},
        {"label": "会诊目的", "value": case.purpose, "wide": True},
    ]  # fmt: skip
    if case.summary:
        found.append({"label": "会诊意见", "value": case.summary, "wide": True})
    if case.late_reason:
        found.append({"label": "逾期原因", "value": case.late_reason, "wide": True})
    if case.claim_id:
        found.append({"label": "结算单据", "value": str(case.claim_id),
                      "url": reverse("claim", args=[case.claim_id])})  # fmt: skip
    return found


def notices(case: Consultation) -> list[dict[str, str]]:
    found, price = [], steps.price_of(case)
    if case.due and case.due < clock.today():
        found.append({"tone": "warn", "title": "已超过结算期限",
                      "text": f"原则上应在 {case.due} 前结清；可以继续办理，须说明逾期原因。"})  # fmt: skip
    if price.example:
        found.append({"tone": "info", "title": "示例参数",
                      "text": "多学科会诊价格为示例参数，非官方价格，不得用于实际收费。"})  # fmt: skip
    if case.session_on and not case.charge_count:
        found.append({"tone": "wait", "title": "无计费规则",
                      "text": "没有省级专家参加，或会诊早于文件施行：本文件没有规定金额。"})  # fmt: skip
    elif case.charge_count and price.fen is None:
        found.append(
            {"tone": "warn", "title": "价格未录入", "text": "录入多学科会诊价格后才能收费。"}
        )
    return found


def waiting(rows: Sequence[Participant]) -> dict[str, str]:
    """Whose answer an invitation waits for."""
    names = "、".join(row.hospital.name for row in rows if not row.answer)
    return {"tone": "wait", "title": "等待受邀方答复",
            "text": f"{names}尚未答复；全部答复后由邀请方登记会诊。"}  # fmt: skip


def step_hint(case: Consultation, key: str, rows: Sequence[Participant]) -> str:
    """What has to be known to take a step: the price to explain, the amount to collect."""
    price, amount = steps.price_of(case).fen, steps.amount_of(case)
    if key == "collect" and price is not None and amount is not None:
        return f"应全额收取 {yuan(amount)} 元（{case.charge_count} 次 × {yuan(price)} 元）。"
    policy = steps.policy_of(case.inviting, clock.today()) if key == "consent" else None
    if policy is None:
        return ""
    count = sum(arithmetic.charges(steps.facts_of(rows, {}), policy.data).values())
    today = steps.price_on(case.inviting, clock.today())
    if not count:
        return "没有邀请省级医院：本文件没有规定会诊金额，请按规定向患者说明。"
    if today.fen is None:
        return "多学科会诊价格未录入，暂不能收费。"
    example = "（示例参数，非官方）" if today.example else ""
    return (f"请说明：多学科会诊每个省级医院每次 {yuan(today.fen)} 元{example}，"
            f"本次 {count} 家，合计 {yuan(count * today.fen)} 元。")  # fmt: skip


def act_hint(row: Participant, key: str) -> str:
    """What has to be known to act on an invited hospital's row: how much."""
    share = yuan(row.share or 0)
    return {"pay": f"按协议比例应付 {share} 元，一次付清。",
            "receipt": f"票据金额合计须等于收到的 {share} 元。",
            "reduce": f"凭受邀方票据冲减收入 {share} 元。"}.get(key, "")  # fmt: skip


def side_facts(row: Participant) -> list[dict[str, Any]]:
    receipts = open_receipts(row)
    open_fee = row.answer == Answer.ACCEPTED and row.attended is not False and row.fee is None
    return [
        {"label": "专家", "value": "、".join(row.experts) or "—", "sub": row.note},
        {"label": "到会", "value": ATTENDED[row.attended]},
        {"label": "计费（元）", "value": "待定" if open_fee else yuan(row.fee) if row.fee else "—",
         "sub": "无计费规则" if open_fee else ""},
        {"label": "分配比例", "value": rate(row.agreement.ratio_invited) if row.agreement else "—",
         "sub": row.agreement.number if row.agreement else ""},
        {"label": "应分（元）", "value": "—" if row.share is None else yuan(row.share)},
        {"label": "付款", "value": f"{clock.local(row.paid_at):%Y-%m-%d}" if row.paid_at else "—",
         "sub": row.payment_no},
        {"label": "票据", "value": "、".join(receipt.number for receipt in receipts) or "—",
         "sub": f"{yuan(sum(receipt.amount for receipt in receipts))} 元" if receipts else ""},
        {"label": "冲减收入", "value": f"{clock.local(row.reversed_at):%Y-%m-%d}"
         if row.reversed_at else "—",
         "sub": "款项已退回" if row.returned_at else ""},
    ]  # fmt: skip


def progress(case: Consultation) -> list[dict[str, Any]]:
    """The way of a consultation; one that ended early stops where it did."""
    names = ("申请", "知情同意", "受邀方确认", "会诊", "计入病历", "收费", "分配", "结清")
    order = (
        "draft",
        "invited",
        "scheduled",
        "held",
        "entered",
        "charged",
        "distributed",
        "settled",
    )
    done = order.index(case.state) + 1 if case.state in order else 0
    if case.state == "unpriced":
        done = 5
    moves = {move.target: move for move in Move.objects.filter(subject=case.subject)}
    found = []
    for number, (name, key) in enumerate(zip(names, order, strict=True)):
        reached = key in moves and (done == 0 or number < done)
        state = (
            "done" if reached else "now" if number == done and case.closed_at is None else "next"
        )
        found.append({"label": name, "state": state,
                      "at": str(moves[key].on) if reached else ""})  # fmt: skip
    return found


def vouchers(request: PortalRequest, case: Consultation) -> Table | None:
    """The postings, for the inviting side and those who oversee it."""
    rows = list(Voucher.objects.visible_to(request.user).filter(subject=case.subject))
    if not rows:
        return None
    return Table(
        id="vouchers", caption="入账凭证明细", show_caption=False, actions=False,
        columns=[Column(label="凭证号"), Column(label="类别"), Column(label="金额（元）", numeric=True),
                 Column(label="入账时间"), Column(label="依据", wide=True)],
        rows=[Row(key=str(row.pk), label=row.number, cells=[
            Cell(text=row.number, code=True),
            Cell(text=WORDS.get(row.effect.split("/")[1] if "/" in row.effect else "", "冲销"),
                 tone="mute" if row.reverses_id else ""),
            Cell(text=yuan(-row.amount if row.reverses_id else row.amount)),
            Cell(text=f"{clock.local(row.posted_at):%Y-%m-%d %H:%M}", sub=Login(row.posted_by)),
            Cell(text=row.clause or row.reason or "—"),
        ]) for row in rows],
    )  # fmt: skip


def moves(case: Consultation) -> list[dict[str, Any]]:
    found = []
    for row in Move.objects.filter(subject=case.subject).order_by("-pk"):
        late = "（逾期）" if row.on_time is False else ""
        found.append({
            "at": f"{clock.local(row.at):%Y-%m-%d %H:%M}", "by": row.by, "title": row.label + late,
            "text": row.note, "tone": "warn" if late else "ok",
            "clause": {"document": row.clause, "clause": ""} if row.clause else None,
        })  # fmt: skip
    return found
