"""Papers of a case or an inspection as PDF: 告知书, 决定书, 检查通知书, 送达回证 …, one template.

A paper is drawn from its stored content only, so that it is the same for ever; its digest stands on it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet

from audit import pdf
from audit.text import yuan
from institutions.models import Office
from settlement.capitals import capitals
from supervision.hands import office_name
from supervision.models import CasePaper
from supervision.models.cases import NumberedPaper
from supervision.writs import issuer_of

TEMPLATE = "reports/case_paper.html"
Kind = CasePaper.Kind
Parts = dict[str, Any]  #: paragraphs, facts, table, after


def pdf_of(paper: CasePaper) -> bytes:
    """The PDF of a paper of a case, the same bytes whenever it is asked for."""
    return drawn(paper, "case", paper.kind, paper.get_kind_display(), context_of(paper))


def drawn(
    paper: NumberedPaper, of: str, kind: str, title: str, context: Mapping[str, Any]
) -> bytes:
    """The PDF of any numbered paper with what is stored of it inside; `of` names its series."""
    stored = {"number": paper.number, "kind": kind, "addressee": paper.addressee,
              "made_on": str(paper.made_on), "made_by": paper.made_by, "sm3": paper.digest,
              "content": paper.content}  # fmt: skip
    return pdf.render(
        TEMPLATE, context, identifier=pdf.identifier_of(of, paper.number, paper.digest),
        at=paper.made_at, attachments=[pdf.json_attachment(f"{kind}.json", stored, title)],
    )  # fmt: skip


def context_of(paper: CasePaper) -> dict[str, Any]:
    """What the template shows."""
    addressee = "" if paper.kind in INTERNAL else paper.addressee
    return heading(paper, paper.get_kind_display(), _issuer(paper), addressee) | DRAWN[
        Kind(paper.kind)
    ](paper.content)


def heading(paper: NumberedPaper, title: str, issuer: str, addressee: str) -> Parts:
    """What stands at the head and the foot of every paper."""
    return {
        "title": title, "number": paper.number, "issuer": issuer, "addressee": addressee,
        "on": f"{paper.made_on:%Y年%m月%d日}", "sm3": paper.digest,
    }  # fmt: skip


def _issuer(paper: CasePaper) -> str:
    """As kept. Papers of before kept none: until the first notice the way was open and the bureau issued."""
    if "issuer" in paper.content:
        return paper.content["issuer"]
    if paper.case.papers.filter(kind=Kind.NOTICE, pk__lte=paper.pk).exists():
        return issuer_of(paper.case)
    return office_name(paper.case.region_code, Office.Kind.BUREAU)


#: papers that stay in the file
INTERNAL = (Kind.FILING, Kind.REQUEST, Kind.CLOSING)
#: papers to other authorities
ELSEWHERE = (Kind.INFORM, Kind.TRANSFER)


def of_party(rows: QuerySet[CasePaper]) -> QuerySet[CasePaper]:
    """The papers that go to the party: not what stays in the file, no letters to others."""
    kept = (*INTERNAL, *ELSEWHERE)
    return rows.exclude(kind__in=kept).exclude(serves__kind__in=kept)


def facts(*rows: tuple[str, object]) -> list[dict[str, str]]:
    """Rows of a table of facts; empty ones are left out."""
    return [{"label": label, "value": str(value)} for label, value in rows if value]


def _days(content: Mapping[str, Any]) -> str:
    first, last = content["days"]
    return first if first == last else f"{first} 至 {last}"


def _loss(content: Mapping[str, Any]) -> str:
    return f"{yuan(content['loss'])} 元（{capitals(content['loss'])}）" if content["loss"] else "无"


def _measures(content: Mapping[str, Any], *, done: bool = False) -> Parts:
    heads = ["序号", "措施", "对象", "内容", "依据"]
    if done:
        heads = ["序号", "措施", "对象", "执行日", "执行记录"]
    rows = [
        [str(no), row["label"], row["target"], *(
            [row["done_on"], row["record"]] if done else [row["size"] or row["note"], row["clause"]]
        )]
        for no, row in enumerate(content["measures"], 1)
    ]  # fmt: skip
    return {"caption": "执行情况" if done else "处理措施", "heads": heads, "rows": rows}


def _filing(content: Mapping[str, Any]) -> Parts:
    return {"facts": facts(
        ("案号", content["case"]), ("案由", content["title"]), ("对象", content["subject"]),
        ("案件来源", content["origin"]), ("来源编号", content["reference"]),
        ("线索摘要", content["summary"]), ("提请人", content["opened_by"]),
        ("审批人", content["approved_by"]), ("审批意见", content["note"] or "同意立案"),
    )}  # fmt: skip


def _notice(content: Mapping[str, Any]) -> Parts:
    # papers of before kept inspectors as [name, certificate] and no times
    names = "、".join(
        row if isinstance(row, str) else f"{row[0]}（{row[1]}）" for row in content["inspectors"]
    )
    return {
        "paragraphs": [
            f"经查，你单位（你）在{_days(content)}期间，{content['title']}。查明的事实如下：",
            content["found"],
            f"造成医疗保障基金损失：{_loss(content)}。拟按“{content['route']}”办理"
            + (f"，适用{content['article']}。" if content["article"] else "。"),
        ],
        "table": _measures(content) if content["measures"] else None,
        "after": [*_rights(content.get("times")), f"本案检查人员：{names}。"],
    }  # fmt: skip


def _rights(times: Mapping[str, Any] | None) -> list[str]:
    """What the party may do, each with its days, its last day and where the number comes from."""
    if times is None:
        return [("你单位（你）有权进行陈述和申辩，可以申请听证，可以申请检查人员回避。"
                 "逾期未提出的，视为放弃上述权利。")]  # fmt: skip
    rights = (
        ("statement", "你单位（你）有权进行陈述和申辩"),
        ("hearing", "你单位（你）可以申请听证"),
    )
    return [
        *(f"{right}{_until(times[key])}" for key, right in rights if key in times),
        "你单位（你）可以申请检查人员回避。逾期未陈述申辩"
        + (
            "、未申请听证的，视为放弃上述权利。" if "hearing" in times else "的，视为放弃上述权利。"
        ),
    ]


def _until(time: Mapping[str, Any]) -> str:
    """How long, until which day, by which clause; a number no document prints names its parameter."""
    if not time:
        return "；文件未规定期限，请及时提出。"
    last = f"{time['unknown']}年工作日历公布后另告最后一日"
    if time["last"]:
        last = f"最后一日为{_day(time['last'])}"
    kind = "期限取示例参数" if time["example"] else "期限取统筹区参数"
    source = f"；{kind}“{time['source']}”" if time["source"] else ""
    return (f"，应当自本告知书送达之日起{time['days']}个工作日内提出，{last}"
            f"（{time['clause']}{source}）。")  # fmt: skip


def _day(text: str) -> str:
    """`2021-06-22` as papers write it."""
    year, month, day = text.split("-")
    return f"{year}年{int(month)}月{int(day)}日"


def _evidence(content: Mapping[str, Any]) -> Parts:
    rows = [
        [str(row["no"]), row["kind"], row["title"], row["reference"],
         yuan(row["loss"]) if row["loss"] else "—", row["sm3"][:16]]
        for row in content["items"]
    ]  # fmt: skip
    total = sum(row["loss"] for row in content["items"])
    return {
        "paragraphs": [f"案号：{content['case']}　附于：{content['notice']}"],
        "table": {"caption": f"共 {len(rows)} 项，涉及基金 {yuan(total)} 元",
                  "heads": ["序号", "类别", "名称与证明内容", "编号", "金额（元）", "摘要（SM3前16位）"],
                  "rows": rows},
    }  # fmt: skip


def _hearing(content: Mapping[str, Any]) -> Parts:
    asked = f"你单位（你）于{content['asked_on']}就{content['case']}提出的听证申请已收到，同意举行听证。"
    when = content.get("held_on")
    return {
        "paragraphs": [
            asked, f"听证请求与理由：{content['reasons']}",
            *([] if when else ["听证的时间、地点和主持人另行通知。"]),
            "主持人不是本案检查人员；当事人可以申请其回避。",
        ],
        "facts": facts(("听证日", when), ("时间与地点", content["place"]),
                        ("主持人", content["presider"])) if when else [],
    }  # fmt: skip


def _no_hearing(content: Mapping[str, Any]) -> Parts:
    return {"paragraphs": [
        f"你单位（你）于{content['asked_on']}就{content['case']}提出的听证申请已收到，经审查不予举行听证。",
        f"理由：{content['reasons']}",
        "你单位（你）已提出的陈述申辩意见将依法复核。" if content.get("spoken")
        else "你单位（你）仍可在陈述申辩期限内进行陈述和申辩。",
        f"决定人：{content['decided_by']}。",
    ]}  # fmt: skip


def _request(content: Mapping[str, Any]) -> Parts:
    return {"facts": facts(
        ("案号", content["case"]), ("案由", content["title"]), ("申请事项", content["what"]),
        ("申请人", content["applicant"]), ("申请日", content["asked_on"]),
        ("理由", content["reasons"]), ("登记人", content["recorded_by"]),
    )}  # fmt: skip


def _recusal(content: Mapping[str, Any]) -> Parts:
    decided = "同意回避" if content["granted"] else "驳回申请，不予回避"
    after = (f"自本决定作出之日起，该检查人员不得再办理本案；接替后本案检查人员不少于{content['least']}人。"
             if content["granted"] else "该检查人员继续办理本案。")  # fmt: skip
    return {
        "facts": facts(
            ("案号", content["case"]), ("案由", content["title"]), ("检查人员", content["inspector"]),
            ("提出方式", content["kind"]), ("申请人", content["applicant"]),
            ("申请日", content["asked_on"]), ("申请理由", content["reasons"]), ("决定", decided),
            ("决定理由", content["opinion"]), ("决定人", content["decided_by"]),
        ),
        "after": [after],
    }  # fmt: skip


def _decision(content: Mapping[str, Any]) -> Parts:
    heard = content["statement"] or "当事人未提出陈述申辩意见。"
    return {
        "paragraphs": [
            (f"{content['subject']}在{_days(content)}期间，{content['title']}一案（{content['case']}），"
            f"现已调查终结。认定的事实：{content['found']}"),
            f"造成医疗保障基金损失：{_loss(content)}。以上事实有证据{content['evidence']}项为证。",
            f"陈述申辩：{heard}",
            *([f"采纳情况：{content['considered']}"] if content["considered"] else []),
            (f"{'依据' + content['article'] + '，' if content['article'] else ''}决定按“{content['route']}”"
            f"作如下处理：{content['opinion']}"),
        ],
        "table": _measures(content) if content["measures"] else None,
        # papers of before kept no appeal
        "after": content.get("appeal") or [(
            "退回的基金退回原医疗保障基金财政专户。如不服本决定，可以依法申请行政复议、提起行政诉讼，"
            "或者按照协议约定申请争议处理。"
        )],
    }  # fmt: skip


def _dismissal(content: Mapping[str, Any]) -> Parts:
    heard = content["statement"] or "当事人未提出陈述申辩意见。"
    return {"paragraphs": [
        (f"{content['subject']}在{_days(content)}期间，{content['title']}一案（{content['case']}），"
         f"已于{content['notice']}处理告知书告知拟处理意见。"),
        f"陈述申辩：{heard}",
        *([f"采纳情况：{content['considered']}"] if content["considered"] else []),
        f"经审查，决定不予处理，原拟处理措施不再作出。理由：{content['reasons']}",
        f"决定人：{content['decided_by']}。",
    ]}  # fmt: skip


def _receipt(content: Mapping[str, Any]) -> Parts:
    return {"facts": facts(
        ("送达文书", f"{content['paper']}　{content['number']}"), ("案号", content["case"]),
        ("送达方式", content["method"]), ("签收人", content["receiver"]),
        ("送达日期", content["served_on"]), ("送达人", content["served_by"]),
    )}  # fmt: skip


def _talk(content: Mapping[str, Any]) -> Parts:
    return {
        "paragraphs": [
            f"依据{content['clause']}和处理决定{content['decision']}，就{content['title']}一案（{content['case']}）对你单位（你）进行约谈。",
            f"约谈事由：{content['subject']}",
            *([f"本通知替代{content['replaces']}。"] if content["replaces"] else []),
        ],
        "facts": facts(
            ("约谈日", content["held_on"]), ("时间与地点", content["place"]),
            ("被约谈人员", content["persons"]), ("约谈人", "、".join(content["interviewers"])),
            ("依据", content["clause"]),
        ),
    }  # fmt: skip


def _minutes(content: Mapping[str, Any]) -> Parts:
    return {
        "facts": facts(
            ("案号", content["case"]), ("案由", content["title"]), ("约谈通知书", content["notice"]),
            ("依据", content["clause"]), ("约谈日", content["held_on"]),
            ("时间与地点", content["place"]), ("约谈事由", content["subject"]),
            ("到场人员", content["present"]), ("陈述", content["statements"]),
            ("承诺", content["commitments"]), ("记录人", content["recorded_by"]),
            ("确认人", content["confirmed_by"]),
        ),
        "after": ["被约谈人员签名：　　　　　　　　　约谈人签名："],
    }  # fmt: skip


def _inform(content: Mapping[str, Any]) -> Parts:
    return {
        "paragraphs": [
            (f"现将{content['subject']}{content['title']}一案（{content['case']}，处理决定{content['decision']}）"
            "的处理情况通报如下，请依法依规处理并函告结果："),
            content["text"],
        ],
        "table": _measures(content) if content["measures"] else None,
    }  # fmt: skip


def _closing(content: Mapping[str, Any]) -> Parts:
    return {
        "facts": facts(("案号", content["case"]), ("案由", content["title"]),
                        ("对象", content["subject"]), ("结案意见", content["opinion"]),
                        ("批准人", content["closed_by"])),
        "table": _measures(content, done=True) if content["measures"] else None,
    }  # fmt: skip


def _review(content: Mapping[str, Any]) -> Parts:
    decided = "决定维持原处理决定。"
    if content["granted"]:
        decided = f"决定变更{content['decision']}号处理决定，该项措施至{content['last']}止。"
    return {
        "facts": facts(
            ("案号", content["case"]), ("案由", content["title"]), ("原处理决定", content["decision"]),
            ("措施", content["measure"]), ("对象", content["target"]), ("依据", content["clause"]),
            ("原期间", _days(content)), ("法定最短期限至", content["least"]),
            ("提出复查", content["asked_by"]), ("复查理由", content["reasons"]),
            ("决定理由", content["opinion"]), ("决定人", content["decided_by"]),
        ),
        "after": [f"经复查，{decided}"],
    }  # fmt: skip


DRAWN: Mapping[Kind, Callable[[Mapping[str, Any]], Parts]] = {
    Kind.FILING: _filing, Kind.NOTICE: _notice, Kind.EVIDENCE: _evidence, Kind.HEARING: _hearing,
    Kind.DECISION: _decision, Kind.TRANSFER: _decision, Kind.RECEIPT: _receipt,
    Kind.INFORM: _inform, Kind.CLOSING: _closing, Kind.REQUEST: _request,
    Kind.DISMISSAL: _dismissal, Kind.REVIEW: _review, Kind.RECUSAL: _recusal, Kind.NO_HEARING: _no_hearing,
    Kind.TALK: _talk, Kind.MINUTES: _minutes,
}  # fmt: skip
