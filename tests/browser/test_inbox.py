"""The inbox in a real browser: taken from the list, no barrier, fits a telephone."""

import datetime as dt

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from audit.models import Task
from institutions.models import Notification, User
from tests.browser.test_portal import Portal, portal, served
from tests.factories import DAY
from tests.settlement.test_pages import AT

__all__ = ["portal", "served"]
LONG = "中华人民共和国某某省某某市第一人民医院（某某大学附属第一医院）互联网医院"


@pytest.fixture
def waiting(served: tuple) -> User:
    """Three tasks of the clerk and a message."""
    clerk = User.objects.get(username=served[1])
    for number, days in enumerate((-3, 1, 30)):
        Task.objects.create(
            subject=f"claim:{number}", title=f"{LONG}：第{number}项待冲正", permission="claims.reverse",
            region_code=clerk.region_id, due=DAY + dt.timedelta(days=days), created_at=AT,
            clause="通医保发〔2020〕25号 四（三）", status="待冲正",
        )  # fmt: skip
    Notification.objects.create(user=clerk, text=f"{LONG}：材料已补正", url="/inbox/", at=AT)
    return clerk


def test_somebody_takes_a_task_from_the_list(waiting: User, portal: Portal) -> None:
    page = portal.log_in()
    page.get_by_role("link", name="待办").first.click()
    expect(page.locator("tbody tr")).to_have_count(3)
    take = page.get_by_role("button", name="领取")
    expect(take).to_be_disabled()
    page.locator("tbody .pick").first.check()
    expect(page.locator(".bulk")).to_contain_text("已选 1 项")
    take.click()
    page.get_by_text("已领取 1 项").wait_for()
    page.get_by_role("link", name="由我经办").click()
    expect(page.locator("tbody tr")).to_contain_text("第0项待冲正")
    page.get_by_role("link", name="通知：1 条未读").click()
    page.get_by_role("button", name="材料已补正").click()
    page.wait_for_url(f"{portal.address}/inbox/")
    expect(page.locator(".bell__count")).to_have_count(0)
    assert portal.faults == []


def test_pages_of_the_inbox_fit_a_telephone_and_have_no_barrier(
    waiting: User, portal: Portal
) -> None:
    page = portal.log_in()
    paths = ("/inbox/", "/inbox/?words=nothing", "/inbox/delegations/", "/inbox/subscription/",
             "/notifications/")  # fmt: skip
    found = {}
    for width, shade in ((1440, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=shade)
        for path in paths:
            portal.go(path)
            excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert excess <= 0, (path, width)
            violations = Axe().run(page).response["violations"]
            found |= {(path, width, v["id"]): v["nodes"][0]["html"][:300] for v in violations}
    assert found == {}
    assert portal.faults == []
