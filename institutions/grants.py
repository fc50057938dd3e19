"""What a key of the interface may do: its scopes, and no token once it was ended or changed.

A token is given in the transaction that notes the key's last use; an end or a new secret waits for
that transaction and takes its token back, so that none outlives its key. (RFC 9700 2.3, 2.5)
"""

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator
from oauth2_provider.scopes import SettingsScopes
from oauth2_provider.settings import oauth2_settings
from oauthlib.oauth2 import InvalidClientError

from audit import clock
from institutions.models import ApiClient

#: Scopes that only the system of an office can use; all others are an institution's.
OFFICE = ("reports:",)


def scopes_of(*, office: bool) -> dict[str, str]:
    """The scopes of offices or of institutions, with what they allow in words."""
    every: dict[str, str] = oauth2_settings.SCOPES
    return {scope: words for scope, words in every.items() if scope.startswith(OFFICE) == office}


class ClientScopes(SettingsScopes):
    """A key has the scopes it was issued for; an old one without a list has all of its side."""

    def get_available_scopes(
        self, application: ApiClient | None = None, request: Any = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        if application is None:
            return list(self.get_all_scopes())
        side = scopes_of(office=application.region_id is not None)
        return [scope for scope in side if scope in (application.scopes or side)]

    get_default_scopes = get_available_scopes


class KeyValidator(OAuth2Validator):
    """Tokens for keys in use only; giving one is the key's last use."""

    def _save_bearer_token(self, token: dict, request: Any, *args: Any, **kwargs: Any) -> None:
        same = ApiClient.objects.filter(
            pk=request.client.pk, client_secret=request.client.client_secret, ended_at=None
        )
        if not same.update(used_at=clock.now()):
            raise InvalidClientError(request=request)
        super()._save_bearer_token(token, request, *args, **kwargs)
