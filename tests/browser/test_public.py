"""Public price pages in a real browser: a telephone, a wide screen, A4; no barrier, no cookie."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from institutions.models import Institution
from tests.browser.test_portal import Portal, portal, served

__all__ = ["portal", "served"]
DAY = "2021-06-15"
SHEET = f"/public/prices/nantong/{DAY}/"


@pytest.fixture
def hospital(served: tuple) -> str:
    """The address of the institution's prices on the server's today."""
    return f"/public/prices/institutions/{Institution.objects.get().code}/{DAY}/"


def test_public_pages_fit_a_telephone_and_have_no_barrier(hospital: str, portal: Portal) -> None:
    page = portal.page
    paths = ("/public/prices/", "/public/prices/?region=nantong&q=诊察", SHEET, hospital,
             f"{hospital}board/", "/public/prices/?institution=测试", "/accounts/login/",
             "/public/institutions/", f"/public/institutions/320600/{DAY}/", "/public/interface/")  # fmt: skip
    found = {}
    for width, shade in ((1440, "light"), (390, "dark"), (390, "light")):
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


def test_somebody_finds_a_price_and_leaves_no_trace(hospital: str, portal: Portal) -> None:
    page = portal.go("/accounts/login/")
    page.context.clear_cookies()
    page.get_by_role("link", name="价格公示").first.click()
    page.get_by_label("医疗机构").fill("测试医院")
    page.get_by_label("项目").fill("主任医师")
    page.get_by_role("button", name="查询").click()
    page.get_by_role("heading", name="医疗服务价格公示").last.wait_for()
    expect(page.locator(".public-table__item")).to_have_count(2)  # chief and associate chief
    page.locator(".public-source").get_by_role("link", name=hospital).click()
    page.get_by_role("link", name="公示牌").click()
    expect(page.locator(".board__code img")).to_be_visible()
    assert page.context.cookies() == []
    assert portal.faults == []


def test_sheet_and_board_are_printed_on_a4(hospital: str, portal: Portal) -> None:
    for path, landscape in ((SHEET, True), (f"{hospital}board/", False)):
        paper = portal.go(path).pdf(prefer_css_page_size=True)
        boxes = {tuple(map(float, box.split())) for box in _media_boxes(paper)}
        ((_, _, width, height),) = boxes
        assert {round(width), round(height)} == {595, 842}
        assert (width > height) is landscape
        assert len(_media_boxes(paper)) <= (2 if landscape else 1)


def _media_boxes(paper: bytes) -> list[str]:
    return [part.partition(b"]")[0].strip(b" [").decode() for part in paper.split(b"/MediaBox")[1:]]
