"""Every write of the registry: keyword-only, atomic, with its event; refusals name field and clause."""

from institutions.commands.cases import (
    CHANGE_CONTENT,
    attach,
    file_change,
    freeze,
    reveal_filed_account,
    submit_mapping,
    take_step,
    unfreeze,
)
from institutions.commands.facts import (
    adopt_names,
    correct_facts,
    record_facts,
    register_institution,
)
from institutions.commands.identity import correct_identity
from institutions.commands.offices import set_office
from institutions.commands.practitioners import (
    ask_comparison,
    check_practitioner,
    compare_registration,
    correct_practitioner,
    end_comparison,
    leave,
    record_title,
    register_practitioner,
    renew_licence,
    sign_physician_agreement,
)
from institutions.commands.records import (
    add_contact,
    add_qualification,
    check_record,
    connect_platform,
    correct_qualification,
    disconnect_platform,
    end_contact,
    reveal_account,
    reveal_contact,
    set_account,
)
from institutions.commands.suspensions import (
    end_early,
    suspend_department,
    suspend_practitioner,
)

__all__ = [
    "CHANGE_CONTENT",
    "add_contact",
    "add_qualification",
    "adopt_names",
    "ask_comparison",
    "attach",
    "check_practitioner",
    "check_record",
    "compare_registration",
    "connect_platform",
    "correct_facts",
    "correct_identity",
    "correct_practitioner",
    "correct_qualification",
    "disconnect_platform",
    "end_comparison",
    "end_contact",
    "end_early",
    "file_change",
    "freeze",
    "leave",
    "record_facts",
    "record_title",
    "register_institution",
    "register_practitioner",
    "renew_licence",
    "reveal_account",
    "reveal_contact",
    "reveal_filed_account",
    "set_account",
    "set_office",
    "sign_physician_agreement",
    "submit_mapping",
    "suspend_department",
    "suspend_practitioner",
    "take_step",
    "unfreeze",
]
