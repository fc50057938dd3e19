"""From a hospital's application in the browser to its paid claim, and to the claim that is refused.

Everybody works in a browser of their own; the portal is served again for every later day, because
a public notice must have stood for its days. (温医保办〔2021〕6号 五至七、十九、二十二)
"""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.hashers import make_password
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agreements.models import Agreement
from institutions.models import User
from tests import factories
from tests.agreements.cast import PDF, Cast
from tests.browser.conftest import CHROMIUM
from tests.browser.test_portal import ARGUMENTS, ROOT, _wait
from tests.factories import line
from tests.settlement.hospital import forget_databases

Day = dt.date
APPLIED, SIGNED, CLAIMED = Day(2021, 6, 1), Day(2021, 6, 11), Day(2021, 6, 16)
SUSPENDED = Day(2021, 6, 15)
SCOPES = f"{factories.SCOPES} institution:read"


class Portal:
    """The portal on one day: an address, and a page for each person."""

    def __init__(self, address: str, browser: Browser) -> None:
        self.address, self.browser = address, browser
        self.faults: list[str] = []

    def open(self, username: str, path: str) -> Page:
        """A new browser session of a person, logged in by the form, at a path."""
        page = self.browser.new_page(locale="zh-CN", viewport={"width": 1440, "height": 900})
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(f"{self.address}/accounts/login/")
        page.locator("#id_login").fill(username)
        page.locator("#id_password").fill(factories.PASSWORD)
        page.get_by_role("button", name="登录", exact=True).click()
        page.wait_for_url(f"{self.address}/")
        page.goto(self.address + path)
        return page

    def get(self, path: str, token: str) -> dict:
        """A REST answer."""
        request = urllib.request.Request(
            self.address + path, headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, token: str, body: dict, key: str) -> tuple[int, dict]:
        """A REST call: status and JSON."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), method="POST",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json",
                     "Idempotency-Key": key},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@contextmanager
def served(day: dt.date, var_dir: Path, browser: Browser) -> Iterator[Portal]:
    """The portal as it stands on a day."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"DJANGO_ENV": "test", "DEMO_TODAY": day.isoformat()}
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "config.wsgi", "--bind",
               f"127.0.0.1:{port}", "--workers", "1", "--threads", "4", "--timeout", "120"]  # fmt: skip
    var_dir.mkdir(parents=True, exist_ok=True)
    with (var_dir / f"server-{day}.log").open("w+") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}", server, Path(log.name))
            yield Portal(f"http://127.0.0.1:{port}", browser)
        finally:
            server.terminate()
            server.wait(timeout=30)


@dataclass(frozen=True)
class Setting:
    """What is there before the browser opens (Playwright's thread may not use the database)."""

    people: dict[str, str]
    main: int
    main_until: str
    token: str
    paid: dict
    refused: dict


@pytest.fixture
def setting(committed_db: str) -> Setting:
    forget_databases()
    cast = Cast(main_until=Day(2022, 12, 31))
    cast.keys()
    shared = make_password(factories.PASSWORD)
    User.objects.filter(pk__in=[who.pk for who in cast.people.values()]).update(password=shared)
    patient = factories.person("wenzhou", "employee")
    doctor = factories.physician(cast.hospital)
    factories.offline_visit(patient, cast.hospital)
    main = Agreement.objects.get()
    consult = line(item="110200001", fee="10.00")
    return Setting(
        people={role: person.username for role, person in cast.people.items()},
        main=main.pk, main_until=str(main.valid_until), token=factories.token(cast.hospital, SCOPES),
        paid=factories.body(patient, doctor, consult, day=SIGNED),
        refused=factories.body(patient, doctor, consult, day=SUSPENDED),
    )  # fmt: skip


@pytest.fixture
def browser(setting: Setting) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


def take(page: Page, step: str, arrives: str, **given: str) -> None:
    """Take a step on the page of an application: open it, fill it in, send it."""
    place = page.locator(f"#step-{step}")
    if place.get_attribute("open") is None:
        place.locator("> summary").click()
    for name, value in given.items():
        field = page.locator(f"#{step}_{name}")
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    place.locator("button[type=submit]").click()
    page.get_by_text(f"当前状态：{arrives}。").wait_for()


def judge(page: Page, part: str) -> None:
    """All lines of a checklist are met, by the keyboard."""
    button = page.locator(f"#part-{part}").locator("xpath=../..").get_by_role(
        "button", name="全部符合"
    )  # fmt: skip
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_text("项审核意见。").wait_for()


def apply(page: Page) -> None:
    """A hospital applies: a draft, every condition with its statement, then it is submitted."""
    page.get_by_role("link", name="新建申请").click()
    page.locator("#id_intention").fill("拟开展常见病、慢性病线上复诊")
    page.get_by_role("button", name="建立申请").click()
    page.get_by_text("请逐项填写条件与材料后提交").wait_for()
    for number in range(2, 8):
        item = page.locator(".item").nth(number - 1)
        item.locator("textarea").fill(f"第 {number} 项已具备")
        if number == 4:
            evidence = {"name": "复诊核验流程.pdf", "mimeType": "application/pdf", "buffer": PDF}
            item.locator("input[type=file]").set_input_files(evidence)
        item.get_by_role("button", name="保存本项").click()
        page.get_by_text(f"第 {number} 项“").first.wait_for()
    expect(page.get_by_role("link", name="复诊核验流程.pdf").first).to_be_visible()
    take(page, "submit", "已提交")


def barriers(page: Page) -> dict:
    """What stands in the way of a telephone or of a screen reader on this page."""
    found = {v["id"]: v["nodes"][0]["html"][:300] for v in Axe().run(page).response["violations"]}
    page.set_viewport_size({"width": 390, "height": 844})
    if (excess := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
        found["too wide"] = excess
    page.set_viewport_size({"width": 1440, "height": 900})
    return found


def test_from_application_to_claim_and_suspension(
    setting: Setting, var_dir: Path, browser: Browser
) -> None:
    people = setting.people
    with served(APPLIED, var_dir, browser) as portal:
        hospital = portal.open(people["hospital"], "/applications/")
        apply(hospital)
        path = hospital.url.removeprefix(portal.address)
        reviewer = portal.open(people["reviewer"], path)
        take(reviewer, "accept", "材料审核")
        assert barriers(reviewer) == {}
        judge(reviewer, "materials")
        take(reviewer, "pass_review", "审核通过待送达")
        take(reviewer, "deliver_pass", "系统改造", delivery="portal")
        hospital.goto(portal.address + path)
        assert barriers(hospital) == {}
        take(hospital, "request_test", "测试验收", note="改造完成")
        tester = portal.open(people["information"], path)
        judge(tester, "acceptance")
        take(tester, "pass_test_publish", "签约前公示")
        assert portal.faults == []

    with served(SIGNED, var_dir, browser) as portal:
        take(portal.open(people["reviewer"], path), "end_publicity", "待机构签署")
        take(portal.open(people["hospital"], path), "sign_institution", "待经办机构签署")
        signer = portal.open(people["signing_officer"], path)
        take(signer, "sign_agency", "已签约")
        signer.get_by_role("link", name="验证签名").click()
        signer.get_by_text("全部签名有效：签署后文件未改动，证书可信。").wait_for()
        assert barriers(signer) == {}
        assert portal.faults == []

    with served(CLAIMED, var_dir, browser) as portal:
        _, supplement = portal.get("/api/v1/agreements", setting.token)["agreements"]
        assert (supplement["state"], supplement["valid_from"]) == ("active", SIGNED.isoformat())
        assert supplement["valid_until"] == setting.main_until
        status, answer = portal.post("/api/v1/claims", setting.token, setting.paid, "k1")
        assert (status, answer["state"]) == (201, "payable")
        suspend(portal.open(people["signing_officer"], f"/agreements/{setting.main}/"))
        status, answer = portal.post("/api/v1/claims", setting.token, setting.refused, "k2")
        assert (status, answer["state"]) == (201, "reject")
        (settled,) = answer["lines"]
        assert settled["reason"] == "AGREEMENT_SUSPENDED"
        assert [found["clause"] for found in settled["clauses"]] == ["二十二第1款"]
        assert portal.faults == []


def suspend(page: Page) -> None:
    """The agency suspends the main agreement; the supplementary one follows at the same moment."""
    page.locator("#act-suspended > summary").click()
    page.locator("#suspended_on").fill(SUSPENDED.isoformat())
    page.locator("#suspended_reason").fill("核查期间中止")
    page.locator("#suspended_clause").fill("定点协议第十条")
    page.get_by_role("button", name="查看后果").first.click()
    page.get_by_text("将同时中止").first.wait_for()
    page.get_by_role("button", name="确认中止").click()
    page.get_by_text("起中止。").first.wait_for()
