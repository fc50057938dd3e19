"""The records that a rule judged by, named beside each claim of a finding: its evidence in words.

One read of the claims found by a rule, after it has judged; a rule that compares whole practices
(outliers) rests on the claims themselves and names nothing more. (温医保办〔2021〕6号 二十六)
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections

from audit import clock
from audit.text import yuan
from institutions.shape import moment
from supervision.models import FindingClaim

LONGEST = 200  #: characters of a note
MEDIA = {"video": "视频", "audio": "音频", "text": "图文", "phone": "电话"}
Pair = tuple[int, int]

CLAIMS = """SELECT c.id, (c.document #> '{encounter}')::json,
    CASE WHEN %(consent)s THEN (c.document #> '{consent}')::json END,
    CASE WHEN %(orders)s THEN (c.document #> '{prescriptions}')::json END, c.service_date,
    CASE WHEN %(lines)s THEN
        (SELECT json_agg(json_build_array(l.line_no, l.item_code, l.quantity, l.fee,
            coalesce(cardinality(l.trace_codes), 0), l.prescription_no) ORDER BY l.line_no)
        FROM settlement_claimline l WHERE l.claim_id = c.id AND l.period = c.period) END,
    CASE WHEN %(goods)s THEN
        (SELECT json_agg(DISTINCT g.name) FROM (
            SELECT '调配单 ' || d.number AS name FROM settlement_prescription p
            JOIN settlement_dispensing d ON d.prescription_id = p.id
            WHERE p.encounter_key = c.encounter_key
            UNION ALL
            SELECT '运单 ' || w.waybill FROM settlement_prescription p
            JOIN settlement_dispensing d ON d.prescription_id = p.id
            JOIN settlement_delivery w ON w.dispensing_id = d.id
            WHERE p.encounter_key = c.encounter_key
            UNION ALL
            SELECT '配送记录 ' || v.reference FROM settlement_evidence v
            WHERE v.encounter_key = c.encounter_key AND v.kind = 'delivery') g) END,
    CASE WHEN %(visits)s THEN
        (SELECT json_build_array(o.day, o.diagnosis_code) FROM settlement_offlinevisit o
        WHERE o.person_id = c.person_id AND o.day <= c.service_date ORDER BY o.day DESC LIMIT 1) END
FROM settlement_claim c WHERE c.id = ANY (%(ids)s)"""


@dataclass(frozen=True)
class Read:
    """What one claim of a finding says of itself, as far as a rule asked."""

    encounter: Mapping[str, Any]
    consent: Mapping[str, Any]
    prescriptions: list[dict[str, Any]]
    day: dt.date
    lines: Mapping[int, tuple[str, int, int, int, str]]
    goods: list[str]
    visit: tuple[str, str] | None

    @classmethod
    def of(cls, row: tuple) -> "Read":
        """From a row of CLAIMS without its id."""
        encounter, consent, prescriptions, day, lines, goods, visit = row
        return cls(
            encounter or {}, consent or {}, prescriptions or [], day,
            {line[0]: tuple(line[1:]) for line in lines or ()}, goods or [], visit,
        )  # fmt: skip

    def prescribed(self, line_no: int) -> list[dict[str, Any]]:
        """The prescription that a line names; of no line: all of the claim."""
        named = self.lines[line_no][4] if line_no in self.lines else ""
        return [one for one in self.prescriptions if not named or one.get("no") == named]


def _meeting(read: Read, line_no: int) -> str:
    """The encounter, and when it was held by which medium."""
    session = read.encounter.get("session") or {}
    times = [_clock(read.encounter.get(name)) for name in ("started_at", "ended_at")]
    medium = MEDIA.get(session.get("medium") or "", "")
    span = "–".join(filter(None, times))
    return " ".join(filter(None, (f"就诊 {read.encounter.get('id') or '无编号'}", medium, span)))


def _clock(text: str | None) -> str:
    at = moment(text) if text else None
    return f"{clock.local(at):%m-%d %H:%M}" if at else ""


def _traced(name: str, label: str) -> Callable[[Read, int], str]:
    def note(read: Read, line_no: int) -> str:
        trace = (read.encounter.get("session") or {}).get(name)
        return f"{_meeting(read, line_no)} {label} {trace or '无'}"

    return note


def _line(read: Read, line_no: int) -> str:
    """The item of a line, how much of it, and the line of the claim that is the same."""
    if line_no not in read.lines:
        return _meeting(read, line_no)
    item, quantity, fee, *_ = read.lines[line_no]
    alike = [n for n, row in read.lines.items() if n < line_no and row[:3] == (item, quantity, fee)]
    more = f"，与第{alike[0]}行相同" if alike else ""
    return f"就诊 {read.encounter.get('id')} 项目 {item} 金额 {yuan(fee)} 元{more}"


def _consent(read: Read, line_no: int) -> str:
    """Whether and when the person was told and consented."""
    given = _clock(read.consent.get("given_at"))
    told = "已说明" if read.consent.get("item_and_price_explained") else "未说明项目和价格"
    return (
        f"{_meeting(read, line_no)} 知情同意：{told}，{f'{given}同意' if given else '无同意记录'}"
    )


def _course(read: Read, line_no: int) -> str:
    """The last visit at a physical institution."""
    last = (
        f"最近线下就诊 {read.visit[0]} 诊断 {read.visit[1]}" if read.visit else "没有线下就诊记录"
    )
    return f"就诊 {read.encounter.get('id')} {read.day}；{last}"


def _review(read: Read, line_no: int) -> str:
    """The prescription without a review."""
    found = [
        f"处方 {one.get('no')} {_signed('医师签名', one.get('signed_by'), one.get('signed_at'))} "
        f"{_signed('药师审核', one.get('reviewed_by'), one.get('reviewed_at'))}"
        for one in read.prescribed(line_no)
    ]  # fmt: skip
    return "；".join(found) or "没有处方"


def _signed(word: str, who: str | None, at: str | None) -> str:
    return f"{word} {who} {_clock(at)}" if who and at else f"无{word}"


def _supply(read: Read, line_no: int) -> str:
    """The prescription and days of supply of a drug."""
    drug = read.lines[line_no][0] if line_no in read.lines else ""
    found = [
        f"处方 {one.get('no')} 药品 {row.get('drug_code')} {read.day} 配取 用药{row.get('days_supply')}天"
        for one in read.prescribed(line_no) for row in one.get("lines") or ()
        if not drug or row.get("drug_code") == drug
    ]  # fmt: skip
    return "；".join(found) or f"药品 {drug} 没有对应的处方"


def _codes(read: Read, line_no: int) -> str:
    """A drug line, its prescription and how many trace codes it has."""
    if line_no not in read.lines:
        return ""
    drug, _, _, traces, number = read.lines[line_no]
    goods = "、".join(read.goods) or "没有调配单"
    return f"处方 {number or '无'} 药品 {drug} 追溯码{traces}个；{goods}"


def _goods(read: Read, line_no: int) -> str:
    """The parcel, and the dispensing that is missing."""
    missing = (
        "" if any(one.startswith("调配单") for one in read.goods) else "；没有调配（购药）记录"
    )
    numbers = [f"处方 {one.get('no')}" for one in read.prescriptions]
    return "、".join([*numbers, *read.goods]) + missing


#: rule → what it says of a claim's records. The others compare practices: the claims are their evidence.
NOTES: Mapping[str, Callable[[Read, int], str]] = {
    "overlapping_sessions": _meeting, "sessions_per_hour": _meeting, "outside_licence": _meeting,
    "shared_device": _traced("device", "设备"), "shared_address": _traced("address", "网络地址"),
    "dense_network": _meeting, "split_visits": _meeting, "duplicate_charge": _line,
    "over_price": _line, "bundled_item": _line, "price_above_peers": _line, "rank_mismatch": _line,
    "no_consent": _consent, "first_visit_as_revisit": _course, "disease_window": _course,
    "prescription_unreviewed": _review, "early_refill": _supply, "drug_not_prescribed": _supply,
    "missing_trace_codes": _codes, "delivery_without_dispensing": _goods,
}  # fmt: skip
WITH_GOODS = ("missing_trace_codes", "delivery_without_dispensing")
WITH_VISITS = ("first_visit_as_revisit", "disease_window")
#: Rules whose records are the way of a prescription: their notes lead there.
OF_PRESCRIPTIONS = (
    "prescription_unreviewed", "early_refill", "drug_not_prescribed", *WITH_GOODS,
)  # fmt: skip


def notes(rule: str, pairs: Iterable[Pair], *, using: str = "default") -> dict[Pair, str]:
    """The note of each claim and line by which a rule judged; empty for rules that compare."""
    wanted = set(pairs)
    if rule not in NOTES or not wanted:
        return {}
    asked: dict[str, Any] = {
        "ids": sorted({claim for claim, _ in wanted}), "goods": rule in WITH_GOODS,
        "visits": rule in WITH_VISITS, "consent": rule == "no_consent",
        "orders": rule in OF_PRESCRIPTIONS, "lines": any(line for _, line in wanted),
    }  # fmt: skip
    with connections[using].cursor() as cursor:
        cursor.execute(CLAIMS, asked)
        read = {row[0]: Read.of(row[1:]) for row in cursor.fetchall()}
    say = NOTES[rule]
    return {
        (claim, line): say(read[claim], line)[:LONGEST] for claim, line in wanted if claim in read
    }


def with_notes(rule: str, rows: Iterable[FindingClaim]) -> list[FindingClaim]:
    """Records of a finding to be shown: where no note is kept, what the claims say now."""
    shown = list(rows)
    said = notes(rule, [(row.claim_id, row.line_no) for row in shown if not row.note])
    for row in shown:
        row.note = row.note or said.get((row.claim_id, row.line_no), "")
    return shown
