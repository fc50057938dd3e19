"""Pages of 手工报销, payments and vouchers: a request is walked to the bank and back by their forms."""

import csv
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions.models import Office, User
from settlement import export, payments
from settlement.models import AppointmentSlot, PaymentList, Refund, Reimbursement, Voucher
from tests import factories
from tests.settlement.agency import CARD, PAPER, TODAY, Agency, calendar
from tests.settlement.test_payments import take


@pytest.fixture(autouse=True)
def _today(settings) -> None:
    settings.DEMO_TODAY = TODAY


@pytest.fixture
def agency(db) -> Agency:
    factories.policies("nantong")
    calendar(2021)
    return Agency()


@pytest.fixture
def clerk(agency: Agency) -> Client:
    return factories.log_in(Client(), agency.clerk)


@pytest.fixture
def officer(agency: Agency) -> Client:
    return factories.log_in(Client(), agency.finance)


def page(client: Client, name: str, *args: object) -> str:
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200, answer
    return answer.content.decode()


def request_of(agency: Agency, **more: object) -> dict:
    return {
        "kind": "mail", "credential": agency.person.credential, "provider": agency.hospital.pk,
        "cause": "no_function", "service_date": "2021-06-15", "amount": "12.00",
        "invoice_code": "32060121", "invoice_number": "0000000001", "way": "bank",
        "holder": "测试", "bank": "示例银行", "number": CARD, "tracking_no": "SF1", "phone": "13900001234",
        "papers": SimpleUploadedFile("发票.pdf", PAPER),
    } | more  # fmt: skip


def claim_of(agency: Agency, **more: object) -> dict:
    return {
        "encounter": "MZ1", "physician": agency.doctor.code, "started": "2021-06-15T09:30",
        "ended": "2021-06-15T09:40", "department_code": "A03", "medium": "video",
        "visit_type": "revisit", "condition": "chronic", "diagnosis_code": "I10.x00x002",
        "diagnosis_name": "高血压", "matched": "on", "consented": "on",
        "lines-TOTAL_FORMS": "2", "lines-INITIAL_FORMS": "0",
        "lines-0-kind": "consult", "lines-0-item_code": "111102001", "lines-0-quantity": "1",
        "lines-0-unit_price": "12.00", "lines-1-kind": "consult", "lines-1-item_code": "",
        "lines-1-quantity": "", "lines-1-unit_price": "",
    } | more  # fmt: skip


def step(client: Client, case: Reimbursement, name: str, **more: object):
    case.refresh_from_db()
    address = reverse("reimbursement", args=[case.pk])
    return client.post(address, {"step": name, "version": case.version, **more})


def test_a_request_is_walked_from_the_counter_to_approval(agency, clerk, officer) -> None:
    assert "登记申请" in page(clerk, "reimbursements")
    answer = clerk.post(reverse("reimbursement-new"), request_of(agency))
    case = Reimbursement.objects.get()
    assert answer.url == reverse("reimbursement", args=[case.pk])
    text = page(clerk, "reimbursement", case.pk)
    assert "等待受理" in text
    assert CARD not in text
    assert agency.person.credential not in text
    assert step(clerk, case, "accept").status_code == 302
    answer = clerk.post(reverse("reimbursement-calculate", args=[case.pk]), claim_of(agency))
    assert answer.status_code == 302, answer.content.decode()
    case.refresh_from_db()
    assert (case.state, case.payable) == ("calculated", 600)
    assert step(clerk, case, "approve").status_code == 403
    assert step(officer, case, "approve", note="无误").status_code == 302
    assert "等待列入拨付清单" in page(officer, "reimbursement", case.pk)
    assert "手工报销支付决定书" in page(officer, "reimbursement", case.pk)


def test_a_wrong_request_keeps_what_was_typed_and_says_why(agency, clerk) -> None:
    address = reverse("reimbursement-new")
    answer = clerk.post(address, request_of(agency, tracking_no=""))
    assert answer.status_code == 422
    text = answer.content.decode()
    assert "邮寄报销请填写快递单号" in text
    assert "0000000001" in text
    clerk.post(address, request_of(agency))
    answer = clerk.post(address, request_of(agency))
    assert (answer.status_code, "不能重复使用" in answer.content.decode()) == (409, True)
    assert clerk.post(address, request_of(agency, provider="X")).status_code == 422


def test_a_wrong_calculation_says_why(agency, clerk) -> None:
    case = agency.submitted()
    agency.step(case, "accept")
    address = reverse("reimbursement-calculate", args=[case.pk])
    assert clerk.get(address).status_code == 200
    wrong = claim_of(agency, **{"lines-0-unit_price": "13.00"})
    answer = clerk.post(address, wrong)
    assert (answer.status_code, "与发票金额 12.00 元不符" in answer.content.decode()) == (422, True)
    none = claim_of(agency, **{"lines-0-item_code": "", "lines-0-quantity": "",
                               "lines-0-unit_price": ""})  # fmt: skip
    assert "请至少录入一行费用明细" in clerk.post(address, none).content.decode()


def test_steps_documents_and_a_page_that_moved(agency, clerk) -> None:
    case = agency.submitted()
    address = reverse("reimbursement", args=[case.pk])
    paper = SimpleUploadedFile("病历.pdf", PAPER)
    upload = {"upload": "1", "kind": "record", "papers": paper}
    assert clerk.post(address, upload).status_code == 302
    assert "病历资料" in page(clerk, "reimbursement", case.pk)
    step(clerk, case, "accept")
    assert step(clerk, case, "notify").status_code == 422
    assert step(clerk, case, "notify", items=["fee_list"], note="缺清单").status_code == 302
    assert "费用清单；缺清单" in page(clerk, "reimbursement", case.pk)
    stale = {"step": "supplemented", "version": 1, "note": "x"}
    assert clerk.post(address, stale).status_code == 409
    assert clerk.post(address, {"step": "fly", "version": 1}).status_code == 404


def test_a_look_and_a_reveal_are_events(agency, clerk) -> None:
    case = agency.submitted()
    page(clerk, "reimbursement", case.pk)
    address = reverse("reimbursement-reveal", args=[case.pk])
    assert CARD not in clerk.get(address).content.decode()
    answer = clerk.post(address, {"reason": "核对"})
    assert CARD in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    acts = Event.objects.filter(subject=case.subject).values_list("action", flat=True)
    assert {"reimbursement.look", "reimbursement.reveal"} <= set(acts)


def test_progress_is_found_by_person_without_the_number_in_the_address(agency, clerk) -> None:
    mine = agency.submitted()
    agency.person = factories.person("nantong", "resident")
    other = agency.submitted()
    asked = {"credential": agency.person.credential}
    answer = clerk.post(reverse("reimbursements-person"), asked)
    assert agency.person.credential not in answer.url
    text = clerk.get(answer.url).content.decode()
    assert (other.number in text, mine.number in text) == (True, False)
    found = clerk.get(reverse("reimbursements"), {"q": mine.e_invoice_no}).content.decode()
    assert (mine.number in found, other.number in found) == (True, False)
    assert clerk.get(reverse("reimbursements"), {"person": "zz"}).status_code == 200


@pytest.mark.parametrize("kind", ["receipt", "notice", "payment", "refusal"])
def test_papers_are_made(agency, clerk, kind: str) -> None:
    if kind == "payment":
        case = agency.approved()
    else:
        case = agency.submitted()
        agency.step(case, "accept")
        if kind == "notice":
            agency.step(case, "notify", facts={"items": ["record"]})
        if kind == "refusal":
            agency.step(case, "refuse", note="不在范围", facts={"basis": "示例依据"})
    address = reverse("reimbursement-paper", args=[case.pk, kind])
    first, again = clerk.get(address), clerk.get(address)
    assert (first.status_code, first["Content-Type"]) == (200, "application/pdf")
    assert first.content == again.content
    absent = "refusal" if kind != "refusal" else "payment"
    assert clerk.get(reverse("reimbursement-paper", args=[case.pk, absent])).status_code == 404


def test_slots_are_opened_booked_and_changed(agency, clerk) -> None:
    office = Office.objects.create(region=agency.region, kind="agency", name="医保中心（测试）")
    assert "没有开放的时段" in page(clerk, "reimbursement-slots")
    given = {"office": office.pk, "first": "2021-12-20", "last": "2021-12-24",
             "spans": "09:00-10:00、10:00-11:00", "capacity": "1"}  # fmt: skip
    wrong = clerk.post(reverse("reimbursement-slots"), given | {"spans": "nine"})
    assert wrong.status_code == 422
    assert clerk.post(reverse("reimbursement-slots"), given).status_code == 302
    assert AppointmentSlot.objects.count() == 10
    slot = AppointmentSlot.objects.first()
    asked = request_of(agency, kind="appointment", slot=slot.pk, tracking_no="")
    assert clerk.post(reverse("reimbursement-new"), asked).status_code == 302
    assert "约满" in page(clerk, "reimbursement-slots")
    more = reverse("reimbursement-slot", args=[slot.pk])
    for capacity, kept in (("0", 1), ("3", 3), ("many", 3)):
        clerk.post(more, {"capacity": capacity})
        slot.refresh_from_db()
        assert slot.capacity == kept


def test_a_list_goes_to_the_bank_and_back(agency, clerk, officer) -> None:
    statement, case = agency.statement(), agency.approved()
    text = page(clerk, "payments-due")
    assert ("5,006.00" in text, agency.hospital.name in text) == (True, True)
    chosen = {"selected": [statement.subject, case.subject], "note": "11月"}
    answer = clerk.post(reverse("payments-due"), chosen)
    made = PaymentList.objects.get()
    assert answer.url == payments.place(made)
    assert "人民币伍仟零陆元整" in page(officer, "payment", made.pk)
    assert clerk.post(reverse("payment-approve", args=[made.pk])).status_code == 403
    officer.post(reverse("payment-approve", args=[made.pk]))
    first, again = (clerk.post(reverse("payment-export", args=[made.pk, "csv"])) for _ in range(2))
    assert first.content == again.content
    assert (first["X-Repeated"], again["X-Repeated"]) == ("0", "1")
    assert "重复导出" in page(clerk, "payment", made.pk)
    rows = list(csv.reader(io.StringIO(first.content.decode("utf-8-sig"))))
    lines = ["指令号,金额（元）,处理结果,银行流水号,处理日期,原因"]
    lines += [f"{row[1]},{row[6]},成功,N{row[0]},2021-12-20," for row in rows[1:3]]
    for _ in range(2):
        file = SimpleUploadedFile("结果.csv", "\n".join(lines).encode("gbk"))
        officer.post(reverse("payment-results", args=[made.pk]), {"file": file})
    assert Voucher.objects.count() == 2
    assert "2 笔此前已登记" in page(officer, "payment", made.pk)
    assert "已支付" in page(clerk, "reimbursement", case.pk)
    assert "没有应付款项" in page(clerk, "payments-due")


def test_a_list_is_given_back_and_an_order_taken_off(agency, clerk, officer) -> None:
    subjects = [agency.statement().subject, agency.approved().subject]
    made = agency.listed(*subjects)
    order = made.orders.first()
    assert "撤下该笔" in page(clerk, "payment-order", order.pk)
    clerk.post(reverse("payment-drop", args=[order.pk]), {"reason": "核对中"})
    made.refresh_from_db()
    assert made.count == 1
    officer.post(reverse("payment-refuse", args=[made.pk]), {"reason": "金额待核"})
    assert "复核退回" in page(officer, "payment", made.pk)
    assert made.number in page(officer, "payments")


def test_results_by_hand_and_a_refund(agency, clerk, officer) -> None:
    made = agency.sent(agency.statement().subject)
    order = made.orders.get()
    address = reverse("payment-order", args=[order.pk])
    given = {"state": "paid", "on": "2021-12-20", "serial": "", "reason": ""}
    assert officer.post(address, given).status_code == 422
    assert officer.post(address, given | {"serial": "N1"}).status_code == 302
    assert "登记退款" in page(clerk, "payment-order", order.pk)
    refund = {"amount": "20.00", "received_on": "2021-12-20", "bank_serial": "T1", "reason": "多付"}
    assert clerk.post(reverse("refund-new", args=[order.pk]), refund).status_code == 302
    row = Refund.objects.get()
    assert row.amount == 2_000
    assert 'value="post"' in page(officer, "refunds")
    assert 'value="post"' not in page(clerk, "refunds")
    officer.post(reverse("refund-decide", args=[row.pk]), {"decision": "post"})
    assert Voucher.objects.filter(kind="refund").count() == 1
    assert "退回基金" in page(officer, "payment-order", order.pk)


def test_a_wrong_result_file_names_every_row(agency, officer) -> None:
    made = agency.sent(agency.statement().subject)
    file = SimpleUploadedFile(
        "r.csv", "指令号,金额（元）,处理结果,银行流水号,处理日期,原因\nX,1,好,,y,\n".encode()
    )
    address = reverse("payment-results", args=[made.pk])
    text = officer.post(address, {"file": file}, follow=True).content.decode()
    assert "未登记任何结果" in text
    assert officer.post(address, follow=True).status_code == 200
    assert not Voucher.objects.exists()


def test_an_export_that_is_cut_says_so(agency, officer, monkeypatch) -> None:
    take(agency, agency.sent(agency.statement(6_001_53).subject))
    monkeypatch.setattr(export, "ROWS_MOST", 0)
    sheet = b"".join(officer.get(reverse("vouchers-csv")).streaming_content).decode("utf-8-sig")
    assert [row["凭证号"] for row in csv.DictReader(io.StringIO(sheet))] == [export.CUT]


def test_vouchers_are_listed_shown_printed_and_exported(agency, officer) -> None:
    made = agency.sent(agency.statement(6_001_53).subject)
    take(agency, made)
    voucher = Voucher.objects.get()
    text = page(officer, "voucher", voucher.pk)
    for words in (
        "应付医疗机构",
        "基金支出户存款",
        "人民币陆仟零壹元伍角叁分",
        agency.clerk.username,
    ):
        assert words in text
    listed = officer.get(reverse("vouchers"), {"kind": "payment", "period": "2021-12",
                                               "institution": agency.hospital.pk})  # fmt: skip
    assert voucher.number in listed.content.decode()
    assert (
        voucher.number not in officer.get(reverse("vouchers"), {"kind": "refund"}).content.decode()
    )
    paper = officer.get(reverse("voucher-paper", args=[voucher.pk]))
    assert (paper["Content-Type"], paper.content[:5]) == ("application/pdf", b"%PDF-")
    assert Event.objects.get(action="voucher.paper").subject == f"voucher:{voucher.pk}"
    sheet = b"".join(officer.get(reverse("vouchers-csv")).streaming_content).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(sheet)))
    assert rows[0]["大写金额"] == "人民币陆仟零壹元伍角叁分"
    assert rows[0]["借方科目"] == "应付医疗机构 6001.53"


def test_a_voucher_says_what_it_is_about_who_made_it_and_is_found_by_that_number(
    agency, officer
) -> None:
    """Numbers and names that people know; no key of the ledger and no log-in name."""
    case = agency.submitted()
    User.objects.filter(pk=agency.clerk.pk).update(display_name="陈制单")
    made = agency.sent(agency.statement(6_001_53).subject)
    take(agency, made)
    voucher = Voucher.objects.get()
    statement = voucher.subject.partition(":")[2]
    listed = officer.get(reverse("vouchers")).content.decode()
    assert reverse("statement", args=[statement]) in listed
    assert voucher.number.startswith(f"PZ{agency.region.pk}-")
    shown = page(officer, "voucher", voucher.pk)
    assert "陈制单" in shown
    sheet = b"".join(officer.get(reverse("vouchers-csv")).streaming_content).decode("utf-8-sig")
    row = next(csv.DictReader(io.StringIO(sheet)))
    assert "结算单" in row["所属事项"]
    assert "陈制单" in (row["制单"], row["复核"])
    found = officer.get(reverse("vouchers"), {"subject": case.number}).content.decode()
    assert voucher.number not in found


def test_the_list_of_requests_takes_a_fixed_number_of_queries(
    agency, clerk, django_assert_max_num_queries
) -> None:
    for _ in range(5):
        agency.submitted()
    with django_assert_max_num_queries(20):
        page(clerk, "reimbursements")


def test_hospitals_and_strangers_get_nothing(agency, clerk) -> None:
    case = agency.submitted()
    hospital = factories.log_in(Client(), factories.user("hospital", agency.hospital))
    for name in ("reimbursements", "payments", "payments-due", "vouchers", "refunds"):
        assert hospital.get(reverse(name)).status_code == 403
    other = factories.log_in(
        Client(), factories.user("settlement_clerk", factories.region("wenzhou"))
    )
    assert other.get(reverse("reimbursement", args=[case.pk])).status_code == 404
    assert case.number not in page(other, "reimbursements")
