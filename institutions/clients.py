"""Keys of the interface: issued to an institution's or an office's system, changed, ended.

Whoever issues one sees the secret once; the portal keeps its hash. One key per purpose, with the scopes
and the rate that the purpose needs. (GB/T 22239 身份鉴别、访问控制; docs/decisions/interface-keys.md)
"""

import datetime as dt
import re
import secrets
from collections.abc import Iterable

from django.db import IntegrityError, transaction
from oauth2_provider.models import get_access_token_model

from audit import trail
from institutions.grants import scopes_of
from institutions.models import ApiClient, Institution, Region
from institutions.refusals import Refusal, refused

AREA = re.compile(r"[0-9]{6}")


def holder_of(code: str) -> Institution | Region:
    """The institution of a code, or the region of an area code; Refusal without it."""
    rows = Region.objects if AREA.fullmatch(code) else Institution.objects
    found: Institution | Region | None = rows.filter(pk=code).first()
    if found is None:
        raise refused(
            "holder", "HOLDER_UNKNOWN", "没有这一机构编码或行政区划代码", "no such holder"
        )
    return found


@transaction.atomic
def issue(
    *, holder: str, purpose: str, rate: str, scopes: Iterable[str], by: str, at: dt.datetime
) -> tuple[ApiClient, str]:
    """A new key of an institution (its code) or of an office (its area code); with its secret."""
    place = holder_of(holder.strip().upper())
    office = isinstance(place, Region)
    wanted = sorted(set(scopes))
    if not wanted or set(wanted) - set(scopes_of(office=office)):
        words = "医保部门的系统" if office else "医疗机构的系统"
        raise refused("scopes", "SCOPES_OF_ANOTHER", f"请选择{words}可用的授权范围", "wrong scopes")
    secret = secrets.token_urlsafe(32)
    row = ApiClient(
        client_id=f"{place.pk}-{secrets.token_hex(5)}", client_secret=secret,
        client_type=ApiClient.CLIENT_CONFIDENTIAL, name=f"{place.name}：{purpose}",
        authorization_grant_type=ApiClient.GRANT_CLIENT_CREDENTIALS,
        region=place if isinstance(place, Region) else None,
        institution=place if isinstance(place, Institution) else None,
        purpose=purpose, rate=rate, scopes=wanted, issued_at=at, issued_by=by,
    )  # fmt: skip
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise refused("purpose", "PURPOSE_SERVED", "该持有方已有同一用途的在用密钥，请换发或先停用",
                      "a key of this purpose is in use", status=409) from error  # fmt: skip
    _record(row, "issue", by, at, purpose=purpose, rate=rate, scopes=wanted)
    return row, secret


@transaction.atomic
def rotate(
    *, client: ApiClient, seen: int, reason: str, by: str, at: dt.datetime
) -> tuple[ApiClient, str]:
    """A new secret for a key, of which `seen` secrets were given; the old one ends at once."""
    row = _in_use(client)
    if row.secret_no != seen:
        raise refused("secret", "ROTATED_BEFORE", "该密钥刚刚换发过，请返回查看", "changed before",
                      status=409)  # fmt: skip
    secret = secrets.token_urlsafe(32)
    row.client_secret, row.hash_client_secret = secret, True
    row.secret_no, row.rotated_at, row.rotated_by = row.secret_no + 1, at, by
    row.save()
    _take_back(row)
    _record(row, "rotate", by, at, reason=reason, secret_no=row.secret_no)
    return row, secret


@transaction.atomic
def end(*, client: ApiClient, reason: str, by: str, at: dt.datetime) -> None:
    """The key is of no use from now on, nor are the tokens that it was given."""
    row = _in_use(client)
    row.ended_at, row.ended_by, row.ended_for = at, by, reason
    row.save()
    _take_back(row)
    _record(row, "end", by, at, reason=reason)


def _in_use(client: ApiClient) -> ApiClient:
    row = ApiClient.objects.select_for_update().get(pk=client.pk)
    if row.ended_at is not None:
        raise Refusal(409, "KEY_ENDED", ("该密钥已停用", "the key was ended"))
    return row


def _take_back(row: ApiClient) -> None:
    get_access_token_model().objects.filter(application=row).delete()


def _record(row: ApiClient, act: str, by: str, at: dt.datetime, **detail: object) -> None:
    place = row.holder
    trail.record(
        by=by, at=at, action=f"apiclient.{act}", subject=f"apiclient:{row.client_id}",
        region_code=place.pk if isinstance(place, Region) else place.region_id,
        institution_code=row.institution_id or "", detail=detail,
    )  # fmt: skip
