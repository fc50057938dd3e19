"""Every region of the policy data is watched: its rules, with clause and article; an audit in a Ningxia city."""

import datetime as dt

import pytest
import yaml

from institutions import regions
from institutions.access import EVERYTHING, set_scope
from pricing.commands import SHIPPED
from pricing.releases import current
from supervision import audits
from supervision.models import Finding
from supervision.suspicions import Cited
from tests import factories
from tests.factories import line
from tests.settlement.hospital import Hospital

AT = dt.datetime(2021, 12, 20, 9, tzinfo=factories.ZONE)
DAY = AT.date()
TEXTS = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in SHIPPED.glob("*.yaml")]
POLICIES = {text["region"]: text for text in TEXTS if text["kind"] == "policy"}
AREAS = yaml.safe_load(regions.SHIPPED.read_text(encoding="utf-8"))
STATUTE = dt.date(2021, 5, 1)  #: 国务院令第735号 is in force


def test_every_area_has_a_document_and_every_document_its_rules() -> None:
    assert set(AREAS) - {"none"} == set(POLICIES)
    for region, text in POLICIES.items():
        assert text["supervision_rules"]["rules"], region


@pytest.mark.parametrize("region", sorted(POLICIES))
def test_the_rules_of_a_region_are_on_and_cite_its_clause_and_the_decree(db, region) -> None:
    factories.policies(region)
    first = POLICIES[region]["effective"]["from"]
    rules = current().rules(region, max(first, STATUTE), examples=True)
    assert rules is not None
    listed = POLICIES[region]["supervision_rules"]["rules"]
    assert [switch.rule for switch in rules.watching] == [entry["rule"] for entry in listed]
    cited = Cited(rules.policy)
    for switch in rules.watching:
        assert "audit" in switch.moments
        assert rules.policy.clause_text(switch.clause)
        said = cited.clause(switch, max(first, STATUTE))
        assert said.startswith(f"{rules.policy.document} {switch.clause}；国务院令第735号 第")


@pytest.mark.parametrize("code", ["640100", "640000"])
def test_an_audit_of_ningxia_finds_what_was_planted(committed_db, monkeypatch, code) -> None:
    monkeypatch.setitem(factories.REGIONS, "ningxia", (code, "宁夏"))
    factories.policies("ningxia")
    hospital = Hospital("ningxia")
    hours = {"started_at": "2021-12-01T09:00:00+08:00", "ended_at": "2021-12-01T09:10:00+08:00"}
    for number in ("one", "two"):
        body = hospital.body(line(fee="12.00"), claim_no=number)
        body["encounter"] |= hours | {"id": "E1"}
        assert hospital.post(body).status_code == 201
    asked = audits.ask(
        pool="ningxia", first=dt.date(2021, 11, 1), last=DAY, by="jiandu", at=AT, wake=False
    )
    run = audits.execute(run_id=asked.pk, by="w", at=AT)
    assert run is not None
    assert (run.state, run.found["duplicate_charge"]) == ("done", {"found": 1, "new": 1})
    set_scope(EVERYTHING)
    found = Finding.objects.get(rule="duplicate_charge")
    assert (found.region_code, found.claims) == (code, 1)
    assert found.clause == "宁医保发〔2021〕152号 附件2 五；国务院令第735号 第三十八条（三）"
    assert run.rules["stretches"][0]["first"] == "2021-11-17"  # no document before, no judgement
