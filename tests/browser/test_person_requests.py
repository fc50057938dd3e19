"""A person applies for a disease on a telephone, the clerk sees it; a large file is shown as being checked."""

import datetime as dt
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from institutions.access import EVERYTHING, scoped
from institutions.models import Office
from settlement import appointments
from tests import factories
from tests.browser.test_portal import Portal, portal, served
from tests.factories import DAY
from tests.settlement.agency import calendar
from tests.settlement.test_pages import AT

__all__ = ["portal", "served"]
WIDTHS = (1440, 390)


def fits(page: Page) -> dict[str, str]:
    """Nothing is wider than the window; what axe finds."""
    found = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, page.url
        violations = Axe().run(page).response["violations"]
        found |= {f"{page.url} {v['id']}": v["nodes"][0]["html"][:300] for v in violations}
    return found


@pytest.fixture
def slots(served: tuple) -> None:
    """Free times at a counter."""
    with scoped(EVERYTHING):
        calendar(DAY.year)
        office = Office.objects.create(
            region=factories.region("nantong"), kind=Office.Kind.AGENCY, name="示例经办窗口"
        )
        appointments.open_slots(
            office=office, first=DAY, last=DAY + dt.timedelta(days=7), capacity=2,
            spans=[(dt.time(9), dt.time(10))], by="clerk", at=AT,
        )  # fmt: skip


def test_a_person_applies_and_follows_and_the_clerk_sees_it(
    slots: None, portal: Portal, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.pdf"
    scan.write_bytes(b"%PDF-1.4 scan")
    page = portal.go("/public/requests/")
    faults = fits(page)
    page.get_by_role("link", name="预约手工报销").first.click()
    faults |= fits(page)
    portal.go("/public/requests/")
    page.get_by_role("link", name="申请慢特病认定").first.click()
    page.get_by_label("姓名").fill("测试")
    page.get_by_label("身份证号").fill(factories.id_number(990))
    page.get_by_label("联系电话").fill("13800001111")
    page.get_by_label("病种").select_option(index=1)
    page.get_by_label("就诊医疗机构").fill("测试医院")
    page.locator("input[type=file]").first.set_input_files(scan)
    faults |= fits(page)
    page.get_by_role("button", name="提交").click()
    expect(page.locator("main")).to_contain_text("已收到您的申请")
    faults |= fits(page)
    number, code = page.locator("dd.code").all_inner_texts()
    portal.go("/public/requests/progress/")
    page.get_by_label("申请号").fill(number)
    page.get_by_label("查询码").fill(code)
    page.get_by_role("button", name="查询").click()
    expect(page.locator("main")).to_contain_text("待核对")
    faults |= fits(page)
    page.set_viewport_size({"width": 1440, "height": 900})
    portal.log_in()
    portal.go("/requests/")
    faults |= fits(page)
    page.get_by_role("link", name=number).first.click()
    expect(page.locator("main")).to_contain_text("自报，未核实")
    faults |= fits(page)
    assert faults == {}
    assert portal.faults == []


def test_a_large_file_is_shown_as_being_checked(portal: Portal, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    large.write_text("申请单号,行号,费用类别,金额,凭证号码\n" + "A1,1,consult,12.00,x\n" * 15_000)
    page = portal.log_in()
    portal.go("/batches/")
    page.get_by_label("申报机构").select_option(index=1)
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_role("button", name="上传并校验").click()
    expect(page.locator("#batch-live")).to_contain_text("检查中")
    expect(page.locator("#batch-live")).to_contain_text("每两秒自动更新")
    assert fits(page) == {}
    assert portal.faults == []
