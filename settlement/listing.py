"""Claims of an institution, newest service day first, in cursor pages read by the index."""

import base64
import binascii
import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass

from django.db import connection

from institutions import crypto
from institutions.refusals import Fault
from institutions.shape import refuse
from pricing import releases
from settlement.answer import summary
from settlement.contract import STATES
from settlement.models import Chunk
from settlement.posting import TOTALS

USUAL, MOST = 50, 200
ITEM = re.compile(r"[0-9A-Za-z._-]{1,30}")
NUMBER = re.compile(r"[0-9A-Za-z._-]{1,40}")
WHOLE = re.compile(r"[0-9]{1,4}")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NOWHERE = {"lowest": 1, "highest": 0}
CURSOR = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})/([0-9]{1,18})")
KNOWN = frozenset({"from", "to", "state", "item", "claim_no", "cursor", "limit"})


@dataclass(frozen=True)
class Wanted:
    """The filters of a list, checked. The person is asked for in a header, by ID number."""

    first: dt.date | None = None
    last: dt.date | None = None
    state: str | None = None
    item: str | None = None
    claim_no: str | None = None
    person: bytes | None = None
    after: tuple[dt.date, int] | None = None
    limit: int = USUAL

    @classmethod
    def of(cls, given: Mapping[str, str], credential: str | None) -> "Wanted":
        """From query parameters; a Refusal (400) names every fault."""
        found: list[Fault] = [
            Fault(name[:60], "UNKNOWN_PARAMETER", ("没有此查询参数", "no such parameter"))
            for name in given if name not in KNOWN
        ]  # fmt: skip
        reader = _Reader(given, found)
        wanted = cls(
            first=reader.day("from"), last=reader.day("to"), state=reader.state(),
            item=reader.item(), claim_no=reader.claim_no(), person=reader.person(credential),
            after=reader.cursor(), limit=reader.limit(),
        )  # fmt: skip
        refuse(found)
        return wanted


class _Reader:
    def __init__(self, given: Mapping[str, str], found: list[Fault]):
        self.given, self.found = given, found

    def _wrong(self, name: str, chinese: str, english: str) -> None:
        self.found.append(Fault(name, "PARAMETER", (chinese, english)))

    def day(self, name: str) -> dt.date | None:
        text = self.given.get(name)
        if text is None:
            return None
        try:
            if DAY.fullmatch(text):
                return dt.date.fromisoformat(text)
        except ValueError:
            pass
        self._wrong(name, "应为日期 YYYY-MM-DD", "expected a date YYYY-MM-DD")
        return None

    def state(self) -> str | None:
        text = self.given.get("state")
        if text is not None and text not in STATES:
            self._wrong(
                "state", f"应为 {'、'.join(STATES)} 之一", f"expected one of {', '.join(STATES)}"
            )
        return text

    def item(self) -> str | None:
        text = self.given.get("item")
        if text is not None and not ITEM.fullmatch(text):
            self._wrong("item", "应为项目编码", "expected an item code")
        return text

    def claim_no(self) -> str | None:
        text = self.given.get("claim_no")
        if text is not None and not NUMBER.fullmatch(text):
            self._wrong("claim_no", "应为申请单号", "expected a claim number")
        return text

    def limit(self) -> int:
        text = self.given.get("limit")
        if text is None:
            return USUAL
        if not WHOLE.fullmatch(text) or not 1 <= int(text) <= MOST:
            self._wrong("limit", f"应为 1 至 {MOST}", f"expected 1 to {MOST}")
            return USUAL
        return int(text)

    def person(self, credential: str | None) -> bytes | None:
        if credential is None:
            return None
        try:
            return crypto.person_hash(crypto.id_number(credential))
        except crypto.IdNumberError as error:
            self.found.append(Fault("Person-Credential", "CREDENTIAL_INVALID", error.texts))
            return None

    def cursor(self) -> tuple[dt.date, int] | None:
        text = self.given.get("cursor")
        if text is None:
            return None
        try:
            plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
            if match := CURSOR.fullmatch(plain):
                return dt.date.fromisoformat(match[1]), int(match[2])
        except (ValueError, binascii.Error):
            pass
        self._wrong("cursor", "不是本接口给出的游标", "not a cursor of this list")
        return None


def cursor_after(day: dt.date, claim_id: int) -> str:
    """The opaque text from which the next page continues."""
    return base64.urlsafe_b64encode(f"{day}/{claim_id}".encode()).decode().rstrip("=")


PAGE = """SELECT c.id, c.claim_no, c.encounter_id, c.service_date, c.received_at, c.fee,
    CASE WHEN r.claim_id IS NOT NULL THEN 'reversed' ELSE coalesce(s.state, 'received') END AS now,
    s.claim_id IS NOT NULL, TOTAL_NAMES
FROM settlement_claim c
LEFT JOIN LATERAL (SELECT * FROM settlement_settlement
    WHERE claim_id = c.id AND version %% 2 = 1 ORDER BY version DESC LIMIT 1) s ON true
LEFT JOIN settlement_settlement r ON r.claim_id = c.id AND r.version = s.version + 1
WHERE c.institution_code = %(institution)s
    AND c.id NOT IN (SELECT claim_id FROM settlement_enteredclaim)"""
PAGE = PAGE.replace("TOTAL_NAMES", ", ".join(f"s.{name}" for name in TOTALS))

FILTERS = {
    "first": "c.service_date >= %(first)s",
    "last": "c.service_date <= %(last)s",
    "after_day": "(c.service_date, c.id) < (%(after_day)s, %(after_id)s)",
    "item": "EXISTS (SELECT FROM settlement_claimline l WHERE l.claim_id = c.id"
    " AND l.period = c.period AND l.item_code = ANY (%(item)s))",
    "claim_no": "c.id = (SELECT claim_id FROM settlement_claimkey"
    " WHERE institution_code = %(institution)s AND claim_no = %(claim_no)s)",
    "person": "c.person_id = (SELECT id FROM settlement_insuredperson WHERE id_hash = %(person)s)",
}
#: A rare state is found by the index of states, not by looking at every claim.
STATE_FILTERS = {
    "reversed": "r.claim_id IS NOT NULL",
    "received": "s.claim_id IS NULL AND c.id BETWEEN %(lowest)s AND %(highest)s",
}
IN_STATE = """c.id IN (SELECT claim_id FROM settlement_settlement
    WHERE institution_code = %(institution)s AND state = %(state)s)"""


def page(institution: str, wanted: Wanted) -> dict:
    """One page of summaries and the cursor of the next."""
    given = {
        "institution": institution, "first": wanted.first, "last": wanted.last,
        "item": releases.current().same_item(wanted.item) if wanted.item else None,
        "claim_no": wanted.claim_no, "person": wanted.person, "state": wanted.state,
        "limit": wanted.limit + 1,
        "after_day": wanted.after[0] if wanted.after else None,
        "after_id": wanted.after[1] if wanted.after else None,
    }  # fmt: skip
    clauses = [text for name, text in FILTERS.items() if given[name] is not None]
    if wanted.state:
        standard = "s.state = %(state)s AND r.claim_id IS NULL"
        clauses.append(STATE_FILTERS.get(wanted.state, standard))
        if wanted.state == "received":
            spans = Chunk.objects.filter(batch__institution_code=institution).undone_spans()
            given |= {"lowest": spans[0][0], "highest": spans[-1][1]} if spans else NOWHERE
        else:
            clauses.append(IN_STATE)
    query = (
        " AND ".join([PAGE, *clauses]) + " ORDER BY c.service_date DESC, c.id DESC LIMIT %(limit)s"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, given)
        rows = cursor.fetchall()
    shown = rows[: wanted.limit]
    last = shown[-1] if len(rows) > wanted.limit else None
    return {
        "results": [_summary(row) for row in shown],
        "next": cursor_after(last[3], last[0]) if last else None,
    }


def _summary(row: tuple) -> dict:
    claim_id, claim_no, encounter, day, received, fee, state, settled, *totals = row
    known = dict(zip(TOTALS, totals, strict=True)) if settled else None
    return summary(claim_id, claim_no, encounter, day, received, state, known, fee)
