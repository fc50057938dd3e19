"""The paper of a renewal as the page of its agreement shows it: who signed, who signs next, files."""

from typing import Any

from django.urls import reverse

from agreements import renewals
from agreements.models import Agreement, Contract, Signature, SigningKey
from agreements.texts import version_label
from agreements.views.dossier import document_of
from audit import clock
from institutions.access import PortalRequest

Side = SigningKey.Side
SIDES = (Side.INSTITUTION, Side.AGENCY)


def renewal_of(request: PortalRequest, found: Agreement) -> dict[str, Any] | None:
    """The latest paper of a renewal: it made this agreement, or would make the next one."""
    rows = found.contracts.filter(application__isnull=True).select_related("document")
    rows = rows.prefetch_related("signatures__document", "signatures__key")
    row = rows.order_by("-made_at", "-pk").first()
    if row is None or not (row.complete or renewals.pending(found)):
        return None
    signatures = sorted(row.signatures.all(), key=lambda one: one.signed_at)
    signed = {one.side for one in signatures}
    missing = [side for side in SIDES if side not in signed]
    latest = signatures[-1].document if signatures else row.document
    return {
        "row": row, "signatures": [_signature(one) for one in signatures],
        "waiting": [side.label for side in missing],
        "document": document_of(latest) if request.user.may("documents.view") else None,
        "facts": _facts(row),
        "verify": reverse("agreement-verify", args=[found.pk, row.pk]) if signatures else "",
        "sign": reverse("agreement-sign", args=[found.pk, missing[0].value])
        if missing and may_sign(request, found, missing[0]) else "",
        "side": missing[0].label if missing else "",
    }  # fmt: skip


def may_sign(request: PortalRequest, found: Agreement, side: str) -> bool:
    """Whether this person signs for a side: the institution's own people, the agency's officers."""
    if not request.user.may(renewals.HOLDERS[Side(side)]):
        return False
    return side == Side.AGENCY or request.user.institution_id == found.institution_id


def _facts(row: Contract) -> list[dict[str, Any]]:
    until = f" 至 {row.valid_until}" if row.valid_until else " 起，未印终止日"
    facts: list[dict[str, Any]] = [
        {"label": "协议编号", "value": row.number, "code": True},
        {"label": "协议期", "value": f"{row.valid_from}{until}"},
        {"label": "文本版本", "value": version_label(row.text_version)},
    ]
    return [*facts, {"label": "续签理由", "value": row.reason}] if row.reason else facts


def _signature(row: Signature) -> dict[str, str]:
    return {
        "side": Side(row.side).label, "by": row.signed_by,
        "at": f"{clock.local(row.signed_at):%Y-%m-%d %H:%M}", "subject": row.key.subject,
        "digest": row.digest, "demo": "演示证书" if row.key.is_demo else "",
    }  # fmt: skip
