"""The invented practice as rows of the portal, by COPY, or at once as the columns that rules see."""

import datetime as dt
import json
from typing import Any

import numpy as np
from django.db import connections, transaction

from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Physician, Region
from pricing.rules import CODES, REASON_NO
from settlement.batch.load import CLAIM, EMPTY_ARRAY, LINE, facts_bytes, reserve, text_array
from settlement.batch.results import LINE as RESULT_ROW
from settlement.bench.data import AT, persons
from settlement.columns import NO_DAY, TRISTATE, blank
from settlement.copy import columns, copy_in
from settlement.facts import SHARDS
from settlement.periods import posting_month
from supervision.bench.practice import CONSULT, DRUG, Array, Practice
from supervision.rules import Visits

POOL, REGION = "nantong", "320600"
BY = "bench"
PIECE = 20_000
#: Items of the consultation by title (通医保发〔2020〕25号 附件), drugs and packages by number.
CONSULTS = ("111102001", "111102002", "111102003")
DEPARTMENTS = ("A03", "A07", "A12")
ICD = ("I10.x00x002", "E11.900", "J44.900", "I25.103", "I69.300", "M06.900", "J45.900", "B18.100")
TITLES = ("attending", "associate_chief", "chief")
EVIDENCE = columns(
    region_code="text", institution_code="text", encounter_id="text", encounter_key="int8",
    kind="text", alg="text", content_hash="bytea", at="timestamptz", reference="text",
    received_at="timestamptz", received_by="text",
)  # fmt: skip
SETTLEMENT = columns(
    claim_id="int8", version="int2", state="text", period="date", region_code="text",
    institution_code="text", person_id="int8", scheme="text", year="int2", service_date="date",
    fee="int8", in_scope="int8", over_cap="int8", out_of_scope="int8", held="int8", fund="int8",
    account="int8", cash="int8", hospital="int8", deductible="int8", example="bool",
    settled_at="timestamptz", settled_by="text", reason="text",
)  # fmt: skip
MICRO = 1_000_000
FIRST_SECOND = -8 * 3_600  #: midnight in Shanghai in seconds of the day


def place_code(number: int) -> str:
    return f"H3206{number:07d}"


def physician_code(number: int) -> str:
    return f"D9{number:06d}"


def register(made: Practice) -> None:
    """The region, the institutions and the physicians with their posts."""
    Region.objects.get_or_create(
        code=REGION, defaults={"name": "南通市", "level": "prefecture", "policy_region": POOL}
    )
    Institution.objects.bulk_create(
        Institution(code=place_code(k), name=f"测量用机构{k}", region_id=REGION, is_demo=True)
        for k in range(made.n_places)
    )  # fmt: skip
    Physician.objects.bulk_create(
        (Physician(
            code=physician_code(k), name="测量", institution_id=place_code(int(place)),
            independent_since=dt.date(2010, 1, 1), checked_at=AT, is_demo=True,
        ) for k, place in enumerate(made.physician_place)), batch_size=2_000,
    )  # fmt: skip


def fees(made: Practice) -> tuple[Array, Array]:
    """Fen per line and per visit."""
    line = made.lines["unit"] * made.lines["quantity"]
    return line, np.bincount(made.lines["claim"], weights=line, minlength=made.n).astype(np.int64)


def facts(made: Practice) -> Array:
    """The packed facts of each visit."""
    visits = made.visits
    record = blank(made.n)
    for name in TRISTATE:
        record[name] = 1
    for name, value in (
        ("scheme", 2), ("ownership", CODES["ownership"].index("public")), ("condition", 1),
        ("business_type", 1), ("agreement_state", 1), ("price_class", 3),
        ("experience_months", 60), ("visit_type", visits["visit_type"]),
        ("service_day", visits["day"]), ("same_disease", visits["same_disease"]),
        ("consent", visits["consent"]), ("explained_item_and_price", visits["explained"]),
        ("pharmacist_reviewed", visits["reviewed"]),
    ):  # fmt: skip
        record[name] = value
    record["last_offline_day"] = np.maximum(visits["last_offline"], NO_DAY)
    titles = np.array([CODES["doctor_title"].index(title) for title in TITLES])
    record["doctor_title"] = titles[made.physician_title[visits["physician"]]]
    return record


def item_code(service: int, item: int) -> str:
    if service == CONSULT:
        return CONSULTS[item]
    return f"XC{item:04d}" if service in (DRUG, -1) else f"PK{item:04d}"


def document(made: Practice, row: int, ordered: list[dict[str, Any]]) -> bytes:
    """A claim as the portal keeps it."""
    one = {name: int(column[row]) for name, column in made.visits.items()}
    began = one["day"] * 86_400 + one["start"] + FIRST_SECOND
    start, end = (
        dt.datetime.fromtimestamp(second, dt.UTC).isoformat()
        for second in (began, began + one["minutes"] * 60)
    )
    return json.dumps({
        "encounter": {
            "id": f"E{one['encounter']}", "business_type": "internet", "visit_type": "revisit",
            "started_at": start, "ended_at": end,
            "department_code": DEPARTMENTS[made.physician_department[one["physician"]]],
            "diagnoses": [{"code": ICD[one["disease"]], "name": "慢性病", "main": True}],
            "session": {"medium": "video" if one["video"] else "text",
                        "device": f"{one['device']:064x}", "address": f"{one['address']:064x}"},
        },
        "physician": {"code": physician_code(one["physician"])},
        "prescriptions": [{"no": "P", "lines": ordered}] if ordered else [],
    }, ensure_ascii=False, separators=(",", ":")).encode()  # fmt: skip


def store(made: Practice) -> Array:
    """Write the practice; the claim ids of its visits."""
    with transaction.atomic(using="settler"):
        set_scope(EVERYTHING, using="settler")
        with connections["settler"].cursor() as cursor:
            period = posting_month(REGION, AT, cursor=cursor)
            people = persons(cursor, len(made.person_place))
            ids = reserve(cursor, made.n)
            _write(cursor, made, ids, people, (period - dt.date(1970, 1, 1)).days)
    return ids


def _write(cursor: Any, made: Practice, ids: Array, people: Array, period: int) -> None:
    line_fee, fee = fees(made)
    record = facts(made)
    order = np.argsort(made.lines["claim"], kind="stable")
    starts = np.searchsorted(made.lines["claim"][order], np.arange(made.n + 1))
    at = (AT - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    for begin in range(0, made.n, PIECE):
        rows = np.arange(begin, min(begin + PIECE, made.n))
        mine = order[starts[rows[0]] : starts[rows[-1] + 1]]
        every = {"period": period, "region_code": REGION.encode(), "settled_at": at,
                 "received_at": at, "received_by": BY.encode()}  # fmt: skip
        _claims(cursor, made, ids, people, rows, mine, every, fee, record)
        _lines(cursor, made, ids, mine, every, line_fee)
        _settlements(cursor, made, ids, people, rows, every, fee)
        _evidence(cursor, made, rows, every)


def _texts(values: list[str]) -> Array:
    return np.array([value.encode() for value in values])


def _claims(cursor, made, ids, people, rows, mine, every, fee, record) -> None:
    ordered: dict[int, list[dict[str, Any]]] = {}
    lines = made.lines
    for k in mine.tolist():
        if lines["ordered"][k] > 0:
            ordered.setdefault(int(lines["claim"][k]), []).append({
                "drug_code": item_code(DRUG, int(lines["item"][k])),
                "quantity": str(lines["ordered"][k]), "days_supply": int(lines["days"][k]),
            })  # fmt: skip
    visits = made.visits
    copy_in(cursor, "settlement_claim", CLAIM, every | {
        "id": ids[rows], "institution_code": _texts([
            place_code(k) for k in visits["place"][rows].tolist()
        ]),
        "claim_no": _texts([f"B{k}" for k in ids[rows].tolist()]),
        "person_id": people[visits["person"][rows]], "service_date": visits["day"][rows],
        "fee": fee[rows], "facts": facts_bytes(record[rows]),
        "encounter_id": _texts([f"E{k}" for k in visits["encounter"][rows].tolist()]),
        "encounter_key": visits["encounter"][rows] + 1,
        "shard": people[visits["person"][rows]] % SHARDS, "batch_id": None, "chunk": None,
        "document": np.array([document(made, k, ordered.get(k, [])) for k in rows.tolist()]),
    }, len(rows))  # fmt: skip


def _lines(cursor, made, ids, mine, every, line_fee) -> None:
    lines, place = made.lines, made.visits["place"]
    claim = lines["claim"][mine]
    one, none = text_array(["T"]), EMPTY_ARRAY
    for traced, array in ((1, one), (0, none)):
        at = mine[lines["traces"][mine] == traced]
        if not len(at):
            continue
        claim = lines["claim"][at]
        service = np.where(lines["service"][at] == -1, CONSULT + 9, lines["service"][at])
        shared = every | {
            "claim_id": ids[claim], "line_no": lines["line_no"][at],
            "institution_code": _texts([place_code(k) for k in place[claim].tolist()]),
        }  # fmt: skip
        copy_in(cursor, "settlement_claimline", LINE, shared | {
            "service": service, "item_code": _texts([
                item_code(s, i)
                for s, i in zip(lines["service"][at].tolist(), lines["item"][at].tolist(), strict=True)
            ]),
            "service_type": b"", "quantity": lines["quantity"][at] * 10_000,
            "unit_price": lines["unit"][at] * 10_000, "fee": line_fee[at], "prescription_no": b"P",
            "trace_codes": array,
        }, len(at))  # fmt: skip
        zero = np.zeros(len(at), np.int64)
        copy_in(cursor, "settlement_lineresult", RESULT_ROW, shared | {
            "version": 1, "decision": 0, "reason": REASON_NO[""], "check_no": 0, "flags": 0,
            "release_id": 0, "parameters_id": 0, "fee": line_fee[at], "in_scope": line_fee[at],
            "over_cap": 0, "overcharge": lines["overcharge"][at], "first_self_pay": 0,
            "deductible": 0, "fund": line_fee[at] // 2, "major": zero, "assistance": zero,
            "drug_list": 0,
        }, len(at))  # fmt: skip


def _settlements(cursor, made, ids, people, rows, every, fee) -> None:
    visits, amount = made.visits, fee[rows]
    copy_in(cursor, "settlement_settlement", SETTLEMENT, every | {
        "claim_id": ids[rows], "version": 1, "state": b"payable",
        "institution_code": _texts([place_code(k) for k in visits["place"][rows].tolist()]),
        "person_id": people[visits["person"][rows]], "scheme": b"resident", "year": 2021,
        "service_date": visits["day"][rows], "fee": amount, "in_scope": amount, "over_cap": 0,
        "out_of_scope": 0, "held": 0, "fund": amount // 2, "account": 0,
        "cash": amount - amount // 2, "hospital": 0, "deductible": 0, "example": False,
        "settled_by": BY.encode(), "reason": b"",
    }, len(rows))  # fmt: skip


def _evidence(cursor, made, rows, every) -> None:
    visits = made.visits
    for kind, column in ((b"delivery", "delivered"), (b"purchase", "dispensed")):
        some = rows[(visits["delivered"][rows] == 1) & (visits[column][rows] == 1)]
        if not len(some):
            continue
        copy_in(cursor, "settlement_evidence", EVIDENCE, every | {
            "institution_code": _texts([place_code(k) for k in visits["place"][some].tolist()]),
            "encounter_id": _texts([f"E{k}" for k in visits["encounter"][some].tolist()]),
            "encounter_key": visits["encounter"][some] + 1, "kind": kind, "alg": b"sm3",
            "content_hash": b"x" * 32, "reference": b"bench",
            "at": (visits["day"][some] * 86_400 + visits["start"][some]) * MICRO,
        }, len(some))  # fmt: skip


def as_visits(made: Practice) -> Visits:
    """The columns that the rules would see, without a database; numbers stand for themselves."""
    visits, lines = made.visits, made.lines
    line_fee, fee = fees(made)
    record = facts(made)
    doctor, service = visits["physician"], lines["service"]
    began = visits["day"] * 86_400 + visits["start"] + FIRST_SECOND
    titles = np.array([CODES["doctor_title"].index(title) for title in TITLES])
    item = (
        lines["item"] + 1 + np.where(service == DRUG, 100, np.where(service == CONSULT, 0, 1_000))
    )
    columns_of_visits = {
        "id": np.arange(made.n) + 1, "institution": visits["place"] + 1, "physician": doctor + 1,
        "person": visits["person"] + 1, "day": visits["day"], "start": began,
        "end": began + visits["minutes"] * 60, "video": visits["video"],
        "disease": visits["disease"] + 1, "device": (visits["device"] + 1) << 33,
        "address": (visits["address"] + 1) << 33, "encounter": visits["encounter"] + 1, "fee": fee,
        "department": made.physician_department[doctor] + 1, "fund": fee // 2,
        "title": record["doctor_title"], "price_class": record["price_class"],
        "visit_type": visits["visit_type"], "last_offline": record["last_offline_day"],
        "same_disease": visits["same_disease"], "consent": visits["consent"],
        "explained": visits["explained"], "prescribed": np.ones(made.n, np.int64),
        "reviewed": visits["reviewed"], "delivered": visits["delivered"],
        "registered": (made.physician_place[doctor] == visits["place"]).astype(np.int64),
        "dispensed": np.where(visits["delivered"] == 1, visits["dispensed"], -1),
    }  # fmt: skip
    amount = lines["quantity"] * 10_000
    return Visits(columns_of_visits, {
        "claim": lines["claim"], "line_no": lines["line_no"],
        "service": np.where(service == -1, CONSULT + 9, service), "item": item << 33,
        "quantity": amount, "unit_price": lines["unit"] * 10_000, "fee": line_fee,
        "overcharge": lines["overcharge"], "traces": lines["traces"], "days": lines["days"],
        "ordered": np.where(lines["ordered"] > 0, lines["ordered"] * 10_000, lines["ordered"]),
        "title_min": np.where(service == CONSULT, titles[np.minimum(lines["item"], 2)], 0),
    })  # fmt: skip
