"""变更备案 and 对码: filed by an institution, moved by their tables (institutions/procedures)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from audit import clock, moves, procedure, tasks
from audit.models import Move
from institutions import documents, handbook
from institutions.commands.facts import DAY, checked_facts, locked, noted
from institutions.commands.records import opened_account, sealed_account
from institutions.models import Change, CodeMapping, Institution, PaymentFreeze, User
from institutions.refusals import refused

CHANGE, MAPPING = "change", "mapping"
#: which facts a kind of change states; an account's are encrypted
CHANGE_CONTENT: dict[str, tuple[str, ...]] = {
    Change.Kind.REPRESENTATIVE: ("representative",),
    Change.Kind.ACCOUNT: ("holder", "bank", "number"),
    Change.Kind.NAME: ("name",),
    Change.Kind.ADDRESS: ("address",),
    Change.Kind.PRICE_CLASS: ("price_class",),
    Change.Kind.GRADE: ("hospital_grade",),
    Change.Kind.OWNERSHIP: ("ownership", "nonprofit", "physical_nonprofit"),
    Change.Kind.DEPARTMENTS: ("offline_departments", "internet_departments"),
}
MAPPING_FIELDS = {"local_code": "院内编码", "local_name": "院内名称", "national_code": "国家编码"}
File = tuple[str, bytes]  #: name and content of an upload


@transaction.atomic
def file_change(
    *, institution: Institution, kind: str, effective_from: dt.date, content: Mapping[str, Any],
    by: str, at: dt.datetime, reason: str = "", files: Sequence[File] = (),
) -> Change:  # fmt: skip
    """File a change with its evidence. While the account changes, nothing is paid out."""
    found = locked(institution)
    today = clock.local(at).date()
    given = _content(found, kind, content)
    waiting = found.changes.filter(kind=kind, closed_at__isnull=True).first()
    if waiting is not None:
        raise refused("kind", "CHANGE_WAITING", f"同一事项的变更{waiting.number}尚在办理，请先办结或撤回",
                      "a change of this kind is under way", status=409)  # fmt: skip
    series = f"BG{found.region_id[:4]}-{today.year}"
    change = Change(
        institution=found, number=f"{series}-{tasks.next_number(series):05d}", kind=kind,
        effective_from=effective_from, content=given, reason=reason.strip(),
        **_opening(CHANGE, found, today, by, at),
    )  # fmt: skip
    change.save()
    attach(case=change, files=files, by=by, at=at)
    if kind == Change.Kind.ACCOUNT:
        freeze(institution=found, on=today, reason=f"变更银行结算账户（{change.number}）",
               subject=change.subject, by=by, at=at)  # fmt: skip
    moves.opened(
        case=change, procedure=procedure.PROCEDURES[CHANGE], handbook=handbook.HANDBOOK, by=by,
        at=at, on=today, note=change.reason,
    )  # fmt: skip
    return change


def _opening(
    name: str, institution: Institution, on: dt.date, by: str, at: dt.datetime
) -> dict[str, Any]:
    first = procedure.PROCEDURES[name].first.key
    return {
        "procedure": name, "state": first, "entered_on": on, "region_code": institution.region_id,
        "institution_code": institution.code, "opened_at": at, "opened_by": by,
    }  # fmt: skip


def _content(institution: Institution, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    if kind not in CHANGE_CONTENT:
        raise refused("kind", "KIND_UNKNOWN", f"没有“{kind}”这一变更事项", "unknown kind of change")
    for key in content:
        if key not in CHANGE_CONTENT[kind]:
            raise refused(key, "FIELD_UNKNOWN", f"“{key}”不属于这一变更事项", "not of this change")
    if kind == Change.Kind.ACCOUNT:
        return sealed_account(institution=institution, **{
            key: str(content.get(key, "")) for key in CHANGE_CONTENT[kind]
        })  # fmt: skip
    given = checked_facts(institution, content)
    if all(value in ("", None, []) for value in given.values()):
        raise refused(
            CHANGE_CONTENT[kind][0],
            "CONTENT_MISSING",
            "请填写变更后的内容",
            "the new value is missing",
        )
    return given


@transaction.atomic
def attach(*, case: Change, files: Sequence[File], by: str, at: dt.datetime) -> None:
    """Store evidence with a change that is still open."""
    if case.closed_at is not None:
        raise refused("papers", "CHANGE_CLOSED", "该变更已办结，不能再补充材料", "the change is closed",
                      status=409)  # fmt: skip
    for name, content in files:
        documents.store(
            content=content, name=name, kind="evidence", subject=case.subject,
            institution=case.institution, by=by, at=at,
        )  # fmt: skip


@transaction.atomic
def reveal_filed_account(
    *, change: Change, reason: str, by: str, at: dt.datetime
) -> dict[str, str]:
    """Number and holder of a filed account, so that they can be compared with the evidence."""
    if change.kind != Change.Kind.ACCOUNT:
        raise refused(
            "kind", "NO_ACCOUNT", "该变更不涉及结算账户", "no account is filed", status=404
        )
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写查看原因", "a reveal needs its reason")
    noted(change.institution, "bankaccount.reveal", by=by, at=at, subject=change.subject,
          reason=reason.strip())  # fmt: skip
    sealed = {key: bytes.fromhex(change.content[key]) for key in ("number", "holder")}
    return opened_account(change.institution, change.content["number_hash"], sealed)


@transaction.atomic
def freeze(
    *, institution: Institution, on: dt.date, reason: str, by: str, at: dt.datetime,
    subject: str = "", until: dt.date | None = None,
) -> PaymentFreeze:  # fmt: skip
    """From a day on nothing is paid to an institution: for a change (`subject`), or by decision."""
    if until is not None and until < on:
        raise refused("until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start")
    if not subject:
        _decidable(locked(institution), on, reason, until, at)
    made = PaymentFreeze.objects.create(
        institution=institution, valid_from=on, valid_until=until, reason=reason, subject=subject,
        recorded_at=at, recorded_by=by,
    )  # fmt: skip
    noted(institution, "paymentfreeze.start", by=by, at=at, subject=f"paymentfreeze:{made.pk}",
          on=on, until=until, reason=reason, of=subject)  # fmt: skip
    return made


def _decidable(
    institution: Institution, on: dt.date, reason: str, until: dt.date | None, at: dt.datetime
) -> None:
    """Refusal of a freeze by decision without a reason, for past days, or twice for the same days."""
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写暂停拨付的原因", "a reason is needed")
    if on < clock.local(at).date():
        raise refused("on", "DAY_PAST", "暂停拨付不能早于今天：已拨付的款项不因此改变",
                      "what was paid stays paid")  # fmt: skip
    same = institution.freezes.filter(subject="").exclude(valid_until__lt=on)
    other = (same if until is None else same.filter(valid_from__lte=until)).first()
    if other is not None:
        raise refused("on", "FROZEN_BEFORE", f"自{other.valid_from}起已暂停拨付：{other.reason}",
                      "payments are frozen already", status=409)  # fmt: skip


@transaction.atomic
def unfreeze(
    *, freeze: PaymentFreeze, on: dt.date, reason: str, by: str, at: dt.datetime
) -> PaymentFreeze:
    """From a day on payments go on again; only of a freeze by decision, never for past days.

    A freeze that a change of account began ends with that change.
    """
    locked(freeze.institution)
    freeze.refresh_from_db()
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写恢复拨付的原因", "a reason is needed")
    if freeze.subject:
        raise refused("", "FREEZE_OF_CHANGE", "该暂停由变更备案引起，随变更办结自动恢复",
                      "the freeze ends with its change", status=409)  # fmt: skip
    last = on - DAY
    if freeze.valid_until is not None and freeze.valid_until <= last:
        raise refused("on", "FREEZE_ENDED", f"暂停拨付已定于{freeze.valid_until}结束",
                      "the freeze ends before", status=409)  # fmt: skip
    if on < clock.local(at).date() or last < freeze.valid_from:
        raise refused("on", "DAY_PAST", "恢复日不得早于今天，且至少暂停一日",
                      "payments go on from today at the earliest")  # fmt: skip
    freeze.valid_until = last
    freeze.save(update_fields=["valid_until"])
    noted(freeze.institution, "paymentfreeze.end", by=by, at=at,
          subject=f"paymentfreeze:{freeze.pk}", until=last, reason=reason.strip())  # fmt: skip
    return freeze


@transaction.atomic
def submit_mapping(
    *, institution: Institution, kind: str, local_code: str, local_name: str, national_code: str,
    valid_from: dt.date, by: str, at: dt.datetime, national_name: str = "",
    valid_until: dt.date | None = None,
) -> CodeMapping:  # fmt: skip
    """Submit what a local code stands for; the information department approves it."""
    found = locked(institution)
    texts = {
        "local_code": local_code.strip(), "local_name": local_name.strip(),
        "national_code": national_code.strip(), "national_name": national_name.strip(),
    }  # fmt: skip
    sound_mapping(kind, texts, valid_from, valid_until)
    same = found.mappings.filter(kind=kind, local_code=texts["local_code"])
    if same.filter(state__in=("submitted", "returned")).exists():
        raise refused("local_code", "MAPPING_WAITING", "该院内编码已有对码在审核中",
                      "a mapping of this code is under way", status=409)  # fmt: skip
    today = clock.local(at).date()
    mapping = CodeMapping.objects.create(
        institution=found, kind=kind, valid_from=valid_from, valid_until=valid_until, **texts,
        **_opening(MAPPING, found, today, by, at),
    )  # fmt: skip
    moves.opened(
        case=mapping, procedure=procedure.PROCEDURES[MAPPING], handbook=handbook.HANDBOOK, by=by,
        at=at, on=today,
    )  # fmt: skip
    return mapping


def sound_mapping(
    kind: str, texts: Mapping[str, str], valid_from: dt.date, valid_until: dt.date | None
) -> None:
    """Refusal for a mapping that is wrong in itself, whatever else is mapped."""
    if kind not in CodeMapping.Kind.values:
        raise refused(
            "kind", "KIND_UNKNOWN", f"没有“{kind}”这一对码类别", "unknown kind of mapping"
        )
    for key in MAPPING_FIELDS:
        if not texts[key]:
            label = MAPPING_FIELDS[key]
            raise refused(key, "MISSING", f"请填写{label}", "a value is missing")
    if valid_until is not None and valid_until < valid_from:
        raise refused(
            "valid_until", "DATES_REVERSED", "止日不得早于起日", "the end precedes the start"
        )


def take_step(
    *, case: Change | CodeMapping, step: str, who: User | None, by: str, at: dt.datetime,
    on: dt.date | None = None, note: str = "", facts: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> Move:  # fmt: skip
    """Move a change or a mapping; Refused or Refusal when it may not, cannot, or lacks something."""
    return moves.advance(
        case=case, procedure=procedure.PROCEDURES[case.procedure], handbook=handbook.HANDBOOK,
        step=step, who=who, level=who.level if who else "", by=by, at=at, on=on, note=note,
        facts=facts, version=version,
    )  # fmt: skip
