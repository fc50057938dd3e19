"""Texts of agreements: one YAML file for each kind and region, every version with its first day.

Standard library and yaml only. What the articles say of the law they cite with its clause; the wording
is our own and labelled 示范文本（示例） until a bureau puts its official text in its place.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

FOLDER = Path(__file__).with_name("texts")
KINDS = ("main", "supplementary")
COMMON = ("key", "kind", "region", "label", "document")


class NoText(LookupError):
    """No version of such an agreement is in force on that day."""


@dataclass(frozen=True)
class Article:
    """One article: its number, title and paragraphs, and the clauses it carries out."""

    no: str
    title: str
    text: tuple[str, ...]
    clauses: tuple[str, ...]

    @property
    def clause(self) -> str:
        """The clauses as they are printed behind the article."""
        return "、".join(self.clauses)


@dataclass(frozen=True)
class AgreementText:
    """A version of an agreement's text; `sha256` is that of the version's canonical YAML."""

    key: str
    version: str
    kind: str
    region: str
    valid_from: dt.date
    label: str
    document: str
    title: str
    basis: tuple[str, ...]
    articles: tuple[Article, ...]
    sha256: str


def text_for(kind: str, region: str, on: dt.date) -> AgreementText:
    """The version in force on a day: the latest that began on or before it. NoText without one."""
    begun = [
        text
        for text in all_texts()
        if (text.kind, text.region) == (kind, region) and text.valid_from <= on
    ]
    if not begun:
        raise NoText(f"{region} {kind} {on.isoformat()}")
    return max(begun, key=lambda text: text.valid_from)


@cache
def all_texts() -> tuple[AgreementText, ...]:
    """Every version of every shipped text, in the order of its file and day."""
    return tuple(text for path in sorted(FOLDER.glob("*.yaml")) for text in _read(path))


def version_label(stored: str) -> str:
    """A version as a contract keeps it (`key version`) in words; a text no longer shipped as kept."""
    for text in all_texts():
        if stored == f"{text.key} {text.version}":
            return f"{text.label} {text.version}"
    return stored


def _read(path: Path) -> Iterator[AgreementText]:
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    common = {name: whole[name] for name in COMMON}
    if common["kind"] not in KINDS:
        raise ValueError(f"{path.name}: kind {common['kind']!r}")
    for version in whole["versions"]:
        yield AgreementText(
            **common,
            version=version["version"],
            valid_from=version["valid_from"],
            title=version["title"],
            basis=tuple(version["basis"]),
            articles=tuple(
                Article(row["number"], row["title"], tuple(row["text"]), tuple(row["clauses"]))
                for row in version["articles"]
            ),
            sha256=_digest({**common, **version}),
        )


def _digest(version: dict) -> str:
    text = yaml.safe_dump(version, allow_unicode=True, sort_keys=True, width=10**6)
    return hashlib.sha256(text.encode()).hexdigest()
