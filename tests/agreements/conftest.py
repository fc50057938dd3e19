"""Fixtures that several files about applications and Ningxia share."""

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


@pytest.fixture
def quick(monkeypatch) -> None:
    """Papers of a few bytes: what is in them, other tests look at."""
    from agreements import papers
    from tests.agreements.cast import PDF

    monkeypatch.setattr(papers.pdf, "render", lambda *args, **kwargs: PDF)
