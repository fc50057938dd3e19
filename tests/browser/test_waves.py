"""The board of batches and the official forms in a real browser: no barrier, fit a telephone, no script needed."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from agreements import plans
from institutions.access import EVERYTHING, scoped
from tests import factories
from tests.agreements import ningxia
from tests.agreements.cast import moment
from tests.agreements.ningxia import TODAY
from tests.browser import test_portal
from tests.browser.test_portal import Portal, portal, served

__all__ = ["portal", "served"]


@pytest.fixture
def bureau(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Portal:
    """A portal in December 2021 with Ningxia's list, seen by a prefecture that plans and fills in."""
    monkeypatch.setattr(test_portal, "DAY", TODAY)
    request.getfixturevalue("served")
    with scoped(EVERYTHING):
        people = ningxia.country()
        rows = {row.name: row for row in ningxia.everyone()}
        plans.make_places(
            who=people["policy.province"], on=TODAY, by="region", at=moment(TODAY)
        )  # fmt: skip
        ningxia.live(rows["银川市第一人民医院"], TODAY.replace(day=10))
        ningxia.standing(rows["银川市第二人民医院"], "joining")
        officer = factories.user("policy_staff", people["policy.prefecture"].region)
    made: Portal = request.getfixturevalue("portal")  # a browser: no database from here on
    made.user = officer.username
    return made


def test_the_board_and_the_forms_have_no_barrier_and_fit_a_telephone(bureau: Portal) -> None:
    page = bureau.log_in()
    bureau.go("/waves/")
    page.get_by_role("link", name="银川市第一人民医院").first.click()
    page.wait_for_url("**/waves/*/")
    place = page.url.removeprefix(bureau.address)
    bureau.go("/forms/new/third_party/")
    page.get_by_role("button", name="建立申请表").click()
    page.wait_for_url("**/forms/*/")
    form = page.url.removeprefix(bureau.address)
    found = {}
    for width, shade in ((1440, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=shade)
        for path in ("/waves/", place, "/forms/", form, "/forms/new/d6/",
                     "/forms/collection/d6/"):  # fmt: skip
            bureau.go(path)
            excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert excess <= 0, (path, width)
            violations = Axe().run(page).response["violations"]
            found |= {(path, width, v["id"]): v["nodes"][0]["html"][:300] for v in violations}
    assert found == {}
    assert bureau.faults == []


def test_rows_are_added_and_faults_told_at_their_blanks(bureau: Portal) -> None:
    page = bureau.log_in()
    bureau.go("/forms/new/channel/")
    page.get_by_role("button", name="建立申请表").click()
    page.get_by_label("渠道应用名称").first.fill("测试应用")
    page.get_by_role("button", name="添加一行").click()
    page.get_by_text("第 2 行").wait_for()
    expect(page.get_by_label("渠道应用名称").first).to_have_value("测试应用")
    page.get_by_label("联系电话", exact=True).nth(1).fill("12")
    page.get_by_role("button", name="保存草稿").last.click()
    page.get_by_text("电话应为7至20位数字").wait_for()
    page.get_by_role("button", name="删除本行").last.click()
    page.get_by_role("button", name="保存草稿").last.click()
    page.get_by_text("草稿已保存").wait_for()
    expect(page.get_by_role("button", name="删除本行")).to_have_count(1)
