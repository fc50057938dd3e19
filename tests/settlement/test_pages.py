"""Pages of the portal: what they show, whom they show it to, how many queries they cost."""

import csv
import datetime as dt
import io
import json
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from python_calamine import CalamineWorkbook

from audit.models import Event, Task
from config.roles import ROLES
from institutions import crypto
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, User
from settlement import commands, search
from settlement.batch.checking import check
from settlement.batch_forms import template
from settlement.facts import Claimant
from settlement.models import Claim
from tests import factories
from tests.factories import DAY, ZONE, line

AT = dt.datetime.combine(DAY, dt.time(10), ZONE)
PAGES = ("workbench", "claims", "claims-csv", "claims-xlsx", "trial", "batches")
HOSTILE = (
    "' OR 1=1 --", "<script>alert(1)</script>", "\x00", "%00", "９９９", "9" * 400, "-1", "2021-13-45",
    "9999-12-31", "🏥", "../../etc/passwd", "<18446744073709551616", ">", "=1+1", "\u202e",
)  # fmt: skip


class House:
    """A hospital with its clerk, a patient and a doctor, ready to send claims."""

    def __init__(self, region: str = "nantong"):
        self.row = factories.institution(region)
        self.patient = factories.person(region)
        self.doctor = factories.physician(self.row, "chief")
        self.staff = factories.user("hospital", self.row)

    def send(self, *lines: dict, **more: object) -> Claim:
        """Receive and settle one claim: a chief physician's 35 yuan unless lines say otherwise."""
        set_scope(EVERYTHING)
        chosen = lines or (line(item="111102003", fee="35.00"),)
        body = factories.body(self.patient, self.doctor, *chosen, **more)
        receipt = commands.receive(institution=Claimant.of(self.row), claim=body, by="test", at=AT)
        return Claim.objects.get(pk=json.loads(receipt.body)["id"])


@pytest.fixture(autouse=True)
def _fresh(settings) -> None:
    settings.DEMO_TODAY = DAY
    cache.clear()


@pytest.fixture
def house(db) -> House:
    factories.policies("nantong")
    return House()


def logged_in(user: User) -> Client:
    return factories.log_in(Client(), user)


def bureau(role: str = "settlement_clerk") -> User:
    return factories.user(role, factories.region("nantong"))


def text(response) -> str:
    assert response.status_code == 200, response.status_code
    content = b"".join(response) if response.streaming else response.content
    return content.decode("utf-8-sig")


def page(user: User, name: str, *args: object, **query: str) -> str:
    return text(logged_in(user).get(reverse(name, args=args), query))


# --- One claim ---


def test_a_claim_shows_its_decision_amounts_and_every_bar_with_its_clause(house: House) -> None:
    claim = house.send()
    shown = page(house.staff, "claim", claim.pk)
    steps = shown.split('class="waterfall__step"')[1:]
    assert len(steps) >= 5
    assert all('<details class="clause">' in step for step in steps)
    assert shown.count('<div class="clauses">') >= len(steps)
    for word in (claim.claim_no, "可支付", "35.00", "13.00", "22.00", "6.00", "统筹基金", "平衡", "复诊",
                 "通医保发〔2020〕25号", "收到申报并结算", house.patient.id_masked):  # fmt: skip
        assert word in shown, word
    assert house.patient.credential not in shown


def test_a_rejected_line_says_why_and_by_which_clause(house: House) -> None:
    body = factories.body(house.patient, house.doctor)["encounter"] | {"visit_type": "first"}
    claim = house.send(encounter=body)
    shown = page(house.staff, "claim", claim.pk)
    assert "第 1 项：仅限复诊，不得用于首诊" in shown
    assert "FIRST_VISIT" in shown
    assert "不予支付" in shown


def test_a_clerk_reverses_once_with_a_reason(house: House) -> None:
    claim = house.send()
    client = logged_in(bureau())
    address = reverse("claim-reverse", args=[claim.pk])
    assert "冲回统筹基金" in text(client.get(address))
    assert "该字段是必填项" in text(client.post(address, {"reason": ""}))
    done = client.post(address, {"reason": "重复申报"}, follow=True)
    shown = text(done)
    assert "已冲正" in shown
    assert "冲正分录" in shown
    assert "重复申报" in shown
    again = client.post(address, {"reason": "再次"}, follow=True)
    assert "已经冲正" in text(again)
    set_scope(EVERYTHING)
    assert Event.objects.filter(subject=f"claim:{claim.pk}", action="claim.reverse").count() == 1


def test_who_may_not_reverse_is_refused(house: House) -> None:
    claim = house.send()
    client = logged_in(bureau("auditor"))
    assert (
        client.post(reverse("claim-reverse", args=[claim.pk]), {"reason": "x"}).status_code == 403
    )
    set_scope(EVERYTHING)
    event = Event.objects.get(action="page.refused")
    assert (event.subject, event.outcome) == (f"page:/claims/{claim.pk}/reverse/", "refused")
    assert "claim-reverse" not in page(bureau("auditor"), "claim", claim.pk)


# --- Scope ---


def test_hospital_a_never_sees_hospital_b(house: House) -> None:
    other = House()
    mine, theirs = house.send(), other.send()
    client = logged_in(house.staff)
    for name in ("claims", "claims-csv"):
        shown = text(client.get(reverse(name)))
        assert mine.claim_no in shown
        assert theirs.claim_no not in shown
    book = CalamineWorkbook.from_filelike(io.BytesIO(b"".join(client.get(reverse("claims-xlsx")))))
    cells = [str(cell) for row in book.get_sheet_by_index(0).to_python() for cell in row]
    assert mine.claim_no in cells
    assert theirs.claim_no not in cells
    for query in (
        {"institution": other.row.code}, {"claim_no": theirs.claim_no},
        {"person": crypto.person_hash(other.patient.credential).hex()},
    ):  # fmt: skip
        assert theirs.claim_no not in text(client.get(reverse("claims-csv"), query))
    for name in ("claim", "claim-reverse"):
        assert client.get(reverse(name, args=[theirs.pk])).status_code == 404
    assert client.get(reverse("claim", args=[mine.pk])).status_code == 200


def test_a_batch_of_another_hospital_does_not_exist(house: House) -> None:
    other = House()
    set_scope(EVERYTHING)
    content, _ = template("csv")
    batch = check(institution=other.row, file_name="x.csv", content=content, by="test", at=AT)
    client = logged_in(house.staff)
    for name in ("batch", "batch-result", "batch-annotated"):
        assert client.get(reverse(name, args=[batch.pk])).status_code == 404
    assert client.post(reverse("batch-move", args=[batch.pk, "confirm"])).status_code == 404
    assert "x.csv" not in text(client.get(reverse("batches")))
    assert "x.csv" in page(other.staff, "batches")


def test_pages_follow_the_role_table(db) -> None:
    factories.policies("nantong")
    needed = {"workbench": "workbench.view", "claims": "claims.view", "claims-csv": "claims.view",
              "claims-xlsx": "claims.view", "trial": "trials.run", "batches": "batches.view"}  # fmt: skip
    place, found = factories.region("nantong"), {}
    for role in ROLES:
        client = logged_in(factories.user(role, place))
        found |= {(role, name): client.get(reverse(name)).status_code for name in PAGES}
    refused = {"workbench": 302}  # the front door leads whoever has no workbench to the own page
    assert found == {
        (role, name): 200 if needed[name] in known.permissions else refused.get(name, 403)
        for role, known in ROLES.items()
        for name in PAGES
    }


def test_strangers_are_sent_to_the_log_in(db) -> None:
    for name in PAGES:
        answer = Client().get(reverse(name))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


# --- Query, paging, export ---


def test_filters_find_what_they_say(house: House) -> None:
    paid = house.send()
    body = factories.body(house.patient, house.doctor)["encounter"] | {"visit_type": "first"}
    refused = house.send(encounter=body)
    clerk = bureau()
    for query, found, missed in (
        ({"state": "payable"}, paid, refused), ({"state": "reject"}, refused, paid),
        ({"reason": "FIRST_VISIT"}, refused, paid), ({"claim_no": paid.claim_no}, paid, refused),
        ({"item": "111102003", "state": "payable"}, paid, refused),
        ({"institution": house.row.name, "state": "payable"}, paid, refused),
        ({"since": DAY.isoformat(), "until": DAY.isoformat(), "state": "payable"}, paid, refused),
    ):  # fmt: skip
        shown = page(clerk, "claims", **query)
        assert found.claim_no in shown, query
        assert missed.claim_no not in shown, query
    empty = page(clerk, "claims", since=(DAY + dt.timedelta(days=1)).isoformat())
    assert "没有符合条件的单据" in empty


def test_a_person_is_found_by_hash_and_the_number_stays_out_of_the_address(house: House) -> None:
    claim, other = house.send(), House().send()
    client = logged_in(bureau())
    number = house.patient.credential
    moved = client.post(reverse("claims-person"), {"credential": number})
    assert number not in moved["Location"]
    assert crypto.person_hash(number).hex() in moved["Location"]
    shown = text(client.get(moved["Location"]))
    assert claim.claim_no in shown
    assert other.claim_no not in shown
    assert number not in shown
    wrong = client.post(reverse("claims-person"), {"credential": "123"}, follow=True)
    assert "应为 18 位居民身份号码" in text(wrong)


def test_pages_go_forward_and_back_without_gap_or_repeat(house: House) -> None:
    sent = [house.send().pk for _ in range(7)]
    seen = Claim.objects.all()
    first = search.page(seen, size=3)
    second = search.page(seen, cursor=first.next or "", size=3)
    third = search.page(seen, cursor=second.next or "", size=3)
    pages = [[row.claim.pk for row in part.rows] for part in (first, second, third)]
    assert [key for part in pages for key in part] == sorted(sent, reverse=True)
    assert (first.previous, third.next) == (None, None)
    back = search.page(seen, cursor=third.previous or "", size=3)
    assert [row.claim.pk for row in back.rows] == pages[1]
    assert [row.claim.pk for row in search.walk(seen, most=5, size=2)] == sorted(sent)[:1:-1]


def test_an_export_is_csv_with_a_mark_text_numbers_and_no_formula(house: House) -> None:
    claim = house.send()
    Institution.objects.filter(pk=house.row.pk).update(name="=HYPERLINK(1)")
    answer = logged_in(bureau()).get(reverse("claims-csv"))
    raw = b"".join(answer)
    assert raw.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(raw.decode("utf-8-sig")))
    assert row["单据号"] == claim.claim_no
    assert row["医疗机构"] == "'=HYPERLINK(1)"
    assert (row["费用"], row["超标准自费"], row["统筹基金"], row["个人现金"]) == (
        "35.00", "13.00", "6.00", "29.00",
    )  # fmt: skip
    assert row["证件号码"] == house.patient.id_masked


def test_hostile_values_are_answered_not_served_an_error(house: House) -> None:
    client = logged_in(bureau())
    for value in HOSTILE:
        _ask_everything(client, value)


def _ask_everything(client: Client, value: str) -> None:
    names = [*search.ClaimFilter.base_filters, "cursor", "size", "page"]
    for name in names:
        assert client.get(reverse("claims"), {name: value}).status_code == 200, name
    assert client.get(reverse("claims-csv"), {"claim_no": value}).status_code == 200
    facts = ("region", "service", "service_date", "item_code", "fee", "price_class", "scheme",
             "doctor_independent_months", "last_offline_visit", "examples")  # fmt: skip
    for name in facts:
        answer = client.get(reverse("trial"), {name: value})
        assert answer.status_code == 200, name
        assert b"<script>alert" not in answer.content
    assert client.get(reverse("batches"), {"page": value}).status_code == 200
    assert client.post(reverse("claims-person"), {"credential": value}).status_code == 302


def test_impossible_ids_are_not_found(house: House) -> None:
    client = logged_in(bureau())
    for name in ("claim", "batch"):
        for key in (0, 2**63, 10**30):
            assert client.get(reverse(name, args=[key])).status_code == 404


def queries(client: Client, address: str) -> int:
    cache.clear()
    with CaptureQueriesContext(connection) as captured:
        text(client.get(address))
    return len(captured)


def test_one_row_or_fifty_cost_the_same_queries(house: House) -> None:
    clerk = bureau()
    client = logged_in(clerk)
    house.send()
    task(clerk, 0)
    addresses = [reverse(name) for name in ("claims", "workbench")]
    addresses.append(f"{reverse('claims')}?size=100&state=payable")
    for address in addresses:
        text(client.get(address))
    few = [queries(client, address) for address in addresses]
    for number in range(1, 50):
        house.send()
        task(clerk, number)
    many = [queries(client, address) for address in addresses]
    assert many == few
    assert max(many) <= 20


def test_one_line_or_ten_cost_the_same_queries(house: House) -> None:
    one = house.send()
    drug = {"kind": "drug", "prescription_no": "P1"}
    ten = house.send(*(line(n, item=f"D{n}", fee="1.00", **drug) for n in range(1, 11)))
    client = logged_in(bureau())
    address = reverse("claim", args=[one.pk])
    text(client.get(address))
    assert queries(client, address) == queries(client, reverse("claim", args=[ten.pk])) <= 24


# --- Workbench ---


def task(user: User, number: int, **more: object) -> Task:
    set_scope(EVERYTHING)
    standard = {
        "subject": f"claim:{number}", "title": f"待办 {number}", "permission": "claims.reverse",
        "region_code": user.region_id or "", "due": DAY + dt.timedelta(days=3), "created_at": AT,
        "clause": "第七条",
    }  # fmt: skip
    return Task.objects.create(**(standard | more))


def test_the_workbench_shows_my_tasks_and_figures_even_without_a_calendar(house: House) -> None:
    house.send()
    clerk = bureau()
    task(clerk, 1)
    task(clerk, 2, permission="trail.view", title="别人的待办")
    task(clerk, 3, region_code="330300", title="别处的待办")
    shown = page(clerk, "workbench")
    assert "待办 1" in shown
    assert 'href="/claims/1/"' in shown
    assert "第七条" in shown
    assert "期限待定（缺工作日历）" in shown
    assert "别人的待办" not in shown
    assert "别处的待办" not in shown
    for word in ("结算笔数", "统筹基金支付", "6.00", "2021-06", "可支付"):
        assert word in shown, word


def test_working_days_left_are_counted(house: House) -> None:
    from institutions.holidays import import_year, national_year

    import_year(year=2021, region="", rows=national_year(2021), by="test", at=AT)
    clerk = bureau()
    task(clerk, 1, due=dt.date(2021, 6, 17))
    task(clerk, 2, due=dt.date(2021, 6, 10))
    shown = page(clerk, "workbench")
    assert "剩余 2 个工作日" in " ".join(shown.split())
    assert "逾期" in shown


# --- Trial ---


def test_the_calculator_answers_the_notice_of_nantong(house: House) -> None:
    shown = page(house.staff, "trial", region="nantong", item_code="111102003", fee="35.00",
                 doctor_title="chief", service_date=DAY.isoformat())  # fmt: skip
    for word in (
        "予以支付",
        "6.00",
        "29.00",
        "22.00",
        "13.00",
        "二（二）第1款",
        "超标准自费（丙2类）",
    ):
        assert word in shown, word


def test_errors_stand_beside_their_fields(house: House) -> None:
    shown = page(house.staff, "trial", region="nantong", fee="12.345", service_date="soon")
    assert "请补正后再试算" in shown
    assert 'id="id_fee_error"' in shown
    assert "至多两位小数" in shown


def test_example_parameters_are_stamped(house: House) -> None:
    query = {"region": "nantong", "item_code": "111102003", "fee": "35.00", "scheme": "employee",
             "service_date": DAY.isoformat()}  # fmt: skip
    assert "文件未印支付比例" in page(house.staff, "trial", **query)
    shown = page(house.staff, "trial", **query, examples="on")
    assert "示例参数" in shown
    assert "使用了示例参数，不得用于实际支付" in shown


def test_the_form_follows_the_document_of_the_region(db) -> None:
    factories.policies()
    clerk = bureau()
    nantong, wenzhou, jilin, ningxia = (
        page(clerk, "trial", region=name, examples="on", service_date="2021-06-15")
        for name in ("nantong", "wenzhou", "jilin", "ningxia")
    )
    assert 'name="item_code"' in nantong
    assert 'name="last_offline_visit"' not in nantong
    assert 'name="last_offline_visit"' in wenzhou
    assert 'name="item_code"' not in wenzhou
    assert 'name="provincial_hospitals"' in jilin
    assert "收费次数" in jilin
    assert "无支付规则" in ningxia


# --- Batches ---


@pytest.mark.parametrize("ending", ["xlsx", "csv", "jsonl"])
def test_templates_are_read_back(house: House, ending: str) -> None:
    from settlement import sheets

    answer = logged_in(house.staff).get(reverse("batch-template", args=[ending]))
    parsed = sheets.read(f"x.{ending}", answer.content)
    assert [entry.claim["claim_no"] for entry in parsed.entries] == ["A0001"]
    assert parsed.errors == []


def test_a_file_with_errors_shows_them_all_and_comes_back_annotated(house: House) -> None:
    content, _ = template("csv")
    client = logged_in(house.staff)
    upload = io.BytesIO(content)
    upload.name = "申报.csv"
    shown = text(client.post(reverse("batches"), {"file": upload}, follow=True))
    assert "校验未通过" in shown
    assert "校验发现的错误" in shown
    batch = shown.split("/annotated.xlsx")[0].rsplit("/", 1)[1]
    book = client.get(reverse("batch-annotated", args=[int(batch)]))
    assert book.content.startswith(b"PK")
    taken = Event.objects.get(action="batch.annotated")
    assert (taken.subject, taken.actor) == (f"batch:{batch}", house.staff.username)
    assert "校验未通过" in page(house.staff, "batches")


def test_a_sound_file_is_confirmed(house: House, settings: Any) -> None:
    settings.DEMO_TODAY = DAY + dt.timedelta(days=1)  # whatever the hour, the visit is over
    body = factories.body(house.patient, house.doctor)
    upload = io.BytesIO(json.dumps(body, ensure_ascii=False).encode())
    upload.name = "claims.jsonl"
    client = logged_in(house.staff)
    answer = client.post(reverse("batches"), {"file": upload}, follow=True)
    shown = text(answer)
    assert "校验通过" in shown
    assert "确认并开始结算" in shown
    address = answer.redirect_chain[-1][0]
    started = text(client.post(f"{address}confirm/", follow=True))
    assert "装载中" in started
    assert 'hx-trigger="every 2s"' in started
    refused = text(client.post(f"{address}resume/", follow=True))
    assert "不能这样操作" in refused
    set_scope(EVERYTHING)
    assert Event.objects.get(action="batch.resume").outcome == "refused"


def test_a_file_that_is_none_is_refused_beside_its_field(house: House) -> None:
    upload = io.BytesIO(b"hello")
    upload.name = "x.exe"
    shown = text(logged_in(house.staff).post(reverse("batches"), {"file": upload}))
    assert "只接受 .csv、.xlsx 或 .jsonl 文件" in shown


def test_a_clerk_uploads_for_a_hospital_of_the_region_only(house: House) -> None:
    other = factories.institution("wenzhou")
    upload = io.BytesIO(b"x")
    upload.name = "x.csv"
    query = {"institution": other.code, "file": upload}
    assert "请选择辖区内的机构" in text(logged_in(bureau()).post(reverse("batches"), query))
