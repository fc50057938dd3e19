"""The quick yes or no of a schema is the named faults' in every case."""

import json
import random
from collections.abc import Iterator
from typing import Any

from institutions import shape
from settlement import contract

SOUND = {
    "claim_no": "A1",
    "encounter": {
        "id": "E1", "business_type": "internet", "visit_type": "revisit", "condition": "chronic",
        "started_at": "2021-06-15T09:30:00+08:00", "ended_at": "2021-06-15T09:45:00+08:00",
        "department_code": "A03", "session": {"medium": "video", "device": "手机"},
        "diagnoses": [{"code": "I10.x00x002", "name": "高血压", "main": True}],
    },
    "person": {"credential_type": "e_credential", "credential": "x", "verified_at": None,
               "matched": True},
    "physician": {"code": "D1"},
    "lines": [{"line_no": 1, "kind": "consult", "item_code": "1", "quantity": "1",
               "unit_price": "1.0", "fee": "1.00", "service_type": None, "trace_codes": ["a"]}],
    "channel": "online",
}  # fmt: skip
ODD: tuple[object, ...] = (
    None, True, 1, 0, -1, 10**9, "", "x", "\u202e", "a\n", "é", "a" * 500, "1.5", [], {},
    "2021-02-30T00:00:00Z", "2021-06-15T09:30:00+08:00", "I10", "online", shape.Float(),
)  # fmt: skip
CASES = 3_000


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all members and elements below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in pairs:
        yield (*path, key)
        if isinstance(member, dict | list):
            yield from places(member, (*path, key))


def changed(chance: random.Random) -> dict:
    """A sound claim with up to two members replaced, removed or added."""
    claim = json.loads(json.dumps(SOUND))
    for _ in range(chance.randint(0, 2)):
        *path, last = chance.choice(list(places(claim)))
        place = claim
        for key in path:
            place = place[key]
        if isinstance(place, dict) and chance.random() < 0.4:
            place.pop(last) if chance.random() < 0.5 else place.update({"unknown": 1})
        else:
            place[last] = chance.choice(ODD)
    return claim


def test_yes_or_no_agrees_with_the_named_faults() -> None:
    chance = random.Random(1)
    answers = []
    for _ in range(CASES):
        claim = changed(chance)
        answers.append(shape.fits(claim, contract.CLAIM))
        assert answers[-1] == (not list(shape._named(claim, contract.CLAIM, ""))), claim
    assert CASES // 10 < sum(answers) < CASES * 9 // 10


def test_a_key_that_comes_twice_is_a_fault() -> None:
    body = json.dumps(SOUND).encode()
    assert not list(shape.faults(shape.read_json(body), contract.CLAIM))
    twice = shape.read_json(body[:-1] + b',"channel":"online"}')
    assert [fault.code for fault in shape.faults(twice, contract.CLAIM)] == ["DUPLICATE_KEY"]
