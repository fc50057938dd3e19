"""Two publishers at once, in transactions that really commit."""

import datetime as dt
import threading
from pathlib import Path

from django.db import connection

from audit.models import Event
from pricing import commands
from pricing.models import Release

AT = dt.datetime(2026, 1, 5, 9, tzinfo=dt.UTC)
TEXT = (Path(__file__).parents[1] / "policies" / "invented-city.yaml").read_text(encoding="utf-8")
TEXT = TEXT.replace("until: 2024-12-31", "until: null")
LATER = TEXT.replace("from: 2022-03-01", "from: 2023-01-01").replace("months: 2,", "months: 4,")


def proof(release: Release) -> dict:
    return {"sm3": release.sm3, "cases": {"passed": 3, "failed": 0}}


def drafted(text: str) -> Release:
    return commands.draft(text=text, by="甲", at=AT)


def race(*drafts: Release) -> list[object]:
    barrier, outcomes = threading.Barrier(len(drafts)), []

    def publish(release: Release, by: str) -> None:
        barrier.wait()
        try:
            outcomes.append(
                commands.publish(release=release, evidence=proof(release), by=by, at=AT)
            )
        except commands.ReleaseError as error:
            outcomes.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=publish, args=(release, f"发布{number}"))
        for number, release in enumerate(drafts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_one_draft_is_published_once(committed_db):
    release = drafted(TEXT)
    outcomes = race(release, release)
    assert sorted(isinstance(o, commands.ReleaseError) for o in outcomes) == [False, True]
    assert Event.objects.filter(action="release.publish").count() == 1


def test_two_successors_of_the_same_day_do_not_both_stand(committed_db):
    first = drafted(TEXT)
    commands.publish(release=first, evidence=proof(first), by="乙", at=AT)
    outcomes = race(drafted(LATER), drafted(LATER.replace("months: 4,", "months: 5,")))
    assert sorted(isinstance(o, commands.ReleaseError) for o in outcomes) == [False, True]
    assert Release.objects.published().count() == 2
