"""Keys of the interface: issued once per purpose, shown once, changed, ended; every act in the trail."""

import datetime as dt
import json
import re
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from audit import words
from audit.models import Event
from institutions import clients, grants
from institutions.client_forms import rate_words
from institutions.models import ApiClient, Institution, Region
from institutions.refusals import Refusal
from institutions.throttling import ClientThrottle, Rate
from institutions.tokens import client_of, office_of
from tests import factories
from tests.factories import ZONE

AT = dt.datetime(2021, 12, 20, 9, tzinfo=ZONE)
WHO: dict[str, Any] = {"by": "security.admin", "at": AT}
SHOWN = re.compile(r'<p class="secret code">([^<]+)</p>')


@pytest.fixture
def city(db) -> Region:
    return factories.region("wenzhou")


@pytest.fixture
def hospital(city: Region) -> Institution:
    return factories.institution("wenzhou", agreements=False)


def office_key(city: Region, **more: Any) -> tuple[ApiClient, str]:
    given = {"purpose": "监管月报上报", "rate": "client_low", "scopes": ["reports:read"]} | more
    return clients.issue(holder=city.pk, **given, **WHO)


def token_for(row: ApiClient, secret: str, **more: str) -> Any:
    return Client().post("/api/v1/oauth/token", {
        "grant_type": "client_credentials", "client_id": row.client_id, "client_secret": secret,
        **more,
    })  # fmt: skip


def refused_as(code: str, status: int = 422) -> Any:
    return pytest.raises(Refusal, match=f"^{code}: ")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


# --- The commands ---


def test_an_office_key_opens_the_side_of_offices_with_its_scopes_and_its_rate(city: Region) -> None:
    row, secret = office_key(city)
    answer = token_for(row, secret).json()
    assert answer["scope"] == "reports:read"
    found = office_of(answer["access_token"], at=now())
    assert found is not None
    assert (found.client_id, found.region_id, found.rate) == (row.client_id, city.pk, "client_low")
    assert client_of(answer["access_token"], at=now()) is None
    assert row.client_id.startswith("330300-")
    wide = token_for(row, secret, scope="claims:read")
    assert (wide.status_code, wide.json()["error"]) == (400, "invalid_scope")


def test_an_institution_key_opens_the_side_of_institutions(hospital: Institution) -> None:
    row, secret = clients.issue(
        holder=hospital.code.lower(), purpose="HIS 结算", rate="client",
        scopes=["claims:read", "claims:write"], **WHO,
    )  # fmt: skip
    answer = token_for(row, secret).json()
    assert answer["scope"].split() == ["claims:read", "claims:write"]
    found = client_of(answer["access_token"], at=now())
    assert found is not None
    assert (found.institution, found.rate) == (hospital.code, "client")


def test_a_client_of_before_without_a_list_has_the_scopes_of_its_side(
    city: Region, hospital: Institution
) -> None:
    backend, every = grants.ClientScopes(), set(settings.OAUTH2_PROVIDER["SCOPES"])
    office = set(backend.get_available_scopes(factories.api_client(region=city)))
    place = set(backend.get_available_scopes(factories.api_client(institution=hospital)))
    assert (office | place, office & place) == (every, set())
    assert office == {scope for scope in every if scope.startswith("reports:")}
    assert set(backend.get_available_scopes()) == every


def test_the_secret_is_stored_as_a_hash_and_stands_in_no_event(city: Region) -> None:
    row, secret = office_key(city)
    row.refresh_from_db()
    assert secret not in row.client_secret
    assert row.client_secret.startswith("pbkdf2_")
    _, second = clients.rotate(client=row, seen=1, reason="例行换发", **WHO)
    told = b"".join(bytes(event.body) for event in Event.objects.all()).decode()
    assert not {secret, second} & set(re.split(r'["\s]', told))


def test_every_act_is_an_event_with_chinese_words(city: Region, hospital: Institution) -> None:
    row, _ = office_key(city)
    clients.rotate(client=row, seen=1, reason="例行换发", **WHO)
    clients.end(client=row, reason="系统下线", **WHO)
    other, _ = clients.issue(holder=hospital.code, purpose="HIS", rate="client",
                             scopes=["trial"], **WHO)  # fmt: skip
    found = list(Event.objects.order_by("pk").filter(subject=f"apiclient:{row.client_id}"))
    assert {event.action for event in found} == {
        f"apiclient.{act}" for act in ("issue", "rotate", "end")
    }
    assert {(event.actor, event.region_code, event.institution_code) for event in found} == {
        ("security.admin", "330300", "")
    }
    of_place = Event.objects.get(subject=f"apiclient:{other.client_id}")
    assert (of_place.region_code, of_place.institution_code) == ("330300", hospital.code)
    assert {words.act(event.action) for event in found} == {
        "发放接口密钥", "换发接口密钥", "停用接口密钥"}  # fmt: skip
    assert words.subject("apiclient:x") == "接口密钥 x"
    detail = json.loads(bytes(Event.objects.get(action="apiclient.end").body))["detail"]
    assert detail == {"reason": "系统下线"}


def test_a_new_secret_ends_the_old_one_and_its_tokens(city: Region) -> None:
    row, old = office_key(city)
    held = token_for(row, old).json()["access_token"]
    row, fresh = clients.rotate(client=row, seen=1, reason="人员变动", **WHO)
    assert office_of(held, at=now()) is None
    assert token_for(row, old).status_code == 401
    assert token_for(row, fresh).status_code == 200
    assert (row.secret_no, row.rotated_by, row.rotated_at) == (2, "security.admin", AT)
    with refused_as("ROTATED_BEFORE"):  # the page was read before, or sent twice
        clients.rotate(client=row, seen=1, reason="人员变动", **WHO)


def test_an_ended_key_is_of_no_use_nor_are_its_tokens(city: Region) -> None:
    row, secret = office_key(city)
    held = token_for(row, secret).json()["access_token"]
    clients.end(client=row, reason="系统下线", **WHO)
    assert office_of(held, at=now()) is None
    assert token_for(row, secret).status_code == 401
    for again in (
        lambda: clients.end(client=row, reason="再次", **WHO),
        lambda: clients.rotate(client=row, seen=1, reason="再次", **WHO),
    ):
        with refused_as("KEY_ENDED"):
            again()
    assert office_key(city)[0].pk != row.pk  # the purpose is free again


@pytest.mark.parametrize("act", ["end", "rotate"])
def test_a_token_asked_for_while_the_key_changes_is_not_given(
    city: Region, monkeypatch, act: str
) -> None:
    row, secret = office_key(city)
    saved = grants.KeyValidator._save_bearer_token

    def meanwhile(self, token, request, *args, **kwargs):
        if act == "end":
            clients.end(client=row, reason="系统下线", **WHO)
        else:
            clients.rotate(client=row, seen=1, reason="人员变动", **WHO)
        return saved(self, token, request, *args, **kwargs)

    monkeypatch.setattr(grants.KeyValidator, "_save_bearer_token", meanwhile)
    answer = token_for(row, secret)
    assert (answer.status_code, json.loads(answer.content)["error"]) == (401, "invalid_client")


def test_a_token_is_the_last_use(city: Region, monkeypatch) -> None:
    row, secret = office_key(city)
    assert row.used_at is None
    monkeypatch.setattr("audit.clock.now", lambda: AT)
    token_for(row, "wrong")
    row.refresh_from_db()
    assert row.used_at is None
    token_for(row, secret)
    row.refresh_from_db()
    assert row.used_at == AT


def test_what_is_not_issued(city: Region) -> None:
    office_key(city)
    with refused_as("PURPOSE_SERVED"):
        office_key(city)
    for scopes in ([], ["claims:write"], ["reports:read", "trial"], ["x"]):
        with refused_as("SCOPES_OF_ANOTHER"):
            office_key(city, purpose="另一用途", scopes=scopes)
    for holder in ("330399", "H99999999999", ""):
        with refused_as("HOLDER_UNKNOWN"):
            clients.issue(holder=holder, purpose="x", rate="client", scopes=["trial"], **WHO)
    assert ApiClient.objects.count() == 1


def test_the_database_refuses_what_the_commands_would_not_do(city: Region) -> None:
    row, _ = office_key(city)
    for wrong in (
        {"rate": "fast"}, {"secret_no": 0}, {"ended_at": AT}, {"ended_by": "x"},
        {"ended_at": AT, "ended_by": "x"}, {"secret_no": 2}, {"rotated_at": AT},
        {"region_id": None},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            ApiClient.objects.filter(pk=row.pk).update(**wrong)
    with pytest.raises(IntegrityError), transaction.atomic():
        factories.api_client(region=city, purpose=row.purpose)
    factories.api_client(region=city, purpose=row.purpose, ended_at=AT, ended_by="x",
                         ended_for="x")  # fmt: skip


def test_the_rate_of_a_key_is_the_one_that_counts(city: Region, settings, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        "institutions.throttling.wait_for", lambda name, who: asked.append((name, who)) or 0
    )
    for rate in ApiClient.Rate:
        row, secret = office_key(city, purpose=rate.label, rate=rate.value)
        token = token_for(row, secret).json()["access_token"]
        Client().get("/api/v1/reports", headers={"Authorization": f"Bearer {token}"})
        assert asked[-1] == (rate.value, f"client:{row.client_id}")
    assert ClientThrottle().waits == 0


def test_every_class_of_rates_has_a_rate_and_says_its_number(settings) -> None:
    assert {rate.value for rate in ApiClient.Rate} <= set(settings.THROTTLES)
    settings.THROTTLES = {"client": "60000/minute", "client_low": "", "client_trial": "5/second"}
    assert [rate_words(rate) for rate in ApiClient.Rate] == [
        "标准（每分钟 60,000 次）", "低频（不限）", "联调（每秒 5 次）"]  # fmt: skip
    assert Rate.of("5/second").number == 5


# --- The pages ---


@pytest.fixture
def browser(city: Region) -> Client:
    return factories.log_in(Client(), factories.user("security_admin", None))


def issue_by_page(browser: Client, side: str = "office", **more: Any) -> Any:
    given = {"holder": "330300", "purpose": "监管月报上报", "rate": "client_low",
             "scopes": ["reports:read"], **more}  # fmt: skip
    return browser.post(f"{reverse('client-new')}?side={side}", given)


def test_a_key_is_issued_in_the_browser_and_its_secret_shown_once(browser: Client) -> None:
    answer = issue_by_page(browser)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    client_id, secret = SHOWN.findall(answer.content.decode())
    row = ApiClient.objects.get()
    assert (row.client_id, row.name) == (client_id, "温州市：监管月报上报")
    assert token_for(row, secret).status_code == 200
    page = browser.get(reverse("client", args=[row.pk])).content.decode()
    assert secret not in page
    assert SHOWN.findall(page) == []
    again = issue_by_page(browser)  # the form was sent twice
    assert again.status_code == 409
    assert "已有同一用途的在用密钥" in again.content.decode()
    assert ApiClient.objects.count() == 1


def test_rotating_and_ending_in_the_browser(browser: Client) -> None:
    issue_by_page(browser)
    row = ApiClient.objects.get()
    address = reverse("client-rotate", args=[row.pk])
    assert browser.post(address, {"seen": 1}).status_code == 422
    answer = browser.post(address, {"seen": 1, "reason": "人员变动"})
    _, secret = SHOWN.findall(answer.content.decode())
    assert token_for(row, secret).status_code == 200
    stale = browser.post(address, {"seen": 1, "reason": "人员变动"})
    assert stale.status_code == 409
    assert "刚刚换发过" in stale.content.decode()
    ended = browser.post(reverse("client-end", args=[row.pk]), {"reason": "系统下线"}, follow=True)
    page = ended.content.decode()
    assert "系统下线" in page
    assert "换发密钥" not in page
    assert browser.post(reverse("client-end", args=[row.pk]), {"reason": "再次"}).status_code == 409


def test_the_list_is_searched_by_holder_side_and_state(
    browser: Client, hospital: Institution, django_assert_max_num_queries
) -> None:
    row, secret = office_key(Region.objects.get(pk="330300"))
    token_for(row, secret)
    clients.issue(holder=hospital.code, purpose="HIS 结算", rate="client", scopes=["trial"], **WHO)
    gone, _ = office_key(Region.objects.get(pk="330300"), purpose="旧系统")
    clients.end(client=gone, reason="系统下线", **WHO)

    def shown(query: str) -> set[str]:
        page = browser.get(f"{reverse('clients')}?{query}").content.decode()
        return {word for word in ("监管月报上报", "HIS 结算", "旧系统") if word in page}

    assert shown("") == {"监管月报上报", "HIS 结算", "旧系统"}
    assert shown("side=institution") == {"HIS 结算"}
    assert shown("side=office&state=used") == {"监管月报上报"}
    assert shown("state=unused") == {"HIS 结算"}
    assert shown("state=ended") == {"旧系统"}
    assert shown(f"q={hospital.code}") == {"HIS 结算"}
    assert shown(f"q={row.client_id}") == {"监管月报上报"}
    assert shown("q=没有") == set()
    with django_assert_max_num_queries(12):
        browser.get(reverse("clients"))


def test_a_code_of_the_other_side_is_told_at_its_field(
    browser: Client, hospital: Institution
) -> None:
    assert "应为 6 位行政区划代码" in issue_by_page(browser, holder=hospital.code).content.decode()
    wrong = issue_by_page(browser, "institution", holder="330300", scopes=["trial"])
    assert (wrong.status_code, "应为机构编码" in wrong.content.decode()) == (422, True)
    unknown = issue_by_page(browser, holder="330399")
    assert "没有这一机构编码或行政区划代码" in unknown.content.decode()
