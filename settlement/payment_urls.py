"""Addresses of 手工报销, payments and vouchers."""

from django.urls import path

from settlement.views import payment_orders, payments, regional, reimbursements, slots, vouchers

urlpatterns = [
    path("reimbursements/", reimbursements.listed, name="reimbursements"),
    path("reimbursements/person/", reimbursements.find_person, name="reimbursements-person"),
    path("reimbursements/new/", reimbursements.new, name="reimbursement-new"),
    path("reimbursements/slots/", slots.slots, name="reimbursement-slots"),
    path("reimbursements/slots/<int:pk>/", slots.capacity, name="reimbursement-slot"),
    path("reimbursements/<int:pk>/", reimbursements.one, name="reimbursement"),
    path(
        "reimbursements/<int:pk>/calculate/",
        reimbursements.calculate,
        name="reimbursement-calculate",
    ),
    path("reimbursements/<int:pk>/account/", reimbursements.account, name="reimbursement-account"),
    path("reimbursements/<int:pk>/reveal/", reimbursements.reveal, name="reimbursement-reveal"),
    path(
        "reimbursements/<int:pk>/<slug:kind>.pdf", reimbursements.paper, name="reimbursement-paper"
    ),
    path("payments/", payments.listed, name="payments"),
    path("payments/due/", payments.due, name="payments-due"),
    path("payments/<int:pk>/", payments.one, name="payment"),
    path("payments/<int:pk>/approve/", payments.approve, name="payment-approve"),
    path("payments/<int:pk>/refuse/", payments.refuse, name="payment-refuse"),
    path("payments/<int:pk>/file.<slug:form>", payments.export, name="payment-export"),
    path("payments/<int:pk>/results/", payments.results, name="payment-results"),
    path("payments/orders/<int:pk>/", payment_orders.order, name="payment-order"),
    path("payments/orders/<int:pk>/drop/", payment_orders.drop, name="payment-drop"),
    path("payments/orders/<int:pk>/refund/", payment_orders.refund_new, name="refund-new"),
    path("payments/refunds/", payment_orders.refund_list, name="refunds"),
    path("payments/refunds/<int:pk>/", payment_orders.refund_decide, name="refund-decide"),
    path("payments/regional/", regional.listed, name="regional"),
    path("payments/regional/export.csv", regional.export_csv, name="regional-csv"),
    path("payments/regional/<int:pk>/", regional.decide, name="regional-decide"),
    path("payments/regional/<int:pk>/reversal/", regional.ask_reversal, name="regional-reversal"),
    path(
        "payments/regional/<int:pk>/reversal/decide/",
        regional.decide_reversal,
        name="regional-reversal-decide",
    ),
    path("vouchers/", vouchers.listed, name="vouchers"),
    path("vouchers/export.csv", vouchers.export_csv, name="vouchers-csv"),
    path("vouchers/<int:pk>/", vouchers.one, name="voucher"),
    path("vouchers/<int:pk>.pdf", vouchers.paper, name="voucher-paper"),
]
