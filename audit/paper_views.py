"""For everybody: what the trail knows of a printed paper, with the proof of the event that recorded it."""

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import bundles, clock, proofs, proven, trail
from audit.access import public
from audit.models import Event, Report
from audit.openly import NotDisclosedError, disclosed

LINES = "application/x-ndjson"


@public
@disclosed
def paper(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """What the trail knows of a printed report: its digest, the proof of the event that recorded it."""
    report = _report(pk)
    made = _made(report)
    proof = made.proof if made else None
    return render(request, "audit/report_check.html", {
        "report": report,
        "facts": [
            {"label": "编号", "value": report.number}, {"label": "制作时间",
             "value": f"{clock.local(report.at):%Y-%m-%d %H:%M:%S}"},
            {"label": "文件大小", "value": f"{report.size:,} 字节"},
            {"label": "文件 SM3", "value": report.sm3, "code": True, "wide": True},
            {"label": "数据 SM3", "value": report.content_sm3, "code": True, "wide": True},
        ],
        "note": report.checkpoint.text if report.checkpoint else "",
        "verdict": _verdict(report, made),
        "place": _place(made.event, made.proof) if made and made.proof.sealed else [],
        "way": [part.hex() for part in proof.way] if proof else [],
        "newest": proof.checkpoint.text if proof and proof.checkpoint else "",
        "older": report.checkpoint,
    })  # fmt: skip


def _report(pk: uuid.UUID) -> Report:
    report = Report.objects.select_related("checkpoint").filter(pk=pk).first()
    if report is None:
        raise NotDisclosedError("没有此编号的报告。请核对报告末页的地址。")
    return report


def _made(report: Report) -> proven.First | None:
    """The event that recorded the making of a paper."""
    subject = f"report:{report.pk}"
    return proven.firsts(Event.objects.filter(subject=subject, action="report.make")).get(subject)


def _verdict(report: Report, made: proven.First | None) -> dict[str, str]:
    """What the recomputing came to, as a notice: text, tone, title."""
    if made is None:
        return {
            "title": "留痕中没有制作此报告的记录",
            "tone": "bad",
            "text": "请勿采信，并报告经办机构。",
        }
    proof, faults = made.proof, list(made.faults)
    if proof.holds and proof.archive is None:
        said = (trail.said_of(made.event) or {}).get("detail", {})
        if (said.get("sm3"), said.get("content_sm3")) != (report.sm3, report.content_sm3):
            faults.append("登记的摘要与制作时封存的不同")
    valid = proven.signed(proof.checkpoint) if proof.checkpoint else True
    if valid is False:
        faults.append("检查点的签名无效")
    if faults:
        return {"title": "核验不通过", "tone": "bad", "text": "；".join(faults)}
    return _whole(proof, valid=valid)


def _whole(proof: proven.Proof, *, valid: bool | None) -> dict[str, str]:
    """Nothing differs: how far that was computed."""
    if not proof.sealed:
        return {"title": "待封存", "tone": "wait", "text": "制作记录尚待封存，通常不超过一分钟。"}
    if valid is None:
        return {"title": "未能校验签名", "tone": "warn", "text": f"{proven.UNCHECKED}。"}
    if proof.archive:
        return {
            "title": "正文已归档，未比对", "tone": "info",
            "text": "制作记录的叶哈希经包含证明推至已签名的树根，没有改动；其正文已移入归档"
                    f" {proof.archive.name}，登记的摘要未与之比对。",
        }  # fmt: skip
    return {
        "title": "核验通过", "tone": "ok",
        "text": "制作记录中的摘要与登记一致；其叶哈希经包含证明推至已签名的树根，本页刚刚重算。",
    }  # fmt: skip


def _place(made: Event, proof: proven.Proof) -> list[dict[str, Any]]:
    top = proof.checkpoint
    return [
        {"label": "日志位置", "value": f"{proof.seq:,}"},
        {"label": "检查点", "value": f"{top.size:,} 条" if top else ""},
        {"label": f"制作记录的叶哈希（{made.alg.upper()}）", "value": bytes(made.leaf).hex(),
         "code": True, "wide": True},
        {"label": "树根", "value": bytes(top.root).hex() if top else "", "code": True, "wide": True},
    ]  # fmt: skip


@public
@disclosed
def paper_proof(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The same as a bundle for verify.py, hashes only: the body names who made it, and from where."""
    report = _report(pk)
    made, top = _made(report), trail.checkpoint()
    seq = made.proof.seq if made else None
    if top is None or seq is None or seq >= top.size:
        raise NotDisclosedError("制作记录尚待封存，通常不超过一分钟。")
    try:
        lines = bundles.selection(
            seqs=[seq], top=top, by="public", at=top.at, bodies=False,
            older=[report.checkpoint.size] if report.checkpoint else (),
        )  # fmt: skip
        content = "".join(lines)
    except proofs.MissingNodeError as fault:
        raise NotDisclosedError("日志缺少计算包含证明所需的哈希，请报告经办机构。") from fault
    response = HttpResponse(content, content_type=LINES)
    response["Content-Disposition"] = f'attachment; filename="proof-{report.pk}.jsonl"'
    return response
