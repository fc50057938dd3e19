"""Fixtures of the registry's tests. Nothing of the portal is imported here: it is not set up yet."""

import pytest


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Doorbells of imports are only noted."""
    rung: list[int] = []
    monkeypatch.setattr("institutions.exchange.intake.ring", lambda task, ids: rung.extend(ids))
    return rung


@pytest.fixture
def clerk(db):
    """Who keeps Nantong's registry."""
    from tests import factories

    return factories.user("reviewer", factories.region("nantong"))
