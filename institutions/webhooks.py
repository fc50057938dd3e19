"""Webhooks of an institution: registered, tested and switched off by its own people."""

import datetime as dt
import secrets

from django.db import transaction

from audit import trail
from institutions import crypto, outbox
from institutions.models import Dispatch, Institution, Webhook
from institutions.refusals import Refusal

MOST = 5


@transaction.atomic
def register(
    *, institution: Institution, url: str, by: str, at: dt.datetime
) -> tuple[Webhook, str]:
    """Store an address; returns it with the key of its signatures, which is shown only now."""
    url = url.strip()
    try:
        outbox.target(url)
    except outbox.Undelivered as error:
        raise Refusal(422, "WEBHOOK_URL", (str(error), "the address cannot be called")) from None
    Institution.objects.select_for_update().get(pk=institution.pk)
    mine = Webhook.objects.filter(institution=institution, active=True)
    if mine.filter(url=url).exists():
        raise Refusal(409, "WEBHOOK_KNOWN", ("该回调地址已登记", "already registered"))
    if mine.count() >= MOST:
        text = f"每家机构最多登记{MOST}个启用的回调地址，请先停用不再使用的地址"
        raise Refusal(409, "WEBHOOK_MANY", (text, f"at most {MOST} addresses"))
    secret = secrets.token_urlsafe(32)
    hook = Webhook.objects.create(
        institution=institution, url=url, created_at=at, created_by=by,
        secret_encrypted=crypto.encrypt(
            secret, bound_to=outbox.bound_to(institution.pk, url)),
    )  # fmt: skip
    _record(hook, "register", by, at)
    return hook, secret


@transaction.atomic
def try_out(*, webhook: Webhook, by: str, at: dt.datetime) -> Dispatch:
    """Queue a test message; it leaves like any other."""
    if not webhook.active:
        raise Refusal(409, "WEBHOOK_OFF", ("该回调地址已停用", "the address is switched off"))
    row = outbox.call(
        webhook, text="回调测试", url="", subject=f"webhook:{webhook.pk}", at=at, event="test"
    )
    outbox.queue([row])
    _record(webhook, "test", by, at)
    return row


@transaction.atomic
def switch_off(*, webhook: Webhook, by: str, at: dt.datetime) -> None:
    """Nothing is sent there any more, not even what waits; a new registration has a new key."""
    if Webhook.objects.filter(pk=webhook.pk, active=True).update(active=False):
        Dispatch.objects.filter(webhook=webhook, sent_at=None).update(
            next_at=None, error="回调地址已停用"
        )
        _record(webhook, "end", by, at)


def _record(hook: Webhook, act: str, by: str, at: dt.datetime) -> None:
    trail.record(
        by=by, at=at, action=f"webhook.{act}", subject=f"webhook:{hook.pk}",
        region_code=hook.institution.region_id, institution_code=hook.institution_id,
        detail={"url": hook.url},
    )  # fmt: skip
