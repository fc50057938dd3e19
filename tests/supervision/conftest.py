"""Fixtures that tests of reports share. Nothing of the portal is imported here: it is not set up yet."""

import pytest


@pytest.fixture
def place(db):
    """A Wenzhou hospital with three claims of November, one of them reversed, and one held."""
    from institutions.access import EVERYTHING, set_scope
    from tests.settlement import money

    set_scope(EVERYTHING)
    found = money.Place("wenzhou")
    found.claim(fund=10_000, account=500, cash=100, number="WZ-1")
    found.claim(fund=2_000, cash=3_000, number="WZ-2")
    found.reverse(found.claim(fund=700, cash=300, number="WZ-3"))
    found.claim(fund=0, held=900, number="WZ-4")
    return found
