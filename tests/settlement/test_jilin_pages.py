"""Pages of remote consultations and of the fees of lines: what each side sees and can do, papers, exports."""

import copy
from datetime import date

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.models import Institution
from settlement import consultation_statement as statements
from settlement import consultations, line_payments, lines
from settlement.consultations import Invited
from settlement.models import (
    AccountReport,
    Consultation,
    FeeBill,
    MaintenanceContract,
    Participant,
    SplitAgreement,
)
from tests import factories
from tests.settlement.jilin import Story, agreed, at, hospital, person

DAY = date(2021, 12, 20)
SIGNED = {"by": "centre", "at": at(DAY)}


@pytest.fixture
def here(db, settings) -> Institution:
    settings.DEMO_TODAY = DAY
    factories.policies("jilin")
    return hospital("示例市医院", "municipal", "220200")


@pytest.fixture
def there(here) -> Institution:
    return hospital("示例省级医院", area="220100")


def client_of(place, role: str = "hospital") -> Client:
    return factories.log_in(Client(), person(place, role))


def body(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return answer.content.decode()


def post(client: Client, address: str, **data: object):
    return client.post(address, data)


def test_a_hospital_asks_the_other_answers_and_both_finish_in_the_browser(here, there):
    """The whole way by forms: request, consent, answer, session, charge, split, pay, receipt, reduce."""
    agreed(here, there)
    ours, theirs = client_of(here), client_of(there)
    page = body(ours, reverse("consultation-new"))
    assert "示例参数" in page
    assert there.name in page
    number = factories.id_number()
    sent = post(
        ours, reverse("consultation-new"), id_number=number, inpatient_no="ZY1", department="内科",
        wanted_on="2021-12-20", purpose="疑难病例", hospital_1=there.name, experts_1="专家甲、专家乙",
    )  # fmt: skip
    case = Consultation.objects.get()
    address = reverse("consultation", args=[case.pk])
    assert sent.url == address
    assert number not in body(ours, address)

    def step(key: str, **data: object) -> None:
        case.refresh_from_db()
        answer = post(ours, address, step=key, version=case.version, **data)
        assert answer.status_code == 302, answer.content.decode()

    def act(client: Client, key: str, **data: object) -> None:
        row = case.participants.get()
        url = reverse("consultation-act", args=[case.pk, row.pk, key])
        fields = {f"{key}{row.pk}-{name}": value for name, value in data.items()}
        answer = post(client, url, **fields)
        assert answer.status_code == 302, answer.content.decode()

    step("consent", consenter="patient", explained="on", agreed="on")
    assert "接受邀请" not in body(ours, address)
    assert "接受邀请" in body(theirs, address)
    act(theirs, "accept", experts="专家丙")
    step("hold", session_on="2021-12-20", attended=[there.pk], minutes="30", summary="建议手术")
    step("enter", entry="病程 3")
    step("collect", invoice_no="PJ1", amount="400.00")
    step("distribute")
    act(ours, "pay", amount="280.00", payment_no="FK1")
    act(theirs, "receipt", number="SJ1", amount="280.00", issued_on="2021-12-20")
    act(ours, "reduce")
    case.refresh_from_db()
    assert case.state == "settled"
    page = body(ours, address)
    assert "入账凭证" in page
    assert "入账凭证" not in body(theirs, address)
    assert Event.objects.filter(action="consultation.read", person_hash__isnull=False).exists()


def test_every_invited_hospital_answers_before_the_consultation(here, there):
    """Of two invited hospitals the first does not speak for the second, which it cannot see."""
    also = hospital("示例省级第二医院", area="220100")
    case = Story.begin(here, there, also, day=DAY).to("invited", DAY).case
    address = reverse("consultation", args=[case.pk])
    assert "等待受邀方答复" in body(client_of(here), address)
    states = []
    for place in (there, also):
        row = case.participants.get(hospital=place)
        url = reverse("consultation-act", args=[case.pk, row.pk, "accept"])
        assert post(client_of(place), url).status_code == 302
        case.refresh_from_db()
        states.append(case.state)
    assert states == ["invited", "scheduled"]


def test_a_hospital_that_did_not_come_is_shown_as_such(here, there):
    also = hospital("示例省级第二医院", area="220100")
    story = Story.begin(here, there, also, day=DAY).to("scheduled", DAY)
    address = reverse("consultation", args=[story.case.pk])
    for place in (there, also):
        assert f'value="{place.pk}"' in body(client_of(here), address)
    story.to("held", DAY, hold={"attended": [there.pk]})
    page = body(client_of(here), address)
    assert "未到会，不计费" in page
    assert "1 次 × 400.00 元" in page
    story.to("charged", DAY)
    data = client_of(here).get(reverse("consultation-list", args=[story.case.pk, "json"])).json()
    assert [row["name"] for row in data["hospitals"]] == [there.name]


def test_the_price_to_explain_stands_where_consent_is_recorded(here, there):
    case = Story.begin(here, there, day=DAY).case
    assert "合计 400.00 元" in body(client_of(here), reverse("consultation", args=[case.pk]))


def test_what_a_request_lacks_is_told_at_its_fields(here, there):
    answer = post(client_of(here), reverse("consultation-new"), hospital_1=there.name,
                  hospital_2=there.name, experts_2="专家乙", hospital_3=here.name, experts_4="专家丁")  # fmt: skip
    errors = answer.context["form"].errors
    assert errors["experts_1"] == ["该字段是必填项。"]
    assert errors["hospital_2"] == ["这家医院已在前面填写。"]
    assert errors["hospital_3"] == ["这是本院，请填写受邀的医院。"]
    assert errors["experts_3"] == ["每家受邀医院至少写一名专家。"]
    assert errors["hospital_4"] == ["请填写专家所在的医院。"]


def test_a_refused_form_keeps_what_was_typed_and_says_why(here, there):
    story = Story.begin(here, there, day=DAY).to("entered", DAY)
    address = reverse("consultation", args=[story.case.pk])
    answer = post(client_of(here), address, step="collect", version=story.case.version,
                  invoice_no="PJ7", amount="300.00")  # fmt: skip
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "应全额收取 400.00 元" in page
    assert "PJ7" in page
    stale = post(client_of(here), address, step="collect", version=1, invoice_no="PJ7",
                 amount="400.00")  # fmt: skip
    assert stale.status_code == 409


def test_nobody_else_sees_a_consultation(here, there):
    story = Story.begin(here, there, day=DAY).to("entered", DAY)
    other = client_of(hospital("示例无关医院", "municipal"))
    for name, args in (("consultation", []), ("consultation-list", ["pdf"])):
        assert other.get(reverse(name, args=[story.case.pk, *args])).status_code == 404
    row = story.case.participants.get()
    url = reverse("consultation-act", args=[story.case.pk, row.pk, "pay"])
    assert post(other, url).status_code == 404
    health = client_of(here.region.parent, "health_commission")
    assert story.case.number in body(health, reverse("consultations"))
    assert "可办理的步骤" not in body(health, reverse("consultation", args=[story.case.pk]))


def test_the_list_of_the_inpatient_record_is_a_paper_and_data(here, there):
    """一第3款: the count stands in the inpatient record and list, category 乙."""
    story = Story.begin(here, there, day=DAY).to("charged", DAY)
    client = client_of(here)
    data = client.get(reverse("consultation-list", args=[story.case.pk, "json"])).json()
    assert (data["charge_count"], data["amount"], data["category"]) == (1, "400.00", "乙类")
    assert data["record_in"] == ["住院病历", "清单"]
    paper = client.get(reverse("consultation-list", args=[story.case.pk, "pdf"]))
    assert paper.content.startswith(b"%PDF-")
    assert client.get(reverse("consultation-list", args=[story.case.pk, "doc"])).status_code == 404


def test_the_statement_of_both_finance_departments(here, there):
    """一第2款: per pair and month, for both sides the same figures; as page, paper and CSV."""
    agreed(here, there)
    story = Story.begin(here, there, day=DAY).to("distributed", DAY)
    story.pay(there, DAY)
    args = [here.pk, there.pk, "2021-12"]
    for place in (here, there):
        client = client_of(place)
        page = body(client, reverse("consultation-statement", args=args))
        assert "280.00" in page
        assert "财务专账" in page
        assert there.name in body(client, reverse("consultation-statements"))
        csv = body(client, reverse("consultation-statement-file", args=[*args, "csv"]))
        assert "合计" in csv
        paper = client.get(reverse("consultation-statement-file", args=[*args, "pdf"]))
        assert paper.content.startswith(b"%PDF-")
    other = client_of(hospital("示例无关医院", "municipal"))
    assert other.get(reverse("consultation-statement", args=args)).status_code == 404
    assert there.name not in body(other, reverse("consultation-statements-csv"))
    assert "没有会诊" in body(
        client_of(here), f"{reverse('consultation-statements')}?month=2020-01"
    )
    sent = post(client_of(here), reverse("consultation-account", args=["2021-12"]),
                account_name="会诊专账", staff_pay="90.00")  # fmt: skip
    assert sent.status_code == 302
    assert AccountReport.objects.get().staff_pay == 9000


def copied(story: Story, count: int, *hospitals: Institution) -> None:
    """The consultation so many times more: by numbers of their own, or each with another hospital."""
    case, row = Consultation.objects.get(pk=story.case.pk), story.case.participants.get()
    cases, rows = [], []
    for n in range(count):
        one, each = copy.copy(case), copy.copy(row)
        one.pk = each.pk = None
        one.number = one.invoice_no = f"X{n:04d}"
        each.hospital = hospitals[n] if hospitals else row.hospital
        one.parties = [one.inviting_id, each.hospital_id]
        cases.append(one)
        rows.append(each)
    for one, each in zip(Consultation.objects.bulk_create(cases), rows, strict=True):
        each.consultation = one
    Participant.objects.bulk_create(rows)


def test_a_long_statement_is_paged_and_its_papers_are_whole(
    here, there, django_assert_max_num_queries
):
    agreed(here, there)
    copied(Story.begin(here, there, day=DAY).to("distributed", DAY), 44)
    client, args = client_of(here), [here.pk, there.pk, "2021-12"]
    address = reverse("consultation-statement", args=args)
    counts = []
    for number in (1, 2, 3):
        with django_assert_max_num_queries(24):
            page = body(client, f"{address}?page={number}")
        counts.append(page.count('class="code">'))
        assert "18,000.00" in page  # the totals are those of the whole month
    assert counts == [20, 20, 5]
    csv = body(client, reverse("consultation-statement-file", args=[*args, "csv"]))
    assert (csv.count("\r\n"), csv.count("X00")) == (47, 44)
    (whole,) = statements.statements(person(here), month=DAY.replace(day=1))
    assert len(whole.entries) == 45


def test_pairs_and_accounts_of_a_month_are_paged(here, there, django_assert_max_num_queries):
    others = [hospital(f"示例省级第{n:02d}医院") for n in range(20)]
    copied(Story.begin(here, there, day=DAY).to("charged", DAY), 20, *others)
    for place in (here, *others):
        statements.report_account(
            institution=place, month=date(2021, 12, 1), account_name="会诊专账", staff_pay=100,
            note="", **SIGNED,
        )  # fmt: skip
    centre = client_of(here.region.parent, "health_commission")
    address = f"{reverse('consultation-statements')}?month=2021-12"
    with django_assert_max_num_queries(24):
        first = body(centre, address)
    assert [first.count(f"/{here.pk}/{row.pk}/") > 0 for row in (*others, there)] == [
        row.pk in sorted(place.pk for place in (*others, there))[:20] for row in (*others, there)
    ]
    assert "accounts=2" in first
    last = body(centre, f"{address}&page=2&accounts=2")
    assert last.count(f"/{here.pk}/") == first.count(f"/{here.pk}/") // 20
    assert last.count("会诊专账") == 1


def test_the_database_sums_a_month_as_the_statements_do(here, there):
    """Every figure of the tables and the chart, over stages, months and a refund."""
    other = hospital("示例省级第二医院", area="220100")
    for place in (there, other):
        agreed(here, place)
    earlier, months = date(2021, 11, 8), (date(2021, 11, 1), date(2021, 12, 1))
    done = Story.begin(here, there, other, day=earlier).to("distributed", earlier)
    for number, place in enumerate((there, other)):
        done.pay(place, earlier)
        done.receipt(place, earlier, amount=20_000, number=f"SJ{number}")
        done.receipt(place, earlier, amount=8_000, number=f"SK{number}")
    done.reduce(there, earlier)
    Story.begin(here, there, day=earlier).to("entered", earlier)
    back = Story.begin(here, there, day=DAY).to("charged", DAY)
    back.step("refund", DAY, 13, note="重复收费", refund_no="TF1")
    Story.begin(here, there, day=DAY).to("charged", DAY)
    for user in (person(here), person(there), person(here.region.parent, "health_commission")):
        summed = statements.by_month(user, first=months[0], last=months[1])
        for month in months:
            whole = statements.statements(user, month=month)
            pairs = statements.paired(statements.sessions(user, first=month))
            assert [one.totals for one in statements.summed(pairs, month=month)] == [
                one.totals for one in whole
            ]
            assert summed[month] == {
                name: sum(one.totals[name] for one in whole) for name in whole[0].totals
            }
    assert summed[months[0]] == {
        "sessions": 3, "collected": 80_000, "share": 56_000, "paid": 56_000, "receipted": 56_000,
        "open": 28_000,
    }  # fmt: skip
    assert (summed[months[1]]["sessions"], summed[months[1]]["collected"]) == (2, 40_000)


def test_agreements_are_recorded_confirmed_and_ended_by_forms(here, there):
    ours, theirs = client_of(here), client_of(there)
    given = {
        "invited": there.name,
        "number": "XY1",
        "valid_from": "2021-04-01",
        "ratio_inviting": "30",
    }
    wrong = post(ours, reverse("split-agreement-new"), **given, ratio_invited="60")
    assert "双方比例之和应为 100%" in wrong.content.decode()
    post(ours, reverse("split-agreement-new"), **given, ratio_invited="70")
    row = SplitAgreement.objects.get()
    assert "待受邀方确认" in body(ours, reverse("split-agreements"))
    confirm = reverse("split-agreement-confirm", args=[row.pk])
    assert "70%" in body(theirs, confirm)
    post(ours, confirm)
    row.refresh_from_db()
    assert row.confirmed_at is None
    post(theirs, confirm)
    row.refresh_from_db()
    assert row.confirmed_by == f"hospital.{there.pk}"
    post(ours, reverse("split-agreement-end", args=[row.pk]), last="2021-12-31")
    row.refresh_from_db()
    assert row.valid_until == date(2021, 12, 31)


def test_lines_bills_and_payments_by_forms(here):
    """二、三第1款: registered by the commission, confirmed and collected by the centre, seen by the hospital."""
    place = here.region.parent
    health, centre = client_of(place, "health_commission"), client_of(place, "telemedicine_centre")
    sent = post(
        health, reverse("line-new"), institution=here.name, number="X1", service="single",
        bandwidth_mb="20", count="1", tier="municipal", opened_on="2018-06-01",
        construction_note="农网改造", construction_fee="6000", construction_payer="当地协商",
    )  # fmt: skip
    assert sent.status_code == 302
    page = body(health, sent.url)
    assert "30,000.00" in page
    assert "22,500.00" in page
    assert "当地协商" in page
    assert "10%" in body(health, reverse("line-contract-new"))
    post(health, reverse("line-contract-new"), institution=here.name, number="W1", base="80000",
         rate="12.5", accepted_on="2018-05-01")  # fmt: skip
    assert "12.5%" in body(health, reverse("line-contracts"))
    assert "未附" in body(health, reverse("line-contracts"))
    post(health, reverse("fee-bills-make"), year="2021")
    bill = FeeBill.objects.get()
    assert (bill.amount, bill.state) == (2_000_000, "draft")
    post(centre, reverse("fee-bills-confirm"))
    address = reverse("fee-bill", args=[bill.pk])
    own = client_of(here)
    assert "登记缴费" not in body(own, address)
    assert post(own, address, act="pay").status_code == 403
    wrong = post(centre, address, act="pay", **{
        "pay-amount": "100", "pay-paid_on": "2021-12-20", "pay-payment_no": "J1"})  # fmt: skip
    assert "应一次性缴齐 20000.00 元" in wrong.content.decode()
    post(centre, address, act="pay", **{
        "pay-amount": "20,000.00", "pay-paid_on": "2021-12-20", "pay-payment_no": "J1"})  # fmt: skip
    bill.refresh_from_db()
    assert bill.state == "paid"
    assert own.get(reverse("fee-bill-pdf", args=[bill.pk])).content.startswith(b"%PDF-")
    assert Event.objects.get(action="feebill.paper").subject == f"feebill:{bill.pk}"
    assert bill.number in body(own, reverse("fee-bills-csv"))
    assert "年度账单" in body(own, reverse("lines"))
    post(
        health,
        reverse("line-close", args=[lines.NetworkLine.objects.get().pk]),
        closed_on="2021-12-01",
    )
    assert lines.NetworkLine.objects.get().closed_on == date(2021, 12, 1)


def test_an_open_item_is_decided_on_the_bill_and_an_overdue_one_is_handled(here, settings):
    place = here.region.parent
    lines.open_line(institution=here, number="X1", service="single", bandwidth_mb=30, count=1,
                    tier="municipal", opened_on=date(2018, 6, 1), **SIGNED)  # fmt: skip
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    bill = FeeBill.objects.get()
    address, centre = reverse("fee-bill", args=[bill.pk]), client_of(place, "telemedicine_centre")
    assert "收费标准未列此带宽" in body(centre, address)
    key = f"decide{bill.items.get().pk}"
    post(centre, address, act=key, **{
        f"{key}-amount": "9000", f"{key}-commission": "0", f"{key}-note": "按当地协议"})  # fmt: skip
    post(centre, address, act="confirm")
    settings.DEMO_TODAY = date(2022, 1, 4)
    assert bill.number in body(centre, f"{reverse('fee-bills')}?late=true")
    post(centre, address, act="handle", **{"handle-note": "已函告"})
    bill.refresh_from_db()
    assert (bill.state, bill.amount, bill.handled_note) == ("confirmed", 900_000, "已函告")
    assert post(centre, address, act="nothing").status_code == 404


def test_a_commission_that_has_not_paid_is_shown_beside_a_paid_bill(here, settings):
    town, centre = (
        hospital("示例卫生院", "township"),
        client_of(here.region.parent, "telemedicine_centre"),
    )
    for number, opened in (("X1", date(2021, 3, 15)), ("X2", date(2020, 3, 15))):
        lines.open_line(institution=town, number=number, service="single", bandwidth_mb=4, count=1,
                        tier="township", opened_on=opened, **SIGNED)  # fmt: skip
    lines.make_bills(year=2021, prefix="22", **SIGNED)
    bill = lines.confirm_bill(bill=FeeBill.objects.get(), **SIGNED)
    line_payments.pay_bill(bill=bill, amount=150_000, paid_on=DAY, payment_no="J1", **SIGNED)
    assert "已缴清，省卫健委待付" in body(centre, reverse("fee-bill", args=[bill.pk]))
    assert "省卫健委待付" in body(centre, reverse("fee-bills"))
    settings.DEMO_TODAY = date(2022, 1, 4)
    centre = client_of(here.region.parent, "telemedicine_centre")
    assert "省卫健委逾期未付" in body(centre, f"{reverse('fee-bills')}?late=true")


def test_lists_are_paged_and_ask_a_bounded_number_of_queries(
    here, there, django_assert_max_num_queries
):
    user, client = person(here), client_of(here)
    for _ in range(21):
        consultations.request(
            inviting=here, id_number=factories.id_number(), inpatient_no="1", department="内科",
            purpose="x", wanted_on=DAY, invited=[Invited(there, ("甲",))], by=user.username, at=at(DAY),
        )  # fmt: skip
    with django_assert_max_num_queries(24):
        page = body(client, reverse("consultations"))
    assert page.count("远会2021-") >= 20
    assert "远会2021-00001" in body(client, f"{reverse('consultations')}?page=2")
    assert body(client, reverse("consultations-csv")).count("远会2021-") == 21
    assert "没有会诊" in body(client, f"{reverse('consultations')}?q=不存在")


def test_a_scanned_contract_is_kept_with_its_contract(here):
    health = client_of(factories.region("jilin"), "health_commission")
    paper = SimpleUploadedFile("合同.pdf", b"%PDF-1.4\n%%EOF\n", "application/pdf")
    given = {"institution": here.name, "number": "W1", "base": "80000", "rate": "12.5"}
    assert 'enctype="multipart/form-data"' in body(health, reverse("line-contract-new"))
    wrong = SimpleUploadedFile("合同.exe", b"MZ...", "application/pdf")
    refused = health.post(reverse("line-contract-new"), given | {"paper": wrong})
    assert "只接受 PDF" in refused.content.decode()
    assert MaintenanceContract.objects.count() == 0
    assert health.post(reverse("line-contract-new"), given | {"paper": paper}).status_code == 302
    row = MaintenanceContract.objects.get()
    assert (row.document.kind, row.document.institution) == ("maintenance_contract", here)
    assert "已附" in body(health, reverse("line-contracts"))
    own = client_of(here)
    address = reverse("document", args=[row.document_id])
    assert address in body(own, reverse("line-contracts"))
    assert own.get(address).status_code == 200
