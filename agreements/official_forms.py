"""The official forms of a policy document as its data prints them: blanks, columns, values, faults.

Titles, columns, choices and prefilled words are the policy's `forms.list`; which of them are hidden
(`restricted`) and how a value is checked (`kind`) stands there too. (宁医保发〔2021〕152号 附件3)
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from audit import text
from institutions import crypto
from institutions.commands import reveal_account, reveal_contact
from institutions.credit_code import CreditCodeError, credit_code, organisation_check
from institutions.models import Institution, Qualification, Region
from institutions.refusals import Fault

SEQUENCE, OPINION = "no", "opinion_seal_date"  #: a column and a field that nobody fills in
LONGEST, LONGEST_REMARK, MOST_ROWS = 120, 300, 200
PHONE = re.compile(r"^\+?\d[\d-]{5,18}\d$")
EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
ACCOUNT = re.compile(r"^\d{8,32}$")
INSTITUTION = re.compile(r"^[A-Z]\d{11}$")
CODE_AT_END = re.compile(r"[0-9A-Z]{18}$")

Values = dict[str, str]


@dataclass(frozen=True)
class Field:
    """One blank of a form. `name` is printed, `label` says the same where the name alone is unclear."""

    key: str
    name: str
    label: str
    kind: str = ""
    kind_by: Mapping[str, Any] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    prefilled: str = ""
    help: str = ""
    registry: str = ""
    restricted: bool = False
    required: bool = True

    def kind_for(self, values: Mapping[str, str]) -> str:
        """What the value is checked as, where another blank (证件类型) decides."""
        if not self.kind_by:
            return self.kind
        return self.kind_by["kinds"].get(values.get(self.kind_by["field"], ""), "")


@dataclass(frozen=True)
class Form:
    """One of the official forms: single blanks, and the columns of its list if it has one."""

    key: str
    name: str
    clause: str
    fields: tuple[Field, ...]
    columns: tuple[Field, ...] = ()
    opinion: str = ""
    filler: str = ""
    rows_title: str = ""
    notes: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The title without the service that the first two share."""
        return self.name.rpartition("-")[2]


@dataclass
class Filled:
    """What stands in a form: blanks by key, and rows by key with their own `id`."""

    fields: Values
    rows: list[Values] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        return {"fields": self.fields, "rows": self.rows}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Filled":
        return cls(dict(data.get("fields", {})), [dict(row) for row in data.get("rows", ())])


def forms_of(law: Mapping[str, Any]) -> dict[str, Form]:
    """The forms of a policy by their key; none where the document prints none."""
    rows = (law.get("forms") or {}).get("list", ())
    return {row["key"]: _form(row) for row in rows}


def _form(row: Mapping[str, Any]) -> Form:
    fields = [_field(entry) for entry in row["fields"]]
    opinions = [blank.name for blank in fields if blank.kind == OPINION]
    return Form(
        key=row["key"], name=row["name"], clause=row["clause"],
        fields=tuple(blank for blank in fields if blank.kind != OPINION),
        columns=tuple(_field(entry) for entry in row.get("rows", ())),
        opinion=opinions[0] if opinions else "", filler=row.get("filler", ""),
        rows_title=row.get("rows_title", ""), notes=tuple(row.get("notes", ())),
        serves=tuple(row.get("serves", ())),
    )  # fmt: skip


def _field(row: Mapping[str, Any]) -> Field:
    known = {key: value for key, value in row.items() if key in Field.__dataclass_fields__}
    return Field(**known | {"label": row.get("label", row["name"]),
                            "choices": tuple(row.get("choices", ()))})  # fmt: skip


# --- What is hidden ---


def split(form: Form, filled: Filled) -> tuple[Filled, Filled]:
    """The readable and the restricted part; rows stand in both under their place."""
    return _part(form, filled, restricted=False), _part(form, filled, restricted=True)


def _part(form: Form, filled: Filled, *, restricted: bool) -> Filled:
    ours = {blank.key for blank in form.fields if blank.restricted is restricted}
    columns = {blank.key for blank in form.columns if blank.restricted is restricted}
    columns |= set() if restricted else {"id"}
    return Filled(
        {key: value for key, value in filled.fields.items() if key in ours},
        [{key: value for key, value in row.items() if key in columns} for row in filled.rows],
    )


def joined(clear: Filled, hidden: Filled) -> Filled:
    """Both parts together."""
    rows = [
        {**row, **(hidden.rows[place] if place < len(hidden.rows) else {})}
        for place, row in enumerate(clear.rows)
    ]
    return Filled({**clear.fields, **hidden.fields}, rows)


def masked(form: Form, filled: Filled) -> Filled:
    """The same with restricted values masked, for screens, lists and files."""
    return Filled(
        {blank.key: mask(blank, filled.fields) for blank in form.fields},
        [
            {"id": row.get("id", ""), **{blank.key: mask(blank, row) for blank in form.columns}}
            for row in filled.rows
        ],
    )


def mask(blank: Field, values: Mapping[str, str]) -> str:
    """A value as it may be seen: whole, or its ends only."""
    value = values.get(blank.key, "")
    if not blank.restricted or not value:
        return value
    return MASKS.get(blank.kind_for(values), _ends)(value)


def _ends(value: str) -> str:
    return text.mask(value, head=2, tail=2)


def _email(value: str) -> str:
    name, _, host = value.partition("@")
    return f"{name[:1]}{'*' * max(len(name) - 1, 1)}@{host}"


MASKS: Mapping[str, Callable[[str], str]] = {
    "id_number": text.mask_id, "account": text.mask_account, "phone": text.mask_account, "email": _email,
}  # fmt: skip


# --- Faults ---


class Wrong(ValueError):
    """A value breaks its kind's rule; the message is Chinese."""


def _id_number(value: str) -> str:
    try:
        return crypto.id_number(value)
    except crypto.IdNumberError as error:
        raise Wrong(error.texts[0]) from None


def _credit_code(value: str) -> str:
    try:
        return credit_code(value)
    except CreditCodeError as error:
        raise Wrong(f"统一社会信用代码{error}") from None


def _organisation_code(value: str) -> str:
    code = value.replace("-", "").upper()
    if not re.fullmatch(r"[0-9A-Z]{8}[0-9X]", code) or organisation_check(code[:8]) != code[8]:
        raise Wrong("组织机构代码应为9位且校验码正确")
    return code


def _name_and_code(value: str) -> str:
    found = CODE_AT_END.search(value.upper())
    if found is None or found.start() == 0:
        raise Wrong("请先写渠道名称，末尾写18位统一社会信用代码")
    return value[: found.start()] + _credit_code(found.group())


def _day(value: str) -> str:
    try:
        return dt.date.fromisoformat(value).isoformat()
    except ValueError:
        raise Wrong("日期应为年-月-日，如2021-12-20") from None


def _matching(pattern: re.Pattern[str], words: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise Wrong(words)
        return value

    return check


KINDS: Mapping[str, Callable[[str], str]] = {
    "id_number": _id_number, "credit_code": _credit_code, "date": _day,
    "organisation_code": _organisation_code, "name_and_credit_code": _name_and_code,
    "phone": _matching(PHONE, "电话应为7至20位数字，可含区号连字符"),
    "email": _matching(EMAIL, "邮箱地址不正确"),
    "account": _matching(ACCOUNT, "银行账号应为8至32位数字"),
    "institution_code": _matching(INSTITUTION, "国家编码应为1位字母加11位数字"),
}  # fmt: skip


def cleaned(form: Form, filled: Filled) -> tuple[Filled, list[Fault]]:
    """The values in their plain form, and every fault of what is filled in, each at its place."""
    faults: list[Fault] = []
    fields = _cleaned(form, form.fields, filled.fields, "/fields", faults)
    rows = [
        {"id": row.get("id", ""), **_cleaned(form, form.columns, row, f"/rows/{place}", faults)}
        for place, row in enumerate(filled.rows)
    ]
    return Filled(fields, rows), faults


def _cleaned(
    form: Form, blanks: Sequence[Field], values: Mapping[str, str], place: str, faults: list[Fault]
) -> Values:
    made: Values = {}
    for blank in blanks:
        if blank.key == SEQUENCE:
            continue
        value = " ".join(values.get(blank.key, "").split())
        made[blank.key] = value
        try:
            made[blank.key] = _plain(blank, value, values)
        except Wrong as wrong:
            faults.append(_fault(form, f"{place}/{blank.key}", "VALUE_WRONG", str(wrong)))
    return made


def _plain(blank: Field, value: str, values: Mapping[str, str]) -> str:
    limit = LONGEST if blank.required else LONGEST_REMARK
    if len(value) > limit:
        raise Wrong(f"不超过{limit}字")
    if not value:
        return value
    if blank.choices and value not in blank.choices:
        raise Wrong(f"应为{'、'.join(blank.choices)}之一")
    check = KINDS.get(blank.kind_for(values))
    return check(value) if check else value


def lacking(form: Form, filled: Filled) -> Iterator[Fault]:
    """What is still to be filled in before the form goes out."""
    yield from _empty(form, form.fields, filled.fields, "/fields")
    if form.columns and not filled.rows:
        yield _fault(form, "/rows", "ROWS_MISSING", f"请至少填写一行“{form.rows_title}”")
    for place, row in enumerate(filled.rows):
        yield from _empty(form, form.columns, row, f"/rows/{place}")


def _empty(
    form: Form, blanks: Sequence[Field], values: Mapping[str, str], place: str
) -> Iterator[Fault]:
    row = f"第{int(place.rpartition('/')[2]) + 1}行" if place.startswith("/rows/") else ""
    for blank in blanks:
        if blank.required and blank.key != SEQUENCE and not values.get(blank.key):
            yield _fault(
                form, f"{place}/{blank.key}", "VALUE_MISSING", f"请填写{row}“{blank.label}”"
            )


def _fault(form: Form, pointer: str, code: str, chinese: str) -> Fault:
    return Fault(pointer, code, (chinese, code.replace("_", " ").lower()), form.clause)


# --- What is known already ---


def blank_row(form: Form, number: int, institution: Institution | None = None) -> Values:
    """A new row with the prefilled words; with an institution also what the registry says."""
    known = Registry(institution) if institution else None
    return {"id": str(number), **_known(form.columns, known)}


def blank_form(
    form: Form, institution: Institution | None, *, on: dt.date, number: str, by: str,
    at: dt.datetime,
) -> Filled:  # fmt: skip
    """A new form: prefilled words of the document, facts of the registry, one row where it has rows.

    Accounts and telephone numbers are carried over encrypted; that is a reveal, and recorded as one.
    """
    known = (
        Registry(institution, on=on, reason=f"带入{number}", by=by, at=at) if institution else None
    )
    rows = [blank_row(form, 1, institution)] if form.columns else []
    fields = _known(form.fields, known)
    if "filled_on" in fields:
        fields["filled_on"] = on.isoformat()
    return Filled(fields, rows)


def _known(blanks: Sequence[Field], known: "Registry | None") -> Values:
    return {
        blank.key: (known.get(blank.registry) if known and blank.registry else "")
        or blank.prefilled
        for blank in blanks
        if blank.key != SEQUENCE
    }


class Registry:
    """What the registry knows of an institution on a day, under the names that forms ask by."""

    def __init__(self, institution: Institution, *, on: dt.date | None = None, **act: Any):
        self.institution, self.on, self.act = institution, on, act

    def get(self, name: str) -> str:
        """A value as text; empty where nothing is known or the name is nobody's."""
        found: Callable[[], str] | None = getattr(self, f"_{name}", None)
        return found() if found else ""

    def _code(self) -> str:
        return self.institution.code

    def _name(self) -> str:
        return self.institution.name

    def _code_and_name(self) -> str:
        return f"{self.institution.code}/{self.institution.name}"

    def _credit_code(self) -> str:
        return self.institution.credit_code

    def _kind(self) -> str:
        return self.institution.get_kind_display()

    def _areas(self) -> list[Region]:
        """The areas from the province down to the institution's own."""
        areas: list[Region] = []
        area: Region | None = self.institution.region
        while area is not None:
            areas.insert(0, area)
            area = area.parent
        return areas

    def _province_city(self) -> str:
        return "".join(area.name for area in self._areas())

    def _pooling_region(self) -> str:
        areas = self._areas()
        found = [area for area in areas if area.level == Region.Level.PREFECTURE]
        return (found or areas)[0].name

    def _facts(self, name: str) -> str:
        row = self.institution.facts.known().in_force(on=self.on).first() if self.on else None
        return str(getattr(row, name, "") or "")

    def _address(self) -> str:
        return self._facts("address")

    def _representative(self) -> str:
        return self._facts("representative")

    def _business_licence(self) -> str:
        kind = Qualification.Kind.BUSINESS
        rows = self.institution.qualifications.known().filter(kind=kind)
        found = rows.in_force(on=self.on).first() if self.on else None
        return found.number if found else ""

    def _person(self) -> Any:
        return self.institution.contacts.in_force(on=self.on).order_by("pk").first()

    def _contact(self) -> str:
        found = self._person()
        return found.name if found else ""

    def _contact_email(self) -> str:
        found = self._person()
        return found.email if found else ""

    def _contact_phone(self) -> str:
        found = self._person()
        return reveal_contact(contact=found, **self.act) if found else ""

    @cached_property
    def account(self) -> dict[str, str]:
        """Holder, number and bank in clear; empty without an account."""
        found = self.institution.accounts.known().in_force(on=self.on).first()
        if found is None:
            return {}
        return reveal_account(account=found, **self.act) | {"bank": found.bank}

    def _account_name(self) -> str:
        return self.account.get("holder", "")

    def _account_number(self) -> str:
        return self.account.get("number", "")

    def _account_bank(self) -> str:
        return self.account.get("bank", "")
