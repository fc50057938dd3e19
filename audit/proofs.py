"""The sealed log as it stands in the database: its size, hashes, roots and proofs."""

from collections.abc import Iterable, Sequence

from django.db import connection

from audit import merkle
from audit.merkle import Place
from audit.models import Leaf

#: Level 0 stands in the leaves. One look-up by key for each place, however many there are.
NODES = """
SELECT wanted.level, wanted.idx, coalesce(node.hash, leaf.hash)
FROM unnest(%s::smallint[], %s::bigint[]) AS wanted (level, idx)
LEFT JOIN audit_node node ON node.level = wanted.level AND node.idx = wanted.idx
LEFT JOIN audit_leaf leaf ON wanted.level = 0 AND leaf.seq = wanted.idx"""


class MissingNodeError(LookupError):
    """A hash that the log must have is not there: it was tampered with, or is not sealed so far."""


def size() -> int:
    """How many entries are sealed."""
    last = Leaf.objects.order_by("-seq").values_list("seq", flat=True).first()
    return 0 if last is None else last + 1


def kept(places: Iterable[Place]) -> dict[Place, bytes]:
    """The kept hashes of complete subtrees, without those that are not there."""
    wanted = list(places)
    with connection.cursor() as cursor:
        cursor.execute(NODES, [[p.level for p in wanted], [p.idx for p in wanted]])
        rows = cursor.fetchall()
    return {Place(level, idx): bytes(digest) for level, idx, digest in rows if digest is not None}


def nodes(places: Iterable[Place]) -> dict[Place, bytes]:
    """The kept hashes of complete subtrees; MissingNodeError when one is not there."""
    wanted = list(places)
    found = kept(wanted)
    if missing := next((place for place in wanted if place not in found), None):
        raise MissingNodeError(f"no hash of the subtree {missing.level}/{missing.idx}")
    return found


def frontier(count: int, *, alg: str = "sm3") -> merkle.Frontier:
    """The right edge of the log when it had `count` entries."""
    places = merkle.peaks(count)
    known = nodes(places)
    return merkle.Frontier(count, [known[place] for place in places], alg)


def root(count: int, *, alg: str = "sm3") -> bytes:
    """The root of the first `count` entries."""
    return frontier(count, alg=alg).root()


def inclusion(index: int, count: int, *, alg: str = "sm3") -> list[bytes]:
    """The proof that the entry `index` is in the log of `count` entries."""
    return inclusions([index], count, alg=alg)[0]


def inclusions(indexes: Sequence[int], count: int, *, alg: str = "sm3") -> list[list[bytes]]:
    """The proofs of many entries, from one question to the database."""
    wanted = [merkle.inclusion(index, count) for index in indexes]
    known = nodes({place for parts in wanted for place in merkle.places(parts)})
    return [merkle.hashes_of(parts, known, alg) for parts in wanted]


def consistency(old: int, new: int, *, alg: str = "sm3") -> list[bytes]:
    """The proof that the log of `old` entries is the beginning of that of `new` entries."""
    parts = merkle.consistency(old, new)
    return merkle.hashes_of(parts, nodes(merkle.places(parts)), alg)
