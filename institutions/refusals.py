"""A refused request: what every command raises and every edge turns into its own kind of answer."""

from dataclasses import dataclass

Texts = tuple[str, str]  #: the same sentence in Chinese and in English


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (JSON pointer), which code, why, and the clause."""

    pointer: str
    code: str
    detail: Texts
    clause: str = ""


class Refusal(Exception):
    """A request is refused. `status` is the HTTP status that an API answers with."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: Texts,
        faults: tuple[Fault, ...] = (),
        **extra: object,
    ):
        super().__init__(f"{code}: {detail[1]}")
        self.status = status
        self.code = code
        self.detail = detail
        self.faults = faults
        self.extra = extra


def refused(
    field: str, code: str, chinese: str, english: str, *, status: int = 422, clause: str = ""
) -> Refusal:
    """The refusal of one input: its field, reason and clause, as forms and the API show it."""
    detail = (chinese, english)
    return Refusal(status, code, detail, (Fault(f"/{field}", code, detail, clause),))
