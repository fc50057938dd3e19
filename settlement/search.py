"""Finding claims: the query bar, keyset pages that stay fast at millions of rows, what a row shows.

A person is found by the keyed hash of the credential, never by the number itself: the number comes
in a POST body, the hash (64 hexadecimal digits) goes on in the address.
"""

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import django_filters
from django import forms
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from institutions.models import Institution
from pricing.releases import current
from pricing.rules import REASON_NO, REVIEWED, VOCABULARY, WATCHED
from settlement.models import (
    Chunk,
    Claim,
    ClaimKey,
    ClaimLine,
    EnteredClaim,
    InsuredPerson,
    LineResult,
    Settlement,
)

CURSOR = re.compile(r"^([<>])(\d{1,18})$")
HASH = re.compile(r"^[0-9a-f]{64}$")
SECONDS_MOST = 8
SPANS_MOST = 50  #: ranges of claim ids in one query
RECEIVED = "received"  #: a claim without settlement
SIZES = (20, 50, 100)
AMOUNTS = (
    "in_scope", "over_cap", "out_of_scope", "held", "first_self_pay", "fund", "major", "assistance",
    "account", "cash", "hospital",
)  # fmt: skip
DAY = forms.DateInput({"type": "date"}, format="%Y-%m-%d")


class TooSlow(Exception):
    """The query ran into its time limit; a narrower one will not."""


def reasons() -> list[tuple[str, str]]:
    """Reason codes with their message, in the order of the vocabulary, each once."""
    found: dict[str, str] = {}
    for rule in (*VOCABULARY.values(), *WATCHED.values()):
        found.setdefault(rule.code, rule.message)
    return list((found | REVIEWED).items())


class ClaimFilter(django_filters.FilterSet):
    """The query bar of claims. `request.user` bounds the institutions that can be named."""

    claim_no = django_filters.CharFilter(label="单据号", method="by_number", max_length=40)
    institution = django_filters.CharFilter(
        label="医疗机构", method="by_institution", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    state = django_filters.ChoiceFilter(
        label="结算状态", choices=[(RECEIVED, "已受理，待结算"), *Settlement.State.choices],
        method="by_state", empty_label="全部",
    )  # fmt: skip
    since = django_filters.DateFilter(label="服务日期起", method="by_first_day", widget=DAY)
    until = django_filters.DateFilter(
        label="服务日期止", field_name="service_date", lookup_expr="lte", widget=DAY
    )
    item = django_filters.CharFilter(label="项目编码", method="by_item", max_length=30)
    reason = django_filters.ChoiceFilter(
        label="不予支付或待审原因", choices=reasons(), method="by_reason", empty_label="全部"
    )
    channel = django_filters.ChoiceFilter(
        label="渠道", choices=[("claim", "机构申报"), ("request", "手工报销申请")],
        method="by_channel", empty_label="全部",
    )  # fmt: skip
    person = django_filters.CharFilter(method="by_person", widget=forms.HiddenInput)

    class Meta:
        model = Claim
        fields = ()

    def by_number(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        """Claim numbers are unique within an institution: the index starts with its code."""
        codes = Institution.objects.visible_to(self.request.user).values("code")
        keys = ClaimKey.objects.filter(institution_code__in=codes, claim_no=value)
        return claims.filter(pk__in=keys.values("claim_id"))

    def by_institution(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        named = Institution.objects.visible_to(self.request.user).filter(
            Q(code=value.upper()) | Q(name__icontains=value) | Q(aliases__icontains=value)
        )
        return claims.filter(institution_code__in=list(named.values_list("code", flat=True)[:200]))

    def by_state(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        versions = Settlement.objects.filter(claim_id=OuterRef("pk"))
        if value == RECEIVED:
            return claims.filter(_unsettled(), ~Exists(versions))
        return claims.filter(Exists(versions.filter(~_later("version"), state=value)))

    def by_first_day(self, claims: QuerySet, name: str, value: dt.date) -> QuerySet:
        """A claim is never older than its service: older partitions are left out."""
        return claims.filter(service_date__gte=value, period__gte=value.replace(day=1))

    def by_item(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        lines = ClaimLine.objects.filter(
            claim_id=OuterRef("pk"), period=OuterRef("period"),
            item_code__in=current().same_item(value),
        )  # fmt: skip
        return claims.filter(Exists(lines))

    def by_reason(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        lines = LineResult.objects.filter(
            ~_later("version", by=1), claim_id=OuterRef("pk"), reason=REASON_NO[value]
        )
        return claims.filter(Exists(lines))

    def by_channel(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        """Claims of institutions, or those that the agency entered for a person's request."""
        entered = {"pk__in": EnteredClaim.ids()}
        return claims.filter(**entered) if value == "request" else claims.exclude(**entered)

    def by_person(self, claims: QuerySet, name: str, value: str) -> QuerySet:
        person = InsuredPerson.objects.filter(id_hash=hash_bytes(value)).values_list(
            "pk", flat=True
        )
        return claims.filter(person_id__in=list(person))

    def found(self) -> QuerySet:
        """The claims of a valid query; a query with an error finds nothing."""
        return self.qs if self.form.is_valid() else Claim.objects.none()


def _unsettled() -> Q:
    """Where claims without a settlement may lie."""
    spans = Chunk.objects.undone_spans()
    if len(spans) > SPANS_MOST:
        spans = [(spans[0][0], spans[-1][1])]
    return Q(*(Q(pk__range=span) for span in spans), _connector=Q.OR) if spans else Q(pk__in=[])


def _later(version: str, by: int = 0) -> Exists:
    """A claim has a version more than `by` above a row's: 0 the row is past, 1 its reversal is, too."""
    return Exists(
        Settlement.objects.filter(claim_id=OuterRef("claim_id"), version__gt=OuterRef(version) + by)
    )


def hash_bytes(text: str) -> bytes:
    """A keyed hash from the address; anything else matches nobody."""
    return bytes.fromhex(text) if HASH.match(text) else b""


@dataclass(frozen=True)
class Found:
    """A claim of a page with what stands beside it. `amounts` are net of a reversal, in fen."""

    claim: Claim
    state: str
    state_text: str
    example: bool
    entered: bool  #: by the agency, for a person's request (手工报销)
    amounts: dict[str, int]
    person: InsuredPerson | None
    institution: str


@dataclass(frozen=True)
class Page:
    """Claims, newest first, and the cursors of the neighbouring pages."""

    rows: list[Found]
    previous: str | None = None
    next: str | None = None


def page(claims: QuerySet, *, cursor: str = "", size: int = SIZES[0]) -> Page:
    """One keyset page by claim id: five queries whatever its size; an odd cursor is the first page."""
    direction, bound = _cursor(cursor)
    newer = direction == ">"
    if bound is not None:
        claims = claims.filter(pk__gt=bound) if newer else claims.filter(pk__lt=bound)
    with time_limit(SECONDS_MOST):
        entered = Exists(EnteredClaim.objects.filter(claim_id=OuterRef("pk")))
        ordered = claims.annotate(entered=entered).defer("facts", "document")
        ordered = ordered.order_by("pk" if newer else "-pk")
        rows = list(ordered[: size + 1])
    more, rows = len(rows) > size, rows[:size]
    if newer:
        rows.reverse()
    if not rows:
        return Page([])
    has_newer, has_older = (more, True) if newer else (bound is not None, more)
    return Page(
        rows=beside(rows),
        previous=f">{rows[0].pk}" if has_newer else None,
        next=f"<{rows[-1].pk}" if has_older else None,
    )


def beside(claims: list[Claim]) -> list[Found]:
    """Settlements, persons and institutions of some claims: three queries."""
    settlements: dict[int, list[Settlement]] = {}
    for row in Settlement.objects.filter(claim_id__in=[c.pk for c in claims]).order_by("version"):
        settlements.setdefault(row.claim_id, []).append(row)
    persons = InsuredPerson.objects.in_bulk({c.person_id for c in claims})
    names = Institution.objects.in_bulk({c.institution_code for c in claims})
    return [_found(c, settlements.get(c.pk, []), persons.get(c.person_id), names) for c in claims]


def _found(
    claim: Claim, versions: list[Settlement], person: InsuredPerson | None, names: dict[str, Any]
) -> Found:
    last = versions[-1] if versions else None
    return Found(
        claim=claim,
        state=last.state if last else RECEIVED,
        state_text=last.get_state_display() if last else "已受理",
        example=any(row.example for row in versions),
        entered=getattr(claim, "entered", False),
        amounts={name: sum(getattr(row, name) for row in versions) for name in AMOUNTS},
        person=person,
        institution=str(names.get(claim.institution_code, claim.institution_code)),
    )


def walk(claims: QuerySet, *, most: int, size: int = 2000) -> Iterator[Found]:
    """Every claim of a query, newest first, at most `most`; memory holds one page."""
    cursor, left = "", most
    while left > 0:
        part = page(claims, cursor=cursor, size=min(size, left))
        yield from part.rows
        left -= len(part.rows)
        if part.next is None:
            return
        cursor = part.next


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Statements inside run at most so long; TooSlow leaves the transaction usable."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{seconds}s"])
            yield
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") == "57014":
            raise TooSlow from error
        raise


def _cursor(text: str) -> tuple[str, int | None]:
    match = CURSOR.match(text)
    return (match[1], int(match[2])) if match else ("", None)
