"""An institution's or an office's own system as whoever acts: commands ask it as they ask a person."""

from dataclasses import dataclass

from institutions.models import Scope
from institutions.tokens import Client, OfficeClient


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


@dataclass(frozen=True)
class OfficeSystem:
    """The client of an office's token with the permissions that its address grants."""

    client: OfficeClient
    permissions: tuple[str, ...]

    institution_id = None

    @property
    def username(self) -> str:
        return self.client.name

    @property
    def region_id(self) -> str:
        return self.client.region_id

    def may(self, permission: str) -> bool:
        return permission in self.permissions

    def scope_codes(self) -> Scope:
        return self.client.scope_codes()
