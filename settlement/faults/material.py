"""What is settled under faults: a file of claims through the real check, and its batch confirmed.

A few hundred patients with several claims each: payable, from the account, refused, charged twice in
one encounter. The same in every run of a template.
"""

import datetime as dt
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from django.test import Client
from django.utils import timezone

from institutions.access import EVERYTHING, scoped
from institutions.models import Institution
from settlement.batch import commands
from settlement.bench import data, single

BY = "faults"
CLAIMS_EACH = 6


@dataclass(frozen=True)
class Material:
    """The batch, and claims with their keys to be sent one by one."""

    batch: int
    posts: list[tuple[str, dict]]


def prepared(*, patients: int, posts: int = 12) -> Material:
    """Registers hospital and patients, checks a file of claims and confirms it; nobody rings.

    The region and its policies are there already. The batch began long ago: the first sweep rings.
    """
    data.region()
    with scoped(EVERYTHING):
        numbers = single.prepare()[:patients]
    claims = [claim for number in numbers for claim in _claims(number)]
    now = timezone.now()
    batch = commands.check(
        institution=Institution.objects.select_related("region").get(pk=data.INSTITUTION),
        file_name="faults.jsonl", content="\n".join(map(json.dumps, claims)).encode(), by=BY, at=now,
    )  # fmt: skip
    if batch.errors:
        raise ValueError(batch.errors[:3])
    commands.confirm(batch_id=batch.pk, by=BY, at=now - dt.timedelta(hours=1))
    single_ones = [single.claim(numbers[k % len(numbers)]) for k in range(posts)]
    return Material(batch.pk, [(f"fault-{k}", claim) for k, claim in enumerate(single_ones)])


def _claims(number: str) -> list[dict]:
    made = [single.claim(number) for _ in range(CLAIMS_EACH)]
    made[1]["pay_from_account"] = True
    made[2]["encounter"]["visit_type"] = "first"
    made[3]["encounter"]["id"] = made[0]["encounter"]["id"]
    made[4]["lines"][0] |= {"unit_price": "22.00", "fee": "22.00"}
    made[5]["lines"] = made[5]["lines"][:1]
    return made


def send(path: Path) -> None:
    """Post the claims of a file with their keys, one after the other, as a hospital's system does."""
    for key, claim in json.loads(path.read_text()):
        answer = Client().post(
            "/api/v1/claims", json.dumps(claim), content_type="application/json",
            headers={"Authorization": f"Bearer {single.TOKEN}", "Idempotency-Key": key},
        )  # fmt: skip
        if answer.status_code != 201:
            sys.exit(f"{key}: {answer.status_code} {answer.content.decode()[:500]}")
