"""From a settlement to its picture: waterfalls in which every bar has its clause.

Answers of `settlement.explain` go in, `audit.charts.waterfall` comes out. Amounts in fen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audit import charts
from audit.text import yuan
from institutions.money import fen

Clauses = list[dict[str, str]]
TONES = {
    "fee": "total", "over_cap": "over", "in_scope": "scope", "first_self_pay": "e",
    "deductible": "f", "fund": "fund", "major": "account", "assistance": "account",
}  # fmt: skip
OPEN_LATER = frozenset(
    {"deductible", "first_self_pay"}
)  #: shown only where the fund's part is known
TOTALS = frozenset({"fee", "in_scope"})


def line_chart(answer: Mapping[str, Any], *, fee: int | None, title: str) -> dict[str, Any] | None:
    """The waterfall of one line: fee → 丙2 → in scope → first self-pay → deductible → funds → patient.

    None where the fee itself or everything after it is open. A refused line has one bar that takes
    the whole fee.
    """
    if fee is None:
        return None
    if answer["decision"] == "reject":
        return _refused(answer, fee, title)
    entries = {entry["key"]: entry for entry in answer["explanation"]}
    document = answer["release"]["document"]
    known = answer["fund_pay"] is not None
    bars = [
        _bar(entry, _clauses([entry], document, answer["clauses"]))
        for key, entry in entries.items()
        if key in TONES and entry["amount"] is not None and (known or key not in OPEN_LATER)
    ]
    if known and answer["in_scope_amount"] is not None:
        paid = sum(_amount(entries, key) for key in ("fund", "major", "assistance"))
        bars.append(_own_share(entries, fee - paid, document, answer["clauses"]))
    if not bars:
        return None
    return charts.waterfall(title=title, steps=bars, identity=_line_identity(answer, fee))


def claim_chart(
    totals: Mapping[str, int], answers: Sequence[Mapping[str, Any]], *, title: str
) -> dict[str, Any]:
    """The waterfall of a whole claim from its posted totals and the answers of its lines.

    `totals`: those of settlement.ledger.TOTALS, and the cash legs cash_scope, cash_over, cash_out, by
    size (a reversal is drawn as it was).
    """
    cited = _cited(answers)
    steps = [
        _step("费用", totals["fee"], "total", "total", cited["fee"], f"共 {len(answers)} 项明细"),
        _step("暂不支付（待处理）", totals["held"], "less", "e", cited["held"]),
        _step("机构承担", totals["hospital"], "less", "d", cited["refused"], "不得向患者收取"),
        _step("范围外自费", totals["out_of_scope"] - totals["hospital"], "less", "f",
              cited["refused"]),
        _step("超标准自费（丙2类）", totals["over_cap"], "less", "over", cited["over_cap"]),
        _step("政策范围内", totals["in_scope"], "total", "scope", cited["in_scope"]),
        _step("统筹基金", totals["fund"], "less", "fund", cited["fund"]),
        _step("大病保险", totals["major"], "less", "account", cited["major"]),
        _step("医疗救助", totals["assistance"], "less", "account", cited["assistance"]),
    ]  # fmt: skip
    shown = [s for s in steps if s["amount"] or s["label"] in ("费用", "政策范围内", "统筹基金")]
    shown.append(_patient(totals, cited))
    return charts.waterfall(title=title, steps=shown, identity=_claim_identity(totals))


def _refused(answer: Mapping[str, Any], fee: int, title: str) -> dict[str, Any]:
    reasons = answer["clauses"]
    return charts.waterfall(
        title=title,
        steps=[
            _step("实际发生费用", fee, "total", "total", reasons),
            _step("不予支付", fee, "less", "d", reasons, answer["reason_text"] or ""),
            _step("统筹基金支付", 0, "total", "fund", reasons),
        ],
        identity=f"不予支付 {yuan(fee)} ＝ 费用 {yuan(fee)}，统筹基金支付 0.00",
    )


def _bar(entry: Mapping[str, Any], clauses: Clauses) -> dict[str, Any]:
    key = entry["key"]
    kind = "total" if key in TOTALS else "less"
    return _step(entry["label"], fen(entry["amount"]), kind, TONES[key], clauses, entry["note"])


def _own_share(
    entries: Mapping[str, Any], amount: int, document: str, fallback: Clauses
) -> dict[str, Any]:
    """The last bar: what the patient bears, cut into deductible, share in scope and 丙2."""
    first, deductible, rest, over = (
        _amount(entries, key) for key in ("first_self_pay", "deductible", "self", "over_cap")
    )
    parts = [("丙2类", over, "over")]
    if rest >= first + deductible:  # else a later fund has paid some of them
        parts = [("先行自付", first, "e"), ("起付线", deductible, "f"), *parts]
        rest -= first + deductible
    parts.insert(-1, ("范围内", rest, "cash"))
    chosen = [entries[key] for key in ("self", "over_cap") if _amount(entries, key)]
    note = (
        f"其中应退还患者 {yuan(_amount(entries, 'overcharge'))}" if "overcharge" in entries else ""
    )
    return _step("个人负担", amount, "total", "cash", _clauses(chosen, document, fallback), note) | {
        "parts": _parts(parts)}  # fmt: skip


def _patient(totals: Mapping[str, int], cited: Mapping[str, Clauses]) -> dict[str, Any]:
    parts = [
        ("个人账户", totals["account"], "account"), ("现金（范围内）", totals["cash_scope"], "cash"),
        ("现金（丙2类）", totals["cash_over"], "over"), ("现金（范围外）", totals["cash_out"], "f"),
    ]  # fmt: skip
    paid = [label for label, size, _ in parts if size]
    notes = paid if len(paid) == 1 else []
    for name, label in (("first_self_pay", "先行自付"), ("deductible", "起付线")):
        if totals[name] and totals[name] <= totals["account"] + totals["cash_scope"]:
            notes.append(f"其中{label} {yuan(totals[name])}")
    note = "，".join(notes)
    amount = totals["account"] + totals["cash"]
    clauses = [
        *cited["fund"],
        *(cited["account"] if totals["account"] else []),
        *(cited["over_cap"] if totals["over_cap"] else []),
        *(cited["refused"] if totals["cash_out"] else []),
    ]
    return _step("个人负担", amount, "total", "cash", _once(clauses) or cited["refused"], note) | {
        "parts": _parts(parts)}  # fmt: skip


def _cited(answers: Iterable[Mapping[str, Any]]) -> dict[str, Clauses]:
    """Which clauses stand behind each bar of a claim, gathered from its lines, each once."""
    found: dict[str, Clauses] = {
        key: []
        for key in (
            "fee",
            "held",
            "refused",
            "over_cap",
            "in_scope",
            "fund",
            "major",
            "assistance",
            "account",
        )
    }
    everything: Clauses = []
    for answer in answers:
        document = answer["release"]["document"]
        everything += answer["clauses"]
        if answer["decision"] == "reject":
            found["refused"] += answer["clauses"]
        elif answer["decision"] != "payable":
            found["held"] += answer["clauses"][:1]
        if answer.get("account_clause"):
            found["account"].append(answer["account_clause"])
        for entry in answer["explanation"]:
            if entry["key"] in found:
                found[entry["key"]] += _clauses([entry], document, answer["clauses"])
    return {key: _once(clauses or everything) for key, clauses in found.items()}


def _clauses(entries: Iterable[Mapping[str, Any]], document: str, fallback: Clauses) -> Clauses:
    """The clauses of explanation steps; a bar without one of its own cites the line's decision."""
    own = [
        {"document": document, "clause": entry["clause"], "text": entry["text"]}
        for entry in entries
        if entry["clause"]
    ]
    return _once(own) or fallback[:1]


def _once(clauses: Clauses) -> Clauses:
    return list({(c["document"], c["clause"]): c for c in clauses}.values())


def _step(
    label: str, amount: int, kind: str, tone: str, clauses: Clauses, note: str = ""
) -> dict[str, Any]:
    return {
        "label": label, "amount": amount, "kind": kind, "tone": tone, "note": note,
        "clauses": clauses,
    }  # fmt: skip


def _parts(parts: Sequence[tuple[str, int, str]]) -> list[dict[str, Any]]:
    return [
        {"label": label, "amount": amount, "tone": tone} for label, amount, tone in parts if amount
    ]


def _amount(entries: Mapping[str, Any], key: str) -> int:
    entry = entries.get(key)
    return fen(entry["amount"]) if entry and entry["amount"] is not None else 0


def _line_identity(answer: Mapping[str, Any], fee: int) -> str:
    if answer["fund_pay"] is None or answer["patient_total"] is None:
        return ""
    fund, patient = fen(answer["fund_pay"]), fen(answer["patient_total"])
    later = [
        f"{label} {yuan(fen(answer[key]))} ＋ "
        for key, label in (("major_illness_pay", "大病保险"), ("assistance_pay", "医疗救助"))
        if fen(answer[key] or "0")
    ]
    return (
        f"统筹基金 {yuan(fund)} ＋ {''.join(later)}个人负担 {yuan(patient)} ＝ 费用 {yuan(fee)}，"
        "分项相加等于总额"
    )


def _claim_identity(totals: Mapping[str, int]) -> str:
    parts = [
        ("统筹基金", totals["fund"]), ("大病保险", totals["major"]),
        ("医疗救助", totals["assistance"]), ("个人账户", totals["account"]), ("个人现金", totals["cash"]),
        ("机构承担", totals["hospital"]), ("暂不支付", totals["held"]),
    ]  # fmt: skip
    shown = [f"{label} {yuan(amount)}" for label, amount in parts if amount or label == "统筹基金"]
    return f"{' ＋ '.join(shown)} ＝ 费用 {yuan(totals['fee'])}，分项相加等于总额"
