"""Every paper of the portal names the signed checkpoint that stood when it was made, and carries it.

The papers are found by walking templates and code, so that a new one cannot forget it.
"""

import ast
import datetime as dt
import io
import re
from contextlib import closing
from pathlib import Path

import pikepdf
import pypdfium2
import pytest
from django.db import connection

from audit import notes, pdf
from audit.models import Checkpoint
from supervision.reports import press
from tests.audit.sealing import AT, act, seal

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "audit", "institutions", "pricing", "agreements", "settlement", "supervision", "gateway", "config",
)  # fmt: skip
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAPER = re.compile(r'{% extends "reports/')
PAPERS = sorted(
    str(path.relative_to(ROOT / "templates"))
    for path in (ROOT / "templates").rglob("*.html")
    if PAPER.search(path.read_text(encoding="utf-8"))
)
SHEETS = {
    "reports/book.html": press.STYLES, "reports/roster.html": press.STYLES,
    "reports/waves.html": (*pdf.STYLES, "css/waves_paper.css"),
    "public/prices_paper.html": (*pdf.STYLES, "css/price_paper.css"),
} | {name: (*pdf.STYLES, "css/forms_paper.css") for name in PAPERS if "/forms/" in name}  # fmt: skip
#: What a template cannot be drawn without; everything else may be missing.
NEEDED = {
    "reports/consultation_statement.html": {"totals": dict.fromkeys(
        ("sessions", "collected", "share", "paid", "receipted", "open"), 0)},
    "reports/fee_bill.html": {"bill": {"amount": 0, "commission": 0, "by_month": 0}},
    "reports/roster.html": {"pages": [[], []]},
    "reports/waves.html": {"gantt": None},
    "reports/voucher.html": {"voucher": {"number": "1"}, "subject": "", "people": ["甲", "乙"]},
}  # fmt: skip
LATER = dt.timedelta(minutes=10)


@pytest.fixture(autouse=True)
def key(settings, tmp_path, db):
    settings.SEAL_KEY_FILE = str(tmp_path / "seal.pem")


@pytest.fixture
def checkpoint() -> Checkpoint:
    """The checkpoint of 1,234 entries, signed at AT."""
    act(1)
    run = seal()
    assert run.checkpoint is not None
    return run.checkpoint


def printed(template: str, *, at: dt.datetime = AT + LATER) -> bytes:
    return pdf.render(
        template, NEEDED.get(template, {}), identifier=pdf.identifier_of("paper", template), at=at,
        styles=SHEETS.get(template, pdf.STYLES),
    )  # fmt: skip


def pages(document: bytes) -> list[str]:
    with closing(pypdfium2.PdfDocument(document)) as opened:
        return ["".join(page.get_textpage().get_text_bounded().split()) for page in opened]


def enclosed(document: bytes) -> dict[str, str]:
    with pikepdf.Pdf.open(io.BytesIO(document)) as file:
        return {
            name: one.get_file().read_bytes().decode() for name, one in file.attachments.items()
        }


@pytest.mark.parametrize("template", PAPERS)
def test_every_paper_names_its_checkpoint_on_every_page_and_carries_it(template, checkpoint):
    document = printed(template)
    root = bytes(checkpoint.root).hex()[: pdf.ROOT_SHOWN]
    expected = ["留痕检查点", "1条", root]
    if template != "reports/stamp.html":  # a drawing within a paper, 31 mm high
        expected += ["2021-12-0117:30:00签名", f"公钥{checkpoint.key_id}", "凭此可核验"]
    shown = pages(document)
    if template == "reports/book.html":  # its cover has the whole checkpoint, and no foot
        shown = shown[1:]
    assert shown
    for page in shown:
        assert [word for word in expected if word not in page] == []
    assert enclosed(document) == {pdf.NOTE_NAME: checkpoint.text}
    assert notes.verify(notes.parse(enclosed(document)[pdf.NOTE_NAME]), checkpoint.key.pem)
    is_pdf_a_3(document)


def is_pdf_a_3(document: bytes) -> None:
    """Assert: it claims level A, and letters, colours and attachments are as that asks (ISO 19005-3)."""
    with pikepdf.Pdf.open(io.BytesIO(document)) as file:
        claim = file.Root.Metadata.read_bytes().decode()
        assert re.findall(r'pdfaid:(part|conformance)[=>]"?(\w+)', claim) == [
            ("part", "3"), ("conformance", "A"),
        ]  # fmt: skip
        assert [str(one.S) for one in file.Root.OutputIntents] == ["/GTS_PDFA1"]
        assert {str(one.AFRelationship) for one in file.Root.AF} == {"/Supplement"}
        letters = [
            thing for thing in file.objects
            if isinstance(thing, pikepdf.Dictionary) and thing.get("/Type") == "/FontDescriptor"
        ]  # fmt: skip
        assert letters
        assert all("/FontFile3" in one or "/FontFile2" in one for one in letters)
        assert "/Encrypt" not in file.trailer


@pytest.mark.parametrize("template", ["reports/voucher.html", "reports/stamp.html"])
def test_before_the_first_checkpoint_a_paper_says_so(template):
    document = printed(template)
    assert "尚无签名的检查点" in pages(document)[-1]
    assert enclosed(document) == {}


def test_later_checkpoints_do_not_reach_an_earlier_paper(checkpoint):
    first = printed("reports/voucher.html")
    act(2)
    seal(minutes=10)  # signed in the last minute before the paper: it may commit after it
    act(3)
    seal(minutes=20)
    assert Checkpoint.objects.count() == 3
    assert printed("reports/voucher.html") == first
    assert "3条" in pages(printed("reports/voucher.html", at=AT + 3 * LATER))[0]


def test_what_counts_is_when_a_checkpoint_was_signed(checkpoint):
    assert pdf.note_at(AT + pdf.SETTLED - dt.timedelta(seconds=1)) == ""
    assert pdf.note_at(AT + pdf.SETTLED) == checkpoint.text


def test_it_costs_one_question_that_every_scope_may_ask(checkpoint, django_assert_num_queries):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '', true)")
    with django_assert_num_queries(1):
        document = printed("reports/voucher.html")
    assert checkpoint.key_id in pages(document)[0]


def test_a_paper_that_was_kept_with_its_checkpoint_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        pdf.render("reports/adjustments.html", {}, identifier=b"x" * 16, at=AT, note="")


def _calls(tree: ast.AST) -> list[ast.Call]:
    """Calls of `pdf.render` in a module."""
    return [
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pdf.render"
    ]  # fmt: skip


def test_papers_come_from_one_press_and_only_reports_bring_their_own_checkpoint():
    templates, pressing, keeping = set(), set(), set()
    for path in MODULES:
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if "import weasyprint" in text or "from audit.press" in text:
            pressing.add(name)
        for call in _calls(ast.parse(text)) if "pdf.render" in text else ():
            first = call.args[0]
            if isinstance(first, ast.Constant):
                templates.add(first.value)
            if "note" in {word.arg for word in call.keywords}:
                keeping.add(name)
    assert pressing == {"audit/press.py", "audit/pdf.py"}
    assert keeping == {"supervision/reports/press.py"}
    assert len(templates) > 5
    assert templates <= set(PAPERS)
