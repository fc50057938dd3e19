"""The fee review in a real browser: lines by keyboard, verdicts, the next case; fits a telephone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from institutions.access import EVERYTHING, set_scope
from institutions.models import User
from supervision.models import Review
from supervision.review_sources import collect
from tests import factories
from tests.browser.test_portal import Portal, portal, served
from tests.factories import line
from tests.settlement.agency import calendar
from tests.settlement.hospital import Hospital
from tests.settlement.test_pages import AT

__all__ = ["portal", "served"]


@pytest.fixture
def held(served: tuple) -> list[Review]:
    """Two claims with two overcharged lines each, before the reviewer who logs in."""
    set_scope(EVERYTHING)
    clerk = User.objects.get(username=served[1])
    User.objects.filter(pk=clerk.pk).update(role="reviewer")
    calendar(2021, 2022)
    hospital = Hospital()
    chief = factories.physician(hospital.row, "chief")
    for _ in range(2):
        hospital.settled(line(fee="15.00"), line(2, item="111102003", fee="36.00"),
                         physician={"code": chief.code})  # fmt: skip
    set_scope(EVERYTHING)
    collect(since=AT.date().replace(year=AT.year - 10), by="system", at=AT)
    return list(Review.objects.order_by("pk"))


def test_a_reviewer_works_with_the_keyboard(held: list[Review], portal: Portal) -> None:
    page = portal.log_in()
    page.goto(f"{portal.address}/reviews/")
    page.get_by_role("link", name=held[0].claim_no).first.click()
    lines = page.locator("[data-line]")
    expect(lines).to_have_count(2)
    page.wait_for_load_state("load")  # the scripts that listen to the keyboard have run
    page.keyboard.press("j")
    expect(lines.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(lines.nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("c")
    amount = lines.nth(0).locator("input[name=amount]")
    expect(amount).to_be_focused()
    page.keyboard.type("3.00")  # letters typed into a field are no commands
    lines.nth(0).get_by_role("button", name="核减", exact=True).click()
    page.wait_for_url("**#line-2")
    expect(page.locator("[data-total]")).to_have_text("3.00")
    expect(page.locator("[data-line]").nth(1)).to_be_focused()
    page.keyboard.press("p")
    refused = page.locator("[data-line]").nth(1)
    expect(refused).to_contain_text("须先核减")
    expect(refused.locator("input[name=amount]")).to_be_focused()  # what is to be done now
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("r")
    expect(page.locator("[data-act=return] textarea")).to_be_focused()
    assert [fault for fault in portal.faults if "status of 422" not in fault] == []


def test_the_visit_fits_and_has_no_barrier(held: list[Review], portal: Portal) -> None:
    page = portal.log_in()
    found = {}
    for width, shade in ((1440, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=shade)
        for path in ("/reviews/", f"/reviews/{held[0].pk}/", "/reviews/plans/"):
            page.goto(portal.address + path)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            violations = [one["id"] for one in Axe().run(page).response["violations"]]
            if wide or violations:
                found[width, path] = (wide, violations)
    assert found == {}
    assert portal.faults == []
