"""参保人综合查询 and the register's pages: what they show, to whom, at what cost, with which events."""

import datetime as dt
import json

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import Event
from institutions.access import EVERYTHING, scoped, set_scope
from institutions.models import Institution, User
from pricing.releases import current
from settlement import commands, filings, ledger, persons
from settlement.facts import Claimant
from settlement.models import Accumulator, Claim, DiseaseFiling, Entitlement, InsuredPerson
from settlement.register import commands as register
from tests import factories
from tests.factories import DAY, ZONE, line

AT = dt.datetime.combine(DAY, dt.time(10), ZONE)
PDF = b"%PDF-1.4 scan"


class Place:
    """A region with a hospital, a patient insured there, and the people who look."""

    def __init__(self, region: str = "nantong", scheme: str = "resident", **facts: object):
        self.hospital = factories.institution(region, **facts)
        self.patient = factories.person(region, scheme, account_balance=100_000)
        self.doctor = factories.physician(self.hospital, "chief")
        place = self.hospital.region
        self.clerk = factories.user("settlement_clerk", place)
        self.reviewer = factories.user("reviewer", place)
        self.staff = factories.user("hospital", self.hospital)
        Entitlement.objects.create(
            person=self.patient, scheme=scheme, standing="active", region_code=place.code,
            valid_from=factories.LONG_AGO, recorded_at=factories.RECORDED, recorded_by="t",
        )  # fmt: skip

    def send(self, *lines: dict, hospital: Institution | None = None, at: dt.datetime = AT,
             **more: object) -> Claim:  # fmt: skip
        set_scope(EVERYTHING)
        chosen = lines or (line(item="111102003", fee="35.00"),)
        body = factories.body(self.patient, self.doctor, *chosen, **more)
        place = Claimant.of(hospital or self.hospital)
        receipt = commands.receive(institution=place, claim=body, by="test", at=at)
        return Claim.objects.get(pk=json.loads(receipt.body)["id"])

    def reverse(self, claim: Claim, at: dt.datetime = AT) -> None:
        commands.reverse(institution=Claimant.of(self.hospital), claim_id=claim.pk, reason="录入错误",
                         by="test", at=at)  # fmt: skip

    @property
    def url(self) -> str:
        return reverse("person", args=[self.patient.pk])


@pytest.fixture(autouse=True)
def _fresh(settings) -> None:
    settings.DEMO_TODAY = DAY
    cache.clear()


@pytest.fixture
def place(db) -> Place:
    factories.policies("nantong", "wenzhou")
    return Place()


def get(user: User, url: str, **query: str):
    return factories.log_in(Client(), user).get(url, query)


def post(user: User, url: str, data: dict, **more: object):
    return factories.log_in(Client(), user).post(url, data, **more)


def text_of(answer) -> str:
    return answer.content.decode()


# --- Finding and who sees whom ---


def test_a_person_is_found_by_number_and_every_opening_is_an_event(place):
    client = factories.log_in(Client(), place.clerk)
    answer = client.post(reverse("persons-find"), {"credential": place.patient.credential.lower()})
    assert answer["Location"] == place.url
    page = text_of(client.get(place.url))
    assert place.patient.credential not in page
    assert place.patient.id_masked in page
    event = Event.objects.get(action="person.read")
    assert (event.actor, bytes(event.person_hash)) == (
        place.clerk.username, bytes(place.patient.id_hash))  # fmt: skip
    assert place.patient.id_masked in text_of(client.get(reverse("persons")))  # opened last


def test_looking_for_nobody_is_an_event_and_a_wrong_number_says_why(place):
    client = factories.log_in(Client(), place.clerk)
    answer = client.post(
        reverse("persons-find"), {"credential": factories.id_number()}, follow=True
    )
    assert "没有找到此参保人" in text_of(answer)
    assert Event.objects.filter(action="person.find", outcome="none").count() == 1
    wrong = client.post(
        reverse("persons-find"), {"credential": "３２０６11197404010126"}, follow=True
    )
    assert "全角" in text_of(wrong)


def test_another_region_and_a_hospital_without_a_claim_get_404(place):
    other = Place("wenzhou")
    pages = (place.url, reverse("person-reveal", args=[place.patient.pk]),
             reverse("person-act", args=[place.patient.pk, "standing"]))  # fmt: skip
    assert [get(other.clerk, url).status_code for url in pages] == [404, 404, 404]
    assert get(other.staff, place.url).status_code == 404
    assert get(place.staff, place.url).status_code == 404
    place.send()
    assert get(place.staff, place.url).status_code == 200


def test_a_hospital_sees_its_own_claims_only_and_no_totals(place):
    other = factories.institution("nantong")
    mine, theirs = place.send(), place.send(hospital=other)
    page = text_of(get(place.staff, place.url, tab="claims"))
    assert mine.claim_no in page
    assert theirs.claim_no not in page
    overview = text_of(get(place.staff, place.url, tab="usage"))
    assert "起付线与限额" not in overview
    assert "累计与限额" not in overview
    assert "个人账户余额" not in overview
    assert "个人账户余额" in text_of(get(place.clerk, place.url))
    agency = text_of(get(place.clerk, place.url, tab="claims"))
    assert mine.claim_no in agency
    assert theirs.claim_no in agency


# --- One day, as known now or then ---


def test_entitlement_of_a_day_as_known_now_and_then(place):
    register.change_standing(
        person=place.patient, standing="arrears", valid_from=dt.date(2021, 4, 1),
        valid_until=dt.date(2021, 4, 30), source="欠费清单", by="clerk",
        at=dt.datetime(2021, 5, 10, 9, tzinfo=ZONE),
    )  # fmt: skip
    now = get(place.clerk, place.url, on="2021-04-15")
    then = get(place.clerk, place.url, on="2021-04-15", known="2021-05-09")
    before = get(place.clerk, place.url, on="2018-04-15")
    assert [answer.context["badge"]["label"] for answer in (now, then, before)] == [
        "欠费暂停", "正常参保", "该日无参保登记"]  # fmt: skip
    assert "欠费清单" in text_of(now)
    assert "欠费清单" not in text_of(then)
    history = text_of(get(place.clerk, place.url, tab="history"))
    assert "已被替代" in history
    assert history.count("现行") == 3


def test_a_day_that_is_none_shows_today(place):
    assert get(place.clerk, place.url, on="2021-13-99", page="x", tab="x").status_code == 200


# --- Accumulators with history ---


def test_the_history_of_an_accumulator_adds_up_to_it(db):
    """Every movement is a version of a settlement; the running sums end in the accumulator."""
    factories.policies("nantong")
    place = Place(scheme="employee")
    first, second = place.send(), place.send(at=AT + dt.timedelta(minutes=1))
    place.reverse(first, at=AT + dt.timedelta(minutes=2))
    place.send(line(item="111102001", fee="12.00"), at=AT + dt.timedelta(minutes=3))
    place.send(at=AT + dt.timedelta(minutes=4))
    rows, total = persons.moves(place.patient, year=2021, scheme="employee", page=1, size=50)
    held = Accumulator.objects.get(person=place.patient)
    assert total == len(rows) == 4  # the held visit moves nothing
    assert (rows[0].deductible_sum, rows[0].in_scope_sum, rows[0].fund_sum) == (
        held.deductible_used, held.in_scope_used, held.fund_used)  # fmt: skip
    running = 0
    for row in reversed(rows):
        running += row.fund
        assert row.fund_sum == running
    assert {(row.claim_id, row.version) for row in rows} >= {
        (first.pk, 1),
        (first.pk, 2),
        (second.pk, 1),
    }
    assert ledger.balance().sound
    paged, count = persons.moves(place.patient, year=2021, scheme="employee", page=2, size=2)
    assert (paged, count) == (rows[2:4], 4)
    assert [year.elsewhere for year in persons.years(place.patient, current())] == [(0, 0, 0)]


def test_what_other_regions_used_is_said(db):
    factories.policies("nantong")
    place = Place(scheme="employee")
    place.send()
    Accumulator.objects.filter(person=place.patient).update(in_scope_used=10_000, fund_used=5_000)
    page = text_of(get(place.clerk, place.url, tab="usage"))
    assert "另有数据范围之外的单据计入累计" in page


def test_usage_shows_years_with_limits_and_every_movement(db):
    factories.policies("nantong")
    place = Place(scheme="employee")
    claim = place.send()
    page = text_of(get(place.clerk, place.url, tab="usage"))
    for word in ("起付线 20.00 元", "封顶线 6,000.00 元", claim.claim_no, "+22.00", "累计 22.00"):
        assert word in page, word
    assert get(place.clerk, place.url, tab="usage", year="1999", scheme="x").status_code == 200


# --- Why ---


def test_each_claim_says_why_on_the_telephone(place):
    place.send()
    place.send(line(item="111102009", fee="35.00"))
    place.send(line(item="111102003", fee="36.00"))
    reversed_ = place.send()
    place.reverse(reversed_)
    page = text_of(get(place.clerk, place.url, tab="claims"))
    for words in (
        (
            "费用35.00元，统筹基金支付6.00元：13.00元超过最高支付标准，属于丙2类自费（通医保发〔2020〕25号 二（二）第2款）；"
            "其余16.00元按规定由个人负担（每次定额 6.00 元，不超过范围内金额）。"
        ),
        "费用35.00元，统筹基金没有支付：诊察费35.00元不予支付，因为医院上传的项目编码不在价格目录里",
        "费用36.00元，统筹基金没有支付：诊察费36.00元正在人工审核，因为医院收费高于公布的价格",
        "这笔35.00元的结算已经冲正（录入错误）",
    ):
        assert words in page, words


def test_the_deductible_so_far_is_told(db):
    factories.policies("nantong")
    place = Place(scheme="employee")
    place.send(line(item="111102003", fee="12.00"))
    place.send(line(item="111102003", fee="12.00"), at=AT + dt.timedelta(minutes=1))
    page = text_of(get(place.clerk, place.url, tab="claims"))
    assert "全年20.00元，此前已累计0.00元，还差8.00元" in page
    assert "全年20.00元，此前已累计12.00元，至此已满" in page


@pytest.mark.parametrize(
    ("tab", "most"), [("", 32), ("usage", 24), ("claims", 24), ("history", 20)]
)
def test_the_number_of_queries_does_not_grow_with_the_claims(place, tab, most):
    client = factories.log_in(Client(), place.clerk)
    counts = []
    for _ in range(2):
        place.send()
        place.send()
        client.get(place.url, {"tab": tab})
        with CaptureQueriesContext(connection) as queries:
            assert client.get(place.url, {"tab": tab}).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= most


# --- Acts and reveals ---


def test_numbers_are_revealed_against_a_reason_only(place):
    url = reverse("person-reveal", args=[place.patient.pk])
    assert get(place.staff, url).status_code == 403
    assert place.patient.credential not in text_of(get(place.clerk, url))
    assert post(place.clerk, url, {"reason": " "}).status_code == 400
    assert not Event.objects.filter(action="person.reveal").exists()
    answer = post(place.clerk, url, {"reason": "来电核对身份"})
    assert place.patient.credential in text_of(answer)
    assert answer["Cache-Control"] == "no-store"
    assert Event.objects.filter(action="person.reveal").count() == 1


def test_the_clerk_enrols_and_changes_the_reviewer_does_not(place):
    given = {
        "number": factories.id_number(), "name": "新示例", "region_code": "320600",
        "scheme": "resident", "valid_from": "2021-06-01", "source": "登记表",
    }  # fmt: skip
    assert post(place.reviewer, reverse("person-new"), given).status_code == 403
    wrong = post(place.clerk, reverse("person-new"), given | {"number": "320611197404010126"})
    assert wrong.status_code == 422
    assert "校验位不符" in text_of(wrong)
    answer = post(place.clerk, reverse("person-new"), given)
    made = InsuredPerson.objects.get(name_masked="新**")
    assert answer["Location"] == reverse("person", args=[made.pk])
    acts = (
        ("standing", {"standing": "arrears", "valid_from": "2021-06-10", "valid_until": "2021-06-12",
                      "source": "欠费"}),
        ("convert", {"scheme": "employee", "valid_from": "2021-06-20", "source": "就业"}),
        ("correct", {"scheme": "lixiu", "standing": "active", "valid_from": "2021-06-02",
                     "valid_until": "2021-06-03", "source": "档案", "reason": "误登"}),
        ("identity", {"phone": "13800001234", "reason": "补登"}),
        ("balance", {"balance": "88.50", "reason": "账户系统对账单"}),
        ("death", {"died_on": "2021-06-15", "source": "证明", "confirmed": "on"}),
    )  # fmt: skip
    for key, data in acts:
        url = reverse("person-act", args=[made.pk, key])
        assert get(place.clerk, url).status_code == 200
        assert post(place.clerk, url, {}).status_code == 422
        assert post(place.clerk, url, data).status_code == 302, key
    refused = post(place.clerk, reverse("person-act", args=[made.pk, "convert"]), acts[1][1])
    assert refused.status_code == 409
    assert get(place.clerk, reverse("person-act", args=[made.pk, "else"])).status_code == 404
    shown = text_of(get(place.clerk, reverse("person", args=[made.pk])))
    assert "个人账户余额" in shown
    assert "88.50 元" in shown
    rows = Entitlement.objects.known().filter(person=made).order_by("valid_from")
    assert [(row.scheme, row.standing) for row in rows] == [
        ("resident", "active"), ("lixiu", "active"), ("resident", "active"), ("resident", "arrears"),
        ("resident", "active"), ("resident", "deceased"),
    ]  # fmt: skip


# --- Extracts ---


def upload(user: User, content: str, name: str = "名册.csv", **more: str):
    file = SimpleUploadedFile(name, content.encode("gbk"))
    return post(user, reverse("register"), {"file": file, **more})


def test_an_extract_is_uploaded_confirmed_and_compared(place, django_capture_on_commit_callbacks):
    head = "证件号码,姓名,险种,生效日\n"
    wrong = upload(place.clerk, f"{head}320611197404010126,张示例,居民医保,2021-01-01\n")
    page = text_of(get(place.clerk, wrong["Location"]))
    assert "校验未通过" in page
    assert "320***********0126" in page
    assert "320611197404010126" not in page
    number = factories.id_number()
    good = upload(place.clerk, f"{head}{number},张示例,居民医保,2021-01-01\n", "名册2.csv")
    url = good["Location"]
    assert "确认写入" in text_of(get(place.clerk, url))
    assert post(place.clerk, f"{url}confirm/", {}).status_code == 302
    assert "正在导入" in text_of(get(place.clerk, url))
    assert get(place.clerk, f"{url}annotated.xlsx").status_code == 200
    assert number not in text_of(get(place.clerk, url))
    sheet = upload(place.clerk, f"{head}{number},张示例,居民医保,2021-01-01\n", on="2021-06-15")
    page = text_of(get(place.clerk, sheet["Location"]))
    assert "仅核对表列有" in page
    assert "仅本门户登记" in page
    assert get(place.clerk, sheet["Location"], kind="scheme").context["table"].rows == []
    decide = f"{sheet['Location']}decide/"
    post(place.clerk, decide, {"action": "keep", "all_matching": "1", "reason": ""})
    assert "2 处待处理" in text_of(get(place.clerk, sheet["Location"]))
    post(place.clerk, f"{decide}?kind=only_there",
         {"action": "adopt", "all_matching": "1", "reason": "省平台一致"})  # fmt: skip
    assert "1 处待处理" in text_of(get(place.clerk, sheet["Location"]))
    assert InsuredPerson.objects.filter(name_masked="张**").exists()
    other = Place("wenzhou")
    assert get(other.clerk, url).status_code == 404
    assert get(place.reviewer, reverse("register")).status_code == 403
    for ending, status in (("csv", 200), ("xlsx", 200), ("pdf", 404)):
        assert get(place.clerk, reverse("register-template", args=[ending])).status_code == status
    assert upload(place.clerk, "x", "a.pdf").status_code == 422


# --- Filings ---


def test_a_hospital_files_the_agency_reviews(db):
    factories.policies("wenzhou")
    place = Place("wenzhou")
    url = reverse("disease-filing-new")
    given = {"number": place.patient.credential, "name": "测试", "code": "M01600", "reason": "复诊"}
    nobody = post(place.staff, url, given | {"name": "别人"})
    assert nobody.status_code == 422
    assert "没有此参保人，或证件号码与姓名不符" in text_of(nobody)
    files = {
        f"file_{key}": SimpleUploadedFile(f"{key}.pdf", PDF)
        for key in ("record", "report", "proof")
    }
    answer = post(place.staff, url, given | files)
    filing = DiseaseFiling.objects.get()
    page = reverse("disease-filing", args=[filing.pk])
    assert (answer["Location"], filing.institution_code) == (page, place.hospital.code)
    assert "诊断证明" in text_of(get(place.reviewer, page))
    document = f"{page}files/{filing_file(filing)}/"
    assert get(place.reviewer, document).content == PDF
    other = factories.user("hospital", factories.institution("wenzhou"))
    assert [get(other, address).status_code for address in (page, document)] == [404, 404]
    step = reverse("disease-filing-step", args=[filing.pk, "approve"])
    data = {"valid_from": "2021-06-15", "version": filing.version}
    assert post(place.staff, step, data).status_code == 403
    assert post(place.reviewer, step, {"version": filing.version}).status_code == 422
    assert post(place.reviewer, step, data).status_code == 302
    assert post(place.reviewer, step, data).status_code == 409
    assert post(place.reviewer, f"{page}nothing/", {}).status_code == 404
    listing = text_of(
        get(place.clerk, reverse("disease-filings"), state="approved", q=filing.number)
    )
    assert filing.number in listing
    row = filing.diseases.get()
    renew = f"{url}?renews={row.pk}"
    assert "续期" in text_of(get(place.staff, renew))
    assert get(other, renew).status_code == 404
    assert get(place.clerk, f"{url}?renews=x").status_code == 404
    assert post(place.clerk, renew, {"reason": ""}).status_code == 302
    renewal = DiseaseFiling.objects.get(renews=row)
    more = {"material": "record", "papers": SimpleUploadedFile("a.pdf", PDF)}
    assert post(place.clerk, f"/diseases/{renewal.pk}/files/", more).status_code == 302
    assert post(place.clerk, f"/diseases/{renewal.pk}/files/", {}).status_code == 422


def filing_file(filing: DiseaseFiling) -> int:
    return filings.materials(filing).first().pk


def test_without_a_list_nobody_can_apply(place, settings):
    settings.EXAMPLE_PARAMETERS = False  # Nantong's only list is an example
    assert "没有已发布的慢特病目录" in text_of(get(place.clerk, reverse("disease-filing-new")))


def test_the_scope_of_a_page_is_the_readers(place):
    """Row level security underneath: the panel reads nothing of other hospitals."""
    other = factories.institution("nantong")
    place.send()
    hidden = place.send(hospital=other)
    with scoped(place.staff.scope_codes()):
        rows, total = persons.moves(place.patient, year=2021, scheme="resident", page=1, size=9)
        assert total == 1
        assert hidden.pk not in {row.claim_id for row in rows}
