"""The portal in a real browser: a server process, a committed database, Debian's Chromium."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from institutions.access import EVERYTHING, scoped
from settlement import commands
from settlement.facts import Claimant
from tests import factories
from tests.browser.conftest import CHROMIUM
from tests.factories import DAY, line
from tests.settlement.hospital import forget_databases
from tests.settlement.test_pages import AT

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60
ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
CALCULATOR = "/trial/?region=nantong&item_code=111102003&fee=35.00"


@dataclass
class Portal:
    """A served portal with one settled claim, and a page of a browser that is not logged in."""

    address: str
    user: str
    claim: int
    claim_no: str
    page: Page
    faults: list[str]

    def go(self, path: str) -> Page:
        answer = self.page.goto(self.address + path)
        assert answer is not None
        assert answer.status == 200, path
        return self.page

    def log_in(self) -> Page:
        """By the form, as people do."""
        page = self.go("/accounts/login/")
        page.locator("#id_login").fill(self.user)
        page.locator("#id_password").fill(factories.PASSWORD)
        page.get_by_role("button", name="登录", exact=True).click()
        page.wait_for_url(f"{self.address}/")
        return page


@pytest.fixture
def served(committed_db: str, var_dir: Path) -> Iterator[tuple[str, str, int, str]]:
    """A committed claim and a gunicorn that shows it: (address, user, claim id, claim number)."""
    forget_databases()
    factories.policies("nantong")
    hospital = factories.institution()
    patient, doctor = factories.person(), factories.physician(hospital, "chief")
    clerk = factories.user("settlement_clerk", factories.region())
    body = factories.body(patient, doctor, line(item="111102003", fee="35.00"))
    with scoped(EVERYTHING):
        receipt = commands.receive(institution=Claimant.of(hospital), claim=body, by="test", at=AT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {"DJANGO_ENV": "test", "DEMO_TODAY": DAY.isoformat()}
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "config.wsgi", "--bind",
               f"127.0.0.1:{port}", "--workers", "1", "--threads", "4"]  # fmt: skip
    var_dir.mkdir(parents=True, exist_ok=True)
    with (var_dir / "server.log").open("w+") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait(address, server, var_dir / "server.log")
            yield address, clerk.username, json.loads(receipt.body)["id"], body["claim_no"]
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/accounts/login/", timeout=20):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server does not answer:\n{log.read_text()[-4000:]}")


@pytest.fixture
def portal(served: tuple[str, str, int, str]) -> Iterator[Portal]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_page(locale="zh-CN", viewport={"width": 1440, "height": 900})
        faults: list[str] = []
        page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield Portal(*served, page=page, faults=faults)
        browser.close()


def test_a_telephone_folds_the_query_and_the_list_comes_first(portal: Portal) -> None:
    page = portal.log_in()
    page.set_viewport_size({"width": 390, "height": 844})
    portal.go("/claims/")
    number = page.locator("#id_claim_no")
    expect(number).to_be_hidden()
    top = page.locator("#claims").bounding_box()
    assert top is not None
    assert top["y"] < 600
    summary = page.locator("form.filters .fold > summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(number).to_be_visible()
    number.fill("none-such")
    page.keyboard.press("Enter")
    expect(page.locator("#claims")).to_contain_text("没有符合条件")
    portal.go("/claims/?claim_no=none-such")
    expect(summary).to_contain_text("已设 1 项")
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(number).to_be_visible()
    expect(summary).to_be_hidden()
    assert portal.faults == []


def test_the_keyboard_skips_the_menu(portal: Portal) -> None:
    """The first stop shows itself and leads to the content; the next stop is inside it."""
    page = portal.log_in()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="跳到主要内容")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#main :focus")).to_have_count(1)
    assert portal.faults == []


def test_a_clerk_opens_a_claim_and_calculates(portal: Portal) -> None:
    page = portal.log_in()
    page.get_by_role("link", name="申报与结算").first.click()
    page.get_by_role("link", name=portal.claim_no, exact=True).click()
    chart = page.locator(".waterfall").first
    expect(chart).to_be_visible()
    expect(chart).to_contain_text("统筹基金 6.00 ＋ 个人现金 29.00 ＝ 费用 35.00")
    clause = chart.locator("details.clause").first
    clause.locator("summary").click()
    expect(clause.locator(".clause__text")).to_be_visible()
    portal.go(CALCULATOR)
    answer = page.locator("#trial-answer")
    expect(answer).to_contain_text("予以支付")
    page.get_by_label("初诊或复诊").select_option("first")
    page.locator("#trial-answer", has_text="仅限复诊，不得用于首诊").wait_for()
    page.locator("#id_fee").fill("3.456")
    page.locator("#id_fee").blur()
    page.locator("#trial-answer", has_text="至多两位小数").wait_for()
    assert portal.faults == []


def test_the_keyboard_alone_reaches_a_claim(portal: Portal) -> None:
    page = portal.go("/accounts/login/")
    page.locator("#id_login").focus()
    page.keyboard.type(portal.user)
    page.keyboard.press("Tab")
    page.keyboard.type(factories.PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{portal.address}/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "跳到主要内容"
    _tab_to(page, "申报与结算")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{portal.address}/claims/")
    _tab_to(page, portal.claim_no)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{portal.address}/claims/{portal.claim}/")
    _tab_to(page, "通医保发〔2020〕25号附件")
    page.keyboard.press("Enter")
    expect(page.locator("details.clause[open]")).to_have_count(1)


def _tab_to(page: Page, words: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        text = page.evaluate("document.activeElement.textContent.replace(/\\s+/g, '')")
        if text == words.replace(" ", ""):
            return
    pytest.fail(f"{most} presses of Tab do not reach {words}")


def test_pages_fit_a_telephone_and_have_no_barrier(portal: Portal) -> None:
    page = portal.log_in()
    paths = ("/", "/claims/", f"/claims/{portal.claim}/", CALCULATOR, "/batches/",
             f"/claims/{portal.claim}/reverse/")  # fmt: skip
    found = {}
    for width, shade in ((1440, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=shade)
        for path in paths:
            portal.go(path)
            excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert excess <= 0, (path, width)
            violations = Axe().run(page).response["violations"]
            found |= {(path, v["id"]): v["nodes"][0]["html"][:300] for v in violations}
    assert found == {}
    assert portal.faults == []
