"""The tree of RFC 9162 against published vectors of Certificate Transparency and against its definition."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle

VECTORS = json.loads(Path(__file__).with_name("ct_vectors.json").read_text(encoding="utf-8"))
#: Leaves and roots of the reference implementation (google/certificate-transparency).
ENTRIES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def definition(leaves: list[bytes], alg: str) -> bytes:
    """MTH of RFC 9162 2.1.1, word by word."""
    if not leaves:
        return hashlib.new(alg, b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    parts = definition(leaves[:half], alg), definition(leaves[half:], alg)
    return hashlib.new(alg, b"\x01" + parts[0] + parts[1]).digest()


class Log:
    """A log in memory: every complete subtree, as the database keeps them."""

    def __init__(self, count: int, alg: str = "sm3", salt: bytes = b"") -> None:
        self.alg, self.edge = alg, merkle.Frontier(alg=alg)
        self.leaves = [
            merkle.leaf_hash(salt + bytes([k % 256, k // 256]), alg) for k in range(count)
        ]
        self.known: dict[merkle.Place, bytes] = {}
        self.roots = [self.edge.root()]
        for k, leaf in enumerate(self.leaves):
            self.known[merkle.Place(0, k)] = leaf
            self.known.update(self.edge.append(leaf))
            self.roots.append(self.edge.root())

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return merkle.hashes_of(merkle.inclusion(index, size), self.known, self.alg)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return merkle.hashes_of(merkle.consistency(old, new), self.known, self.alg)


def test_the_published_roots():
    edge, roots = merkle.Frontier(alg="sha256"), [merkle.empty_root("sha256").hex()]
    for entry in ENTRIES:
        edge.append(merkle.leaf_hash(entry, "sha256"))
        roots.append(edge.root().hex())
    assert roots == ROOTS


def raw(texts: list[str] | None) -> list[bytes]:
    return [base64.b64decode(text) for text in texts or ()]


@pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: case["desc"])
def test_published_inclusion_proofs_and_their_forgeries(case: dict):
    leaf, root = raw([case["leafHash"], case["root"]])
    found = merkle.included(
        leaf, case["leafIdx"], case["treeSize"], raw(case["proof"]), root, "sha256"
    )
    assert found is not case["wantErr"]


@pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: case["desc"])
def test_published_consistency_proofs_and_their_forgeries(case: dict):
    """The empty tree proves nothing here: a checkpoint of nothing is never signed."""
    old, new = raw([case["root1"], case["root2"]])
    found = merkle.consistent(case["size1"], case["size2"], old, new, raw(case["proof"]), "sha256")
    assert found is (not case["wantErr"] and case["size1"] > 0)


def test_proofs_are_those_of_the_reference_implementation():
    log = Log(0, "sha256")
    for k, entry in enumerate(ENTRIES):
        log.known[merkle.Place(0, k)] = merkle.leaf_hash(entry, "sha256")
        log.known.update(log.edge.append(log.known[merkle.Place(0, k)]))
    for case in (c for c in VECTORS["inclusion"] if c["desc"] == "happy path"):
        assert log.inclusion(case["leafIdx"], case["treeSize"]) == raw(case["proof"])
    for case in (c for c in VECTORS["consistency"] if c["desc"] == "happy path"):
        assert log.consistency(case["size1"], case["size2"]) == raw(case["proof"])


@pytest.mark.parametrize("alg", ["sm3", "sha256"])
def test_every_size_up_to_seventy_is_the_definition_and_every_proof_holds(alg: str):
    log = Log(70, alg)
    for size in range(1, 71):
        assert log.roots[size] == definition(log.leaves[:size], alg)
        for k in range(size):
            proof = log.inclusion(k, size)
            assert merkle.included(log.leaves[k], k, size, proof, log.roots[size], alg)
        for old in range(1, size + 1):
            proof = log.consistency(old, size)
            assert merkle.consistent(old, size, log.roots[old], log.roots[size], proof, alg)


@given(st.data())
def test_nothing_else_is_accepted(data: st.DataObject):
    """Another index, leaf, root, or a part left out, doubled or changed: refused."""
    size = data.draw(st.integers(2, 40))
    k = data.draw(st.integers(0, size - 1))
    log, proof = LOG, LOG.inclusion(k, size)
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != k))
    at = data.draw(st.integers(0, len(proof) - 1))
    bad = [*proof[:at], bytes(32), *proof[at + 1 :]]
    tried = [
        (log.leaves[k], other, size, proof, log.roots[size]),
        (log.leaves[other], k, size, proof, log.roots[size]),
        (log.leaves[k], k, size, proof, log.roots[size - 1]),
        (log.leaves[k], k, size, [*proof, proof[at]], log.roots[size]),
        (log.leaves[k], k, size, proof[:at] + proof[at + 1 :], log.roots[size]),
        (log.leaves[k], k, size, bad, log.roots[size]),
        (log.leaves[k], size, size, proof, log.roots[size]),
        (log.leaves[k], -1, size, proof, log.roots[size]),
    ]
    assert [case for case in tried if merkle.included(*case)] == []


@given(st.data())
def test_a_rewritten_past_is_not_consistent(data: st.DataObject):
    new = data.draw(st.integers(2, 40))
    old = data.draw(st.integers(1, new - 1))
    proof = LOG.consistency(old, new)
    tried = [
        (old, new, OTHER.roots[old], LOG.roots[new], proof),
        (old, new, LOG.roots[old], OTHER.roots[new], proof),
        (old, new, LOG.roots[old], OTHER.roots[new], OTHER.consistency(old, new)),
        (old, new, LOG.roots[old], LOG.roots[new], [*proof, proof[0]]),
        (old, new, LOG.roots[old], LOG.roots[new], proof[1:]),
        (new, old, LOG.roots[new], LOG.roots[old], proof),
        (0, new, LOG.roots[0], LOG.roots[new], []),
        (new, new, LOG.roots[new], OTHER.roots[new], []),
    ]
    assert [case for case in tried if merkle.consistent(*case)] == []


LOG, OTHER = Log(40), Log(40, salt=b"x")


@given(st.integers(1, 2**40), st.data())
def test_a_proof_of_a_great_log_is_short_and_made_of_kept_hashes(size: int, data: st.DataObject):
    """At most one hash per level; what must be read for all of it stays below two per level."""
    k = data.draw(st.integers(0, size - 1))
    parts = merkle.inclusion(k, size)
    assert len(parts) <= size.bit_length()
    assert len(merkle.places(parts)) <= 2 * size.bit_length()
    assert all((p.idx + 1) << p.level <= size for p in merkle.places(parts))


def test_a_frontier_needs_the_hashes_of_its_size():
    with pytest.raises(ValueError, match="peaks"):
        merkle.Frontier(3, [bytes(32)])
    with pytest.raises(ValueError, match="no leaf 3"):
        merkle.inclusion(3, 3)
    with pytest.raises(ValueError, match="does not contain"):
        merkle.consistency(4, 3)
