"""Papers as they are made: the number of their series, content that is fixed, to whom they go."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit import tasks
from audit.procedure import PROCEDURES, Procedure
from institutions.models import Institution, Office, Region
from institutions.refusals import refused
from supervision.hands import office_name
from supervision.models import CasePaper, SupervisionCase

TABLE, AGREEMENT = "case", "agreement_case"  #: cases of the bureau; of the agency by the agreement
Content = Mapping[str, Any]


@dataclass(frozen=True)
class Service:
    """How a paper reached whom, and when."""

    method: str
    receiver: str
    on: dt.date


def table_of(case: SupervisionCase) -> Procedure:
    """The table that moves a case: the bureau's, or the agency's by the agreement."""
    return PROCEDURES[case.procedure]


def ground(case: SupervisionCase, article: str) -> str:
    """The decree's article on which an act rests: what the agency does by the agreement rests on the 13th."""
    return "13" if case.procedure == AGREEMENT else article


def methods() -> Mapping[str, str]:
    """How papers are served, as the table of cases lists it."""
    step = PROCEDURES[TABLE].step("serve")
    return {key: label for ask in step.asks if ask.key == "method" for key, label in ask.choices}


def whole(service: Service, *, since: dt.date, today: dt.date) -> Service:
    """A service that says how and to whom, on a day that can be."""
    if service.method not in methods() or not service.receiver.strip():
        raise refused("receiver", "REQUIRED", "请选择送达方式并填写签收人", "how and to whom")
    if not since <= service.on <= today:
        raise refused("on", "DAY_OUTSIDE", f"送达日应在{since}与今天之间", "the day is outside")
    return service


def receipt_of(number: str, kind: str, service: Service, served_by: str) -> dict[str, Any]:
    """What a 送达回证 says of the paper that it serves."""
    return {"paper": kind, "number": number, "method": methods()[service.method],
            "receiver": service.receiver.strip()[:80], "served_on": str(service.on),
            "served_by": served_by}  # fmt: skip


def number_of(what: str, region: Region, day: dt.date, table: str = TABLE) -> str:
    """The next number of a kind of paper of an office in a year: no gaps, no doubles."""
    pattern: str = PROCEDURES[table].data["numbers"][what]
    serial = tasks.next_number(f"{table}:{what}:{region.code}:{day.year}")
    area = region.name.removesuffix("市").removesuffix("省")
    return pattern.format(area=region.code if what == "archive" else area, year=day.year,
                          number=serial)  # fmt: skip


def canonical(content: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8; days and times as text."""
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str
    ).encode()


def fixed(content: Content, *, on: dt.date, by: str, at: dt.datetime) -> dict[str, Any]:
    """What every paper keeps: content with its SM3 digest, its day, who made it."""
    plain = canonical(content)
    return {"content": json.loads(plain), "digest": hashlib.new("sm3", plain).hexdigest(),
            "made_on": on, "made_at": at, "made_by": by}  # fmt: skip


def make_paper(
    case: SupervisionCase, kind: str, content: Content, *, on: dt.date, by: str, at: dt.datetime,
    addressee: str = "", serves: CasePaper | None = None,
) -> CasePaper:  # fmt: skip
    """A paper of a case with its own number; what it says is fixed from then on."""
    region = Region.objects.get(pk=case.region_code)
    return CasePaper.objects.create(
        case=case, kind=kind, number=number_of(kind, region, on, case.procedure),
        addressee=addressee or addressee_of(case), serves=serves,
        **fixed({"issuer": issuer_of(case), **content}, on=on, by=by, at=at),
    )  # fmt: skip


def issuer_of(case: SupervisionCase) -> str:
    """Who issues what is made now: the agency where the agreement is the way, else the bureau."""
    agency = case.route == case.Route.AGREEMENT
    return office_name(case.region_code, Office.Kind.AGENCY if agency else Office.Kind.BUREAU)


def addressee_of(case: SupervisionCase) -> str:
    """To whom its papers go: the subject; a practitioner with the institution."""
    place = institution_of(case.institution_code)
    if place is not None and case.subject_kind not in ("institution", "person"):
        return f"{case.subject_name}（{place.name}）"[:120]
    return case.subject_name


def institution_of(code: str) -> Institution | None:
    """The institution of a case."""
    return Institution.objects.filter(pk=code).first() if code else None
