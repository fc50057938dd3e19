"""Fixtures that several files about Ningxia share."""

import pytest


@pytest.fixture
def people(db, settings) -> dict:
    """Everybody by role and level, on the day of Ningxia's tests."""
    from tests.agreements import ningxia  # its models are there only once Django is set up

    settings.DEMO_TODAY = ningxia.TODAY
    return ningxia.country()


@pytest.fixture
def found(people):
    """A hospital of the first batch."""
    from tests.agreements import ningxia

    return ningxia.hospital("银川市第一人民医院")
