"""The public roll: on it from the day of signing, off it with suspension, termination and expiry."""

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from agreements import lifecycle
from agreements.models import Agreement
from agreements.roll import HEADS
from audit.openly import digest_of
from institutions.access import EVERYTHING, set_scope
from institutions.models import Institution, Region
from pricing.document import parse
from pricing.models import Release
from tests import factories

DAY = dt.date(2021, 12, 20)
SIGNED = dt.date(2021, 8, 2)
STOP = dt.date(2021, 10, 8)
SEARCH = "/public/institutions/"
CASES = Path(__file__).parents[1] / "policies" / "agreements-branches.json"


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEMO_TODAY", DAY)


@pytest.fixture
def law(db) -> None:
    factories.policies()
    set_scope(EVERYTHING)


@pytest.fixture
def hospital(law) -> Institution:
    """A Wenzhou hospital with a main agreement; the supplementary one is signed on SIGNED."""
    made = factories.institution("wenzhou", agreements=False)
    Institution.objects.filter(pk=made.pk).update(aliases=["旧名卫生院"])
    made.facts.update(internet_hospital_name="瓯江云上互联网医院")
    factories.agreement(made, "main")
    sign(made)
    return made


def sign(hospital: Institution, on: dt.date = SIGNED, state: str = "signed") -> Agreement:
    made = Agreement.objects.create(
        institution=hospital, kind="supplementary", number=f"温协-{hospital.pk}-{on}",
        valid_from=on, signed_on=on,
    )  # fmt: skip
    lifecycle.set_state(agreement=made, state=state, on=on, reason="签约", by="签约员", at=at(on))
    return made


def at(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(10), factories.ZONE)


def decide(agreement: Agreement, decision: str, on: dt.date, recorded: dt.date | None = None):
    return lifecycle.decide(
        agreement=agreement, decision=decision, on=on, reason="核查需要", by="签约员",
        at=at(recorded or on),
    )  # fmt: skip


def agreement(hospital: Institution, kind: str) -> Agreement:
    return hospital.agreements.get(kind=kind)


def address(day: dt.date | str = DAY, area: str = "330300") -> str:
    return f"{SEARCH}{area}/{day}/"


def page(url: str, query: dict | None = None, status: int = 200) -> str:
    reply = Client().get(url, query or {})
    assert reply.status_code == status, url
    return reply.content.decode()


def data(day: dt.date | str = DAY, area: str = "330300") -> dict:
    return json.loads(Client().get(f"{address(day, area)}institutions.json").content)


def listed(day: dt.date, area: str = "330300") -> list[str]:
    return [row["code"] for row in data(day, area)["content"]["institutions"]]


def around(day: dt.date) -> tuple[bool, bool]:
    """Whether anybody is on the roll on the eve of a day and on the day."""
    return bool(listed(day - dt.timedelta(days=1))), bool(listed(day))


# --- who is listed when ---


def test_it_appears_with_the_day_of_signing(hospital):
    assert around(SIGNED) == (False, True)
    (row,) = data(SIGNED)["content"]["institutions"]
    assert row == {
        "code": hospital.code, "name": hospital.name, "internet_hospital": "瓯江云上互联网医院",
        "kind": "medical", "area": "330300", "place": "温州市",
        "agreement": f"温协-{hospital.code}-{SIGNED}", "state": "signed",
        "since": SIGNED.isoformat(), "signed_on": SIGNED.isoformat(),
        "valid_from": SIGNED.isoformat(), "valid_until": None,
    }  # fmt: skip


@pytest.mark.parametrize("decision", ["suspended", "terminated"])
@pytest.mark.parametrize("kind", ["main", "supplementary"])
def test_it_goes_with_suspension_and_termination_of_either_agreement(hospital, kind, decision):
    decide(agreement(hospital, kind), decision, STOP)
    assert around(STOP) == (True, False)


def test_it_comes_back_with_resumption_and_says_since_when(hospital):
    supplement = agreement(hospital, "supplementary")
    decide(supplement, "suspended", STOP)
    back = dt.date(2021, 11, 1)
    decide(supplement, "resumed", back)
    assert around(back) == (False, True)
    since = [data(day)["content"]["institutions"][0]["since"] for day in (SIGNED, back, DAY)]
    assert since == [SIGNED.isoformat(), back.isoformat(), back.isoformat()]


def test_while_the_main_agreement_resumes_alone_nobody_is_listed(hospital):
    decide(agreement(hospital, "main"), "suspended", STOP)
    decide(agreement(hospital, "main"), "resumed", dt.date(2021, 11, 1))
    assert listed(DAY) == []


def test_it_goes_when_the_term_ends_and_a_renewal_continues_it(hospital):
    old = agreement(hospital, "supplementary")
    end = dt.date(2021, 11, 30)
    Agreement.objects.filter(pk=old.pk).update(valid_until=end)
    assert around(end + dt.timedelta(days=1)) == (True, False)
    sign(hospital, end + dt.timedelta(days=1))
    assert around(end + dt.timedelta(days=1)) == (True, True)
    assert data()["content"]["institutions"][0]["since"] == SIGNED.isoformat()


def test_without_a_main_agreement_nobody_is_listed(law):
    sign(factories.institution("wenzhou", agreements=False))
    assert listed(DAY) == []


def test_the_main_agreement_may_be_the_parents(hospital):
    branch = factories.institution("wenzhou", agreements=False)
    Institution.objects.filter(pk=branch.pk).update(parent=hospital)
    branch.refresh_from_db()
    sign(branch)
    assert listed(DAY) == [hospital.code, branch.code]
    decide(agreement(hospital, "main"), "suspended", STOP)
    assert listed(DAY) == []


@pytest.mark.parametrize("region", ["nantong", "wenzhou"])
def test_the_document_says_in_which_states_a_party_is_listed(law, region):
    made = factories.institution(region, agreements=False)
    factories.agreement(made, "main")
    sign(made, state="online_signed_paper_pending")
    release = Release.objects.get(region=region, kind="policy", state="published")
    payable = parse(release.text).data["agreement_states"]["payable"]
    assert bool(listed(DAY, made.region_id)) is ("online_signed_paper_pending" in payable)


def test_before_the_document_is_in_force_there_is_no_roll(law):
    factories.institution("wenzhou")
    first = parse(Release.objects.get(region="wenzhou", kind="policy").text).data["effective"][
        "from"
    ]
    assert around(first) == (False, True)
    assert "没有以补充协议为支付条件的生效文件" in page(address(first - dt.timedelta(days=1)))


def test_a_region_whose_document_knows_no_agreements_has_no_roll(law):
    made = factories.institution("jilin")
    assert listed(DAY, made.region_id) == []
    assert "没有以补充协议为支付条件的生效文件" in page(address(area=made.region_id))


def test_other_parties_with_an_agreement_are_listed_by_kind(hospital):
    shop = factories.institution("wenzhou", price_class="")
    Institution.objects.filter(pk=shop.pk).update(kind="retail_pharmacy")
    assert listed(DAY) == [hospital.code, shop.code]
    html = page(SEARCH, {"kind": "retail_pharmacy"})
    assert (shop.code in html, f'class="code">{hospital.code}' in html) == (True, False)
    assert reverse("public-prices-institution", args=[shop.code, DAY]) not in html


def test_the_cases_of_the_law_hold_for_the_real_roll(hospital):
    """Every publication case: with a signed agreement on the list, without one not."""
    cases = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
    asked = [case for case in cases if case["subject"] == "publication"]
    assert len(asked) >= 4
    for case in asked:
        made = factories.institution("wenzhou", agreements=False)
        factories.agreement(made, "main")
        signed = case["input"]["signed"]
        day = dt.date.fromisoformat(signed) if isinstance(signed, str) else SIGNED
        if signed:
            sign(made, day)
        assert (made.code in listed(day)) is case["expected"]["on_public_list"], case["id"]


# --- permanent, per day and area ---


def test_a_past_day_has_the_same_content_whenever_it_is_asked_for(hospital, monkeypatch):
    urls = [f"{address(SIGNED)}{end}" for end in ("institutions.csv", "institutions.json")]
    before = [page(url) for url in urls]
    decide(agreement(hospital, "supplementary"), "suspended", STOP)
    facts = hospital.facts.get()
    type(facts).objects.filter(pk=facts.pk).update(name=hospital.name)
    Institution.objects.filter(pk=hospital.pk).update(name="改名后的医院")
    monkeypatch.setattr(settings, "DEMO_TODAY", dt.date(2029, 3, 4))
    assert [page(url) for url in urls] == before


def test_a_late_record_changes_the_day_and_the_page_says_so(hospital):
    before = data(STOP)
    assert before["corrected_after_that_day"] == {"added": [], "removed": []}
    assert "事后更正" not in page(address(STOP))
    decide(agreement(hospital, "supplementary"), "suspended", STOP, recorded=dt.date(2021, 11, 5))
    after = data(STOP)
    assert after["content_sm3"] != before["content_sm3"]
    assert after["corrected_after_that_day"] == {"added": [], "removed": [hospital.code]}
    html = page(address(STOP))
    assert "移出 1 家" in html
    assert hospital.code in html.partition("事后更正")[2]


def test_the_hash_of_the_content_can_be_computed_by_anybody(hospital):
    body = data()
    assert body["content_sm3"] == digest_of(body["content"])
    assert body["content_sm3"] in page(address())


def test_the_page_names_document_clause_and_what_is_not_printed(hospital):
    rule = parse(Release.objects.get(region="wenzhou", kind="policy").text).data
    publication = rule["procedures"]["publication"]
    html = page(address())
    wanted = [rule["document"], publication["clause"], publication["list"], publication["gap"],
              "中止期间不列", f"http://testserver{address()}"]  # fmt: skip
    assert [words for words in wanted if words not in html] == []


def test_the_csv_holds_what_the_page_shows(hospital):
    content = Client().get(f"{address()}institutions.csv").content
    assert content.startswith(b"\xef\xbb\xbf")
    (row,) = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert tuple(row) == HEADS
    shown = {"机构编码": hospital.code, "机构名称": hospital.name, "协议状态": "已签署",
             "列入名单起": SIGNED.isoformat(), "文号": "温医保办〔2021〕6号", "条款": "十九"}  # fmt: skip
    assert {key: row[key] for key in shown} == shown
    assert hospital.name in page(address())


def test_an_area_holds_its_counties(hospital):
    city = Region.objects.get(code="330300")
    county = Region.objects.create(
        code="330381", name="瑞安市", level="county", parent=city, policy_region="wenzhou"
    )
    inside = factories.institution("wenzhou")
    Institution.objects.filter(pk=inside.pk).update(region=county)
    assert listed(DAY) == [hospital.code, inside.code]
    assert listed(DAY, "330381") == [inside.code]
    html = page(address())
    assert html.count('scope="rowgroup"') == 2
    index = json.loads(Client().get(f"{SEARCH}index.json").content)
    assert [(one["area"], one["institutions"]) for one in index["areas"]] == [
        ("330300", 2), ("330381", 1)
    ]  # fmt: skip
    assert all(Client().get(one["url"]).status_code == 200 for one in index["areas"])


def test_today_has_a_short_address(hospital):
    assert Client().get(f"{SEARCH}330300/")["Location"] == address()


# --- search ---


def test_parties_are_found_by_every_name_and_code(hospital):
    other = factories.institution("nantong")
    for words in (hospital.code, hospital.name, "瓯江云上", "旧名", "瓯江 旧名"):
        html = page(SEARCH, {"q": words})
        assert (hospital.code in html, other.code in html) == (True, False), words
    assert "没有找到机构" in page(SEARCH, {"q": "没有这家"})
    html = page(SEARCH, {"region": "320600"})
    assert (hospital.code in html, other.code in html) == (False, True)


def test_the_search_asks_for_any_day(hospital):
    decide(agreement(hospital, "supplementary"), "suspended", STOP)
    assert hospital.code not in page(SEARCH)
    assert hospital.code in page(SEARCH, {"on": "2021-09-01"})
    future = page(SEARCH, {"on": "2022-01-05"})
    assert "未来日期" in future
    assert address("2022-01-05") not in future


def test_many_parties_are_paged_and_the_fixed_address_has_them_all(hospital):
    more = [factories.institution("wenzhou").code for _ in range(60)]
    assert page(SEARCH).count('scope="row"') == 50
    assert page(SEARCH, {"page": "2"}).count('scope="row"') == 11
    assert page(SEARCH, {"page": "99", "size": "x"}).count('scope="row"') == 11
    assert page(address()).count('scope="row"') == 61
    assert listed(DAY) == sorted([hospital.code, *more])


@pytest.mark.django_db
def test_without_anything_the_page_says_so():
    assert "当日没有列入名单的机构" in page(SEARCH)
    assert json.loads(Client().get(f"{SEARCH}index.json").content)["areas"] == []


# --- how it is served ---


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("330300/2021-02-30/", 400, "不是有效日期"),
        ("330300/20211220/institutions.csv", 400, "不是有效日期"),
        ("330300/2021-12-21/", 404, "尚未到来"),
        ("999999/2021-12-20/", 404, "没有代码为“999999”的区域"),
        ("nowhere/2021-12-20/institutions.json", 404, "没有代码为"),
        ("?region=999999", 400, "查询条件有误"),
        ("?on=2021-13-01", 400, "查询条件有误"),
        ("?kind=shop", 400, "查询条件有误"),
    ],
)
def test_a_wrong_address_is_told_in_chinese(hospital, url: str, status: int, words: str):
    assert words in page(f"{SEARCH}{url}", status=status)


@pytest.mark.parametrize("sign", ["\0", "' OR 1=1 --", "<script>alert(1)</script>", "%", "\\"])
def test_hostile_words_do_no_harm(hospital, sign: str):
    for key in ("q", "region", "on", "kind", "page"):
        reply = Client().get(SEARCH, {key: sign})
        assert reply.status_code in (200, 400)
        assert "<script>alert" not in reply.content.decode()


def test_nothing_else_of_a_party_is_told(hospital):
    hospital.credit_code = "12330300MB0000000X"
    hospital.save()
    decide(agreement(hospital, "supplementary"), "suspended", STOP)
    decide(agreement(hospital, "supplementary"), "resumed", dt.date(2021, 11, 1))
    for url in (SEARCH, address(), f"{address()}institutions.json", f"{address()}institutions.csv"):
        text = page(url)
        assert hospital.name in text
        assert not any(word in text for word in ("12330300MB", "签约员", "核查需要"))


def test_no_cookie_is_set_and_copies_may_be_kept(hospital):
    urls = (SEARCH, address(), f"{address()}institutions.csv", f"{SEARCH}999999/2021-12-20/")
    for url in urls:
        reply = Client().get(url)
        assert (url, dict(reply.cookies)) == (url, {})
        assert "csrf" not in reply.content.decode()
        assert set(reply["Cache-Control"].split(", ")) == {"public", "max-age=300"}
    reply = Client().get(address())
    again = Client().get(address(), headers={"If-None-Match": reply["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert Client().head(address()).content == b""
    assert Client().post(SEARCH).status_code == 405


def test_the_number_of_queries_is_fixed(hospital, django_assert_num_queries):
    for _ in range(30):
        factories.institution("wenzhou")
    page(SEARCH)  # compiles the catalogue
    with django_assert_num_queries(6):  # areas, those used, version; states, mains, facts
        page(SEARCH)
    with django_assert_num_queries(5):  # area, version, states, mains, facts
        page(address())
    with django_assert_num_queries(8):  # and what was known at the end of that day
        page(address(SIGNED))


def test_public_pages_lead_to_the_roll(hospital):
    link = f'href="{SEARCH}"'
    assert link in page(reverse("account_login"))
    assert link in page("/public/prices/")
