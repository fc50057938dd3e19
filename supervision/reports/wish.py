"""What a report is asked about: days, place, institution, scheme, one subject. Plain JSON when stored."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from institutions.models import Institution, Region, User
from institutions.models.places import area_prefix
from institutions.refusals import refused
from settlement.models import Scheme
from supervision.rules import RULES

BY_HAND = {"manual": "人工发现", "inspection": "现场检查发现"}
SCHEMES = dict(Scheme.choices)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Parameters of a report. `region` is an area code, `institution` a code or '' for all of it."""

    since: dt.date
    until: dt.date
    region: str
    institution: str = ""
    scheme: str = ""
    day: dt.date | None = None  #: that divides before and after
    subject: str = ""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Wish":
        """From what was stored with an order."""
        days = {key: dt.date.fromisoformat(stored[key]) for key in ("since", "until")}
        divided = stored.get("day")
        return cls(
            **days, region=stored["region"], institution=stored["institution"],
            scheme=stored["scheme"], subject=stored["subject"],
            day=dt.date.fromisoformat(divided) if divided else None,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {
            "since": f"{self.since}", "until": f"{self.until}", "region": self.region,
            "institution": self.institution, "scheme": self.scheme, "subject": self.subject,
            "day": f"{self.day}" if self.day else None,
        }  # fmt: skip

    @property
    def months(self) -> dict[str, dt.date]:
        """The months of posting that the days lie in."""
        return {"period__gte": self.since.replace(day=1), "period__lte": self.until}

    def within(self, rows: QuerySet, *, prefix: str = "") -> QuerySet:
        """Rows of the region, or of the one institution, and of the scheme where the rows have one."""
        names = {field.name for field in rows.model._meta.get_fields()}
        rows = rows.filter(**{f"{prefix}region_code__within": area_prefix(self.region)})
        if self.institution:
            rows = rows.filter(**{f"{prefix}institution_code": self.institution})
        if self.scheme and "scheme" in names:
            rows = rows.filter(scheme=self.scheme)
        return rows

    def institutions(self, user: User) -> QuerySet[Institution]:
        """The institutions that the report is about, as far as the user may see them."""
        rows = Institution.objects.visible_to(user)
        if self.institution:
            return rows.filter(pk=self.institution)
        return rows.filter(region__code__within=area_prefix(self.region))

    def check(self, user: User) -> None:
        """Refuse what lies outside the scope of whoever asks."""
        if self.until < self.since:
            raise refused("until", "SPAN", "不得早于起始日期", "ends before it begins")
        if self.day and not self.since < self.day <= self.until:
            raise refused("day", "DIVIDE", "应在起止日期之间", "must lie inside the span")
        scope = user.scope_codes()
        mine = self.institution in scope.institutions or any(
            self.region.startswith(prefix) for prefix in scope.regions
        )
        if not (scope.everything or mine):
            raise refused("region", "SCOPE", "不在管辖范围内", "outside your scope", status=403)
        if self.institution and not self.institutions(user).exists():
            raise refused("institution", "SCOPE", "没有此医疗机构", "no such institution")

    def scope_name(self) -> str:
        """The place and institution in words."""
        region = Region.objects.filter(pk=self.region).first()
        place = region.name if region else self.region
        if self.institution:
            found = Institution.objects.filter(pk=self.institution).first()
            place = f"{found.name}（{self.institution}）" if found else self.institution
        return f"{place}　{SCHEMES[self.scheme]}" if self.scheme else place


def region_of(user: User) -> str:
    """The area code that a person's reports are about by default; '' when there is none."""
    if user.institution is not None:
        return user.institution.region_id
    return user.region_id or ""


def named(codes: set[str]) -> dict[str, str]:
    """Institution code → name."""
    return dict(Institution.objects.filter(pk__in=codes).values_list("pk", "name"))


def rule_name(code: str) -> str:
    """A rule in words, or who found it; one that is no longer known by its code."""
    rule = RULES.get(code)
    return rule.message if rule is not None else BY_HAND.get(code, code)


def spans(field: str, wish: Wish) -> Q:
    """Rows whose day lies in the span of the report."""
    return Q(**{f"{field}__gte": wish.since, f"{field}__lte": wish.until})
