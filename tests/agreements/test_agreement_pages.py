"""Pages of signed agreements: who sees what, what follows is shown before it happens, one decision."""

import datetime as dt
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agreements import contracts, lifecycle, terms
from agreements.assessment import record_assessment
from agreements.models import Agreement
from institutions.models import Office
from tests import factories
from tests.agreements.cast import KEYS_FROM, KEYS_UNTIL
from tests.agreements.test_assessment import GOOD
from tests.agreements.test_lifecycle import AUG_2, END, at, days, decide, pair_of

TODAY = dt.date(2021, 12, 20)
LIMIT = 28  #: queries of a page, however many rows it has


@pytest.fixture
def pair(db, settings) -> tuple[Agreement, Agreement]:
    settings.DEMO_TODAY = TODAY
    factories.policies("wenzhou")
    return pair_of(dt.date(2021, 3, 15), END)


def client_of(role: str, place) -> Client:
    return factories.log_in(Client(), factories.user(role, place))


@pytest.fixture
def officer(pair) -> Client:
    return client_of("signing_officer", pair[0].institution.region)


def page(client: Client, row: Agreement, **query: str) -> str:
    answer = client.get(f"{reverse('agreement', args=[row.pk])}?{urlencode(query)}")
    assert answer.status_code == 200
    return answer.content.decode()


def typed(row: Agreement, **more: object) -> dict:
    return {
        "on": "2021-12-20", "reason": "现场核查", "clause": "协议第十条",
        "seen": lifecycle.version_of(row),
    } | more  # fmt: skip


def act(client: Client, row: Agreement, decision: str, **given: object):
    return client.post(reverse("agreement-decide", args=[row.pk, decision]), typed(row, **given))


# --- A decision ---


def test_what_follows_is_shown_first_and_done_when_confirmed(pair, officer):
    main, supplement = pair
    shown = act(officer, main, "suspended")
    assert shown.status_code == 200
    text = shown.content.decode()
    assert "补充协议将同时中止，自 2021-12-20 起" in text
    assert "温医保办〔2021〕6号 二十二第1款" in text
    assert days(main) == [("active", factories.LONG_AGO, END)]
    done = act(officer, main, "suspended", confirmed="1")
    assert done.status_code == 302
    assert lifecycle.state_on(main, TODAY).state == "suspended"
    assert lifecycle.state_on(supplement, TODAY).state == "suspended"
    after = page(officer, main)
    assert "现场核查" in after
    assert "已被取代" in after
    assert "协议第十条" in after


def test_upward_the_page_asks_and_the_agency_may_leave_it(pair, officer):
    main, supplement = pair
    shown = act(officer, supplement, "suspended").content.decode()
    assert "由经办机构另行决定" in shown
    act(officer, supplement, "suspended", confirmed="1")
    assert "请决定定点协议是否中止" in page(officer, main)
    leave = reverse("agreement-leave", args=[main.pk, "decide_main_agreement"])
    assert officer.post(leave, {"reason": ""}).status_code == 422
    assert officer.post(leave, {"reason": "实体服务不受影响"}).status_code == 302
    assert "请决定定点协议是否中止" not in page(officer, main)
    assert officer.post(leave, {"reason": "再来"}).status_code == 409


def test_later_states_that_give_way_are_named(pair, officer):
    _, supplement = pair
    decide(supplement, "suspended", dt.date(2021, 12, 25))
    shown = act(officer, supplement, "terminated").content.decode()
    assert "此后已登记的状态将被取代：2021-12-25 起中止" in shown


def test_typed_text_comes_back_to_be_changed(pair, officer):
    back = act(officer, pair[0], "suspended", edit="1")
    assert back.status_code == 200
    assert "现场核查" in back.content.decode()
    unsaid = act(officer, pair[0], "suspended", reason="")
    assert unsaid.status_code == 422
    assert "请写明理由" in unsaid.content.decode()


def test_the_second_of_two_officers_is_told_and_may_look_again(pair, officer):
    main, _ = pair
    seen = lifecycle.version_of(main)
    act(officer, main, "suspended", confirmed="1")
    late = act(officer, main, "terminated", seen=seen, confirmed="1")
    assert late.status_code == 409
    assert "刚刚被他人更新" in late.content.decode()
    assert f'value="{lifecycle.version_of(main)}"' in late.content.decode()
    twice = act(officer, main, "suspended", confirmed="1")
    assert twice.status_code == 409


@pytest.mark.parametrize("decision", ["renewed", "expired", "x"])
def test_what_is_no_decision_has_no_address(pair, officer, decision):
    assert act(officer, pair[0], decision).status_code == 404


# --- Renewal and paper ---


def scan() -> SimpleUploadedFile:
    return SimpleUploadedFile("续签.pdf", b"%PDF-1.7\n% signed\n")


def test_renewal_is_registered_with_the_signed_file(pair, officer):
    main, supplement = pair
    url = reverse("agreement-renew", args=[supplement.pk])
    given = {"signed_on": "2021-12-20", "seen": lifecycle.version_of(supplement)}
    early = officer.post(url, {**given, "file": scan()})
    assert early.status_code == 409
    assert "定点协议尚未续签" in early.content.decode()
    given = {"signed_on": "2021-12-20", "valid_until": "2022-12-31",
             "seen": lifecycle.version_of(main)}  # fmt: skip
    first = reverse("agreement-renew", args=[main.pk])
    assert officer.post(first, given).status_code == 422
    assert officer.post(first, {**given, "file": scan()}).status_code == 302
    made = main.next.get()
    assert (made.valid_until, made.paper.name) == (dt.date(2022, 12, 31), "续签.pdf")
    assert made.number in page(officer, main)
    assert "续签.pdf" in page(officer, made)
    assert "请办理补充协议续签" in page(officer, supplement)


def test_paper_is_registered_where_it_is_missing(db, settings):
    settings.DEMO_TODAY = TODAY
    factories.policies("nantong")
    hospital = factories.institution("nantong", agreements=False)
    row = factories.agreement(hospital, "supplementary", "online_signed_paper_pending")
    client = client_of("signing_officer", hospital.region)
    assert "登记补签的纸质协议" in page(client, row)
    url = reverse("agreement-paper", args=[row.pk])
    given = {"on": "2021-12-20", "seen": lifecycle.version_of(row), "file": scan()}
    assert client.post(url, given).status_code == 302
    assert lifecycle.state_on(row, TODAY).state == "signed"
    assert "登记补签的纸质协议" not in page(client, row)


# --- Two times ---


def test_the_state_of_a_day_as_it_was_known_then(pair, officer):
    _, supplement = pair
    decide(pair[0], "suspended", AUG_2, recorded=dt.date(2021, 9, 10))
    now = page(officer, supplement, on="2021-08-15")
    then = page(officer, supplement, on="2021-08-15", known="2021-08-20")
    assert "中止" in headed(now)
    assert "中止" not in headed(then)


def headed(text: str) -> str:
    """The head of the card that says the state of the day."""
    return text.split('id="state-title"')[1].split("</div>")[0]


# --- Who sees it ---


@pytest.mark.parametrize(
    ("role", "status"),
    [("signing_officer", 302), ("reviewer", 403), ("policy_staff", 403), ("supervisor", 403),
     ("auditor", 403), ("settlement_clerk", 403), ("information", 403), ("hospital", 403)],
)  # fmt: skip
def test_only_the_signing_officer_decides(pair, role, status):
    main, _ = pair
    place = main.institution if role == "hospital" else main.institution.region
    client = client_of(role, place)
    assert "可办理事项" in page(client, main) or role != "signing_officer"
    assert act(client, main, "suspended", confirmed="1").status_code == status


def test_a_hospital_reads_its_own_only(pair):
    main, _ = pair
    other = factories.institution("wenzhou").agreements.first()
    client = client_of("hospital", main.institution)
    terms.ask_for_renewals(on=TODAY, within=60, at=at(TODAY))
    shown = page(client, main)
    assert "可办理事项" not in shown
    assert "待决定" not in shown
    assert client.get(reverse("agreement", args=[other.pk])).status_code == 404
    listed = client.get(reverse("agreements")).content.decode()
    assert main.number in listed
    assert other.number not in listed


# --- The list ---


def test_the_list_is_narrowed_by_state_end_and_words(pair, officer):
    main, supplement = pair
    decide(supplement, "suspended", AUG_2)

    def listed(**query: str) -> set[str]:
        text = officer.get(f"{reverse('agreements')}?{urlencode(query)}").content.decode()
        return {row.number for row in pair if row.number in text}

    assert listed() == {main.number, supplement.number}
    assert listed(state="suspended") == {supplement.number}
    assert listed(state="suspended", on="2021-07-01") == set()
    assert listed(state="none", on="2022-02-01") == {main.number, supplement.number}
    assert listed(kind="main") == {main.number}
    assert listed(ends="30") == {main.number, supplement.number}
    assert listed(ends="over") == set()
    assert listed(q=main.institution.name) == {main.number, supplement.number}
    assert listed(q="没有这家") == set()


def test_pages_cost_the_same_for_many(pair, officer):
    def cost(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert officer.get(url).status_code == 200
        return len(queries)

    cost(reverse("agreements"))  # what is read once and kept
    few = [cost(reverse("agreements")), cost(reverse("agreement", args=[pair[0].pk]))]
    few[1] = cost(reverse("agreement", args=[pair[0].pk]))
    for _ in range(8):
        factories.institution("wenzhou")
    many = [cost(reverse("agreements")), cost(reverse("agreement", args=[pair[0].pk]))]
    assert many == few
    assert max(many) <= LIMIT


# --- Renewal online ---


def test_both_sides_sign_the_renewal_on_its_page(pair, officer):
    main, _ = pair
    region = main.institution.region
    Office.objects.get_or_create(region=region, kind="agency", defaults={"name": "测试经办机构"})
    contracts.make_signing_keys(valid_from=KEYS_FROM, valid_until=KEYS_UNTIL, by="k", at=KEYS_FROM)
    hand = client_of("hospital", main.institution)
    sign = {side: reverse("agreement-sign", args=[main.pk, side]) for side in (
        "institution", "agency")}  # fmt: skip
    assert hand.post(sign["institution"]).status_code == 409
    url = reverse("agreement-offer", args=[main.pk])
    given = {"valid_until": "2022-12-31", "seen": lifecycle.version_of(main)}
    assert hand.post(url, given).status_code == 403
    assert officer.post(url, {"seen": given["seen"]}).status_code == 422
    assert officer.post(url, given).status_code == 302
    assert "医疗机构网上签署" not in page(officer, main)
    assert "医疗机构网上签署" in page(hand, main)
    assert officer.post(sign["institution"]).status_code == 403
    assert hand.post(sign["institution"]).status_code == 302
    assert hand.post(sign["agency"]).status_code == 403
    assert "经办机构网上签署" in page(officer, main)
    assert officer.post(sign["agency"]).status_code == 302
    made = main.next.get()
    assert "双方已电子签署" in page(hand, made)
    paper = made.contracts.get()
    verified = hand.get(reverse("agreement-verify", args=[made.pk, paper.pk]))
    assert "验证通过" in verified.content.decode()
    assert officer.post(reverse("agreement-sign", args=[main.pk, "x"])).status_code == 404
    assert officer.post(sign["agency"]).status_code == 409


def test_the_assessment_stands_on_the_form_and_asks_for_a_reason(pair, officer):
    main, _ = pair
    record_assessment(
        institution=main.institution, year=2021, scores=dict.fromkeys(GOOD, 70), remark="", by="r",
        at=at(TODAY),
    )  # fmt: skip
    assert "2021年度考核70.00分" in page(officer, main)
    url = reverse("agreement-renew", args=[main.pk])
    given = {"signed_on": "2021-12-20", "valid_until": "2022-12-31", "file": scan(),
             "seen": lifecycle.version_of(main)}  # fmt: skip
    silent = officer.post(url, given)
    assert silent.status_code == 422
    assert "考核结果不建议直接续签，请写明理由" in silent.content.decode()
    told = officer.post(url, given | {"reason": "已整改", "file": scan()})
    assert told.status_code == 302
    assert "纸质" in page(officer, main.next.get())
