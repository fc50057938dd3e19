"""Addresses of log-in, log-out, password and second factor: django-allauth's, our policies.

Sign-up, e-mail and password reset by mail are left out: administrators open accounts. Every address
declares its policy, so that the test of all addresses covers these too.
"""

from allauth.account import views as account
from allauth.account.views import LoginView
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as keys
from django.urls import path

from audit.access import public, signed_in
from config.demo.accounts import logins


class Login(LoginView):
    """The log-in page; in a demonstration it lists the demonstration's log-ins."""

    def get_context_data(self, **kwargs) -> dict:
        return super().get_context_data(**kwargs) | {"demo_logins": logins()}


urlpatterns = [
    path("login/", public(Login.as_view()), name="account_login"),
    path("logout/", signed_in(account.logout), name="account_logout"),
    path("signup/", public(account.signup), name="account_signup"),  # says that it is closed
    path("inactive/", public(account.account_inactive), name="account_inactive"),
    path("reauthenticate/", signed_in(account.reauthenticate), name="account_reauthenticate"),
    path("password/change/", signed_in(account.password_change), name="account_change_password"),
    path("2fa/", signed_in(mfa.index), name="mfa_index"),
    path("2fa/authenticate/", public(mfa.authenticate), name="mfa_authenticate"),
    path("2fa/reauthenticate/", signed_in(mfa.reauthenticate), name="mfa_reauthenticate"),
    path("2fa/totp/activate/", signed_in(totp.activate_totp), name="mfa_activate_totp"),
    path("2fa/totp/deactivate/", signed_in(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("2fa/codes/", signed_in(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "2fa/codes/generate/", signed_in(codes.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "2fa/codes/download/", signed_in(codes.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
    path("2fa/keys/", signed_in(keys.list_webauthn), name="mfa_list_webauthn"),
    path("2fa/keys/add/", signed_in(keys.add_webauthn), name="mfa_add_webauthn"),
    path(
        "2fa/keys/reauthenticate/", signed_in(keys.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
    path("2fa/keys/<int:pk>/remove/", signed_in(keys.remove_webauthn), name="mfa_remove_webauthn"),
    path("2fa/keys/<int:pk>/edit/", signed_in(keys.edit_webauthn), name="mfa_edit_webauthn"),
]  # fmt: skip
