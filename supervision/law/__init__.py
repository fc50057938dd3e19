"""The law of cases as data: acts with their numbers, and the three routes of a decision.

An act before the day on which the decree took effect is not fined by it. What its text does not print says
so (`gap`). What hearing, review and suit are is printed by other laws (remedies.yaml).
(国务院令第735号；温医保办〔2021〕6号 二十七、二十八)
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from audit.text import yuan

FOLDER = Path(__file__).parent
WHOLE = 10_000  #: multiples are per ten thousand
RANGES = ("department_months", "online_months")
KEYS = frozenset({
    "summary", "subjects", "inspectors", "statement", "publication", "recovery", "fine",
    "termination", "refund", "fines", "conditions", "gap", *RANGES,
})  # fmt: skip
SUBJECTS = frozenset({"institution", "physician", "pharmacist", "nurse", "person"})


class LawError(ValueError):
    """A law file that contradicts itself: which file, which key, why."""


class OutOfRange(ValueError):
    """A measure that the article does not allow, in Chinese; `least` and `most` where it has them."""

    def __init__(self, text: str, least: int | None = None, most: int | None = None):
        super().__init__(text)
        self.text = text
        self.least = least
        self.most = most


@dataclass(frozen=True)
class Range:
    """From `least` to `most`, both included (民法典1259)."""

    least: int
    most: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.least <= value <= self.most


@dataclass(frozen=True)
class Article:
    """One article: what it demands, as far as it is known; `gap` says what is not."""

    number: str
    summary: str
    subjects: frozenset[str] = frozenset()
    inspectors: int = 0
    recovery: bool = False
    times: Range | None = None
    amount: Range | None = None
    department_months: Range | None = None
    online_months: Range | None = None
    termination: bool = False
    #: measure → the grounds on which alone it is allowed
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gap: str = ""

    def fine_range(self, loss: int) -> Range:
        """What a fine may be for a loss (fen); OutOfRange where the article knows no fine."""
        if self.amount is not None:
            return self.amount
        if self.times is None:
            raise OutOfRange(f"第{self.number}条没有罚款")
        if loss <= 0:
            raise OutOfRange(f"第{self.number}条按损失金额的倍数罚款，须先认定损失金额")
        least = -(-loss * self.times.least // WHOLE)
        return Range(least, loss * self.times.most // WHOLE)

    def months_range(self, kind: str) -> Range:
        """For how long a measure may be ordered."""
        found: Range | None = getattr(self, kind)
        if found is None:
            raise OutOfRange(f"第{self.number}条没有这一处理的期限")
        return found


@dataclass(frozen=True)
class Act:
    """A law: in force from a day, its articles by number."""

    slug: str
    document: str
    title: str
    since: dt.date
    until: dt.date | None
    articles: Mapping[str, Article] = field(default_factory=dict)
    #: the words of the grounds that measures wait for
    conditions: Mapping[str, str] = field(default_factory=dict)

    def in_force(self, day: dt.date) -> bool:
        """Whether it binds an act of that day."""
        return self.since <= day and (self.until is None or day <= self.until)

    def article(self, number: str, *, day: dt.date) -> Article:
        """An article for an act of a day; OutOfRange when the law was not in force then."""
        if not self.in_force(day):
            raise OutOfRange(f"行为发生于{day}，《{self.title}》自{self.since}起施行，不能据此处罚")
        found = self.articles.get(number)
        if found is None:
            raise OutOfRange(f"《{self.title}》没有收录第{number}条")
        return found

    def cite(self, number: str) -> str:
        """The article as papers cite it."""
        return f"《{self.title}》（{self.document}）第{number}条"

    def refuse_groundless(self, article: Article, measure: str, condition: str) -> None:
        """OutOfRange unless a measure stands on a ground that the article names, or needs none."""
        needed = article.conditions.get(measure, ())
        if needed and condition not in needed:
            words = "或者".join(f"“{self.conditions[key]}”" for key in needed)
            raise OutOfRange(f"第{article.number}条的这一处理以{words}为条件，请选择情形并写明事实")
        if condition and condition not in needed:
            raise OutOfRange(f"第{article.number}条的这一处理不以所选情形为条件")


@dataclass(frozen=True)
class Route:
    """One of the three ends of a case: who decides, by which clause, with which measures."""

    key: str
    label: str
    side: str
    permission: str
    summary: str
    clauses: Mapping[str, str]
    measures: tuple[str, ...]
    law: str = ""


@dataclass(frozen=True)
class Side:
    """Who inspects, who of the same side approves, the series of plan numbers, the basis of a visit."""

    key: str
    role: str
    approves: str
    series: str
    clauses: Mapping[str, str] = field(default_factory=dict)
    article: str = ""


@dataclass(frozen=True)
class Measure:
    """What a decision can order."""

    key: str
    label: str
    clauses: Mapping[str, str] = field(default_factory=dict)


def _range(name: str, given: Any) -> Range | None:
    if given is None:
        return None
    least, most = given.get("least"), given.get("most")
    if not isinstance(least, int) or not isinstance(most, int) or not 0 < least <= most:
        raise LawError(f"{name}：应有least与most，且least不大于most")
    return Range(least, most)


def _article(number: str, row: Mapping[str, Any]) -> Article:
    unknown = set(row) - KEYS
    subjects = frozenset(row.get("subjects") or ())
    fine = row.get("fine") or {}
    if unknown or not row.get("summary") or subjects - SUBJECTS or set(fine) - {"times", "amount"}:
        raise LawError(f"第{number}条：不认识的内容{sorted(unknown | (subjects - SUBJECTS))}")
    if len(fine) > 1:
        raise LawError(f"第{number}条：罚款只能按倍数或按金额之一")
    return Article(
        number=number, summary=row["summary"], subjects=subjects,
        inspectors=(row.get("inspectors") or {}).get("least", 0),
        recovery=bool(row.get("recovery")), times=_range(f"第{number}条.times", fine.get("times")),
        amount=_range(f"第{number}条.amount", fine.get("amount")),
        termination=bool(row.get("termination")), gap=row.get("gap", ""),
        conditions={kind: tuple(keys) for kind, keys in (row.get("conditions") or {}).items()},
        **{key: _range(f"第{number}条.{key}", row.get(key)) for key in RANGES},
    )  # fmt: skip


def parse(text: str, *, stem: str) -> Act:
    """The act of a YAML text; LawError names what contradicts itself."""
    data = yaml.safe_load(text)
    if data.get("slug") != stem:
        raise LawError(f"{stem}：slug应与文件名一致")
    since, until = data["effective"]["from"], data["effective"]["until"]
    if type(since) is not dt.date or (until is not None and until < since):
        raise LawError(f"{stem}：施行日期有误")
    articles = {str(key): _article(str(key), row) for key, row in data["articles"].items()}
    conditions = data.get("conditions") or {}
    for row in articles.values():
        kinds, named = (
            set(row.conditions),
            {key for keys in row.conditions.values() for key in keys},
        )
        if kinds - {"fine", *RANGES} or named - set(conditions):
            raise LawError(f"第{row.number}条：不认识的条件{sorted(named - set(conditions))}")
    return Act(stem, data["document"], data["title"], since, until, articles, conditions)


@cache
def decree() -> Act:
    """国务院令第735号."""
    path = FOLDER / "decree-735.yaml"
    return parse(path.read_text(encoding="utf-8"), stem=path.stem)


@cache
def routes() -> Mapping[str, Route]:
    """The three routes, each with measures that exist."""
    data = yaml.safe_load((FOLDER / "routes.yaml").read_text(encoding="utf-8"))
    found = {}
    for key, row in data["routes"].items():
        absent = set(row["measures"]) - set(data["measures"])
        if absent:
            raise LawError(f"routes.{key}：没有这些措施{sorted(absent)}")
        found[key] = Route(key=key, **row | {"measures": tuple(row["measures"])})
    return found


@cache
def measures() -> Mapping[str, Measure]:
    """The measures by key."""
    data = yaml.safe_load((FOLDER / "routes.yaml").read_text(encoding="utf-8"))
    return {key: Measure(key=key, **row) for key, row in data["measures"].items()}


@cache
def sides() -> Mapping[str, Side]:
    """The agency's patrols and the bureau's enforcement, kept apart (温医保办〔2021〕6号 四)."""
    data = yaml.safe_load((FOLDER / "inspections.yaml").read_text(encoding="utf-8"))
    return {key: Side(key=key, **row) for key, row in data["sides"].items()}


def inspectors_needed() -> int:
    """How many inspectors an inquiry needs (第29条), whenever the act was."""
    return decree().articles["29"].inspectors


@dataclass(frozen=True)
class Remedy:
    """What another law gives a party while it is in force, by which articles, within which time."""

    law: str
    articles: str
    since: dt.date
    until: dt.date | None
    working_days: int = 0
    days: int = 0
    months: int = 0
    organs: tuple[str, ...] = ()

    @property
    def cited(self) -> str:
        return f"{self.law}{self.articles}"


@cache
def _remedies() -> Mapping[str, tuple[Remedy, ...]]:
    data = yaml.safe_load((FOLDER / "remedies.yaml").read_text(encoding="utf-8"))
    return {
        key: tuple(
            Remedy(row["law"], row["articles"], row["from"], row["until"],
                   **{name: row[name] for name in ("working_days", "days", "months") if name in row},
                   organs=tuple(row.get("organs", ()))) for row in rows
        ) for key, rows in data.items()
    }  # fmt: skip


def remedy(kind: str, on: dt.date) -> Remedy | None:
    """The hearing, review or suit that the law of a day gives; None where no text of it is kept."""
    for row in _remedies()[kind]:
        if row.since <= on and (row.until is None or on <= row.until):
            return row
    return None


def check_fine(
    *, number: str, loss: int, amount: int, acted_on: dt.date, subject: str, condition: str = ""
) -> Article:
    """The article that allows a fine of an amount for a loss (fen); OutOfRange says why not."""
    article = decree().article(number, day=acted_on)
    if subject not in article.subjects:
        raise OutOfRange(f"第{number}条不适用于这类对象")
    decree().refuse_groundless(article, "fine", condition)
    allowed = article.fine_range(loss)
    if amount not in allowed:
        raise OutOfRange(
            f"第{number}条的罚款幅度为{yuan(allowed.least)}元至{yuan(allowed.most)}元",
            allowed.least, allowed.most,
        )  # fmt: skip
    return article


def check_months(
    *, number: str, kind: str, months: int, acted_on: dt.date, subject: str, condition: str = ""
) -> Article:
    """The article that allows a suspension of so many months; OutOfRange says why not."""
    article = decree().article(number, day=acted_on)
    if subject not in article.subjects:
        raise OutOfRange(f"第{number}条不适用于这类对象")
    allowed = article.months_range(kind)
    decree().refuse_groundless(article, kind, condition)
    if months not in allowed:
        raise OutOfRange(
            f"第{number}条的期限为{allowed.least}个月至{allowed.most}个月",
            allowed.least,
            allowed.most,
        )
    return article
