"""The trial calculator: what would the policy pay? Nothing is stored, so everything is a GET."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode

from audit.access import requires
from audit.clock import today
from audit.text import yuan
from institutions.access import PortalRequest
from institutions.money import MoneyError, fen
from pricing.releases import current
from settlement import picture, words
from settlement.trial_form import EXAMPLES, TrialForm, example_query


@requires("trials.run")
def trial(request: PortalRequest) -> HttpResponse:
    """The form and its answer. With htmx the same page is asked for and only parts are replaced."""
    day = today()
    form = TrialForm(request.GET, catalogue=current(), today=day, home=_home(request.user))
    answer = form.answer()
    examples = [
        {"label": label, "url": f"{reverse('trial')}?{urlencode(example_query(values, day))}"}
        for label, values in EXAMPLES
        if values["region"] in form.regions
    ]
    context = {
        "breadcrumbs": [{"label": "工作台", "url": "/"}, {"label": "试算", "url": ""}],
        "form": form,
        "problems": problems(form),
        "examples": examples,
        "answer": shown(answer, form) if answer else None,
    }
    return render(request, "settlement/trial.html", context)


def _home(user: Any) -> str:
    """The policy region of a person's institution or area; empty for people without one."""
    region = user.institution.region if user.institution else user.region
    return region.policy_region if region else ""


def problems(form: TrialForm) -> list[dict[str, str]]:
    """The form's errors with the field that each belongs to, for the summary above the answer."""
    found = []
    for name, errors in form.errors.items() if form.rules else ():
        field = form[name] if name in form.fields else None
        found += [
            {"label": str(field.label) if field else "", "text": str(error),
             "target": field.id_for_label if field else ""}
            for error in errors
        ]  # fmt: skip
    return found


def shown(answer: dict[str, Any], form: TrialForm) -> dict[str, Any]:
    """An answer of contracts/trial.md, prepared for the page."""
    fee = _fee(answer, form)
    return {
        "decision": words.DECISIONS[answer["decision"]],
        "tone": words.DECISION_TONES[answer["decision"]],
        "reason": answer["reason_text"],
        "code": answer["reason"],
        "figures": [
            {"label": "统筹基金支付", "value": _money(answer["fund_pay"]), "unit": "元"},
            {"label": "个人负担", "value": _money(answer["patient_total"]), "unit": "元"},
            {"label": "政策范围内", "value": _money(answer["in_scope_amount"]), "unit": "元"},
            {"label": "超标准自费", "value": _money(answer["over_cap_self_pay"]), "unit": "元"},
        ],
        "chart": picture.line_chart(answer, fee=fee, title="费用分解"),
        "clauses": answer["clauses"],
        "open": [f"{e['label']}：{e['note']}。" for e in answer["explanation"]
                 if e["amount"] is None and e["note"]],
        "flags": [words.FLAGS.get(flag, flag) for flag in answer["flags"]],
        "example": "EXAMPLE_PARAMETER" in answer["flags"],
        "assumed": [words.FACTS[name] for name in answer["assumed"]],
        "facts": _facts(answer),
        "document": answer["release"]["document"],
        "sm3": answer["release"]["sm3"],
    }  # fmt: skip


def _facts(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What else the answer says, as a description list."""
    said = {True: "可以", False: "不可以", None: "文件未规定"}
    rows: list[dict[str, Any]] = [
        {"label": "可否向患者收取", "value": said[answer["patient_may_be_charged"]]},
        {"label": "个人账户支付", "value": said[answer["personal_account_allowed"]]},
    ]
    if answer.get("canonical_code"):
        rows.append({"label": "项目编码", "value": answer["canonical_code"], "code": True})
    if answer.get("settlement_channel") == "manual":
        rows.append(
            {"label": "结算渠道", "value": "手工报销", "sub": "凭电子发票，可邮寄、预约或延时"}
        )
    if answer.get("charge_count"):
        total = answer["charge_total"]
        rows.append(
            {
                "label": "收费次数",
                "value": f"{answer['charge_count']} 次",
                "sub": f"合计 {_money(total)} 元" if total else "单价未规定",
            }
        )
    if answer.get("category"):
        rows.append({"label": "支付类别", "value": answer["category"]})
    return rows


def _fee(answer: dict[str, Any], form: TrialForm) -> int | None:
    """The fee in fen: as stated, or the document's price for services priced by count."""
    text = form.cleaned_data.get("fee") or answer.get("charge_total")
    try:
        return fen(text)
    except MoneyError:
        return None


def _money(text: str | None) -> str:
    return "未规定" if text is None else yuan(fen(text))
