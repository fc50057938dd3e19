"""Acts that write to the registry, as one table: words, form, who may, which command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Model

from audit import clock
from institutions import commands, documents
from institutions import registry_forms as shapes
from institutions.commands.practitioners import CORRECTABLE, TITLES
from institutions.law import law_for
from institutions.models import (
    Contact,
    Document,
    Institution,
    PaymentFreeze,
    Physician,
    PlatformConnection,
    Qualification,
    User,
)
from institutions.refusals import refused

AGENCY, HOSPITAL = ("registry.maintain",), ("registry.file",)
BOTH = (*AGENCY, *HOSPITAL)
PAYMENTS = ("agreements.decide", *AGENCY)  #: who decides that nothing is paid


@dataclass(frozen=True)
class Doing:
    """An act as it is done: where, with which row, what was filled in, by whom and when."""

    institution: Institution
    row: Any
    form: forms.Form
    by: str
    at: Any
    agency: bool = False  #: what the agency registers needs no further check

    @property
    def given(self) -> dict[str, Any]:
        return self.form.cleaned_data

    def but(self, *names: str) -> dict[str, Any]:
        """What was filled in, without some fields."""
        return {key: value for key, value in self.given.items() if key not in names}

    @property
    def sign(self) -> dict[str, Any]:
        return {"by": self.by, "at": self.at}

    def scan(self) -> Document | None:
        """The uploaded scan, stored; None without one."""
        upload: UploadedFile | None = self.given.get("scan")
        if upload is None:
            return None
        return documents.store(
            content=upload.read(), name=upload.name or "", kind="scan",
            subject=f"institution:{self.institution.code}", institution=self.institution,
            **self.sign,
        )  # fmt: skip


Options = Callable[[Institution, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Act:
    """One thing to do: its form, who may, the part of the file that it belongs to, the command."""

    title: str
    form: type[forms.Form]
    permissions: tuple[str, ...]
    tab: str
    do: Callable[[Doing], object]
    short: str = ""
    icon: str = "plus"
    tone: str = ""
    model: type[Model] | None = None
    initial: Options = lambda institution, row: {}
    options: Options = lambda institution, row: {}
    hint: str = ""

    def allowed(self, user: User) -> bool:
        return any(user.may(permission) for permission in self.permissions)


def _facts_seen(institution: Institution, row: Any) -> dict[str, Any]:
    """The facts of today as the form begins with them; `seen` says which they were."""
    found = institution.facts.facts_on(clock.today())
    return shapes.facts_as_initial(found) | {"seen": found.pk if found else None}


def _qualification_seen(institution: Institution, row: Any) -> dict[str, Any]:
    names = ("kind", "number", "issuer", "level", "valid_from", "valid_until")
    return {name: getattr(row, name) for name in names}


def _correct_qualification(doing: Doing) -> object:
    return commands.correct_qualification(
        qualification=doing.row, document=doing.scan(), **doing.but("kind", "scan"), **doing.sign
    )


def _upload(doing: Doing) -> None:
    for upload in doing.given["papers"]:
        documents.store(
            content=upload.read(), name=upload.name, kind=doing.given["kind"],
            subject=f"institution:{doing.institution.code}", institution=doing.institution,
            **doing.sign,
        )  # fmt: skip


def _facts(command: Callable) -> Callable[[Doing], object]:
    def do(doing: Doing) -> object:
        dated = {key: value for key, value in doing.given.items()
                 if key in ("valid_from", "valid_until", "source")}  # fmt: skip
        form = cast(shapes.FactFields, doing.form)
        return command(institution=doing.institution, changes=form.values(), **dated, **doing.sign)

    return do


def _identity_seen(institution: Institution, row: Any) -> dict[str, Any]:
    """The identity as the form begins with it; `seen` says what it was."""
    given = {
        "credit_code": institution.credit_code, "tier": institution.tier,
        "aliases": "、".join(institution.aliases), "parent": institution.parent_id or "",
    }  # fmt: skip
    return given | {"seen": "|".join(given.values())}


def _correct_identity(doing: Doing) -> object:
    if doing.given["seen"] != _identity_seen(doing.institution, None)["seen"]:
        raise refused("", "CHANGED_MEANWHILE", "身份信息已被他人更正，请刷新后重试",
                      "the identity was corrected meanwhile", status=409)  # fmt: skip
    changes = cast(shapes.IdentityForm, doing.form).values()
    if code := changes.get("parent", "").upper():
        visible = Institution.objects.visible_to(User.objects.get(username=doing.by))
        changes["parent"] = visible.filter(pk=code).first()
        if changes["parent"] is None:
            raise refused("parent", "PARENT_UNKNOWN", "没有这一机构编码", "unknown institution")
    elif "parent" in changes:
        changes["parent"] = None
    return commands.correct_identity(
        institution=doing.institution, changes=changes, source=doing.given["source"],
        reason=doing.given["reason"], **doing.sign,
    )  # fmt: skip


def _mapped(doing: Doing) -> object:
    return commands.submit_mapping(institution=doing.institution, **doing.given, **doing.sign)


def _practitioner(doing: Doing) -> object:
    return commands.register_practitioner(
        institution=doing.institution, checked=doing.agency, **doing.given, **doing.sign
    )


def _title(doing: Doing) -> object:
    return commands.record_title(
        physician=doing.row, checked=doing.agency, **doing.given, **doing.sign
    )


def _practitioner_seen(institution: Institution, row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in CORRECTABLE}


def _correct_practitioner(doing: Doing) -> object:
    form = cast(shapes.CorrectPractitioner, doing.form)
    return commands.correct_practitioner(
        physician=doing.row, changes=form.changes(), reason=doing.given["reason"], **doing.sign
    )


def _proposed(institution: Institution, row: Any) -> dict[str, Any]:
    return {"proposals": ",".join(str(title.pk) for title in row.titles.proposed())}


def _said(institution: Institution, row: Any) -> dict[str, Any]:
    """What waits for the check, in words."""
    said = [f"{title} {title.valid_from} 起"
            for title in row.titles.proposed().order_by("valid_from")]  # fmt: skip
    if row.checked_at is None:
        said = [f"执业证书 {row.licence_no}，独立临床工作自 {row.independent_since}", *said]
    return {"said": said or ["无"]}


def _check_practitioner(doing: Doing) -> object:
    form = cast(shapes.CheckPractitioner, doing.form)
    return commands.check_practitioner(
        physician=doing.row, titles=form.titles(), agreed=doing.given["agreed"] == "yes",
        reason=doing.given["reason"], **doing.sign,
    )  # fmt: skip


def _with(command: Callable, row: str, *, scan: bool = False) -> Callable[[Doing], object]:
    """A command that takes the row (or the institution) under a name, and what was filled in."""

    def do(doing: Doing) -> object:
        subject = doing.institution if row == "institution" else doing.row
        given = doing.but("scan", "agreed")
        if scan:
            given["document"] = doing.scan()
        return command(**{row: subject}, **given, **doing.sign)

    return do


ACTS: dict[str, Act] = {
    "facts": Act(
        "登记变化", shapes.RecordFacts, AGENCY, "", _facts(commands.record_facts),
        icon="pencil-square", initial=_facts_seen,
        hint="只有改动过的项目会自所填之日起变化；以后各段中自行变化过的项目不受影响。",
    ),
    "correction": Act(
        "更正登记", shapes.CorrectFacts, AGENCY, "", _facts(commands.correct_facts),
        icon="arrow-uturn-left", initial=_facts_seen,
        hint="用于原登记有误：改写所填期间的登记，更正前的登记永久保留。",
    ),
    "identity": Act(
        "更正身份信息", shapes.IdentityForm, AGENCY, "", _correct_identity,
        icon="identification", initial=_identity_seen,
        hint="信用代码、层级、别名和实体机构没有起止日期；名称和互联网医院名称请用“登记变化”或“更正登记”。",
    ),
    "freeze": Act(
        "暂停拨付", shapes.FreezeForm, PAYMENTS, "account",
        _with(commands.freeze, "institution"), tone="danger",
        hint="暂停期间不向该机构拨付医保资金；费用照常申报和结算。",
    ),
    "unfreeze": Act(
        "恢复拨付", shapes.UnfreezeForm, PAYMENTS, "account", _with(commands.unfreeze, "freeze"),
        short="恢复", model=PaymentFreeze,
    ),
    "qualification": Act(
        "登记资质", shapes.QualificationForm, BOTH, "qualifications",
        _with(commands.add_qualification, "institution", scan=True),
    ),
    "qualification-correct": Act(
        "更正资质", shapes.QualificationForm, BOTH, "qualifications", _correct_qualification,
        short="更正", model=Qualification, initial=_qualification_seen,
    ),
    "qualification-check": Act(
        "核验资质", shapes.CheckForm, ("registry.check",), "qualifications",
        _with(commands.check_record, "record"), short="核验", model=Qualification,
    ),
    "platform": Act(
        "登记平台接入", shapes.PlatformForm, BOTH, "account",
        _with(commands.connect_platform, "institution", scan=True),
        options=lambda place, row: {"platforms": {
            key: entry.name for key, entry in law_for(place, on=clock.today()).platforms.items()}},
    ),
    "platform-check": Act(
        "核验平台接入", shapes.CheckForm, ("registry.check",), "account",
        _with(commands.check_record, "record"), short="核验", model=PlatformConnection,
    ),
    "platform-end": Act(
        "停止平台接入", shapes.DayForm, AGENCY, "account",
        _with(commands.disconnect_platform, "connection"), short="停止", tone="danger",
        model=PlatformConnection,
    ),
    "account": Act(
        "登记结算账户", shapes.AccountForm, AGENCY, "account",
        _with(commands.set_account, "institution"),
        hint="账户变更一般由机构提交变更备案，办理期间暂停拨付。",
    ),
    "contact": Act(
        "登记联系人", shapes.ContactForm, BOTH, "account",
        _with(commands.add_contact, "institution"),
    ),
    "contact-end": Act(
        "停用联系人", shapes.DayForm, BOTH, "account", _with(commands.end_contact, "contact"),
        short="停用", tone="danger", model=Contact,
    ),
    "practitioner": Act(
        "登记医师药师", shapes.PractitionerForm, BOTH, "practitioners", _practitioner,
        hint="机构登记的人员和职称，经办机构核验后方用于结算审核。",
    ),
    "title": Act(
        "登记职称变动", shapes.TitleForm, BOTH, "practitioners", _title, short="职称",
        model=Physician, options=lambda place, row: {"titles": TITLES[row.kind]},
        hint="机构登记的职称，经办机构核验后方用于结算审核。",
    ),
    "practitioner-check": Act(
        "核验医师登记", shapes.CheckPractitioner, ("registry.check",), "practitioners",
        _check_practitioner, short="核验", model=Physician, initial=_proposed, options=_said,
    ),
    "practitioner-compare": Act(
        "核对医师登记", shapes.CompareForm, ("registry.check",), "practitioners",
        _with(commands.compare_registration, "physician"), short="核对", model=Physician,
        hint="登记需要改动的，请用“更正”；核验、更正或离职后待办自动办结。",
    ),
    "practitioner-correct": Act(
        "更正医师登记", shapes.CorrectPractitioner, AGENCY, "practitioners",
        _correct_practitioner, short="更正", model=Physician, initial=_practitioner_seen,
    ),
    "licence": Act(
        "执业证书续期", shapes.LicenceForm, BOTH, "practitioners",
        _with(commands.renew_licence, "physician"), short="续期", model=Physician,
    ),
    "physician-agreement": Act(
        "登记医师协议", shapes.PhysicianAgreementForm, BOTH, "practitioners",
        _with(commands.sign_physician_agreement, "physician"), short="协议", model=Physician,
        options=lambda place, row: {
            "names": law_for(place, on=clock.today()).physician_agreements},
    ),
    "leave": Act(
        "登记离职", shapes.DayForm, BOTH, "practitioners", _with(commands.leave, "physician"),
        short="离职", tone="danger", model=Physician,
    ),
    "mapping": Act(
        "提交对码", shapes.MappingForm, HOSPITAL, "mappings", _mapped,
        hint="提交后由信息部门审核，通过后自生效日起适用，到期前提醒。",
    ),
    "document": Act(
        "上传材料", shapes.UploadForm, BOTH, "documents", _upload, icon="arrow-up-tray",
    ),
    "change": Act(
        "提交变更备案", shapes.ChangeKind, HOSPITAL, "changes", lambda doing: None,
        icon="document-plus", hint="选择变更事项后填写新内容并上传证明材料。",
    ),
}  # fmt: skip
