"""A new version of Jilin's example parameters: which localities have taken remote consultations in.

The notice leaves this to the localities (吉卫便函〔2021〕3号 三第3款), so nothing can be paid
before somebody says so. One person drafts, a second publishes, as in the portal.
"""

import datetime as dt

import yaml

from config.demo import moment
from institutions.money import yuan
from pricing.commands import draft, publish
from pricing.document import parse
from pricing.models import Release
from pricing.releases import Catalogue, Published, current
from settlement.trial import run

Day = dt.date
INCLUDED_FROM = Day(2021, 4, 16)
DRAFTED, PUBLISHED = Day(2021, 4, 12), Day(2021, 4, 14)
DRAFTED_BY, PUBLISHED_BY = "reviewer.jilin", "clerk.jilin"
SLUG = "parameters-jilin"
ROW = {
    "key": "pool_inclusion",
    "value": [{"area": "220000", "from": INCLUDED_FROM, "until": None}],
    "from": INCLUDED_FROM,
    "until": None,
    "source_kind": "example",
    "source_ref": "示例（自拟，非官方）",
    "label": "示例：全省自该日起纳入支付范围",
    "clause": "三第3款",
}


class WithoutAliases(yaml.SafeDumper):
    """Policy texts repeat values; they hold no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def include_jilin() -> Release:
    """Publish the new version; it ends its predecessor the day before."""
    shipped = Release.objects.published().get(slug=SLUG)
    data = yaml.safe_load(shipped.text)
    data["effective"] = {"from": INCLUDED_FROM, "until": None}
    data["rows"] = [row | {"from": INCLUDED_FROM} for row in data["rows"]] + [ROW]
    text = yaml.dump(data, Dumper=WithoutAliases, allow_unicode=True, sort_keys=False)
    release = draft(text=text, by=DRAFTED_BY, at=moment(DRAFTED))
    evidence = {"sm3": release.sm3, "cases": tried(release)}
    return publish(release=release, evidence=evidence, by=PUBLISHED_BY, at=moment(PUBLISHED))


def tried(release: Release) -> dict[str, int]:
    """Trial settlements under the drafted text: one per scheme and number of hospitals."""
    policy = parse(release.text)
    known = current()
    draft_release = Published(
        release.pk, release.sm3, policy, release.valid_from, release.valid_until
    )
    others = [r for r in known.parameters if r.policy.slug != SLUG]
    catalogue = Catalogue([*known.policies, *others, draft_release])
    price = policy.parameters(INCLUDED_FROM, examples=True)["mdt_price"].value
    if not isinstance(price, int):
        raise TypeError("mdt_price is an amount in fen")
    passed = [
        _agrees(catalogue, scheme, hospitals, price)
        for scheme in ("employee", "resident")
        for hospitals in (1, 2, 3)
    ]
    return {"passed": sum(passed), "failed": len(passed) - sum(passed)}


def _agrees(catalogue: Catalogue, scheme: str, hospitals: int, price: int) -> bool:
    """The trial pays, and in-scope is the price once per provincial hospital (一第3款)."""
    answer = run(
        {
            "region": "jilin", "service": "remote_consult", "service_date": str(INCLUDED_FROM),
            "scheme": scheme, "consent": True, "explained_item_and_price": True,
            "charged_by": "inviting", "inpatient": True, "included_in_pool": True,
            "provincial_hospitals": [f"示例省级医院{number}" for number in range(hospitals)],
        },
        catalogue,
        examples=True,
    )  # fmt: skip
    in_scope = answer["in_scope_amount"]
    return answer["decision"] == "payable" and in_scope == yuan(price * hospitals)
