"""Addresses of remote consultations and of the fees of lines."""

from django.urls import path

from settlement.views import consultation_list, consultations, fee_bills, line_contracts, lines
from settlement.views import consultation_papers as papers

PAIR = "consultations/statements/<str:inviting>/<str:invited>/<str:month>/"

urlpatterns = [
    path("consultations/", consultation_list.consultations, name="consultations"),
    path(
        "consultations/export.csv", consultation_list.consultations_csv, name="consultations-csv",
    ),
    path("consultations/new/", consultations.consultation_new, name="consultation-new"),
    path("consultations/agreements/", papers.split_agreements, name="split-agreements"),
    path("consultations/agreements/new/", papers.split_agreement_new, name="split-agreement-new"),
    path(
        "consultations/agreements/<int:pk>/confirm/", papers.split_agreement_confirm,
        name="split-agreement-confirm",
    ),
    path(
        "consultations/agreements/<int:pk>/end/", papers.split_agreement_end,
        name="split-agreement-end",
    ),
    path("consultations/statements/", papers.consultation_statements, name="consultation-statements"),
    path(
        "consultations/statements/export.csv", papers.consultation_statements_csv,
        name="consultation-statements-csv",
    ),
    path(
        "consultations/account/<str:month>/", papers.consultation_account,
        name="consultation-account",
    ),
    path(PAIR, papers.consultation_statement, name="consultation-statement"),
    path(
        f"{PAIR}statement.<str:form>", papers.consultation_statement,
        name="consultation-statement-file",
    ),
    path("consultations/<int:pk>/", consultations.consultation, name="consultation"),
    path("consultations/<int:pk>/claim/", consultations.consultation_link, name="consultation-link"),
    path(
        "consultations/<int:pk>/list.<str:form>", papers.consultation_list,
        name="consultation-list",
    ),
    path(
        "consultations/<int:pk>/hospitals/<int:number>/<slug:act>/",
        consultations.consultation_act, name="consultation-act",
    ),
    path("lines/", lines.lines, name="lines"),
    path("lines/new/", lines.line_new, name="line-new"),
    path("lines/<int:pk>/", lines.line, name="line"),
    path("lines/<int:pk>/close/", lines.line_close, name="line-close"),
    path("lines/<int:pk>/void/", lines.line_void, name="line-void"),
    path("lines/contracts/", line_contracts.line_contracts, name="line-contracts"),
    path("lines/contracts/new/", line_contracts.line_contract_new, name="line-contract-new"),
    path("lines/contracts/<int:pk>/", line_contracts.line_contract, name="line-contract"),
    path(
        "lines/contracts/<int:pk>/end/", line_contracts.line_contract_end, name="line-contract-end",
    ),
    path(
        "lines/contracts/<int:pk>/void/", line_contracts.line_contract_void,
        name="line-contract-void",
    ),
    path("lines/bills/", fee_bills.fee_bills, name="fee-bills"),
    path("lines/bills/export.csv", fee_bills.fee_bills_csv, name="fee-bills-csv"),
    path("lines/bills/make/", fee_bills.fee_bills_make, name="fee-bills-make"),
    path("lines/bills/confirm/", fee_bills.fee_bills_confirm, name="fee-bills-confirm"),
    path("lines/bills/<int:pk>/", fee_bills.fee_bill, name="fee-bill"),
    path("lines/bills/<int:pk>/bill.pdf", fee_bills.fee_bill_pdf, name="fee-bill-pdf"),
]  # fmt: skip
