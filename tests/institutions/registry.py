"""What the tests of the registry share: moments, and a refusal that is expected."""

import datetime as dt

import pytest

from institutions.refusals import Refusal
from tests import factories

Day = dt.date
FIRST = {"by": "reviewer", "at": dt.datetime(2021, 5, 20, 9, tzinfo=factories.ZONE)}
LATER = {"by": "reviewer", "at": dt.datetime(2021, 8, 2, 9, tzinfo=factories.ZONE)}
LAST = {"by": "reviewer", "at": dt.datetime(2021, 9, 3, 9, tzinfo=factories.ZONE)}
MID_MAY = Day(2021, 5, 17)


def refusal(code: str, field: str = "", status: int | None = None):
    """Expects a Refusal of a code; its first fault names the field."""

    class Expected:
        def __enter__(self):
            self.raises = pytest.raises(Refusal)
            self.info = self.raises.__enter__()
            return self.info

        def __exit__(self, *error):
            done = self.raises.__exit__(*error)
            found = self.info.value
            assert found.code == code
            assert status is None or found.status == status
            assert not field or found.faults[0].pointer == f"/{field}"
            return done

    return Expected()
