"""The front door and the search box: everybody lands, an ID number never stands in an address."""

from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from institutions import crypto
from institutions.access import EVERYTHING, scoped
from settlement import commands
from settlement.facts import Claimant
from tests import factories
from tests.factories import line
from tests.settlement.test_pages import AT, HOSTILE

pytestmark = pytest.mark.django_db
FIND = "/find/"


@pytest.fixture
def clerk() -> Client:
    """Logged in as the clerk of Nantong."""
    return factories.log_in(
        Client(), factories.user("settlement_clerk", factories.region("nantong"))
    )


def found(client: Client, words: str) -> str:
    return client.post(FIND, {"q": words})["Location"]


@pytest.mark.parametrize(
    ("role", "where"),
    [("audit_admin", "trail"), ("system_admin", "system-status"), ("security_admin", "clients")],
)
def test_who_has_no_workbench_is_led_to_a_page_of_the_own(role: str, where: str):
    client = factories.log_in(Client(), factories.user(role))
    assert client.get("/")["Location"] == reverse(where)
    assert client.get(reverse(where)).status_code == 200


def test_an_administrator_is_told_why_there_is_no_business_here():
    page = factories.log_in(Client(), factories.user("system_admin")).get(reverse("mfa_index"))
    assert "三权分立" in page.content.decode()
    assert 'role="search"' not in page.content.decode()


class Stops(HTMLParser):
    """What the Tab key reaches, in the order of the page, and the targets inside it."""

    def __init__(self, page: str):
        super().__init__()
        self.reached: list[dict[str, str | None]] = []
        self.targets: dict[str, dict[str, str | None]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if name := given.get("id"):
            self.targets[name] = given | {"tag": tag}
        if tag in {"a", "button", "input", "select", "textarea", "summary"}:
            self.reached.append(given | {"tag": tag})


@pytest.mark.parametrize(
    "address", ["/", "/claims/", "/accounts/login/", "/public/prices/", "/no/"]
)
def test_the_first_stop_of_the_keyboard_leads_past_the_menu_to_the_content(
    clerk: Client, address: str
):
    """Every frame: logged in, log-in page, public page, error page."""
    visitor = clerk if address in {"/", "/claims/"} else Client()
    page = Stops(visitor.get(address).content.decode())
    assert page.reached[0] == {"tag": "a", "class": "skip", "href": "#main"}
    assert (page.targets["main"]["tag"], page.targets["main"]["tabindex"]) == ("main", "-1")


def test_a_hospital_is_found_by_code_and_by_part_of_its_name(clerk: Client):
    ours = factories.institution("nantong")
    page = reverse("institution", args=[ours.code])
    assert found(clerk, ours.code) == page
    assert found(clerk, ours.name[:4]) == page


def test_institutions_outside_the_scope_are_not_found(clerk: Client):
    theirs = factories.institution("wenzhou")
    assert found(clerk, theirs.code) == "/"


def test_a_claim_is_found_by_its_number(clerk: Client):
    factories.policies("nantong")
    hospital = factories.institution("nantong")
    patient, doctor = factories.person(), factories.physician(hospital, "chief")
    body = factories.body(patient, doctor, line(item="111102003", fee="35.00"))
    with scoped(EVERYTHING):
        commands.receive(institution=Claimant.of(hospital), claim=body, by="test", at=AT)
    address = found(clerk, f" {body['claim_no']} ")
    assert body["claim_no"] in clerk.get(address).content.decode()
    assert address.startswith("/claims/")


def test_a_person_is_found_by_hash_and_the_number_stays_out_of_the_address(clerk: Client):
    number = "99999919460104387" + crypto.check_digit("99999919460104387")
    address = found(clerk, number)
    assert address == f"/claims/?person={crypto.person_hash(number).hex()}"
    assert found(clerk, number.lower()) == address


def test_a_person_of_the_register_is_found_on_the_own_page(clerk: Client):
    person = factories.person("nantong")
    assert found(clerk, person.credential) == reverse("person", args=[person.pk])
    theirs = factories.person("wenzhou")
    address = found(clerk, theirs.credential)
    assert address == f"/claims/?person={crypto.person_hash(theirs.credential).hex()}"
    event = Event.objects.get(action="person.find", outcome="none")
    assert bytes(event.person_hash) == bytes(theirs.id_hash)


@pytest.mark.parametrize(
    "words", ["999999194601043872", "130503670401001", "没有这样的机构", "", "%_'<"]
)
def test_what_is_not_found_leads_home_and_is_not_repeated(clerk: Client, words: str):
    answer = clerk.post(FIND, {"q": words}, follow=True)
    assert answer.redirect_chain == [("/", 302)]
    assert "没有找到" in answer.content.decode() or "证" in answer.content.decode()
    assert not words or words not in answer.content.decode()


def test_searching_is_a_post(clerk: Client):
    assert clerk.get(FIND, {"q": "x"}).status_code == 405


def test_the_icon_is_where_browsers_look_for_it():
    assert Client().get("/favicon.ico")["Location"].endswith(".svg")


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_find_nothing_and_break_nothing(clerk: Client, words: str):
    assert clerk.post(FIND, {"q": words}, follow=True).status_code == 200


def test_an_address_of_acts_opened_as_a_page_says_so(db) -> None:
    client = factories.log_in(Client(), factories.user("reviewer", factories.region()))
    answer = client.get("/applications/1/steps/accept/", headers={"Accept": "text/html"})
    assert answer.status_code == 405
    assert "只接收办理操作" in answer.content.decode()
    assert answer["Allow"] == "POST"
