"""一次性告知书 and 测试验收报告: papers of a judged checklist, made once, delivered on a recorded day.

Whatever is unmet is told at once with its clause; waiting periods run from delivery, not from making.
(温医保办〔2021〕6号 七)
"""

import datetime as dt
from collections.abc import Iterator

from django.db.models import Q

from agreements import clocks, papers
from agreements.models import Application, Notice, Requirement
from audit import trail
from audit.models import Move
from audit.procedure import PROCEDURES, Refused
from institutions.models import Document, Office

REPORT = "acceptance_report"  #: the kind of document that a test's report is
TITLES = {Requirement.Part.MATERIALS: "材料审核", Requirement.Part.ACCEPTANCE: "测试验收"}


def make(
    *, application: Application, part: str, repeated: bool, on: dt.date, by: str, at: dt.datetime
) -> Notice:
    """The notice of a failure: every unmet line of a checklist with text, clause and remark."""
    items = [
        {"no": row.no, "text": row.text, "clause": row.clause, "remark": row.remark}
        for row in application.requirements.filter(part=part, met=False)
    ]
    procedure = PROCEDURES[application.procedure]
    number = papers.number_of(procedure.slug, "notice", on=on)
    office = papers.office_of(application.institution, Office.Kind.AGENCY)
    follows = list(_follows(application, repeated=repeated, on=on))
    context = {
        "issuer": office.name, "institution": application.institution.name,
        "subject": procedure.title.removesuffix("申请"), "stage": TITLES[Requirement.Part(part)],
        "application": application.number, "received": _received(application),
        "basis": [procedure.document], "follows": follows, "contact": _contact(office),
        "issued_on": papers.written(on),
        "items": [
            {"no": item["no"], "condition": item["text"], "finding": item["remark"],
             "clause": f"{procedure.document} {item['clause']}",
             "remedy": f"完善后达到“{item['text']}”，并提交佐证材料"}
            for item in items
        ],
    }  # fmt: skip
    document = papers.keep(
        application=application, template="reports/notice.html", kind="notice", number=number,
        context=context, shared=False, by=by, at=at,
        data={"application": application.number, "items": items, "follows": follows},
    )  # fmt: skip
    notice = Notice.objects.create(
        application=application, number=number, kind=part, items=items, made_on=on, made_by=by,
        document=document,
    )  # fmt: skip
    _event(notice, "make", by, at, {"items": items, "sm3": document.digest})
    return notice


def deliver(
    *, application: Application, method: str, receipt: str, on: dt.date, by: str, at: dt.datetime
) -> Notice:
    """Record the delivery; from now on the institution can open the notice and its clock runs.

    Who signed for it (`receipt`) stands with the notice only: the trail keeps no person's name.
    """
    notice = application.notices.filter(delivered_on__isnull=True).order_by("-pk").first()
    if notice is None:
        raise Refused(409, "NOTICE_MISSING", "没有待送达的告知书")
    notice.delivered_on, notice.delivery, notice.delivered_by = on, method, by
    notice.receipt = receipt[: Notice._meta.get_field("receipt").max_length]
    notice.save(update_fields=["delivered_on", "delivery", "delivered_by", "receipt"])
    _share(notice)
    _event(notice, "deliver", by, at, {"on": on, "method": method, "signed_for": bool(receipt)})
    return notice


def _share(notice: Notice) -> None:
    """The institution may open the notice and, where it tells of a test, the report behind it."""
    case = notice.application
    told = Q(pk=notice.document_id)
    if notice.kind == Requirement.Part.ACCEPTANCE:
        told |= Q(subject=case.subject, kind=REPORT)
    Document.objects.filter(told, institution__isnull=True).update(institution=case.institution)


def make_report(
    *, application: Application, passed: bool, on: dt.date, tester: str, by: str, at: dt.datetime
) -> Document:
    """The report of an acceptance test: every line tried, its result, the conclusion.

    Of a failed test the institution sees it together with the notice, from delivery on.
    """
    procedure = PROCEDURES[application.procedure]
    office = papers.office_of(application.institution, Office.Kind.INFORMATION)
    lines = list(application.requirements.filter(part=Requirement.Part.ACCEPTANCE))
    rows = [
        {"no": row.no, "item": row.text, "clause": f"{procedure.document} {row.clause}",
         "expected": "符合", "result": "passed" if row.met else "failed",
         "result_text": "合格" if row.met else "不合格", "remark": row.remark}
        for row in lines
    ]  # fmt: skip
    good = sum(bool(row.met) for row in lines)
    counts = {"passed": good, "failed": len(lines) - good, "not_applicable": 0, "total": len(lines)}
    clause = PROCEDURES[application.procedure].data["checklist"]["acceptance"]["clause"]
    number = papers.number_of(procedure.slug, "report", on=on)
    last = papers.written(application.due) if application.due else "—"
    return papers.keep(
        application=application, template="reports/acceptance.html", kind=REPORT,
        number=number, shared=passed, by=by, at=at,
        data={"application": application.number, "passed": passed, "rows": rows},
        context={
            "issuer": office.name, "institution": application.institution.name,
            "application": application.number, "passed": passed, "counts": counts,
            "facts": [
                {"label": "收到验收申请日", "value": papers.written(application.entered_on)},
                {"label": "法定完成日", "value": last},
                {"label": "验收完成日", "value": papers.written(on)},
            ],
            "groups": [{"title": procedure.title, "rows": rows}],
            "conclusion": "各验收项目均符合要求。" if passed else "上列不合格项目须整改完善。",
            "consequence": _after_test(application, passed=passed, on=on, clause=clause),
            "testers": [{"role": "验收人员", "name": tester}], "issued_on": papers.written(on),
        },
    )  # fmt: skip


def _after_test(
    application: Application, *, passed: bool, on: dt.date, clause: str
) -> dict[str, str]:
    document = PROCEDURES[application.procedure].document
    rule = clocks.procedures_of(application.institution.region, on).get("sign", {})
    if passed and "working_days" in rule:
        return {
            "text": f"验收合格之日起{rule['working_days']}个工作日内签订补充协议。",
            "clause": f"{document} {rule['clause']}",
        }
    text = "验收合格，转入签约。" if passed else "须整改的全部内容由经办机构一次性书面告知。"
    return {"text": text, "clause": f"{document} {clause}"}


def _received(application: Application) -> str:
    """The day on which the application left the institution's hands."""
    first = PROCEDURES[application.procedure].first.key
    sent = Move.objects.filter(subject=application.subject, source=first).first()
    return papers.written(sent.on) if sent else ""


def _follows(application: Application, *, repeated: bool, on: dt.date) -> Iterator[dict[str, str]]:
    """What comes after the failure, with the policy's own numbers."""
    procedures = clocks.procedures_of(application.institution.region, on)
    document = PROCEDURES[application.procedure].document
    rule = procedures.get("ban" if repeated else "reapplication", {})
    if repeated and "years" in rule:
        yield {
            "text": f"本次为再次不合格，自本告知书送达之日起{rule['years']}年内不得再次申请。",
            "clause": f"{document} {rule['clause']}",
        }
    elif "months" in rule:
        yield {
            "text": f"自本告知书送达之日起{rule['months']}个月为整改期，期满次日起可以再次申报。",
            "clause": f"{document} {rule['clause']}",
        }
    else:
        yield {"text": "完善后可以再次申请。", "clause": document}


def _contact(office: Office) -> dict[str, str] | None:
    if not office.phone:
        return None
    return {"name": office.name, "phone": office.phone, "address": office.address}


def _event(notice: Notice, action: str, by: str, at: dt.datetime, detail: dict) -> None:
    application = notice.application
    trail.record(
        by=by, at=at, action=f"notice.{action}", subject=application.subject,
        region_code=application.region_code, institution_code=application.institution_code,
        detail={"number": notice.number, "kind": notice.kind, **detail},
    )  # fmt: skip
