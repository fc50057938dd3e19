"""What is settled under faults: a file of claims through the real check, and its batch confirmed.

A few hundred patients with several claims each: payable, from the account, refused, charged twice in
one encounter. Every third is insured in another region, whose catalogue is loaded too: what it owes is
posted in its own books. The same in every run of a template.
"""

import datetime as dt
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.test import Client
from django.utils import timezone

from institutions import crypto
from institutions.access import EVERYTHING, scoped
from institutions.models import Institution, Region
from pricing import commands as law
from pricing.models import Release
from settlement.batch import checking, commands, undo
from settlement.batch.chunk import settle_chunk
from settlement.batch.parts import MAX_ATTEMPTS, SETTLER
from settlement.bench import data, single
from settlement.models import Batch, Chunk, InsuredPerson

BY, PUBLISHER = "faults", "faults-2"
CLAIMS_EACH = 6
ELSEWHERE = ("320600", "nantong", "南通市")  #: where every third patient is insured
SINCE = "effective: {from: 2021-03-08"  #: of the parameters of the treating region
SWITCH = """  - {key: offsite_settlement, value: true, from: 2021-03-08, until: null, source_kind: example,
     source_ref: 示例（自拟，非官方）, label: 示例：异地就医直接结算, clause: 十二第1款}
"""


@dataclass(frozen=True)
class Material:
    """The batch, and claims with their keys to be sent one by one."""

    batch: int
    posts: list[tuple[str, dict]]


def prepared(*, patients: int, posts: int = 12) -> Material:
    """Registers hospital and patients, checks a file of claims and confirms it; nobody rings.

    The policies of both regions are there already. The batch began long ago: the first sweep rings.
    """
    data.region()
    with scoped(EVERYTHING):
        numbers = single.prepare()[:patients]
        _insure_elsewhere(numbers[1::3])
    claims = [claim for number in numbers for claim in _claims(number)]
    now = timezone.now()
    batch = checking.check(
        institution=Institution.objects.select_related("region").get(pk=data.INSTITUTION),
        file_name="faults.jsonl", content="\n".join(map(json.dumps, claims)).encode(), by=BY, at=now,
    )  # fmt: skip
    if batch.errors:
        raise ValueError(batch.errors[:3])
    commands.confirm(batch_id=batch.pk, by=BY, at=now - dt.timedelta(hours=1))
    single_ones = [single.claim(numbers[k % len(numbers)]) for k in range(posts)]
    return Material(batch.pk, [(f"fault-{k}", claim) for k, claim in enumerate(single_ones)])


def _insure_elsewhere(numbers: list[str]) -> None:
    """These patients belong to another region, and the treating one settles for it."""
    code, policy_region, name = ELSEWHERE
    Region.objects.get_or_create(
        code=code, defaults={"name": name, "level": "prefecture", "policy_region": policy_region}
    )
    hashes = [crypto.person_hash(number) for number in numbers]
    InsuredPerson.objects.filter(id_hash__in=hashes).update(region_code=code, scheme="employee")
    shipped = Release.objects.get(kind="parameters", region="wenzhou")
    text = shipped.text.replace(SINCE, SINCE.replace("-08", "-09")) + SWITCH
    at = timezone.now()
    made = law.draft(text=text, by=BY, at=at)
    evidence = {"sm3": made.sm3, "cases": {"passed": 1, "failed": 0}}
    law.publish(release=made, evidence=evidence, by=PUBLISHER, at=at)


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


def load(batch: int) -> None:
    """Load a confirmed batch."""
    commands.load(batch_id=batch, by=BY, at=timezone.now())


def send_again(batch: int) -> None:
    """The file of a batch that nobody has loaded comes once more, in its place, and a worker checks it."""
    commands.cancel(batch_id=batch, reason="重新上传", by=BY, at=timezone.now())
    first = Batch.objects.using(SETTLER).get(pk=batch)
    checking.take(
        institution=Institution.objects.select_related("region").get(pk=first.institution_code),
        file_name=first.file_name, content=bytes(first.file or b""), by=BY, at=timezone.now(), start=True,
    )  # fmt: skip


def tire(batch: int) -> None:
    """The chunks of a batch have failed so often that they are split."""
    Chunk.objects.using(SETTLER).filter(batch_id=batch).update(attempts=MAX_ATTEMPTS)


def give_back(batch: int) -> None:
    """All chunks but the last are settled, the batch is cancelled and is to be given back."""
    *first, _ = Chunk.objects.using(SETTLER).filter(batch_id=batch).order_by("number")
    for chunk in first:
        settle_chunk(chunk.pk, by=BY, at=timezone.now())
    commands.cancel(batch_id=batch, reason="文件传错", by=BY, at=timezone.now())
    undo.undo(batch_id=batch, reason="文件传错", by=PUBLISHER, at=timezone.now())


ACTS: dict[str, Callable[[int], None]] = {
    act.__name__: act for act in (load, send_again, tire, give_back)
}
