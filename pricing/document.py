"""PURE. The text of a policy document or parameter set, parsed; no number of any document is here."""

import datetime as dt
from dataclasses import dataclass

import yaml

RATIO_ONE = 10_000  #: ratios are per ten thousand
MAX_CLASS = 9
EPOCH = dt.date(1970, 1, 1)  #: days in tables are counted from here
NONE = -1  #: "no value" in tables
UNLIMITED = 2**60


class PolicyError(ValueError):
    """The text is not a policy document; the message names what is expected (Chinese)."""


@dataclass(frozen=True)
class Policy:
    """A parsed document (kind `policy`) or parameter set (kind `parameters`)."""

    data: dict

    slug = property(lambda self: self.data["slug"])
    kind = property(lambda self: self.data["kind"])
    region = property(lambda self: self.data["region"])
    document = property(lambda self: self.data["document"])
    title = property(lambda self: self.data.get("title", ""))

    def section(self, name: str, default):
        """A top-level section; an absent or empty one is `default`."""
        return self.data.get(name) or default

    @property
    def effective(self) -> tuple[dt.date, dt.date | None]:
        span = self.data["effective"]
        return span["from"], span.get("until")

    def clause_text(self, clause: str) -> str:
        """Our one-sentence summary of a clause; '' when the document gives none."""
        return self.section("clauses", {}).get(clause, "")

    def parameters(self, on: dt.date, *, examples: bool) -> dict[str, "Parameter"]:
        """The rows in force on a day, by key; example rows only when asked for."""
        rows = {}
        for row in self.section("rows", ()):
            if row["source_kind"] == "example" and not examples:
                continue
            if row["from"] <= on and (row.get("until") is None or on <= row["until"]):
                rows[row["key"]] = Parameter(
                    row["value"],
                    row["source_kind"] == "example",
                    row.get("label", ""),
                    row.get("clause", ""),
                )
        return rows

    def change_days(self) -> set[dt.date]:
        """The days on which another parameter row begins to hold."""
        days = set()
        for row in self.section("rows", ()):
            days.add(row["from"])
            if row.get("until"):
                days.add(row["until"] + dt.timedelta(days=1))
        return days


def parse(text: str) -> Policy:
    """Parse the YAML text. Raises PolicyError when it is no mapping or not of our format."""
    try:
        data = yaml.load(text, Loader=yaml.CSafeLoader)  # seven times as fast as safe_load
    except yaml.YAMLError as error:
        raise PolicyError(f"不是有效的 YAML：{error}") from error
    if not isinstance(data, dict) or data.get("kind") not in ("policy", "parameters"):
        raise PolicyError("应为一个政策文件（kind: policy）或参数集（kind: parameters）")
    return Policy(data)


@dataclass(frozen=True)
class Parameter:
    """A number that a document only refers to."""

    value: object
    example: bool = False
    label: str = ""
    clause: str = ""
