"""What is done in a case besides its steps: inspectors, recusal, evidence, measures, their execution.

Each act names its permission, the states in which it is offered, its form and its one command.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from agreements.views.refusing import refuse, words_of
from audit import clock
from audit.access import requires
from audit.procedure import Refused
from institutions import news
from institutions.access import PortalRequest
from institutions.models import User
from institutions.naming import shown_names
from institutions.refusals import Refusal
from supervision import (
    case_forms,
    case_steps,
    cases,
    disclosures,
    interview_forms,
    law,
    recusals,
    sanctions,
    writs,
)
from supervision.hands import active, covers, handle_of, hands_of, head_of, of_agency
from supervision.interviews import KIND as INTERVIEW
from supervision.models import (
    ArchiveLoan,
    CaseInspector,
    Disclosure,
    Finding,
    Sanction,
    SupervisionCase,
)
from supervision.views import cases as pages
from supervision.views import interviews

INQUIRY, UNDECIDED = cases.INQUIRY, cases.UNDECIDED


@dataclass(frozen=True)
class Act:
    """One act of the page."""

    key: str
    label: str
    states: tuple[str, ...]
    may: Callable[[User, SupervisionCase], bool]
    form: Callable[..., forms.Form]
    given: Callable[[SupervisionCase, User], dict[str, Any]]
    run: Callable[[SupervisionCase, Mapping[str, Any], User], object]
    group: str
    danger: bool = False

    def offered(self, case: SupervisionCase, user: User) -> bool:
        """Whether this person can do it with this case now."""
        if case.state not in self.states or not self.may(user, case):
            return False
        given = self.given(case, user)
        return all(given.values()) if given else True


def _handles(user: User, case: SupervisionCase) -> bool:
    return user.may(handle_of(case))


def _heads(user: User, case: SupervisionCase) -> bool:
    return user.may(head_of(case))


def _speaks(user: User, case: SupervisionCase) -> bool:
    """Inspectors declare themselves; the institution concerned asks."""
    mine = bool(user.institution_id) and user.institution_id == case.party
    return (mine and user.may(case_steps.ANSWER)) or _handles(user, case)


def _inspects(user: User, case: SupervisionCase) -> bool:
    return active(case).filter(username=user.username).exists()


def _executes(user: User, case: SupervisionCase) -> bool:
    return bool(_to_execute(case, user))


# --- What the forms choose from ---


def people_of(case: SupervisionCase) -> list[tuple[str, str]]:
    """Who may inspect in the area of a case and is not named yet."""
    named = set(case.inspectors.values_list("username", flat=True))
    certified = writs.table_of(case).data["certificates"]
    rows = User.objects.filter(role__in=news.roles_with(cases.CARRY), is_active=True)
    rows = rows.select_related("region").order_by("username")
    return [
        (row.username, f"{row.display_name or row.username}（{row.username}）") for row in rows
        if row.username not in named and covers(row, case.region_code)
        and (certified or of_agency(row.username))
    ]  # fmt: skip


def _active(case: SupervisionCase, user: User) -> list[tuple[int, str]]:
    """Inspectors whom this person can ask to stand back: a handler only declares the own name."""
    rows = active(case).exclude(~Q(recusal=""), recused=None)
    if not user.institution_id:
        rows = rows.filter(username=user.username)
    return _people(rows)


def _others(case: SupervisionCase, user: User) -> list[tuple[int, str]]:
    """Inspectors of whom this person can record a party's request: not the own name."""
    rows = active(case).exclude(~Q(recusal=""), recused=None).exclude(username=user.username)
    return _people(rows)


def _asked(case: SupervisionCase, user: User) -> list[tuple[int, str]]:
    if case.inspectors.filter(username=user.username).exists():
        return []
    rows = case.inspectors.exclude(recusal="").filter(recused=None)
    return _people(rows.exclude(recusal_by=user.username), because=True)


def _recused(case: SupervisionCase) -> list[tuple[int, str]]:
    return _people(case.inspectors.filter(recused=True, replaced_by=""))


def _people(rows: Iterable[CaseInspector], *, because: bool = False) -> list[tuple[int, str]]:
    """Inspectors as choices, called by name; `because` adds the reason for standing back."""
    found = list(rows)
    names = shown_names(row.username for row in found)
    return [
        (row.pk, f"{names[row.username]}{f'：{row.recusal_reason}' if because else ''}"[:80])
        for row in found
    ]


def _findings(case: SupervisionCase) -> list[tuple[int, str]]:
    listed = {
        int(reference.partition(":")[2])
        for reference in case.evidence.filter(kind="finding").values_list("reference", flat=True)
    }
    place, rows = case.institution_code, Finding.objects.exclude(state__in=("refuted", "merged"))
    if place:
        ours = Q(institution_code=place) | Q(**{f"parameters__shares__{place}__isnull": False})
        rows = rows.filter(ours)
    if case.person_id:
        rows = rows.filter(person_id=case.person_id)
    rows = rows.exclude(pk__in=listed)
    return [(row.pk, f"{row.pk} · {row.first_day} · {row.message}"[:80]) for row in rows[:50]]


def _proposed(case: SupervisionCase) -> list[tuple[int, str]]:
    return [_named(row) for row in case.sanctions.filter(state=Sanction.State.PROPOSED)]


def _to_execute(case: SupervisionCase, user: User) -> list[tuple[int, str]]:
    return [
        _named(row)
        for row in case.sanctions.filter(state=Sanction.State.ORDERED).exclude(kind=INTERVIEW)
        if sanctions.may_execute(row, user)
    ]  # fmt: skip


def _to_end(case: SupervisionCase) -> list[tuple[int, str]]:
    return [_named(row) for row in case.sanctions.all() if sanctions.may_end(row)]


def _ends(user: User, case: SupervisionCase) -> bool:
    """Whether this person decides on the route and has no hand in the inquiry."""
    route = law.routes().get(case.route)
    return bool(route and user.may(route.permission) and user.username not in hands_of(case))


def _named(row: Sanction) -> tuple[int, str]:
    told = sanctions.told(row)
    return row.pk, " ".join(filter(None, (told["label"], told["target"], told["size"])))


# --- What the acts do ---


def _name(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return cases.name_inspector(
        case=case, username=given["username"], certificate=given.get("certificate", ""),
        lead=given["lead"], by=who.username, at=clock.now(),
    )  # fmt: skip


def _recuse(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = case.inspectors.get(pk=given["inspector"])
    return recusals.ask(inspector=row, reason=given["reason"], who=who, at=clock.now())


def _record(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return recusals.record(
        inspector=case.inspectors.get(pk=given["inspector"]), applicant=given["applicant"],
        reason=given["reason"], on=given["on"], who=who, at=clock.now(),
    )  # fmt: skip


def _decide(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return recusals.decide(
        inspector=case.inspectors.get(pk=given["inspector"]), grant=given["grant"] == "yes",
        reason=given["reason"], who=who, at=clock.now(),
        service=writs.Service(given["method"], given["receiver"], given["on"]),
    )  # fmt: skip


def _replace(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return cases.replace_inspector(
        inspector=case.inspectors.get(pk=given["inspector"]), username=given["username"],
        certificate=given.get("certificate", ""), by=who.username, at=clock.now(),
    )  # fmt: skip


def _finding(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = Finding.objects.visible_to(who).get(pk=given["finding"])
    return cases.add_finding(
        case=case, finding=row, because=given["because"], by=who.username, at=clock.now()
    )


def _claim(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return cases.add_claim(
        case=case, by=who.username, at=clock.now(), **given,
    )  # fmt: skip


def _file(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    file = given["file"]
    return cases.add_file(
        case=case, title=given["title"], kind=given["kind"], internal=given["internal"],
        by=who.username, at=clock.now(), file=(file.name or "", file.read()), loss=given["loss"] or 0,
    )  # fmt: skip


def _measure(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return sanctions.propose(case=case, by=who.username, at=clock.now(), **given)


def _drop(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = case.sanctions.get(pk=given["sanction"])
    return sanctions.drop(sanction=row, by=who.username, at=clock.now())


def _execute(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = case.sanctions.get(pk=given["sanction"])
    return sanctions.execute(
        sanction=row, on=given["on"], record=given["record"], who=who, at=clock.now()
    )


def _end(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = case.sanctions.get(pk=given["sanction"])
    return sanctions.end(sanction=row, reason=given["reason"], who=who, at=clock.now())


def _disclosure(case: SupervisionCase) -> Disclosure | None:
    return Disclosure.objects.filter(case=case, withdrawn_at__isnull=True).first()


def _waits(case: SupervisionCase, user: User) -> bool:
    """Whether a disclosure waits for this person as the second."""
    row = _disclosure(case)
    return row is not None and not row.approved_by and row.proposed_by != user.username


def _loan(case: SupervisionCase) -> ArchiveLoan | None:
    return ArchiveLoan.objects.filter(case=case, returned_at__isnull=True).first()


def _loan_waits(case: SupervisionCase, user: User) -> bool:
    row = _loan(case)
    return row is not None and not row.approved_by and row.asked_by != user.username


def _publish(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return disclosures.propose(case=case, text=given["text"], by=who.username, at=clock.now())


def _approve(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = Disclosure.objects.get(case=case)
    return disclosures.approve(disclosure=row, who=who, at=clock.now())


def _withdraw(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = Disclosure.objects.get(case=case)
    return disclosures.withdraw(
        disclosure=row, reason=given["reason"], by=who.username, at=clock.now()
    )


def _inform(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return disclosures.inform(case=case, by=who.username, at=clock.now(), **given)


def _borrow(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    return disclosures.ask_loan(case=case, who=who, at=clock.now(), **given)


def _lend(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = ArchiveLoan.objects.get(case=case, returned_at__isnull=True)
    return disclosures.lend(loan=row, who=who, at=clock.now())


def _back(case: SupervisionCase, given: Mapping[str, Any], who: User) -> object:
    row = ArchiveLoan.objects.get(case=case, returned_at__isnull=True)
    return disclosures.give_back(loan=row, by=who.username, at=clock.now())


def _nothing(case: SupervisionCase, user: User) -> dict[str, Any]:
    return {}


OVER = ("closed", "archived")
ACTS = {
    act.key: act
    for act in (
        Act("name", "指定检查人员", INQUIRY, _handles, case_forms.InspectorForm,
            lambda case, user: {"case": case, "people": people_of(case)}, _name, "inspectors"),
        Act("replace", "更换已回避人员", UNDECIDED, _handles, case_forms.ReplaceForm,
            lambda case, user: {"case": case, "people": people_of(case),
                                "inspectors": _recused(case)},
            _replace, "inspectors"),
        Act("recuse", "提出回避", UNDECIDED, _speaks, case_forms.RecusalForm,
            lambda case, user: {"inspectors": _active(case, user)}, _recuse, "inspectors"),
        Act("record-recusal", "登记当事人回避申请", UNDECIDED, _handles, case_forms.RecusalRecord,
            lambda case, user: {"inspectors": _others(case, user), "today": clock.today()},
            _record, "inspectors"),
        Act("recusal", "决定回避", UNDECIDED, _heads,
            case_forms.RecusalDecision,
            lambda case, user: {"inspectors": _asked(case, user), "methods": writs.methods(),
                                "today": clock.today()},
            _decide, "inspectors"),
        Act("finding", "列入疑点", INQUIRY, _handles, case_forms.FindingEvidence,
            lambda case, user: {"findings": _findings(case)}, _finding, "evidence"),
        Act("claim", "列入结算单据", INQUIRY, _handles, case_forms.ClaimEvidence,
            lambda case, user: {"case": case}, _claim, "evidence"),
        Act("file", "列入文件或笔录", INQUIRY, _handles, case_forms.FileEvidence, _nothing, _file,
            "evidence"),
        Act("measure", "拟定处理措施", ("investigating",), _handles, case_forms.MeasureForm,
            lambda case, user: {"case": case}, _measure, "measures"),
        Act("drop", "撤回拟定措施", ("investigating",), _handles, case_forms.PickMeasure,
            lambda case, user: {"measures": _proposed(case)}, _drop, "measures", danger=True),
        Act("interview", "送达约谈通知书", ("executing",), _handles, interview_forms.NoticeForm,
            interviews.to_notify, interviews.notify, "measures"),
        Act("minutes", "登记约谈笔录", ("executing",), _inspects, interview_forms.MinutesForm,
            interviews.to_record, interviews.record, "measures"),
        Act("confirm-minutes", "确认约谈笔录", ("executing",), _inspects,
            interview_forms.ConfirmForm, interviews.to_confirm, interviews.confirm, "measures"),
        Act("execute", "登记执行", ("executing",), _executes, case_forms.ExecuteForm,
            lambda case, user: {"measures": _to_execute(case, user), "today": clock.today()},
            _execute, "measures"),
        Act("end", "终结执行", ("executing",), _ends, case_forms.EndForm,
            lambda case, user: {"measures": _to_end(case)}, _end, "measures", danger=True),
        Act("publish", "提出公开", OVER,
            lambda user, case: user.may(disclosures.PUBLISH)
            and not Disclosure.objects.filter(case=case).exists(),
            case_forms.DisclosureForm, _nothing, _publish, "after"),
        Act("approve", "批准公开", OVER,
            lambda user, case: user.may(disclosures.PUBLISH) and _waits(case, user),
            case_forms.Nothing, _nothing, _approve, "after"),
        Act("withdraw", "撤下公开", OVER,
            lambda user, case: user.may(disclosures.PUBLISH) and _disclosure(case) is not None,
            case_forms.ReasonForm, _nothing, _withdraw, "after", danger=True),
        Act("inform", "通报其他部门", ("executing", *OVER), _handles, case_forms.InformForm,
            lambda case, user: {"organs": list(disclosures.ORGANS.items())}, _inform, "after"),
        Act("borrow", "申请借阅案卷", ("archived",),
            lambda user, case: user.may(disclosures.BORROW) and _loan(case) is None,
            case_forms.LoanForm, _nothing, _borrow, "after"),
        Act("lend", "批准借阅", ("archived",),
            lambda user, case: _heads(user, case) and _loan_waits(case, user),
            case_forms.Nothing, _nothing, _lend, "after"),
        Act("back", "登记归还", ("archived",),
            lambda user, case: _handles(user, case) and _loan(case) is not None,
            case_forms.Nothing, _nothing, _back, "after"),
    )
}  # fmt: skip


def entries(
    case: SupervisionCase, user: User, group: str, typed: forms.Form | None, key: str
) -> list[dict[str, Any]]:
    """The acts of a part of the page that this person can do, each with its form."""
    found: list[dict[str, Any]] = []
    for act in ACTS.values():
        if act.group == group and act.offered(case, user):
            form = typed if typed is not None and act.key == key else form_of(act, case, user)
            found.append({"key": act.key, "title": act.label, "form": form,
                          "tone": "danger" if act.danger else "", "open": bool(form.errors)})  # fmt: skip
    return found


def form_of(act: Act, case: SupervisionCase, user: User, *data: Any) -> forms.Form:
    """The form of an act, with what it chooses from."""
    return act.form(*data, auto_id=f"{act.key}_%s", **act.given(case, user))


@requires("cases.view")
@require_POST
def act(request: PortalRequest, pk: int, key: str) -> HttpResponse:
    """Do one of the acts; who may, the table says."""
    case = pages.visible(request, pk)
    chosen = ACTS.get(key)
    if chosen is None:
        raise Http404(key)
    if not chosen.may(request.user, case):
        raise PermissionDenied(key)
    form = form_of(chosen, case, request.user, request.POST, request.FILES)
    status = 422
    if form.is_valid():
        try:
            with transaction.atomic():
                chosen.run(case, form.cleaned_data, request.user)
        except (Refusal, Refused) as error:
            status = refuse(form, error)
            messages.error(request, f"{words_of(error)}。")
        else:
            messages.success(request, f"已办理“{chosen.label}”。")
            return redirect("case", pk=case.pk)
    return pages.page(request, pages.visible(request, pk), typed=form, key=key, status=status)
