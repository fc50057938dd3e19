"""A remote consultation by clicks: from the request to the statement of both finance departments.

Two provincial hospitals are invited, so that nobody answers for another. (吉卫便函〔2021〕3号 一)
"""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from institutions.access import EVERYTHING, scoped
from institutions.models import User
from tests import factories
from tests.browser.conftest import CHROMIUM
from tests.browser.test_journey import barriers, served
from tests.browser.test_portal import ARGUMENTS
from tests.settlement.hospital import forget_databases
from tests.settlement.jilin import agreed, hospital, person

DAY = dt.date(2021, 12, 20)
INVITED = {"示例省级第一医院": (7000, "280.00"), "示例省级第二医院": (6500, "260.00")}


@pytest.fixture
def logins(committed_db: str) -> list[str]:
    """Log-ins of the inviting hospital and of the two that it has agreements with."""
    forget_databases()
    factories.policies("jilin")
    with scoped(EVERYTHING):
        here = hospital("示例市医院", "municipal", "220200")
        places = [hospital(name, area="220100") for name in INVITED]
        for place in places:
            agreed(here, place, ratio=INVITED[place.name][0])
        people = [person(place).username for place in (here, *places)]
        User.objects.update(password=make_password(factories.PASSWORD))
    return people


@pytest.fixture
def browser(logins: list[str]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


def step(page: Page, title: str, number: int = 0) -> Locator:
    """The `number`-th form of the page for an act."""
    summary = page.locator("summary", has_text=re.compile(f"^{title}$"))
    return page.locator(".case-step", has=summary).nth(number)


def act(page: Page, title: str, **given: str) -> None:
    """Fill in a form by its labels, send it and see that it is done."""
    form = step(page, title)
    for label, value in given.items():
        field = form.get_by_label(label)
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(label=value)
        else:
            field.fill(value)
    for box in form.locator("input[type=checkbox]").all():
        box.check()
    form.locator("button").click()
    expect(page.get_by_text(f"已办理：{title}", exact=True)).to_be_visible()


def ask(page: Page) -> str:
    """Request the consultation from the menu; what is missing is told at its field first."""
    page.get_by_role("link", name="会诊与分配").click()
    page.get_by_role("link", name="申请会诊").click()
    given = {"患者身份证号": factories.id_number(), "住院号": "ZY1", "申请科室": "内科",
             "拟会诊日期": DAY.isoformat(), "会诊目的": "疑难病例", "专家 1": "专家甲"}  # fmt: skip
    given |= {f"受邀医院 {number}": name for number, name in enumerate(INVITED, start=1)}
    for label, value in given.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="提交申请").click()
    expect(page.locator("#id_experts_2_error")).to_contain_text("至少写一名专家")
    expect(page.get_by_label("住院号")).to_have_value("ZY1")
    page.get_by_label("专家 2").fill("专家乙")
    page.get_by_role("button", name="提交申请").click()
    expect(page.get_by_text("已登记会诊申请")).to_be_visible()
    return page.locator("h1 .code").inner_text()


def from_inbox(page: Page, number: str) -> None:
    """Open the consultation from the task of the own inbox."""
    page.get_by_role("link", name="待办").first.click()
    page.locator("main").get_by_role("link", name=number).first.click()
    expect(page.locator("h1 .code")).to_have_text(number)


def test_a_consultation_from_the_request_to_the_statement(
    logins: list[str], var_dir: Path, browser: Browser
) -> None:
    with served(DAY, var_dir, browser) as portal:
        ours, *invited = [portal.open(login, "/") for login in logins]
        number = ask(ours)
        expect(step(ours, "登记知情同意")).to_contain_text("合计 800.00 元")
        act(ours, "登记知情同意", 同意人="近亲属")
        for page in invited:
            from_inbox(page, number)
            act(page, "接受邀请")
        ours.reload()
        act(ours, "登记会诊", 会诊日期=DAY.isoformat(), 时长="40", 会诊意见="建议随访")
        act(ours, "计入住院病历和清单", 住院病历记录编号="病程 12")
        act(ours, "登记收费", 全额医疗收费票据号="PJ1", 已向患者收取="800.00")
        act(ours, "按协议分配")
        assert barriers(ours) == {}
        for page, (_, share) in zip(invited, INVITED.values(), strict=True):
            act(ours, "登记付款", 付款金额=share, 付款凭据号=f"FK{share}")
            from_inbox(page, number)
            act(page, "登记票据", 医疗收费票据号=f"SJ{share}", 票据金额=share,
                开票日=DAY.isoformat())  # fmt: skip
        ours.reload()
        for _ in INVITED:
            act(ours, "凭票据冲减收入")
        expect(ours.locator("h1")).to_contain_text("已结清")
        for page in (ours, invited[1]):
            page.get_by_role("link", name="会诊与分配").click()
            page.get_by_role("link", name="双方结算单").click()
            page.get_by_role("row", name="示例省级第二医院").get_by_role("link").first.click()
            expect(page.get_by_role("row", name=number)).to_contain_text("SJ260.00")
            assert barriers(page) == {}
        assert portal.faults == []
