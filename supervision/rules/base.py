"""PURE. What a rule of supervision is: its docstring is the message, `find` looks in columns.

One class serves three moments: a visit that is being made (remind), a claim that is being settled
(watch), the claims of a period (audit). Which rules are on, with what clause, severity and numbers, is
data of the region (pricing.watching).
"""

from collections.abc import Mapping
from typing import ClassVar

from pricing.watching import BEHAVIOURS, NEAR, NUMBERS
from supervision.rules.data import Found, Visits

FICTITIOUS, SPLIT, FORCED, INFLATED, SUBSTITUTED, DUPLICATE, OTHER = BEHAVIOURS
Numbers = Mapping[str, int]
RULES: dict[str, "Rule"] = {}


class Rule:
    """A rule; `subject` says what a suspicion is about: claim, physician, person, institution, network."""

    code: ClassVar[str]
    behaviour: ClassVar[str] = OTHER
    subject: ClassVar[str] = "claim"
    #: facts of visits and lines that it reads
    facts: ClassVar[tuple[str, ...]] = ()
    #: figure → what it is called on a page
    figures: ClassVar[Mapping[str, str]] = {}
    #: found by comparison with others: a hint for a person, never alone a reason not to pay
    statistical: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            RULES[cls.code] = cls()

    @property
    def message(self) -> str:
        return (type(self).__doc__ or "").strip()

    @property
    def numbers(self) -> tuple[str, ...]:
        return NUMBERS[self.code]

    @property
    def near(self) -> bool:
        return self.code in NEAR

    def find(self, visits: Visits, numbers: Numbers) -> Found:
        """All suspicions among the visits, neighbours included."""
        raise LookupError(f"{self.code} does not look")

    def lookback(self, numbers: Numbers) -> int:
        """Days before the first judged visit that the rule must see."""
        return 0
