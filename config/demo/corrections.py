"""Corrections of the demonstration: adjustments, outages, a hospital's ledger with differences, a
list of claims to settle anew after an example parameter of past validity.

The ledger is our own of the month, told by the hospital with a few slips; everything is done by the real
commands and named 示例.
"""

import csv
import datetime as dt
import io

import yaml
from django.db import connection

from config.demo import TODAY, moment
from config.demo.hospitals import HOSPITALS
from config.demo.parameters import WithoutAliases
from config.demo.people import population
from institutions import crypto
from institutions.models import Institution, Region, User
from institutions.money import yuan
from pricing.commands import draft, publish
from pricing.document import parse
from pricing.models import Release
from pricing.releases import Catalogue, Published, current
from settlement import adjustments, outages, reconciliation, resettlement_lists, trial
from settlement.adjustments import Wanted
from settlement.hospital_ledgers import COLUMNS
from settlement.models import HospitalLedger

PAPER = ("示例依据.pdf", b"%PDF-1.4\n% \xe7\xa4\xba\xe4\xbe\x8b\n")
CLERK, FINANCE, HOSPITAL = "clerk.nantong", "finance.nantong", "hospital.nantong1"
DRAFTER, PUBLISHER = "policy.nantong", "policy2.nantong"
#: A ratio that is raised for some past days: only their claims come out differently.
RAISED_FROM, RAISED_UNTIL = dt.date(2021, 12, 1), dt.date(2021, 12, 5)
RAISED_RATIO = 7_000
#: A consultation of the trial of that parameter, and what the fund pays inside and after these days.
CONSULT = {
    "region": "nantong", "item_code": "111102003", "price_class": 3, "ownership": "public",
    "scheme": "employee", "insured_area": "nantong", "visit_type": "revisit",
    "condition": "chronic", "doctor_title": "chief", "doctor_independent_months": 120,
    "fee": "35.00",
}  # fmt: skip
CONSULT_PAYS = ("1.40", "1.30")
MONTH = dt.date(2021, 11, 1)
#: One whose ledger has slips, and two that agree: one of a region with statements (三方核对).
DIFFERENT = "nt1"
SOUND = {"nt2": "hospital.nantong2", "wz1": "hospital.wenzhou1"}
ROWS = """SELECT c.claim_no, l.line_no, p.id_hash, c.service_date, l.item_code, l.fee,
        CASE WHEN r.decision = 0 THEN r.fund ELSE 0 END,
        CASE WHEN max(s.version) OVER (PARTITION BY c.id) %% 2 = 0 THEN '已冲正' ELSE '已结算' END
    FROM settlement_settlement s JOIN settlement_claim c ON c.id = s.claim_id
    JOIN settlement_insuredperson p ON p.id = c.person_id
    JOIN settlement_claimline l ON l.claim_id = c.id AND l.period = c.period
    JOIN settlement_lineresult r
        ON r.claim_id = c.id AND r.version = s.version AND r.line_no = l.line_no
    WHERE s.institution_code = %s AND s.period = %s AND s.version %% 2 = 1
    ORDER BY c.id, l.line_no"""


def make_corrections() -> str:
    """Adjustments, outages and two reconciled months; says how many."""
    place = Institution.objects.select_related("region").get(pk=HOSPITALS[DIFFERENT].code)
    _adjustments(place.region if place.region_id == "320600" else Region.objects.get(pk="320600"))
    _outages(place)
    sound = [(Institution.objects.get(pk=HOSPITALS[name].code), by) for name, by in SOUND.items()]
    made = [
        _reconciled(each, slips=each == place, by=by)
        for each, by in ((place, HOSPITAL), *sound) if _rows(each.code)
    ]  # fmt: skip
    found = sum(ledger.totals.get("different", 0) for ledger in made)
    listed = _settled_anew(place.region)
    return (
        f"特殊调整 4 笔，断网报告 2 件，机构对账 {len(made)} 家，其中 {found} 项差异，"
        f"重新结算清单 1 份（{listed} 张）"
    )


def _settled_anew(region: Region) -> int:
    """A parameter set for days that are past, and the list of its claims, which waits for approval."""
    shipped = Release.objects.published().get(slug="parameters-nantong")
    data = yaml.safe_load(shipped.text)
    span = {"from": RAISED_FROM, "until": RAISED_UNTIL}
    row = next(row for row in data["rows"] if row["key"] == "employee_fund_ratio")
    label = "示例：12 月 1 日至 5 日职工医保基金支付比例提高到 70%"
    data |= {"slug": "parameters-nantong-raised", "effective": span, "title": label}
    data["rows"] = [row | span | {"value": RAISED_RATIO, "label": label}]
    text = yaml.dump(data, Dumper=WithoutAliases, allow_unicode=True, sort_keys=False)
    day = TODAY - dt.timedelta(days=3)
    release = draft(text=text, by=DRAFTER, at=moment(day))
    publish(
        release=release, by=PUBLISHER, at=moment(day, 15),
        evidence={"sm3": release.sm3, "cases": _tried(release)},
    )  # fmt: skip
    listing = resettlement_lists.propose(
        region=region, first_day=RAISED_FROM, last_day=RAISED_UNTIL, by=CLERK, at=moment(TODAY),
        reason=f"{label}，追溯以往服务日",
    )  # fmt: skip
    drawn = moment(TODAY) + dt.timedelta(minutes=1)
    resettlement_lists.draw_all(resettlement_id=listing.pk, by="system:worker", at=drawn)
    listing.refresh_from_db()
    return listing.claims


def _tried(release: Release) -> dict[str, int]:
    """A trial under the drafted text pays by the raised ratio inside its days, by the other beside."""
    policy, known = parse(release.text), current()
    drafted = Published(release.pk, release.sm3, policy, *policy.effective)
    catalogue = Catalogue([*known.policies, *known.parameters, drafted])
    fund = [
        trial.run(CONSULT | {"service_date": str(day)}, catalogue, examples=True)["fund_pay"]
        for day in (RAISED_FROM, RAISED_UNTIL + dt.timedelta(days=1))
    ]
    agreed = sum(found == wanted for found, wanted in zip(fund, CONSULT_PAYS, strict=True))
    return {"passed": agreed, "failed": len(fund) - agreed}


def _adjustments(region: Region) -> None:
    """Posted, waiting, waiting for the province, and one taken back."""
    finance = User.objects.get(username=FINANCE)
    stories = (
        ("review", "示例：审核扣款重复，予以补付", 128_000, 9, True),
        ("recovery", "示例：重复申报退回基金", -46_550, 6, True),
        ("system", "示例：系统故障少结，待复核", 9_900, 2, False),
        ("ruling", "示例：判决执行，超过本级限额", 6_200_000, 1, False),
    )
    for reason_class, reason, amount, ago, decided in stories:
        wanted = Wanted(
            reason_class=reason_class, reason=reason, subject="institution", amount=amount,
            scheme="resident", institution_code=HOSPITALS[DIFFERENT].code,
        )  # fmt: skip
        day = TODAY - dt.timedelta(days=ago)
        made = adjustments.propose(
            region=region, wanted=wanted, file=PAPER, by=CLERK, at=moment(day)
        )
        if decided:
            adjustments.approve(adjustment=made, who=finance, note="同意", at=moment(day, 15))


def _outages(place: Institution) -> None:
    """One that was confirmed, one that waits."""
    began = moment(TODAY - dt.timedelta(days=6), 8)
    old = outages.report(
        institution=place, began=began, ended=began + dt.timedelta(hours=7),
        reason="示例：运营商光缆中断", file=PAPER, by=HOSPITAL, at=began + dt.timedelta(hours=9),
    )  # fmt: skip
    outages.accept(outage=old, note="已核实", by=CLERK, at=began + dt.timedelta(hours=26))
    began = moment(TODAY, 6)
    outages.report(
        institution=place, began=began, ended=began + dt.timedelta(hours=2),
        reason="示例：机房断电", by=HOSPITAL, at=moment(TODAY),
    )  # fmt: skip


def _reconciled(place: Institution, *, slips: bool, by: str) -> HospitalLedger:
    """The hospital's ledger of the month, checked and compared."""
    sink = io.StringIO()
    writer = csv.writer(sink)
    writer.writerow([label for label, _, _ in COLUMNS.values()])
    rows = _rows(place.code)
    writer.writerows(_slipped(rows) if slips else rows)
    at = moment(TODAY - dt.timedelta(days=1), 17)
    made = reconciliation.check(
        institution=place, period=MONTH, file_name="示例对账明细-202111.csv",
        content=sink.getvalue().encode("utf-8-sig"), by=by, at=at,
    )  # fmt: skip
    if not made.errors:
        made = reconciliation.match(ledger=made, by=by, at=at)
    return made


def _rows(code: str) -> list[list[str]]:
    """What a hospital has of the month; a small demonstration may have made nothing in it."""
    numbers = {crypto.person_hash(p.credential): p.credential for p in population()}
    with connection.cursor() as cursor:
        cursor.execute(ROWS, [code, MONTH])
        rows = cursor.fetchall()
    return [
        [claim_no, str(line_no), numbers[bytes(person)], day.isoformat(), item, yuan(fee),
         yuan(fund), state]
        for claim_no, line_no, person, day, item, fee, fund, state in rows
    ]  # fmt: skip


def _slipped(rows: list[list[str]]) -> list[list[str]]:
    """A line left out, one too many, one twice, another day, another amount, another state."""
    if len(rows) < 60:
        return rows
    rows[3][5] = "99.00"
    rows[11][6] = "0.00"
    rows[17][3] = "2021-11-01" if rows[17][3] != "2021-11-01" else "2021-11-02"
    rows[23][7] = "已冲正" if rows[23][7] == "已结算" else "已结算"
    extra = [*rows[31]]
    extra[0] = "SL-20211130-000001"
    return [*rows[:40], *rows[42:], extra, [*rows[50]]]
