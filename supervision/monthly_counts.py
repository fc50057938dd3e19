"""What a month of supervision comes to, counted once per row: by the row's own area code.

A sheet is {section: {key: {measure: whole number}}}; sheets of areas that do not overlap add up. Money is
fen. Every count is dated by an act of the month (posted, found, decided, executed …).
(温医保办〔2021〕6号 二十三、二十四、二十七、二十八；通医保发〔2020〕25号 四（三）)
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum

from audit import clock
from audit.models import Move
from institutions.calendar import add_months
from institutions.models.places import area_prefix
from settlement import adjustments
from settlement.models import Adjustment, Deduction, Statement
from supervision.models import (
    Complaint,
    ConductFlag,
    Finding,
    InspectionTask,
    PointEntry,
    Restriction,
    Review,
    ReviewLine,
    Sanction,
    SupervisionCase,
)

Sheet = Mapping[str, Mapping[str, Mapping[str, int]]]
MONEY = ("fee", "in_scope", "fund", "account", "cash")
ONLINE, OFFLINE = "online", "offline"
#: “互联网+” services are declared with a business type of their own (温医保办〔2021〕6号 二十三)
VOLUME = """SELECT coalesce(c.document #>> '{encounter,business_type}', '') = 'internet' AS online,
    count(*) FILTER (WHERE s.state <> 'reversed') - count(*) FILTER (WHERE s.state = 'reversed'),
    sum(s.fee)::bigint, sum(s.in_scope)::bigint, sum(s.fund)::bigint, sum(s.account)::bigint,
    sum(s.cash)::bigint, bool_or(s.example)
FROM settlement_settlement s LEFT JOIN settlement_claim c ON c.id = s.claim_id
WHERE s.period = %s AND s.region_code LIKE %s AND NOT s.region_code LIKE ANY(%s)
GROUP BY 1"""


@dataclass(frozen=True)
class Place:
    """An area without the areas that are counted elsewhere, in one month."""

    region: str
    month: dt.date
    without: Sequence[str] = ()

    @property
    def inside(self) -> Q:
        """Rows of the area."""
        found = Q(region_code__within=area_prefix(self.region))
        for code in self.without:
            found &= ~Q(region_code__within=area_prefix(code))
        return found

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """The first day of the month and that of the next."""
        return self.month, add_months(self.month, 1)

    def at(self, field: str) -> Q:
        """Rows whose moment lies in the month."""
        first, after = (dt.datetime.combine(day, dt.time.min, clock.ZONE) for day in self.days)
        return Q(**{f"{field}__gte": first, f"{field}__lt": after})

    def on(self, field: str) -> Q:
        """Rows whose day lies in the month."""
        first, after = self.days
        return Q(**{f"{field}__gte": first, f"{field}__lt": after})


def count(place: Place) -> tuple[Sheet, bool]:
    """The sheet of an area and month, and whether example parameters had a part in its money."""
    volume, example = _volume(place)
    return {
        "volume": volume, "findings": _findings(place), "reviews": _reviews(place),
        "inspections": _inspections(place), "cases": _cases(place), "states": _states(place),
        "sanctions": _sanctions(place), "recoveries": _recoveries(place),
        "complaints": _complaints(place), "points": _points(place), "conduct": _conduct(place),
        "deadlines": _deadlines(place),
    }, example  # fmt: skip


def added(sheets: Iterable[Sheet]) -> dict[str, dict[str, dict[str, int]]]:
    """The sum of sheets of areas that do not overlap."""
    whole: dict[str, dict[str, dict[str, int]]] = {}
    for sheet in sheets:
        for section, rows in sheet.items():
            sums = whole.setdefault(section, {})
            for key, measures in rows.items():
                target = sums.setdefault(key, {})
                for name, number in measures.items():
                    target[name] = target.get(name, 0) + number
    return whole


def total(rows: Mapping[str, Mapping[str, int]], measure: str) -> int:
    """One measure over all keys of a section."""
    return sum(row.get(measure, 0) for row in rows.values())


def _grouped(rows: QuerySet, by: str, **measures: Any) -> dict[str, dict[str, int]]:
    # A measure may be called like a column: its annotation is not.
    counted = {f"sum_{name}": measure for name, measure in measures.items()}
    found = rows.order_by(by).values(by).annotate(**counted)
    return {str(row[by]): {name: row[f"sum_{name}"] or 0 for name in measures} for row in found}


def _volume(place: Place) -> tuple[dict[str, dict[str, int]], bool]:
    found = {key: dict.fromkeys(("claims", *MONEY), 0) for key in (ONLINE, OFFLINE)}
    example = False
    without = [f"{area_prefix(code)}%" for code in place.without]
    with connection.cursor() as cursor:
        cursor.execute(VOLUME, [place.month, f"{area_prefix(place.region)}%", without])
        for online, claims, *amounts, used in cursor.fetchall():
            key = ONLINE if online else OFFLINE
            found[key] = dict(zip(("claims", *MONEY), (claims, *amounts), strict=True))
            example |= bool(used)
    return found, example


def _findings(place: Place) -> dict[str, dict[str, int]]:
    """By rule: found, confirmed and refuted in the month, open at its end; money of those confirmed."""
    _, after = place.days
    end = dt.datetime.combine(after, dt.time.min, clock.ZONE)
    decided = place.at("decided_at")
    rows = Finding.objects.filter(place.inside, found_at__lt=end)
    rows = rows.filter(place.at("found_at") | decided | Q(state="open") | Q(decided_at__gte=end))
    return _grouped(
        rows, "rule", found=Count("pk", filter=place.at("found_at")),
        confirmed=Count("pk", filter=decided & Q(state="confirmed")),
        refuted=Count("pk", filter=decided & Q(state="refuted")),
        merged=Count("pk", filter=decided & Q(state="merged")),
        open=Count("pk", filter=Q(state="open") | Q(decided_at__gte=end)),
        fund=Sum("fund", filter=decided & Q(state="confirmed")),
    )  # fmt: skip


def _reviews(place: Place) -> dict[str, dict[str, int]]:
    rows = Review.objects.filter(place.inside, place.at("closed_at"), state="done")
    return _grouped(rows, "source", done=Count("pk"), fee=Sum("fee"), cut=Sum("cut"),
                    objected=Count("pk", filter=Q(round__gt=0)))  # fmt: skip


def _inspections(place: Place) -> dict[str, dict[str, int]]:
    rows = InspectionTask.objects.filter(place.inside, place.on("visited_on"))
    return _grouped(rows, "result", visited=Count("pk"))


def _cases(place: Place) -> dict[str, dict[str, int]]:
    """By route: opened, decided, closed in the month; the loss that its decisions found."""
    acts = {"opened": place.at("opened_at"), "decided": place.on("decided_on"),
            "closed": place.at("closed_at")}  # fmt: skip
    rows = SupervisionCase.objects.filter(
        place.inside, acts["opened"] | acts["decided"] | acts["closed"]
    )
    counted = {name: Count("pk", filter=condition) for name, condition in acts.items()}
    return _grouped(rows, "route", **counted, loss=Sum("loss", filter=acts["decided"]))


def _states(place: Place) -> dict[str, dict[str, int]]:
    """Where the cases stood at the month's end, those that ended in it included."""
    first, after = (dt.datetime.combine(day, dt.time.min, clock.ZONE) for day in place.days)
    rows = SupervisionCase.objects.filter(place.inside, opened_at__lt=after)
    rows = rows.filter(Q(closed_at__isnull=True) | Q(closed_at__gte=first))
    subjects = [f"supervisioncase:{key}" for key in rows.values_list("pk", flat=True)]
    moves = Move.objects.filter(subject__in=subjects, at__lt=after).order_by("pk")
    stood = dict(moves.values_list("subject", "target"))
    return {state: {"cases": number} for state, number in sorted(Counter(stood.values()).items())}


def _sanctions(place: Place) -> dict[str, dict[str, int]]:
    """By measure: ordered by decisions of the month, carried out in it."""
    rows = Sanction.objects.alias(region_code=F("case__region_code")).filter(place.inside)
    ordered = place.on("case__decided_on") & Q(state__in=("ordered", "done"))
    done = place.on("done_on") & Q(state="done")
    return _grouped(
        rows.filter(ordered | done), "kind", ordered=Count("pk", filter=ordered),
        amount=Sum("amount", filter=ordered), done=Count("pk", filter=done),
        paid=Sum("amount", filter=done),
    )  # fmt: skip


def _recoveries(place: Place) -> dict[str, dict[str, int]]:
    """What came back in the month of money that the fund had paid, by decisions on cases and fee reviews:
    deductions of statements that became final, adjustments of institutions that were posted, of persons
    that were collected. A held line was never paid.
    """
    final = Q(statement__state__in=Statement.FINAL) & place.at("statement__finalised_at")
    rows = Deduction.objects.exclude(state=Deduction.State.WITHDRAWN).filter(final)
    deducted = dict(rows.values_list("pk", "amount"))
    back = {f"deduction {key}": amount for key, amount in deducted.items()}
    back |= {f"adjustment {row.number}": -row.amount for row in _taken_back(place)}
    orders = Sanction.objects.alias(region_code=F("case__region_code")).filter(
        place.inside, state__in=("done", "ended"), kind="recovery"
    )
    cases: Counter[int] = Counter()
    for order, effects in orders.values_list("pk", "effects"):
        for made in effects:
            cases[order] += sum(back.get(f"{name} {key}", 0) for name, key in made.items())
    reviews: Counter[int] = Counter()
    lines = ReviewLine.objects.filter(place.inside, deduction_id__in=deducted)
    for review, deduction in lines.values_list("review_id", "deduction_id"):
        reviews[review] += deducted[deduction or 0]
    return {"case": _times(cases), "review": _times(reviews)}


def _taken_back(place: Place) -> list[Adjustment]:
    """Adjustments by which money came back in the month."""
    posted = Adjustment.objects.filter(state=Adjustment.State.POSTED, amount__lt=0)
    collected = posted.filter(place.on("collected_on"), person_id__isnull=False)
    return [
        *posted.filter(place.at("decided_at"), person_id=None),
        *(row for row in collected if adjustments.collected(row)),
    ]


def _times(amounts: Counter[int]) -> dict[str, int]:
    return {"times": sum(1 for amount in amounts.values() if amount), "amount": amounts.total()}


def _complaints(place: Place) -> dict[str, dict[str, int]]:
    received, answered = place.at("received_at"), place.at("answered_at")
    rows = Complaint.objects.filter(place.inside, received | answered)
    rewarded = place.at("reward_approved_at")
    states = {
        state: Count("pk", filter=answered & Q(state=state))
        for state in ("proven", "unproven", "declined")
    }
    return {
        "all": rows.aggregate(
            received=Count("pk", filter=received), answered=Count("pk", filter=answered), **states,
            late=Count("pk", filter=answered & Q(answered_at__date__gt=F("due"))),
            recovered=Sum("recovered", filter=answered, default=0),
        ) | Complaint.objects.filter(place.inside, rewarded).aggregate(
            reward=Sum("reward", default=0))
    }  # fmt: skip


def _points(place: Place) -> dict[str, dict[str, int]]:
    """Points and repairs by kind, restrictions that began to be in force by kind."""
    entries = PointEntry.objects.filter(place.inside, place.at("entered_at"))
    made = Restriction.objects.filter(place.inside, place.at("made_at"))
    return {
        **_grouped(entries, "kind", entries=Count("pk"), points=Sum("points")),
        **_grouped(made, "kind", entries=Count("pk")),
    }


def _conduct(place: Place) -> dict[str, dict[str, int]]:
    rows = ConductFlag.objects.filter(place.inside, place.at("found_at"))
    return _grouped(rows, "kind", found=Count("pk"),
                    referred=Count("pk", filter=Q(state="referred")))  # fmt: skip


def _deadlines(place: Place) -> dict[str, dict[str, int]]:
    """By procedure: steps of the month that had a deadline, and those taken after it."""
    rows = Move.objects.filter(place.inside, place.on("on"), on_time__isnull=False)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    found |= _grouped(rows, "procedure", due=Count("pk"), late=Count("pk", filter=Q(on_time=False)))
    return dict(found)
