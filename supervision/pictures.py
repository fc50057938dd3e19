"""The picture of a finding: where an outlier stands, when sessions overlap, when drugs last, who meets whom.

Drawn from the records of the claims that carry the finding, read when the finding is shown.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from audit import clock
from audit.drawings import bipartite, spans
from institutions.models import Physician
from institutions.shape import moment
from settlement.models import Claim, ClaimLine, InsuredPerson
from supervision.models import Finding, FindingClaim

SHOWN = 4  #: last characters of a number beside a name
MOST = 40  #: rows of a picture of spans, and names of a side of a network
ALONE, TOGETHER = "其他诊疗", "时间重叠"
Chart = dict[str, Any]
Stretch = tuple[dt.datetime, dt.datetime]
Held = tuple[str, Stretch]  #: an encounter, and when it was held
SPOKEN = ("encounter_id", "service_date", "document")


def _claims(row: Finding) -> list[Claim]:
    ids = FindingClaim.objects.filter(finding=row).values("claim_id")
    return list(Claim.objects.filter(pk__in=ids).defer("facts").order_by("pk"))


def _span(claim: Claim) -> tuple[dt.datetime, dt.datetime] | None:
    times = [moment(claim.document["encounter"].get(name) or "") if
             claim.document["encounter"].get(name) else None
             for name in ("started_at", "ended_at")]  # fmt: skip
    start, end = times
    return (clock.local(start), clock.local(end)) if start and end and end > start else None


def _sessions(row: Finding) -> Chart | None:
    """The physician's meetings of the day as bars; the stretches held twice stand out.

    Of many, the finding's own are shown, then those nearest to them in time.
    """
    own = _held(row, _claims(row))
    that_day = Claim.objects.filter(
        institution_code=row.institution_code, service_date=row.last_day,
        document__physician__code=row.physician_code,
    )  # fmt: skip
    found = _nearest(own, _held(row, that_day.only(*SPOKEN).iterator()))
    if not found:
        return None
    doubled = _doubled([span for _, span in found])
    minute = _minutes_of(row.last_day)
    rows: list[dict[str, Any]] = [
        {"label": f"就诊 {name}", "start": minute(start), "end": minute(end),
         "text": f"{start:%H:%M}–{end:%H:%M}",
         "tone": "d" if _touches(start, end, doubled) else "a"}
        for name, (start, end) in found
    ]  # fmt: skip
    low, high = int(rows[0]["start"]), max(int(one["end"]) for one in rows)
    ticks = [(place, f"{place // 60 % 24:02d}:{place % 60:02d}")
             for place in (low, (low + high) // 2, high)]  # fmt: skip
    minutes = sum(minute(end) - minute(start) for start, end in doubled)
    return spans(
        title=f"{row.last_day} 该医师的诊疗时间", rows=rows, ticks=ticks, heads=("就诊", "时间"),
        marks=[(minute(start), minute(end)) for start, end in doubled],
        legend=[{"label": TOGETHER, "tone": "d"}, {"label": ALONE, "tone": "a"}],
        description=f"共{len(rows)}次诊疗，其中{minutes}分钟有两次以上同时进行",
    )  # fmt: skip


def _held(row: Finding, claims: Iterable[Claim]) -> dict[str, Stretch]:
    """Encounter → when it was held, of the claims of a finding's last day."""
    held: dict[str, Stretch] = {}
    for claim in claims:
        if claim.service_date == row.last_day and (span := _span(claim)):
            held.setdefault(claim.encounter_id, span)
    return held


def _nearest(own: Mapping[str, Stretch], others: Mapping[str, Stretch]) -> list[Held]:
    """At most MOST meetings in order of time: one's own first, then who is nearest to them."""
    shown = sorted(own.items(), key=_when)[:MOST]
    starts = [start for _, (start, _) in shown]
    rest = sorted((one for one in others.items() if one[0] not in own), key=_when)
    if starts:
        rest.sort(key=lambda one: min(abs(one[1][0] - start) for start in starts))
    return sorted(shown + rest[: MOST - len(shown)], key=_when)


def _when(one: Held) -> Stretch:
    return one[1]


def _minutes_of(day: dt.date) -> Callable[[dt.datetime], int]:
    """Counts minutes from a day's midnight; below zero: of the evening before."""
    midnight = dt.datetime.combine(day, dt.time(), clock.ZONE)
    return lambda at: (at - midnight) // dt.timedelta(minutes=1)


def _doubled(held: Sequence[Stretch]) -> list[Stretch]:
    """The stretches of time covered by two spans or more, of spans in order."""
    found: list[Stretch] = []
    latest: dt.datetime | None = None
    for start, end in held:
        if latest is not None and start < latest:
            stop = min(latest, end)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], stop))
            else:
                found.append((start, stop))
        latest = end if latest is None else max(latest, end)
    return found


def _touches(start: dt.datetime, end: dt.datetime, stretches: Sequence[Stretch]) -> bool:
    return any(start < until and since < end for since, until in stretches)


def _supplies(row: Finding) -> Chart | None:
    """Each refill from its day to the day its supply ends; where two run at once stands out."""
    lines = dict(FindingClaim.objects.filter(finding=row).values_list("claim_id", "line_no"))
    given: list[tuple[dt.date, int, str]] = []
    for claim in _claims(row):
        drug = _drug_of(claim, lines[claim.pk])
        lasts = [one["days_supply"] for rx in claim.document.get("prescriptions") or ()
                 for one in rx["lines"] if drug in ("", one["drug_code"])]  # fmt: skip
        if lasts and max(lasts) > 0:
            given.append((claim.service_date, max(lasts), claim.claim_no))
    given = sorted(given)[:MOST]
    if not given:
        return None
    rows: list[dict[str, Any]] = []
    left = dt.date.min
    marks: list[tuple[int, int]] = []
    for day, days, number in given:
        end = day + dt.timedelta(days=days)
        early = day < left
        if early:
            marks.append((day.toordinal(), min(left, end).toordinal()))
        rows.append({
            "label": f"单据 {number}", "start": day.toordinal(), "end": end.toordinal(),
            "text": f"{day} 配取，够用{days}天", "tone": "d" if early else "a",
        })  # fmt: skip
        left = max(left, end) if not early else left + dt.timedelta(days=days)
    ends = [rows[0]["start"], max(one["end"] for one in rows)]
    return spans(
        title="配药日期与用药天数", rows=rows, marks=marks, heads=("单据", "配取"),
        ticks=[(place, str(dt.date.fromordinal(place))) for place in ends],
        legend=[{"label": "尚有余药即再次配取", "tone": "d"}, {"label": "按时配取", "tone": "a"}],
        description=f"{len(rows)}次配取，其中{len(marks)}次在前次药品用完之前",
    )  # fmt: skip


def _drug_of(claim: Claim, line_no: int) -> str:
    """The drug of a line; of no line: any."""
    found = ClaimLine.objects.filter(claim_id=claim.pk, line_no=line_no, period=claim.period)
    return found.values_list("item_code", flat=True).first() or ""


def _network(row: Finding) -> Chart | None:
    """The persons and physicians of a closed circle, and how often each pair met."""
    met = Counter(
        (claim.person_id, str(claim.document.get("physician", {}).get("code", "")))
        for claim in _claims(row)
    )  # fmt: skip
    if not met:
        return None
    people = InsuredPerson.objects.in_bulk({person for person, _ in met})
    doctors = dict(Physician.objects.filter(pk__in={code for _, code in met})
                   .values_list("pk", "name"))  # fmt: skip
    strongest = [person for person, _ in Counter(p for p, _ in met.elements()).most_common(MOST)]
    numbers = {person: n for n, person in enumerate(sorted(strongest), 1)}
    places = {code: n for n, code in enumerate(sorted({code for _, code in met}), 1)}
    ties = {
        (_named(numbers[person], *_person(people.get(person))),
         _named(places[code], doctors.get(code, ""), code)): count
        for (person, code), count in met.items() if person in numbers
    }  # fmt: skip
    return bipartite(
        title="参保人员与医师的就诊关系", ties=ties, sides=("参保人员", "医师"),
        description=f"{len(numbers)}名参保人员与{len({code for _, code in met})}名医师，"
        f"共{sum(ties.values())}次就诊",
    )  # fmt: skip


def _person(row: InsuredPerson | None) -> tuple[str, str]:
    return (row.name_masked, row.id_masked) if row else ("", "")


def _named(place: int, name: str, code: str) -> str:
    """A node: its number, the name and the last digits, short enough for a telephone's screen."""
    return " ".join(part for part in (f"{place:02d}", name, code[-SHOWN:]) if part)


#: rule → (its shape, how it is drawn); outliers bring their distribution along.
DRAWN: Mapping[str, tuple[str, Callable[[Finding], Chart | None]]] = {
    "overlapping_sessions": ("spans", _sessions), "sessions_per_hour": ("spans", _sessions),
    "early_refill": ("spans", _supplies), "dense_network": ("bipartite", _network),
}  # fmt: skip


def picture_of(row: Finding) -> dict[str, Any] | None:
    """The picture of a finding: {shape, chart}; None where its rule has none."""
    if row.rule not in DRAWN:
        return None
    shape, draw = DRAWN[row.rule]
    chart = draw(row)
    return {"shape": shape, "chart": chart} if chart else None
