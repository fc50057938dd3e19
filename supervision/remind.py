"""Reminding before a claim exists (事前提醒): the rules of the region over one visit, nothing kept.

A hospital's system asks while the visit is still open; the answer says which rules the claim would
meet, with message and clause, so that it can be put right. (PV 二（五）规则嵌入医院系统)
"""

import datetime as dt
from typing import Any

from audit import trail
from institutions import crypto
from institutions.refusals import Refusal
from pricing import releases
from pricing.watching import BEHAVIOURS, Switch
from settlement import contract, facts
from settlement.facts import Claimant
from settlement.kernel import check_lines
from supervision.near import Asked, visits_near
from supervision.rules import Found, Rule, Visits
from supervision.suspicions import Cited, look

MOMENT = "remind"
SEVERITIES = {1: "remind", 2: "doubt", 3: "grave"}
DRAFT_NO = "precheck"  #: the number of a claim that does not exist yet


def hints(*, institution: Claimant, claim: dict, by: str, at: dt.datetime) -> dict[str, Any]:
    """What the rules say of a visit. Refusal 422 when no document of the region is published.

    That hints were given about somebody is an event; a visit without a hint leaves nothing.
    """
    claim = {"claim_no": DRAFT_NO, "channel": "online", **claim}
    claim["lines"] = sorted(claim["lines"], key=lambda line: line["line_no"])
    day = contract.local_day(claim["encounter"]["started_at"])
    catalogue = releases.current()
    rules = catalogue.rules(institution.policy_region, day, examples=facts.examples_allowed())
    if rules is None:
        detail = ("本统筹区没有已发布的政策文件", "no policy is published for the region")
        raise Refusal(422, "NO_POLICY", detail)
    switches = tuple(switch for switch in rules.watching if switch.speaks(MOMENT))
    known = facts.read(institution, claim, rules, at=at)
    law = facts.Law.of(catalogue, rules, known, day)
    record = facts.pack(institution, claim, known, law.lists)
    columns = facts.columns(claim, record, law, [])
    checked = check_lines(columns, rules)
    asked = Asked(institution, claim, known, record, law, columns, checked)
    visits, _ = visits_near(asked, switches)
    cited = Cited(rules.policy)
    found = [
        _hint(switch, rule, hits, visits, cited, cited.statute(switch, day) or None)
        for switch, rule, hits in look(visits, switches, MOMENT) if len(hits)
    ]  # fmt: skip
    found.sort(key=lambda hint: -hint["gravity"])
    if found:
        trail.record(
            by=by, at=at, action="visit.precheck", subject="visit",
            region_code=institution.region_code, institution_code=institution.code,
            person_hash=crypto.person_hash(claim["person"]["credential"]),
            detail={"encounter": claim["encounter"]["id"], "hints": [h["code"] for h in found]},
        )  # fmt: skip
    return {
        "hints": found,
        "checked": [switch.rule for switch in switches],
        "person_known": known.person_id is not None,
        "stored": False,
        "release": {"id": rules.release_id, "document": rules.policy.document,
                    "sm3": rules.release_sm3, "parameters_id": rules.parameters_id},
    }  # fmt: skip


def _hint(
    switch: Switch, rule: Rule, hits: Found, visits: Visits, cited: Cited, statute: str | None
) -> dict[str, Any]:
    own = hits.rows == visits.n - 1
    lines = sorted(set(hits.line_no[own].tolist()) - {0})
    return {
        "code": switch.rule,
        "message": rule.message,
        "behaviour": switch.behaviour,
        "behaviour_text": BEHAVIOURS[switch.behaviour],
        "severity": SEVERITIES[switch.severity],
        "gravity": switch.severity,
        "at_submit": switch.watch if switch.speaks("watch") else "pay",
        "clause": {"document": cited.document, "clause": switch.clause,
                   "text": cited.policy.clause_text(switch.clause)},
        "statute": statute,
        "lines": lines,
        "figures": {name: int(value.max()) for name, value in hits.figures.items()},
        "example_parameter": switch.example,
    }  # fmt: skip
