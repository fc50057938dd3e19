"""Watching a claim while it is settled (事中监督): SETTLEMENT_WATCH names `judge`.

A hit is a finding of this moment; the region's data say whether the line is paid all the same, held for
a person's review, or refused. (温医保办〔2021〕6号 二十四；PV 二（五）)
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from audit import trail
from institutions import crypto
from pricing.rules import WATCHED
from settlement.watching import Submitted
from supervision.near import Asked, visits_near
from supervision.rules import Visits
from supervision.suspicions import Cited, Looked, Place, Suspicion, look, store, suspicions

MOMENT = "watch"


@dataclass(frozen=True)
class Verdict:
    """What was found in a claim, and which lines wait for it."""

    submitted: Submitted
    found: tuple[Suspicion, ...]
    watched: np.ndarray

    def keep(self, fund: int) -> None:
        """Store the findings of the claim, each with its event."""
        given = self.submitted
        cited = Cited(given.law.rules.policy)
        claim = given.known.claim_id
        found = [
            replace(one, counted={**one.counted, claim: replace(one.counted[claim], fund=fund)})
            for one in self.found
        ]
        made = store(found, Looked(cited, MOMENT, by=given.by, at=given.at))
        for key, rule, _ in made:
            trail.record(
                by=given.by, at=given.at, action="finding.watch", subject=f"finding:{key}",
                region_code=given.claimant.region_code, institution_code=given.claimant.code,
                person_hash=crypto.person_hash(given.claim["person"]["credential"]),
                detail={"rule": rule, "claim": claim, "fund": fund},
            )  # fmt: skip


def judge(submitted: Submitted) -> Verdict | None:
    """Look at a claim with the rules that watch; one statement whatever their number.

    Claims of other institutions count for the rule; what is kept is the own institution's share only.
    """
    asked = Asked(
        submitted.claimant, submitted.claim, submitted.known, submitted.record, submitted.law,
        submitted.columns, submitted.checked, decided=True,
    )  # fmt: skip
    switches = submitted.law.rules.watched
    visits, names = visits_near(asked, switches)
    last = visits.n - 1
    place_of = Place(submitted.claimant.code, submitted.claimant.region_code)
    place = {line["line_no"]: k for k, line in enumerate(submitted.claim["lines"])}
    watched = np.zeros(len(place), np.int64)
    ours = set(visits["id"][visits["institution"] == visits["institution"][last]].tolist())
    found: list[Suspicion] = []
    for switch, rule, hits in look(visits, switches, MOMENT):
        for one in suspicions(visits, switch, rule, hits, names):
            mine = [line for claim, line in one.evidence if claim == visits["id"][last]]
            found.append(_own(one, visits, place_of, ours))
            if switch.watch in WATCHED:
                lines = list(place.values()) if 0 in mine else [place[line] for line in mine]
                watched[[k for k in lines if not watched[k]]] = switch.number
    return Verdict(submitted, tuple(found), watched) if found else None


def _own(one: Suspicion, visits: Visits, place: Place, ours: Collection[int]) -> Suspicion:
    """What a suspicion says of the institution that submits and of the visit that is judged."""
    return replace(
        one.only(pair for pair in one.evidence if pair[0] in ours), place=place,
        person=int(visits["person"][visits.n - 1]) if one.person is not None else None,
    )  # fmt: skip
