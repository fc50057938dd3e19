"""Price sheets: what a region, or one institution, discloses on one day, with the texts behind it.

A sheet is made of published releases and of the price class registered for that day, of nothing
else: the same day gives the same content whenever it is asked for, until a release (or a corrected
class) touches the day. `digest` proves it. (吉卫便函〔2021〕3号 三第2款、通医保发〔2020〕25号 附件)
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from audit.openly import digest_of
from institutions.models import Institution, PhysicianTitle
from institutions.money import yuan
from pricing.catalogue import disclose, parameter_rows, region_name
from pricing.disclosure import ClassRow, Disclosure, Entry, Heading, Value
from pricing.releases import Catalogue, Published

TITLES = dict(PhysicianTitle.Title.choices)
HEADS = (
    "公示日期", "统筹区", "机构编码", "机构名称", "项目编码", "曾用编码", "项目名称", "项目内涵",
    "计价单位", "价格类别", "价格（元）", "最高支付标准（元）", "医保基金支付", "说明", "文号", "条款",
    "示例", "发布文本SM3",
)  # fmt: skip


@dataclass(frozen=True)
class Holder:
    """The institution whose prices are shown: of it only what everybody may know."""

    code: str
    name: str
    region: str
    policy_region: str
    price_class: str
    since: dt.date

    @classmethod
    def of(cls, institution: Institution) -> "Holder | None":
        """From `Institution.objects.with_facts(on=day)`; None without a price class that day."""
        facts = next(iter(institution.facts_on), None)
        if facts is None or not facts.price_class:
            return None
        place = institution.region
        return cls(
            institution.code,
            institution.name,
            place.name,
            place.policy_region,
            facts.price_class,
            facts.valid_from,
        )


@dataclass(frozen=True)
class Sheet:
    """The prices of a region, of all classes or one, or of an institution, on a day."""

    day: dt.date
    release: Published
    sets: tuple[Published, ...]
    disclosure: Disclosure
    holder: Holder | None = None

    @property
    def region(self) -> str:
        return self.release.policy.region

    @property
    def place(self) -> str:
        return region_name(self.release.policy)

    @property
    def class_name(self) -> str:
        """The holder's price class as the document calls it."""
        if self.holder is None or not self.disclosure.classes:
            return "不分类别"
        return self.disclosure.classes.get(self.holder.price_class, self.holder.price_class)

    @property
    def example(self) -> bool:
        """Whether any figure shown is an invented example."""
        return any(entry.example for entry in self.disclosure.entries)

    @property
    def groups(self) -> list[tuple[Entry | None, list[Entry]]]:
        """The items under the headings of the document whose code theirs begin with."""
        found: dict[str, tuple[Entry | None, list[Entry]]] = {}
        for entry in self.disclosure.entries:
            heading = self._heading(entry)
            found.setdefault(heading.code if heading else "", (heading, []))[1].append(entry)
        return list(found.values())

    def _heading(self, entry: Entry) -> Entry | None:
        above = [h for h in self.disclosure.headings if entry.code.startswith(h.code)]
        return max(above, key=lambda heading: len(heading.code), default=None)

    @cached_property
    def content(self) -> dict:
        """What is disclosed, as plain data; amounts are strings in yuan, null where none is printed."""
        policy, holder = self.release.policy, self.holder
        return {
            "region": self.region,
            "place": self.place,
            "on": self.day.isoformat(),
            "institution": holder
            and {
                "code": holder.code,
                "name": holder.name,
                "region": holder.region,
                "price_class": holder.price_class,
                "price_class_since": holder.since.isoformat(),
            },
            "document": policy.document,
            "title": policy.title,
            "issuer": policy.data.get("issuer", ""),
            "release": {"slug": policy.slug, "sm3": self.release.sm3},
            "parameters": [{"slug": s.policy.slug, "sm3": s.sm3} for s in self.sets],
            "headings": [_heading_data(heading) for heading in self.disclosure.headings],
            "items": [item_data(entry) for entry in self.disclosure.entries],
        }

    @cached_property
    def digest(self) -> str:
        """SM3 of the content as compact JSON with sorted keys in UTF-8."""
        return digest_of(self.content)

    def rows(self) -> Iterator[list[str]]:
        """The sheet as rows under `HEADS`: one for every item and price class."""
        for entry in self.disclosure.entries:
            for row, caps, pays in entry.lines:
                yield self._row(entry, row, caps, pays)

    def _row(self, entry: Entry, row: ClassRow, caps: list, pays: list) -> list[str]:
        heading, holder = self._heading(entry), self.holder
        notes = [entry.alias_note, entry.note, entry.gap, heading.note if heading else ""]
        return [
            self.day.isoformat(),
            self.place,
            holder.code if holder else "",
            holder.name if holder else "",
            entry.code,
            "、".join(entry.aliases),
            entry.name,
            entry.content,
            entry.unit,
            row.label,
            row.price.text if row.price.amount is not None else row.price.gap or row.price.text,
            _listed(caps) if row.offered else "",
            _listed(pays) if row.offered else "",
            "；".join(filter(None, notes)),
            self.release.policy.document,
            "；".join(f"{group['label']}：{group['clause'].clause}" for group in entry.basis),
            "示例" if any(value.example for value in row.values) else "",
            self.release.sm3,
        ]


def _listed(pairs: list[tuple[Heading, Value]]) -> str:
    return "；".join(
        f"{head.short} {value.text}{f'（{value.note}）' if value.note else ''}"
        f"{'〔示例〕' if value.example else ''}"
        for head, value in pairs
    )


def sheet(
    catalogue: Catalogue,
    region: str,
    day: dt.date,
    *,
    price_class: str = "",
    words: str = "",
    holder: Holder | None = None,
    files: Mapping[str, str] | None = None,
) -> Sheet | None:
    """The sheet of a region; None when none of its documents is in force on the day.

    `words` keeps the items in which all of them stand; `files` leads from the slug of a document to
    the address of its official file.
    """
    release, rules = catalogue.policy(region, day), catalogue.rules(region, day)
    if release is None or rules is None or not release.covers(day):
        return None
    sets = tuple(r for r in catalogue.parameters if r.policy.region == region and r.covers(day))
    found = disclose(
        rules,
        rows=parameter_rows([s.policy for s in sets], day),
        titles=TITLES,
        price_class=holder.price_class if holder else price_class,
        file_url=(files or {}).get(release.policy.slug, ""),
    )
    kept = tuple(entry for entry in found.entries if entry.matches(words))
    return Sheet(day, release, sets, replace(found, entries=kept), holder)


def item_data(entry: Entry) -> dict:
    """An item as plain data, with what every price class is charged and paid."""
    return {
        "code": entry.code,
        "aliases": entry.aliases,
        "name": entry.name,
        "content": entry.content,
        "unit": entry.unit,
        "clause": entry.clause.clause,
        "physician_titles": entry.titles,
        "notes": [*filter(None, [entry.alias_note, entry.note, entry.gap])],
        "classes": [
            {
                "price_class": row.price_class,
                "name": row.label,
                "price": _value_data(row.price),
                "payments": [
                    {"name": head.label, "clause": head.clause.clause, **_value_data(value)}
                    for head, value in values[1:]
                ],
            }
            for row, values in entry.table
        ],
    }


def _heading_data(heading: Entry) -> dict:
    return {
        "code": heading.code,
        "name": heading.name,
        "note": heading.note,
        "clause": heading.clause.clause,
    }


def _value_data(value: Value) -> dict:
    return {
        "amount": None if value.amount is None else yuan(value.amount),
        "text": value.text,
        "note": value.note,
        "example": value.example,
        "gap": value.gap,
    }
