"""A refusal on the page that asked: at its field, with its clause, and what was typed stays."""

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS

from audit.procedure import Refused
from institutions.refusals import Refusal

Refusals = (Refused, Refusal)


def words_of(refused: Refused | Refusal) -> str:
    """Why, and by which clause."""
    if isinstance(refused, Refused):
        return f"{refused.detail}（{refused.clause}）" if refused.clause else refused.detail
    told = [fault.detail[0] for fault in refused.faults]
    reasons = [] if refused.detail[0] in told else [refused.detail[0]]
    reasons += [
        text + (f"（{fault.clause}）" if fault.clause else "")
        for text, fault in zip(told, refused.faults, strict=True)
    ]
    return "；".join(dict.fromkeys(reasons))


def refuse(form: forms.Form, refused: Refused | Refusal) -> int:
    """Put a refusal on a form, at its field where it names one; returns the status of the answer."""
    field = getattr(refused, "field", "") or _field(refused)
    form.add_error(field if field in form.fields else NON_FIELD_ERRORS, words_of(refused))
    return refused.status


def _field(refused: Refused | Refusal) -> str:
    faults = getattr(refused, "faults", ())
    return faults[0].pointer.strip("/") if faults else ""
