"""An institution's own system as whoever acts for the institution: commands ask it as they ask a person."""

from dataclasses import dataclass

from institutions.models import Scope
from institutions.tokens import Client


@dataclass(frozen=True)
class System:
    """The client of a token with the permissions that its address grants."""

    client: Client
    permissions: tuple[str, ...]

    region_id = None

    @property
    def username(self) -> str:
        return self.client.name

    @property
    def institution_id(self) -> str:
        return self.client.institution

    def may(self, permission: str) -> bool:
        return permission in self.permissions

    def scope_codes(self) -> Scope:
        return Scope(institutions=(self.client.institution,))
