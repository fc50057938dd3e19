"""Commands of lines: their register, yearly bills of lines and maintenance, decisions, confirmation.

Accrued from 2019-10-01 on, collected under this notice only after confirmation (I-JL-4); whole service
years by default, the figure by calendar month beside them. (吉卫便函〔2021〕3号 二、三)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from audit import clock, tasks, trail
from institutions.models import Institution
from institutions.money import yuan
from institutions.refusals import Refusal, refused
from pricing.releases import Published, current
from settlement import consultation, line_fees
from settlement.models import FeeBill, FeeItem, Leg, MaintenanceContract, NetworkLine, Voucher
from settlement.models.lines import Voidable
from settlement.vouchers import post_voucher

PAY, COLLECT, MAINTAIN = "lines.pay", "lines.collect", "lines.maintain"
State = FeeBill.State
Law = Mapping[str, Any]


Key = tuple[int | None, int | None, int]  #: line or contract, and which year of it


@dataclass
class Draft:
    """A bill as it is being drawn: its items and the figure of the other reading.

    `held`: what other bills hold; `first`: the bill of the year, not a supplementary one.
    """

    held: frozenset[Key] = frozenset()
    first: bool = True
    items: list[FeeItem] = field(default_factory=list)
    by_month: int = 0

    def take(self, drawn: Sequence[FeeItem], by_month: int) -> None:
        """What begins in the year and no other bill holds; with it goes the figure by month."""
        new = [item for item in drawn if _key(item) not in self.held]
        self.items += new
        if new or (self.first and not drawn):
            self.by_month += by_month

    @property
    def amount(self) -> int:
        return sum(item.amount or 0 for item in self.items)

    @property
    def commission(self) -> int:
        return sum(item.commission or 0 for item in self.items)

    @property
    def open_items(self) -> int:
        return sum(item.amount is None for item in self.items)


def law_of(policy_region: str, day: dt.date) -> Published:
    """The document on lines of a region on a day or nearest to it; Refusal where there is none."""
    release = current().policy(policy_region, day)
    if release is None or "tariffs" not in release.policy.data:
        raise refused("", "RULE_NOT_IN_FORCE", "本统筹地区没有专线与维保费的政策文件",
                      "no document about fees of lines here")  # fmt: skip
    return release


def fact_of(row: NetworkLine) -> line_fees.Line:
    """A registered line as the arithmetic takes it."""
    return line_fees.Line(
        row.service, row.bandwidth_mb, row.opened_on, row.tier, row.count, row.closed_on
    )


# --- Register ---


@transaction.atomic
def open_line(
    *, institution: Institution, number: str, service: str, bandwidth_mb: int, count: int, tier: str,
    opened_on: dt.date, construction_note: str = "", construction_fee: int | None = None,
    construction_payer: str = "", by: str, at: dt.datetime,
) -> NetworkLine:  # fmt: skip
    """Register lines that an institution opened. The cost of building them is a local arrangement."""
    law_of(institution.region.policy_region, opened_on)
    if opened_on > clock.local(at).date():
        raise refused("opened_on", "DAY_IN_FUTURE", "开通日不能晚于今天", "not in the future")
    if NetworkLine.objects.standing().filter(number=number).exists():
        raise refused("number", "LINE_KNOWN", "该线路编号已登记", "known already", status=409)
    row = NetworkLine.objects.create(
        institution=institution, number=number, service=service, bandwidth_mb=bandwidth_mb,
        count=count, tier=tier, opened_on=opened_on, construction_note=construction_note,
        construction_fee=construction_fee, construction_payer=construction_payer,
        region_code=institution.region_id, institution_code=institution.pk, recorded_at=at,
        recorded_by=by,
    )  # fmt: skip
    noted(row, "networkline.open", by=by, at=at, number=number, opened_on=opened_on)
    return row


@transaction.atomic
def close_line(*, line: NetworkLine, closed_on: dt.date, by: str, at: dt.datetime) -> None:
    """The last day of a line; service years that have begun by then stay owed whole.

    Drafts are drawn anew. Refused: 409 voided or closed before, or a later year is on a bill that was
    confirmed.
    """
    alone_since(line.opened_on, at=at)
    row = NetworkLine.objects.select_for_update().get(pk=line.pk)
    still_stands(row, name="线路", code="LINE")
    if row.closed_on:
        raise conflict("LINE_CLOSED", "该线路已停用", "closed already")
    if not row.opened_on <= closed_on <= clock.local(at).date():
        raise refused("closed_on", "DAY_NOT_POSSIBLE", "停用日应在开通日与今天之间",
                      "between the opening and today")  # fmt: skip
    later = FeeBill.objects.filter(items__line=row, items__first__gt=closed_on)
    not_confirmed(later, f"该线路 {closed_on} 以后的服务年度", code="LINE")
    row.closed_on = closed_on
    row.save(update_fields=["closed_on"])
    drafts = FeeBill.objects.filter(items__line=row, year__gte=closed_on.year, state=State.DRAFT)
    for bill in list(drafts.order_by("pk").distinct()):
        redraw(bill=bill, by=by, at=at)
    noted(row, "networkline.close", by=by, at=at, closed_on=closed_on)


@transaction.atomic
def void_line(*, line: NetworkLine, reason: str, by: str, at: dt.datetime) -> None:
    """Put away what was registered by mistake: another person, with a reason; drafts are drawn anew.

    Refused: 403 who registered it; 409 voided before, or on a bill that was confirmed.
    """
    alone_since(line.opened_on, at=at)
    row = NetworkLine.objects.select_for_update().get(pk=line.pk)
    bills = FeeBill.objects.filter(items__line=row)
    put_away(row, bills, name="线路", code="LINE", reason=reason, by=by, at=at)
    noted(row, "networkline.void", by=by, at=at, number=row.number, reason=row.void_reason)


def put_away(
    row: Voidable, bills: QuerySet[FeeBill], *, name: str, code: str, reason: str, by: str,
    at: dt.datetime,
) -> None:  # fmt: skip
    """Void a locked row of the register that stands on `bills`; `name`, `code`: what it is called."""
    still_stands(row, name=name, code=code)
    if row.recorded_by == by:
        raise refused("", "SAME_PERSON", "作废须由登记人以外的人办理", "another person voids it",
                      status=403)  # fmt: skip
    if not reason.strip():
        raise refused("reason", "REASON_MISSING", "请填写作废理由", "a reason is needed")
    not_confirmed(bills, f"该{name}", code=code)
    row.voided_at, row.voided_by, row.void_reason = at, by, reason.strip()[:200]
    row.save(update_fields=["voided_at", "voided_by", "void_reason"])
    for bill in list(bills.order_by("pk").distinct()):
        redraw(bill=bill, by=by, at=at)


def still_stands(row: Voidable, *, name: str, code: str) -> None:
    """Nothing more is done with what was voided."""
    if row.voided_at:
        raise conflict(f"{code}_VOIDED", f"该{name}已作废", "voided before")


def not_confirmed(bills: QuerySet[FeeBill], what: str, *, code: str) -> None:
    """What bills hold changes in drafts only; Refusal (409) names one that was confirmed."""
    if billed := bills.exclude(state=State.DRAFT).order_by("pk").first():
        text = f"{what}已计入账单 {billed.number}（{billed.get_state_display()}），先冲销缴费、撤销确认"
        raise conflict(f"{code}_BILLED", text, "it is on a confirmed bill")


# --- Yearly bills ---


@transaction.atomic
def make_bills(*, year: int, prefix: str, by: str, at: dt.datetime) -> int:
    """Bill what no bill of a year holds yet, for every institution of an area; how many bills got it.

    It joins the draft of the institution, or is a bill of its own: that of the year, else one more
    (追加账单). A second run finds nothing, and two runs at once wait for each other.
    """
    alone(year)
    if year > clock.local(at).year:
        raise refused("year", "YEAR_IN_FUTURE", "不能生成以后年度的账单", "not a future year")
    inside = Q(region_code__within=prefix)
    rows = NetworkLine.objects.standing().filter(inside).select_related("institution__region")
    contracts = MaintenanceContract.objects.standing().filter(inside)
    contracts = contracts.select_related("institution__region")
    places = {row.institution_id: row.institution for row in rows}
    places |= {row.institution_id: row.institution for row in contracts}
    bills = FeeBill.objects.filter(year=year, institution__in=places)
    held, parts = _held(bills), dict(bills.order_by("part").values_list("institution", "part"))
    drafts = {code: Draft(held, first=code not in parts) for code in places}
    releases = {
        region: law_of(region, dt.date(year, 12, 31))
        for region in {place.region.policy_region for place in places.values()}
    }
    for line in rows:
        law = releases[line.institution.region.policy_region].policy.data
        _draw_line(drafts[line.institution_id], line, year, law)
    for contract in contracts:
        law = releases[contract.institution.region.policy_region].policy.data
        _draw_contract(drafts[contract.institution_id], contract, year, law)
    found = {code: draft for code, draft in drafts.items() if draft.items}
    joined = _join(bills.filter(state=State.DRAFT), found, by=by, at=at)
    return joined + _store(
        {places[code]: draft for code, draft in found.items()}, year=year, parts=parts,
        releases=releases, by=by, at=at,
    )  # fmt: skip


def alone(year: int) -> None:
    """Whoever draws bills of a year does so alone until the commit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"fee bills {year}"])


def alone_since(first: dt.date, *, at: dt.datetime) -> None:
    """Nobody draws a bill of any year since a day meanwhile."""
    for year in range(first.year, clock.local(at).year + 1):
        alone(year)


def _held(bills: QuerySet[FeeBill]) -> frozenset[Key]:
    rows = FeeItem.objects.filter(bill__in=bills)
    return frozenset(rows.values_list("line_id", "contract_id", "number"))


def _key(item: FeeItem) -> Key:
    return item.line_id, item.contract_id, item.number


def _join(
    open_ones: QuerySet[FeeBill], drafts: dict[str, Draft], *, by: str, at: dt.datetime
) -> int:
    """Put what is new into the drafts that wait; what is left in `drafts` needs a bill of its own."""
    joined = 0
    for bill in open_ones.filter(institution__in=drafts).select_for_update():
        draft = drafts.pop(bill.institution_id)
        _fill({bill: draft})
        bill.by_month += draft.by_month
        _total(bill)
        noted(bill, "feebill.extend", by=by, at=at, amount=bill.amount, items=len(draft.items))
        joined += 1
    return joined


def _fill(drafts: Mapping[FeeBill, Draft]) -> int:
    items = []
    for bill, draft in drafts.items():
        for item in draft.items:
            item.bill = bill
            items.append(item)
    FeeItem.objects.bulk_create(items)
    return len(items)


def _draw_line(draft: Draft, row: NetworkLine, year: int, law: Law) -> None:
    """Every service year of a line that begins in the year, with who bears it."""
    line = fact_of(row)
    first, last = dt.date(year, 1, 1), dt.date(year, 12, 31)
    before = line_fees.years_begun(line, first - line_fees.ONE, law)
    tariff, drawn = line_fees.tariff_of(line, law), []
    for number in range(before + 1, line_fees.years_begun(line, last, law) + 1):
        due = line_fees.fee_of_year(line, number, law)
        begin, end = line_fees.service_year(line, number, law)
        drawn.append(_item(
            row, line=row, number=number, first=begin, last=end, decision=tariff.decision,
            amount=due.institution if due else None, commission=due.commission if due else None,
            reason=tariff.reason or "", clause=tariff.clause,
        ))  # fmt: skip
    months = line_fees.by_calendar_month(line, first, last, law)
    draft.take(drawn, months.institution if months else 0)


def _draw_contract(draft: Draft, row: MaintenanceContract, year: int, law: Law) -> None:
    """The maintenance year that begins in the year."""
    fee, drawn = yearly_fee(row), []
    for number in line_fees.maintenance_years_in(row.starts_on, year, row.ends_on):
        begin, end = line_fees.maintenance_year(row.starts_on, number)
        drawn.append(_item(
            row, contract=row, number=number, first=begin, last=end, amount=fee, commission=0,
            decision=consultation.PAYABLE, clause=law["maintenance"]["clause"],
        ))  # fmt: skip
    months = line_fees.maintenance_months(row.starts_on, year, row.ends_on)
    draft.take(drawn, consultation.half_up(fee, months, line_fees.MONTHS_PER_YEAR))


def yearly_fee(row: MaintenanceContract) -> int:
    """A year's maintenance: base × rate, half up."""
    part = row.rate * consultation.TEN_THOUSANDTH
    return consultation.half_up(row.base, part, consultation.WHOLE)


def _item(row: NetworkLine | MaintenanceContract, **values: Any) -> FeeItem:
    return FeeItem(
        region_code=row.region_code, institution_code=row.institution_code, **values
    )  # fmt: skip


def _store(
    drafts: Mapping[Institution, Draft], *, year: int, parts: Mapping[str, int],
    releases: Mapping[str, Published], by: str, at: dt.datetime,
) -> int:  # fmt: skip
    """Bills and items, each in one statement, and one event. `parts`: how many bills there are."""
    bills = FeeBill.objects.bulk_create(
        _bill(place, draft, year=year, part=parts.get(place.pk, 0) + 1, by=by, at=at,
              release=releases[place.region.policy_region])
        for place, draft in drafts.items()
    )  # fmt: skip
    items = _fill(dict(zip(bills, drafts.values(), strict=True)))
    if bills:
        trail.record(
            by=by, at=at, action="feebill.make", subject=f"feebills:{year}",
            region_code=bills[0].region_code, detail={"bills": len(bills), "items": items},
        )  # fmt: skip
    return len(bills)


def _bill(
    place: Institution, draft: Draft, *, year: int, part: int, release: Published, by: str,
    at: dt.datetime,
) -> FeeBill:  # fmt: skip
    """A bill of a year; a supplementary one falls due at the first year end after it is drawn."""
    rules, more = release.policy.data["tariffs"], f"-追{part - 1}" if part > 1 else ""
    since = rules["collect_from"]
    if part > 1:
        since = max(since, clock.local(at).date())
    return FeeBill(
        institution=place, year=year, part=part, number=f"网费{year}-{place.pk}{more}",
        amount=draft.amount, commission=draft.commission, by_month=draft.by_month,
        open_items=draft.open_items, release_id=release.id, region_code=place.region_id,
        due_on=line_fees.due_day(year, rules["payment"], collect_from=since),
        institution_code=place.pk, made_at=at, made_by=by,
    )  # fmt: skip


@transaction.atomic
def redraw(*, bill: FeeBill, by: str, at: dt.datetime) -> None:
    """Draw a draft anew from what is registered now and other bills do not hold.

    Decisions of persons on it are made again.
    """
    alone(bill.year)
    row = _draft(bill)
    place = Institution.objects.select_related("region").get(pk=row.institution_id)
    release = law_of(place.region.policy_region, dt.date(row.year, 12, 31))
    others = FeeBill.objects.filter(year=row.year, institution=place).exclude(pk=row.pk)
    draft = Draft(_held(others), first=row.part == 1)
    row.items.all().delete()
    for line in NetworkLine.objects.standing().filter(institution=place):
        _draw_line(draft, line, row.year, release.policy.data)
    for contract in MaintenanceContract.objects.standing().filter(institution=place):
        _draw_contract(draft, contract, row.year, release.policy.data)
    _fill({row: draft})
    row.by_month, row.release_id = draft.by_month, release.id
    _total(row)
    noted(row, "feebill.redraw", by=by, at=at, amount=row.amount)


@transaction.atomic
def decide_item(
    *, item: FeeItem, amount: int, commission: int, note: str, by: str, at: dt.datetime
) -> None:
    """A person decides what the tariff leaves open (NO_TARIFF, TARIFF_AMBIGUOUS), with the ground."""
    bill = _draft(item.bill)
    row = bill.items.select_for_update().get(pk=item.pk)
    if row.decision == consultation.PAYABLE and not row.decided_by:
        raise conflict("ITEM_CLEAR", "该项由收费标准确定，不能改", "the tariff answers it")
    if not note:
        raise refused("note", "NOTE_MISSING", "请说明认定依据", "say on which ground")
    row.amount, row.commission, row.decision = amount, commission, consultation.PAYABLE
    row.decided_note, row.decided_by = note, by
    row.save(update_fields=["amount", "commission", "decision", "decided_note", "decided_by"])
    _total(bill)
    noted(bill, "feebill.decide", by=by, at=at, item=row.pk, amount=amount,
           commission=commission, note=note)  # fmt: skip


def _total(bill: FeeBill) -> None:
    draft = Draft(items=list(bill.items.all()))
    bill.amount, bill.commission = draft.amount, draft.commission
    bill.open_items = draft.open_items
    bill.save(update_fields=["amount", "commission", "open_items", "by_month", "release_id"])


def _draft(bill: FeeBill) -> FeeBill:
    row = FeeBill.objects.select_for_update().get(pk=bill.pk)
    if row.state != State.DRAFT:
        raise conflict("BILL_CONFIRMED", "账单已确认，不能再改", "the bill is confirmed")
    return row


@transaction.atomic
def confirm_bill(*, bill: FeeBill, by: str, at: dt.datetime) -> FeeBill:
    """Confirm a bill: it is owed from now on. Nothing is collected before the notice is in force."""
    row = _draft(bill)
    place = Institution.objects.select_related("region").get(pk=row.institution_id)
    release = law_of(place.region.policy_region, clock.local(at).date())
    rules = release.policy.data["tariffs"]
    if clock.local(at).date() < rules["collect_from"]:
        raise conflict("NOT_COLLECTABLE", f"自{rules['collect_from']}起方可收缴",
                        "collection has not begun", clause=rules["collect_clause"])  # fmt: skip
    if row.open_items:
        raise conflict("ITEM_OPEN", f"账单有 {row.open_items} 项待认定，认定后才能确认",
                        "an item waits for a decision", clause=rules["unlisted"]["clause"])  # fmt: skip
    account = Leg.Account
    if row.amount + row.commission:
        post_voucher(
            kind=Voucher.Kind.LINE_FEE, effect=effect_of(row, "due"), subject=f"feebill:{row.pk}",
            legs={account.LINE_FEE_DUE: row.amount, account.COMMISSION: row.commission,
                  account.LINE_FEE_PAYEE: -row.amount - row.commission},
            region_code=row.region_code, institution_code=row.institution_code, by=by, at=at,
            clause=f"{release.policy.document} {rules['clause']}", detail={"year": row.year},
        )  # fmt: skip
    row.state = State.CONFIRMED if row.amount else State.NOTHING
    row.confirmed_at, row.confirmed_by = at, by
    row.save(update_fields=["state", "confirmed_at", "confirmed_by"])
    ask_for_payment(row, release=release, at=at)
    noted(row, "feebill.confirm", by=by, at=at, amount=row.amount, commission=row.commission)
    return row


def ask_for_payment(row: FeeBill, *, release: Published, at: dt.datetime) -> None:
    """The institution and the commission find in their inboxes what each still owes."""
    document, rules = release.policy.document, release.policy.data["tariffs"]
    name = f"{row.institution.name}：{row.year}年度专线与维保费"
    asked = (
        (row.state == State.CONFIRMED, PAY, f"{name} {yuan(row.amount)} 元待缴", rules["payment"]),
        (row.commission_owed, MAINTAIN, f"{name}省卫健委承担 {yuan(row.commission)} 元待支付",
         rules["late_opening"]),
    )  # fmt: skip
    for owed, permission, title, rule in asked:
        if owed:
            tasks.open_task(
                subject=f"feebill:{row.pk}", permission=permission, at=at, title=title,
                status="待缴", due=row.due_on, url=reverse("fee-bill", args=[row.pk]),
                region_code=row.region_code, institution_code=row.institution_code,
                clause=f"{document} {rule['clause']}",
            )  # fmt: skip


def effect_of(row: FeeBill, what: str) -> str:
    """The effect of a posting of a bill; one that was reversed may be posted again."""
    name = f"feebill:{row.pk}/{what}"
    undone = Voucher.objects.filter(subject=f"feebill:{row.pk}", effect__startswith=name).count()
    return f"{name}/{undone + 1}" if undone else name


def confirm_all(*, bills: QuerySet[FeeBill], by: str, at: dt.datetime) -> tuple[int, list[FeeBill]]:
    """Confirm the drafts of a query one by one; how many, and those that wait for a decision."""
    waiting, done = [], 0
    for bill in bills.filter(state=State.DRAFT).order_by("pk"):
        if bill.open_items:
            waiting.append(bill)
            continue
        confirm_bill(bill=bill, by=by, at=at)
        done += 1
    return done, waiting


def conflict(code: str, chinese: str, english: str, *, clause: str = "") -> Refusal:
    return refused("", code, chinese, english, status=409, clause=clause)


def noted(row: Any, action: str, *, by: str, at: dt.datetime, **detail: Any) -> None:
    trail.record(
        by=by, at=at, action=action, subject=f"{row._meta.model_name}:{row.pk}",
        region_code=row.region_code, institution_code=row.institution_code, detail=detail,
    )  # fmt: skip
