"""A kept report that was changed, damaged or taken away is told, not handed out; a log without a hash, too."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from audit import proofs, sealer, trail
from audit.models import Event
from institutions.refusals import Refusal
from supervision.models import ReportOrder
from supervision.reports import trail as extract
from tests import factories
from tests.supervision.printed import MADE, made, wish
from tests.supervision.test_told_api import Reader

DATA, FILE = "所存报告的数据与登记的 SM3 不符", "所存报告的文件与登记的 SM3 不符"


@pytest.fixture
def kept(place) -> ReportOrder:
    return made("fund", place.user("supervisor"), wish(place))[0]


def told(place, row: ReportOrder, act: str, *ending: str) -> str:
    """The page after an act on a report; that it was refused is an event."""
    client = factories.log_in(Client(), place.user("supervisor"))
    before = Event.objects.filter(action="report.check", outcome="refused").count()
    send = client.post if act == "report-recheck" else client.get
    answer = send(reverse(act, args=[row.pk, *ending]), follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain == [(reverse("report", args=[row.pk]), 302)]
    assert Event.objects.filter(action="report.check", outcome="refused").count() == before + 1
    return answer.content.decode()


def alarms(row: ReportOrder) -> list[Event]:
    """The events that tell that a report was changed, whoever came upon it."""
    rows = Event.objects.filter(subject=f"report:{row.report_id}", outcome="refused")
    return list(rows.order_by("at"))


def told_in(event: Event) -> tuple[str, str, dict]:
    """(region, institution, detail) of an event."""
    return event.region_code, event.institution_code, json.loads(bytes(event.body))["detail"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_is_not_the_recorded_one_is_not_handed_out(place, kept, gone: bool) -> None:
    path = Path(settings.MEDIA_ROOT, kept.report.body.file)
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    assert FILE in told(place, kept, "report-file")
    assert FILE in told(place, kept, "report-recheck")
    reader = Reader(factories.office_token(place.hospital.region))
    problem = reader.json(f"reports/{kept.pk}/pdf", 409)
    assert (problem["code"], FILE in problem["detail"]) == ("REPORT_CHANGED", True)
    page, *_, rest = alarms(kept)
    assert rest.actor.startswith("client:")
    assert (rest.action, told_in(rest)) == (page.action, told_in(page))
    assert not Event.objects.filter(action="report.read").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_data_that_are_not_the_recorded_ones_are_not_handed_out(
    place, kept, monkeypatch, damaged: bool
) -> None:
    def other(data: bytes) -> bytes:
        if damaged:
            raise zlib.error
        return b"{}"

    monkeypatch.setattr("audit.reports.zlib", SimpleNamespace(decompress=other, error=zlib.error))
    for act, *ending in (("report-recheck",), ("report-data", "json"), ("report-data", "csv")):
        assert DATA in told(place, kept, act, *ending)
    reader = Reader(factories.office_token(place.hospital.region))
    assert reader.json(f"reports/{kept.pk}/data", 409)["code"] == "REPORT_CHANGED"
    page, *_, rest = alarms(kept)
    assert rest.actor.startswith("client:")
    assert (rest.action, told_in(rest)) == (page.action, told_in(page))


def test_an_extract_whose_proofs_cannot_be_computed_is_refused(place, monkeypatch) -> None:
    for number in range(3):
        trail.record(by="clerk", at=MADE, action="claim.receive", subject=f"claim:{number}",
                     region_code=place.region, institution_code=place.code)  # fmt: skip
    sealer.seal(at=MADE, machine=MADE, everything=True)

    def missing(*args: object, **more: object) -> None:
        raise proofs.MissingNodeError

    monkeypatch.setattr(proofs, "inclusions", missing)
    with pytest.raises(Refusal, match="LOG_BROKEN"):
        extract.gather(wish(place, until=MADE.date()), place.user("auditor"))
