"""PURE. The Merkle tree of RFC 9162: frontier, roots, inclusion and consistency proofs, their checks.

A leaf is H(0x00 ‖ entry), a node H(0x01 ‖ left ‖ right), H chosen by name. A tree of any size is made
of complete subtrees, named (level, idx): the 2^level leaves from idx·2^level on. Only those are ever
kept. What a proof needs of them is told first (`Proof` of names), so that a store is asked once.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

LEAF, NODE = b"\x00", b"\x01"


class Place(NamedTuple):
    """A complete subtree: the leaves idx·2^level … (idx + 1)·2^level − 1."""

    level: int
    idx: int


#: One element of a proof, or a root: complete subtrees from left to right, folded into one hash.
Part = tuple[Place, ...]
Hashes = Mapping[Place, bytes]


def leaf_hash(entry: bytes, alg: str = "sm3") -> bytes:
    """H(0x00 ‖ entry)."""
    return hashlib.new(alg, LEAF + entry).digest()


def node_hash(left: bytes, right: bytes, alg: str = "sm3") -> bytes:
    """H(0x01 ‖ left ‖ right)."""
    return hashlib.new(alg, NODE + left + right).digest()


def empty_root(alg: str = "sm3") -> bytes:
    """The root of a tree without leaves: H()."""
    return hashlib.new(alg).digest()


class Frontier:
    """The right edge of a growing tree: as many hashes as `size` has bits set, whatever the size."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = (), alg: str = "sm3") -> None:
        """`hashes` are those of `peaks(size)`, from left to right."""
        self.size, self.alg = size, alg
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks")

    def append(self, leaf: bytes) -> list[tuple[Place, bytes]]:
        """Add a leaf hash; the nodes (level ≥ 1) that this completes, from below."""
        made, level, idx = [], 0, self.size
        self.hashes.append(leaf)
        while idx & 1:
            right = self.hashes.pop()
            self.hashes[-1] = node_hash(self.hashes[-1], right, self.alg)
            level, idx = level + 1, idx >> 1
            made.append((Place(level, idx), self.hashes[-1]))
        self.size += 1
        return made

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return fold(self.hashes, self.alg)


def fold(hashes: Sequence[bytes], alg: str = "sm3") -> bytes:
    """One hash of complete subtrees from left to right, each smaller than the one before."""
    if not hashes:
        return empty_root(alg)
    *rest, found = hashes
    for left in reversed(rest):
        found = node_hash(left, found, alg)
    return found


def subtrees(begin: int, end: int) -> Part:
    """The complete subtrees of the leaves [begin, end) of an RFC 9162 subtree, from left to right."""
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        found.append(Place(level, begin >> level))
        begin += 1 << level
    return tuple(found)


def peaks(size: int) -> Part:
    """The complete subtrees of a whole tree."""
    return subtrees(0, size)


def inclusion(index: int, size: int) -> list[Part]:
    """What the inclusion proof of a leaf is made of, from below. (RFC 9162 2.1.3.1)"""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    found, begin, end = [], 0, size
    while end - begin > 1:
        middle = begin + _half(end - begin)
        if index < middle:
            found.append(subtrees(middle, end))
            end = middle
        else:
            found.append(subtrees(begin, middle))
            begin = middle
    return found[::-1]


def consistency(old: int, new: int) -> list[Part]:
    """What the consistency proof of two sizes is made of. (RFC 9162 2.1.4.1)"""
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} does not contain a tree of {old}")
    found, begin, end, whole = [], 0, new, True
    while old < end:
        middle = begin + _half(end - begin)
        if old <= middle:
            found.append(subtrees(middle, end))
            end = middle
        else:
            found.append(subtrees(begin, middle))
            begin, whole = middle, False
    if not whole:
        found.append(subtrees(begin, end))
    return found[::-1]


def _half(count: int) -> int:
    """The largest power of two smaller than `count` (≥ 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def places(parts: Iterable[Part]) -> list[Place]:
    """Every complete subtree that a proof is made of."""
    return [place for part in parts for place in part]


def hashes_of(parts: Iterable[Part], known: Hashes, alg: str = "sm3") -> list[bytes]:
    """The hashes of a proof; KeyError when one was not fetched."""
    return [fold([known[place] for place in part], alg) for part in parts]


def root_of_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], alg: str = "sm3"
) -> bytes | None:
    """The root that a proof leads to, or None when it does not fit the tree. (RFC 9162 2.1.3.2)"""
    if not 0 <= index < size or len(leaf) != len(empty_root(alg)):
        return None
    at, last, found = index, size - 1, leaf
    for part in proof:
        if last == 0:
            return None
        if at & 1 or at == last:
            found = node_hash(part, found, alg)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, part, alg)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def included(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes, alg: str = "sm3"
) -> bool:
    """Whether the proof shows that the tree of this size and root has this leaf at this index."""
    return root_of_inclusion(leaf, index, size, proof, alg) == root


def consistent(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], alg: str = "sm3"
) -> bool:
    """Whether the proof shows that the old tree is the beginning of the new one. (RFC 9162 2.1.4.2)"""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    parts = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    return bool(parts) and _roots(old, new, parts, alg) == (old_root, new_root)


def _roots(old: int, new: int, parts: Sequence[bytes], alg: str) -> tuple[bytes, bytes] | None:
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = parts[0]
    for part in parts[1:]:
        if last == 0:
            return None
        if at & 1 or at == last:
            before, after = node_hash(part, before, alg), node_hash(part, after, alg)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, part, alg)
        at, last = at >> 1, last >> 1
    return (before, after) if last == 0 else None
