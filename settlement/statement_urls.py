"""Addresses of months, statements, deductions, advances, budgets and clearings."""

from django.urls import path

from settlement.views import advances, budgets, periods, statement_files, statements

urlpatterns = [
    path("periods/", periods.periods, name="periods"),
    path("periods/<slug:pool>/<str:month>/", periods.period, name="period"),
    path("periods/<slug:pool>/<str:month>/<slug:key>/", periods.move, name="period-move"),
    path("statements/", statements.statements_list, name="statements"),
    path("statements/<int:pk>/", statements.statement, name="statement"),
    path("statements/<int:pk>/paper.pdf", statement_files.paper, name="statement-paper"),
    path("statements/<int:pk>/lines.<slug:ending>", statement_files.export, name="statement-lines"),
    path("statements/<int:pk>/<slug:key>/", statements.step, name="statement-step"),
    path("claims/<int:claim_id>/deduct/", statements.deduct, name="claim-deduct"),
    path("deductions/<int:pk>/", statements.deduction, name="deduction"),
    path("advances/", advances.listed, name="advances"),
    path("advances/<int:pk>/", advances.decide, name="advance-decide"),
    path("advances/<int:pk>/withdrawal/", advances.ask_withdrawal, name="advance-withdrawal"),
    path(
        "advances/<int:pk>/withdrawal/decide/",
        advances.decide_withdrawal,
        name="advance-withdrawal-decide",
    ),
    path("budgets/", budgets.budgets_list, name="budgets"),
    path("budgets/entries/<int:pk>/", budgets.budget_decide, name="budget-decide"),
    path("budgets/<str:code>/<int:year>/", budgets.budget, name="budget"),
    path("clearings/", budgets.clearings, name="clearings"),
    path("clearings/<int:pk>/", budgets.clearing_page, name="clearing"),
    path("clearings/<int:pk>/paper.pdf", budgets.clearing_paper, name="clearing-paper"),
    path("clearings/<int:pk>/<slug:key>/", budgets.clearing_move, name="clearing-move"),
]
