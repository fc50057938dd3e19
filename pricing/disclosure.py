"""PURE. The parts of a price disclosure: what pages and files show of a document, in words.

`pricing.catalogue` reads them from the compiled rules. (吉卫便函〔2021〕3号 三第2款 价格公示)
"""

from dataclasses import dataclass, field

from pricing.document import Policy

NOT_OFFERED = "该类别没有此项目的价格"


@dataclass(frozen=True)
class Reference:
    """The law behind a value: what the clause chip shows. `text` is our own summary."""

    document: str
    clause: str
    text: str = ""
    url: str = ""

    def get(self, key: str, default: str = "") -> str:
        """As a mapping, which is what the clause component reads."""
        return getattr(self, key, default)


@dataclass(frozen=True)
class Value:
    """One figure in words: `amount` in fen (None where there is none), `example` when invented."""

    text: str
    amount: int | None = None
    note: str = ""
    example: bool = False
    gap: str = ""


@dataclass(frozen=True)
class Heading:
    """What a column of an entry means, with its law; `short` names whom it is for."""

    label: str
    clause: Reference
    gap: str = ""
    short: str = ""


@dataclass(frozen=True)
class ClassRow:
    """An entry at one price class; `caps` and `pays` follow the entry's headings."""

    price_class: str
    label: str
    price: Value
    caps: tuple[Value, ...]
    pays: tuple[Value, ...]

    @property
    def offered(self) -> bool:
        """Whether the document prices the entry for this class at all."""
        return self.price.gap != NOT_OFFERED

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.price, *self.caps, *self.pays)


@dataclass(frozen=True)
class Entry:
    """One price item, or a service that a document pays without price items."""

    key: str
    code: str
    name: str
    clause: Reference
    content: str = ""
    unit: str = ""
    aliases: tuple[str, ...] = ()
    alias_note: str = ""
    note: str = ""
    gap: str = ""
    billable: bool = True
    titles: tuple[str, ...] = ()
    cap_heads: tuple[Heading, ...] = ()
    pay_heads: tuple[Heading, ...] = ()
    rows: tuple[ClassRow, ...] = ()

    @property
    def heads(self) -> tuple[Heading, ...]:
        return (Heading("价格", self.clause), *self.cap_heads, *self.pay_heads)

    @property
    def basis(self) -> list[dict]:
        """Clauses with the figures that rest on them: `label`, `clause`, `gaps`."""
        found: dict[str, dict] = {}
        for head in self.heads:
            group = found.setdefault(
                head.clause.clause, {"labels": [], "clause": head.clause, "gaps": []}
            )
            group["labels"].append(head.label)
            group["gaps"] += [head.gap] if head.gap else []
        return [group | {"label": "、".join(group["labels"])} for group in found.values()]

    @property
    def table(self) -> list[tuple[ClassRow, list[tuple[Heading, Value]]]]:
        """The rows, each with its values under their headings."""
        return [(row, list(zip(self.heads, row.values, strict=True))) for row in self.rows]

    @property
    def lines(self) -> list[tuple[ClassRow, list, list]]:
        """The rows, each with its caps and with its payments under their headings."""
        return [
            (
                row,
                list(zip(self.cap_heads, row.caps, strict=True)),
                list(zip(self.pay_heads, row.pays, strict=True)),
            )
            for row in self.rows
        ]

    def matches(self, words: str) -> bool:
        """Whether every one of the words stands in its code, name, content or notes."""
        texts = (self.code, *self.aliases, self.name, self.content, *self.titles, self.note)
        text = "\n".join(texts).casefold()
        return all(word in text for word in words.casefold().split())

    @property
    def example(self) -> bool:
        """Whether any figure of it is an invented example."""
        return any(value.example for row in self.rows for value in row.values)


@dataclass(frozen=True)
class Condition:
    """A requirement or exclusion that the document switches on, with its numbers in words."""

    message: str
    decision: str
    tone: str
    clause: Reference
    details: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Gap:
    """Something the document does not print."""

    text: str
    clause: Reference | None


@dataclass(frozen=True)
class ParameterRow:
    """A number that the document only refers to, from a parameter set."""

    key: str
    label: str
    value: str
    source: str
    tone: str
    reference: str
    span: str
    clause: Reference
    example: bool


@dataclass(frozen=True)
class Tariff:
    """What an institution pays per line and year (Jilin), in fen."""

    label: str
    tiers: str
    amount: int
    clause: Reference


@dataclass(frozen=True)
class Disclosure:
    """Everything a region publishes about prices and payment on a day."""

    policy: Policy
    entries: tuple[Entry, ...]
    headings: tuple[Entry, ...]
    requirements: tuple[Condition, ...]
    exclusions: tuple[Condition, ...]
    parameters: tuple[ParameterRow, ...]
    gaps: tuple[Gap, ...]
    tariffs: tuple[Tariff, ...] = ()
    facts: tuple[dict, ...] = ()
    classes: dict[str, str] = field(default_factory=dict)

    @property
    def examples(self) -> bool:
        return any(row.example for row in self.parameters)
