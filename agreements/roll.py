"""The public roll of the parties that offer “互联网+” services under an agreement on a day.

On it stands who could be paid that day: a supplementary agreement in a state that the document in
force pays for, and a main agreement that is neither suspended nor ended. It appears with the day of
signing and goes with suspension, termination or expiry. (温医保办〔2021〕6号 十九、二十二)
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Q

from agreements.models import Agreement, AgreementState, AgreementStateQuerySet
from audit.openly import digest_of
from institutions.models import Institution, InstitutionFacts, Region, area_prefix
from pricing.releases import Catalogue, Published

State = AgreementState.State
TITLE = "开展“互联网+”医保服务的定点医疗机构名单"
STOPPED = (State.SUSPENDED, State.TERMINATED, State.EXPIRED)
ONE = dt.timedelta(days=1)
KINDS = dict(Institution.Kind.choices)
STATES = dict(State.choices)
HEADS = (
    "名单日期", "统筹区", "区域代码", "所在区域", "机构编码", "机构名称", "互联网医院名称", "机构类别",
    "补充协议编号", "协议状态", "列入名单起", "协议签订日", "协议期限起", "协议期限止", "文号", "条款",
)  # fmt: skip


@dataclass(frozen=True)
class Basis:
    """What the document of a policy region says of its roll on a day."""

    region: str
    document: str
    title: str
    clause: str
    gap: str
    payable: frozenset[str]
    sm3: str

    @classmethod
    def of(cls, release: Published) -> "Basis | None":
        """None when the document does not make payment depend on an agreement."""
        states = release.policy.section("agreement_states", None)
        if states is None:
            return None
        rule = release.policy.section("procedures", {}).get("publication", {})
        return cls(
            region=release.policy.region,
            document=release.policy.document,
            title=rule.get("list", TITLE),
            clause=rule.get("clause", states["clause"]),
            gap=rule.get("gap", "") if rule else "文件没有规定公布名单，名单按可支付的协议状态列出",
            payable=frozenset(states["payable"]),
            sm3=release.sm3,
        )

    @property
    def data(self) -> dict:
        """What is disclosed of it."""
        return {
            "document": self.document, "clause": self.clause, "list": self.title,
            "release_sm3": self.sm3,
            "states": [name for name in STATES if name in self.payable],
        }  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A party on the roll: of it only what everybody may know."""

    code: str
    name: str
    internet_hospital: str
    kind: str
    area: str
    place: str
    number: str
    state: str
    since: dt.date
    signed_on: dt.date | None
    valid_from: dt.date
    valid_until: dt.date | None
    basis: Basis
    priced: bool
    words: str

    @property
    def kind_name(self) -> str:
        return KINDS[self.kind]

    @property
    def state_name(self) -> str:
        return STATES[self.state]

    @property
    def data(self) -> dict:
        """The entry as plain data: days written, what is not known null."""
        return {
            "code": self.code, "name": self.name, "internet_hospital": self.internet_hospital,
            "kind": self.kind, "area": self.area, "place": self.place,
            "agreement": self.number, "state": self.state, "since": self.since.isoformat(),
            "signed_on": _iso(self.signed_on), "valid_from": self.valid_from.isoformat(),
            "valid_until": _iso(self.valid_until),
        }  # fmt: skip

    def matches(self, words: str) -> bool:
        """Whether every one of the words stands in the code or in one of the names."""
        return all(word in self.words for word in words.casefold().split())


def _iso(day: dt.date | None) -> str | None:
    return day.isoformat() if day else None


@dataclass(frozen=True)
class Roll:
    """The roll of an area on a day; `bases` are the documents of its policy regions that day."""

    day: dt.date
    area: str
    place: str
    entries: tuple[Entry, ...]
    bases: tuple[Basis, ...]

    @property
    def title(self) -> str:
        """What the documents call such a list."""
        return self.bases[0].title if self.bases else TITLE

    @cached_property
    def content(self) -> dict:
        """What is disclosed, as plain data."""
        return {
            "area": self.area,
            "place": self.place,
            "on": self.day.isoformat(),
            "documents": [basis.data for basis in self.bases],
            "institutions": [entry.data for entry in self.entries],
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.content)

    @property
    def groups(self) -> list[tuple[str, list[Entry]]]:
        """The entries under the areas they lie in."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.place, []).append(entry)
        return list(found.items())

    def rows(self) -> Iterator[list[str]]:
        """The roll as rows under `HEADS`."""
        for entry in self.entries:
            days = (entry.signed_on, entry.valid_from, entry.valid_until)
            yield [
                self.day.isoformat(), entry.basis.region, entry.area, entry.place, entry.code,
                entry.name, entry.internet_hospital, entry.kind_name, entry.number,
                entry.state_name, entry.since.isoformat(), *(_iso(day) or "" for day in days),
                entry.basis.document, entry.basis.clause,
            ]  # fmt: skip


def roll(
    catalogue: Catalogue, area: Region | None, day: dt.date, *, known_at: dt.datetime | None = None
) -> Roll:
    """The roll of an area (None: everywhere) on a day, as known at a moment (None: as known now)."""
    bases = _bases(catalogue, day)
    spans = _spans(area, day, known_at)
    owners = {code for rows in spans.values() for code in _owners(rows[0].agreement.institution)}
    mains = _mains(owners, day, known_at)
    facts = _facts(spans, day, known_at)
    entries = tuple(
        _entry(rows, since, basis, facts.get(code))
        for code, rows in spans.items()
        if (basis := bases.get(rows[0].agreement.institution.region.policy_region))
        and (since := _since(rows, basis, day))
        and _main_holds(rows[0].agreement.institution, mains)
    )
    regions = {entry.basis.region for entry in entries} | ({area.policy_region} if area else set())
    return Roll(
        day=day,
        area=area.code if area else "",
        place=area.name if area else "",
        entries=entries,
        bases=tuple(bases[region] for region in sorted(regions) if region in bases),
    )


def _bases(catalogue: Catalogue, day: dt.date) -> Mapping[str, Basis]:
    """Policy region → what its document of the day says."""
    found = {}
    for region in catalogue.regions():
        release = catalogue.policy(region, day)
        if release is not None and release.covers(day) and (basis := Basis.of(release)):
            found[region] = basis
    return found


def _known(known_at: dt.datetime | None) -> AgreementStateQuerySet:
    rows = AgreementState.objects.all()
    return rows.known() if known_at is None else rows.known_at(known_at)


def _spans(
    area: Region | None, day: dt.date, known_at: dt.datetime | None
) -> Mapping[str, list[AgreementState]]:
    """Code → every state of its supplementary agreements up to the day, the latest first."""
    rows = _known(known_at).filter(
        agreement__kind=Agreement.Kind.SUPPLEMENTARY, valid_from__lte=day
    )
    if area is not None:
        prefix = area_prefix(area.code)
        rows = rows.filter(agreement__institution__region__code__within=prefix)
    found: dict[str, list[AgreementState]] = {}
    order = ("agreement__institution__region_id", "agreement__institution_id", "-valid_from")
    for row in rows.select_related("agreement__institution__region").order_by(*order):
        found.setdefault(row.agreement.institution_id, []).append(row)
    return found


def _owners(institution: Institution) -> tuple[str, ...]:
    """Whose main agreement counts: the party's own before its parent's."""
    return (institution.pk, *((institution.parent_id,) if institution.parent_id else ()))


def _mains(owners: Iterable[str], day: dt.date, known_at: dt.datetime | None) -> Mapping[str, str]:
    """Code → state of its main agreement on the day."""
    rows = _known(known_at).in_force(on=day).filter(
        Q(agreement__valid_until__isnull=True) | Q(agreement__valid_until__gte=day),
        agreement__kind=Agreement.Kind.MAIN, agreement__institution__in=owners,
    )  # fmt: skip
    return dict(rows.values_list("agreement__institution_id", "state"))


def _main_holds(institution: Institution, mains: Mapping[str, str]) -> bool:
    state = next((mains[code] for code in _owners(institution) if code in mains), None)
    return state is not None and state not in STOPPED


def _facts(
    codes: Iterable[str], day: dt.date, known_at: dt.datetime | None
) -> Mapping[str, InstitutionFacts]:
    rows = InstitutionFacts.objects.all()
    rows = rows.known() if known_at is None else rows.known_at(known_at)
    return {row.institution_id: row for row in rows.in_force(on=day).filter(institution__in=codes)}


def _end(row: AgreementState) -> dt.date:
    """The last day of a state: its own, at most that of the agreement."""
    ends = (row.valid_until, row.agreement.valid_until)
    return min((end for end in ends if end is not None), default=dt.date.max)


def _since(rows: Sequence[AgreementState], basis: Basis, day: dt.date) -> dt.date | None:
    """The first day of the unbroken span of payable states that holds the day; None without one."""
    since, needed = None, day
    for row in rows:
        if row.state not in basis.payable or _end(row) < needed:
            break
        since = row.valid_from
        needed = since - ONE
    return since


def _entry(
    rows: Sequence[AgreementState], since: dt.date, basis: Basis, facts: InstitutionFacts | None
) -> Entry:
    now, agreement = rows[0], rows[0].agreement
    institution = agreement.institution
    name = facts.name if facts and facts.name else institution.name
    second = facts.internet_hospital_name if facts else ""
    names = (institution.pk, name, institution.name, second)
    return Entry(
        code=institution.pk, name=name, internet_hospital=second,
        kind=institution.kind, area=institution.region_id, place=institution.region.name,
        number=agreement.number, state=now.state, since=since, signed_on=agreement.signed_on,
        valid_from=agreement.valid_from, valid_until=agreement.valid_until, basis=basis,
        priced=bool(facts and facts.price_class),
        words="\n".join((*names, *institution.aliases)).casefold(),
    )  # fmt: skip


@dataclass(frozen=True)
class Corrections:
    """What was recorded after a day and changes its roll: who was added, who was taken off."""

    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


def corrections(
    catalogue: Catalogue, area: Region, found: Roll, *, until: dt.datetime
) -> Corrections:
    """How the roll of a past day differs from what was known at the end of that day (`until`)."""
    before = {
        entry.code: entry for entry in roll(catalogue, area, found.day, known_at=until).entries
    }
    now = {entry.code: entry for entry in found.entries}
    return Corrections(
        added=tuple(entry for code, entry in now.items() if code not in before),
        removed=tuple(entry for code, entry in before.items() if code not in now),
    )


def areas(entries: Iterable[Entry], regions: Iterable[Region]) -> list[tuple[Region, int]]:
    """Every area in which parties of the roll lie, with how many, in the order of the codes."""
    held = Counter(entry.area for entry in entries)
    counted = (
        (region, sum(n for code, n in held.items() if code.startswith(region.prefix)))
        for region in sorted(regions, key=lambda region: region.code)
    )
    return [(region, number) for region, number in counted if number]
