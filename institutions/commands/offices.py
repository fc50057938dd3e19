"""The authorities of a region as notices and agreements name them: name, address, telephone."""

import datetime as dt

from django.db import transaction

from audit import trail
from institutions.models import Office, Region
from institutions.refusals import refused

FIELDS = {"name": ("名称", 120), "address": ("地址", 200), "phone": ("办公电话", 40)}


@transaction.atomic
def set_office(
    *, region: Region, kind: str, name: str, address: str = "", phone: str = "", by: str,
    at: dt.datetime,
) -> Office:  # fmt: skip
    """Add an authority of a region, or change what is known of it; the event keeps what was."""
    if kind not in Office.Kind.values:
        raise refused(
            "kind", "KIND_UNKNOWN", f"没有“{kind}”这一类主管机构", "unknown kind of office"
        )
    given = {"name": name.strip(), "address": address.strip(), "phone": phone.strip()}
    if not given["name"]:
        raise refused("name", "NAME_MISSING", "请填写机构名称", "a name is needed")
    for key, value in given.items():
        label, limit = FIELDS[key]
        if len(value) > limit:
            raise refused(key, "TOO_LONG", f"{label}不得超过{limit}个字符", "too long")
    Region.objects.select_for_update(no_key=True).get(pk=region.pk)
    held = Office.objects.filter(region=region, kind=kind).first()
    before = {key: getattr(held, key) for key in given} if held else {}
    if held is not None and before == given:
        raise refused("", "NOTHING_CHANGED", "没有任何变化", "nothing is changed")
    office, _ = Office.objects.update_or_create(region=region, kind=kind, defaults=given)
    trail.record(
        by=by, at=at, action="office.set", subject=f"office:{region.pk}-{kind}",
        region_code=region.pk, detail={"kind": kind, "before": before, "after": given},
    )  # fmt: skip
    return office
