"""Papers of a case as PDF: 告知书, 证据清单, 决定书, 移送书, 送达回证 and the others, one template.

A paper is drawn from its stored content only, so that it is the same for ever; its digest stands on it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from audit import pdf
from audit.text import yuan
from institutions.models import Office, Region
from settlement.capitals import capitals
from supervision.models import CasePaper

TEMPLATE = "reports/case_paper.html"
Kind = CasePaper.Kind
Parts = dict[str, Any]  #: paragraphs, facts, table, after


def pdf_of(paper: CasePaper) -> bytes:
    """The PDF of a paper, the same bytes whenever it is asked for."""
    return pdf.render(
        TEMPLATE, context_of(paper), identifier=pdf.identifier_of("case", paper.number, paper.digest),
        at=paper.made_at, attachments=[pdf.json_attachment(f"{paper.kind}.json", data_of(paper),
                                                           paper.get_kind_display())],
    )  # fmt: skip


def data_of(paper: CasePaper) -> dict[str, Any]:
    """What is stored of a paper."""
    return {"number": paper.number, "kind": paper.kind, "addressee": paper.addressee,
            "made_on": str(paper.made_on), "made_by": paper.made_by, "sm3": paper.digest,
            "content": paper.content}  # fmt: skip


def context_of(paper: CasePaper) -> dict[str, Any]:
    """What the template shows."""
    return {
        "title": paper.get_kind_display(), "number": paper.number, "issuer": issuer_of(paper),
        "addressee": "" if paper.kind in INTERNAL else paper.addressee,
        "on": f"{paper.made_on:%Y年%m月%d日}", "sm3": paper.digest, "by": paper.made_by,
        "kind": paper.kind, **DRAWN[Kind(paper.kind)](paper.content),
    }  # fmt: skip


def issuer_of(paper: CasePaper) -> str:
    """The agency where the agreement is the way, else the bureau of the area."""
    agency = paper.case.route == paper.case.Route.AGREEMENT
    kind = Office.Kind.AGENCY if agency else Office.Kind.BUREAU
    found = Office.objects.filter(region=paper.case.region_code, kind=kind).first()
    if found is not None:
        return found.name
    name = Region.objects.get(pk=paper.case.region_code).name
    return f"{name}医疗保险服务经办机构" if agency else f"{name}医疗保障局"


#: papers that stay in the file
INTERNAL = (Kind.FILING, Kind.CLOSING)


def _facts(*rows: tuple[str, object]) -> list[dict[str, str]]:
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
    return {"facts": _facts(
        ("案号", content["case"]), ("案由", content["title"]), ("对象", content["subject"]),
        ("案件来源", content["origin"]), ("来源编号", content["reference"]),
        ("线索摘要", content["summary"]), ("提请人", content["opened_by"]),
        ("审批人", content["approved_by"]), ("审批意见", content["note"] or "同意立案"),
    )}  # fmt: skip


def _notice(content: Mapping[str, Any]) -> Parts:
    names = "、".join(f"{name}（{number}）" for name, number in content["inspectors"])
    return {
        "paragraphs": [
            f"经查，你单位（你）在{_days(content)}期间，{content['title']}。查明的事实如下：",
            content["found"],
            f"造成医疗保障基金损失：{_loss(content)}。拟按“{content['route']}”办理"
            + (f"，适用{content['article']}。" if content["article"] else "。"),
        ],
        "table": _measures(content) if content["measures"] else None,
        "after": [
            "你单位（你）有权进行陈述和申辩，可以申请听证，可以申请检查人员回避。逾期未提出的，视为放弃上述权利。",
            f"本案检查人员：{names}。",
        ],
    }  # fmt: skip


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
    return {"paragraphs": [
        f"你单位（你）于{content['asked_on']}就{content['case']}提出的听证申请已收到，同意举行听证。",
        f"听证请求与理由：{content['reasons']}",
        "听证的时间、地点和主持人另行通知。主持人不是本案检查人员；当事人可以申请其回避。",
    ]}  # fmt: skip


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
        "after": [("退回的基金退回原医疗保障基金财政专户。如不服本决定，可以依法申请行政复议、提起行政诉讼，"
                  "或者按照协议约定申请争议处理。")],
    }  # fmt: skip


def _receipt(content: Mapping[str, Any]) -> Parts:
    return {"facts": _facts(
        ("送达文书", f"{content['paper']}　{content['number']}"), ("案号", content["case"]),
        ("送达方式", content["method"]), ("签收人", content["receiver"]),
        ("送达日期", content["served_on"]), ("送达人", content["served_by"]),
    )}  # fmt: skip


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
        "facts": _facts(("案号", content["case"]), ("案由", content["title"]),
                        ("对象", content["subject"]), ("结案意见", content["opinion"]),
                        ("批准人", content["closed_by"])),
        "table": _measures(content, done=True) if content["measures"] else None,
    }  # fmt: skip


DRAWN: Mapping[Kind, Callable[[Mapping[str, Any]], Parts]] = {
    Kind.FILING: _filing, Kind.NOTICE: _notice, Kind.EVIDENCE: _evidence, Kind.HEARING: _hearing,
    Kind.DECISION: _decision, Kind.TRANSFER: _decision, Kind.RECEIPT: _receipt,
    Kind.INFORM: _inform, Kind.CLOSING: _closing,
}  # fmt: skip
