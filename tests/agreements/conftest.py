"""Fixtures that several files about Ningxia share."""

import pytest


@pytest.fixture
def people(db, settings) -> dict:
    """Everybody by role and level, on the day of Ningxia's tests."""
    from tests.agreements import ningxia  # its models are there only once Django is set up

    settings.DEMO_TODAY = ningxia.TODAY
    return ningxia.country()
