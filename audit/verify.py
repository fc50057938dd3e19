"""Verifies a bundle of the trail anywhere: Python's standard library and openssl, nothing else.

    python verify.py BUNDLE.jsonl [--key KEY.pem] [--older CHECKPOINT.txt ...]

--key: the log's public keys from elsewhere, all in one file (else the bundle's own); --older: signed
checkpoints that were kept before the bundle was made.
Exit status: 0 everything agrees, 1 broken (the first broken entry is named), 2 not comparable.
"""

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

OK, BROKEN, NOT_COMPARABLE, FORMAT = 0, 1, 2, "trail-bundle/2"
ENTRY = b'{"seq":%d,"alg":"%b","leaf":"%b"'  # the beginning of an entry's line
# Behind BODY stand the stored bytes as they are, to the end of the line. Their members are sorted and
# quotes in texts escaped: the first AT is the time of the act.
BODY, AT, ARCHIVE = b',"body":', b',"at":"', b'"action":"trail.archive"'
PEM = re.compile("-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----")


class Verdict(Exception):
    """(exit status, sentence)"""


def ensure(holds, seq, why):
    if not holds:
        raise Verdict(BROKEN, f"第 {seq} 条起不一致：{why} (broken at entry {seq})")


class Note:
    """A signed checkpoint (C2SP tlog-checkpoint): origin, size, root, algorithm, time, signature."""

    def __init__(self, text):
        body, last = text.replace("\r\n", "\n").split("\n\n\u2014 ")
        _, size, root, _, self.at = body.split("\n")
        self.name, signature = last.split("\n")[0].split(" ")
        self.size, self.root, self.body = int(size), base64.b64decode(root), f"{body}\n".encode()
        self.key, self.sign = base64.b64decode(signature)[:4].hex(), base64.b64decode(signature)[4:]

    def signed_with(self, pem):
        """Whether the name and id of the checkpoint are those of this key."""
        named = self.name.encode() + b"\n\xffsm2-sm3" + base64.b64decode(pem.split("-----")[2])
        return hashlib.sha256(named).hexdigest()[:8] == self.key

    def check(self, keys):
        """Raises unless one of the keys signed it: SM2 with SM3."""
        pem = next(filter(self.signed_with, keys), None)
        if pem is None:
            raise Verdict(BROKEN, f"检查点 {self.size} 的公钥 {self.key} 未知 (unknown key)")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "key").write_text(pem)
            Path(folder, "sign").write_bytes(self.sign)
            words = "openssl dgst -sm3 -sigopt distid:1234567812345678 -verify key -signature sign"
            done = subprocess.run(words.split(), input=self.body, capture_output=True, cwd=folder)
        if done.returncode:
            raise Verdict(BROKEN, f"检查点 {self.size} 的签名无效 (signature)")


class Bundle:
    """A bundle, verified while it is read along the right edge of an RFC 9162 tree.

    `archives`: (first, last) of the archives that entries of the log record.
    """

    def __init__(self, head, pem, older):
        self.head, self.older, self.notes, self.grown, self.archives = head, older, {}, {}, []
        if head["bundle"] != FORMAT:
            raise ValueError(f"格式应为 {FORMAT}")
        self.keys = PEM.findall("".join(head["keys"].values()) if pem is None else pem)
        self.alg, self.edge = head["alg"], list(map(bytes.fromhex, head["frontier"]))
        self.size = self.safe = head["first"]
        self.left, self.bare, self.since, self.late, self.seen = head["entries"], 0, b"", "", None

    def hash(self, content):
        return hashlib.new(self.alg, content).digest()

    def climb(self, at, last, start, proof):
        """(root without what came later, root with it); (None, None) for a misfit (RFC 9162 2.1).

        Below the level where the ways of the entries `at` and `last` meet, each level has a part, on the
        left or right of the way; above it only complete subtrees on the left have one.
        """
        meet = (at ^ last).bit_length()
        if not 0 <= at <= last or len(proof) != meet + (at >> meet).bit_count():
            return None, None
        before = after = start
        for level, part in enumerate(proof):
            if level >= meet or at >> level & 1:
                before, after = self.hash(b"\1" + part + before), self.hash(b"\1" + part + after)
            else:
                after = self.hash(b"\1" + after + part)
        return before, after

    def read(self, front, body):
        """A line. An entry of a stretch that is as it should be, as nearly all are, is not parsed."""
        leaf = self.hash(b"\0" + body)
        if front == ENTRY % (self.size, self.alg.encode(), leaf.hex().encode()):
            self.grow(leaf, body)
        elif "leaf" in (row := json.loads(front.decode() + "}")):
            self.parse(row, leaf, body)
        elif "grown" in row:
            self.grown[row["grown"]] = list(map(bytes.fromhex, row["proof"]))
        else:
            note = Note(row["checkpoint"])
            self.notes[note.size] = note

    def parse(self, row, leaf, body):
        """An entry: its leaf, then its proof or its place in a stretch."""
        archived = not body and row["seq"] < self.head["archived"]
        ensure(leaf.hex() == row["leaf"] or archived, row["seq"], "正文与叶哈希不符")
        if "proof" in row:
            ensure(self.seen is None or row["seq"] > self.seen, row["seq"], "重复或次序颠倒")
            self.count(row["seq"], body)
            top = self.notes[self.head["last"]]
            leaf, *way = map(bytes.fromhex, [row["leaf"], *row["proof"]])
            root = self.climb(self.seen, top.size - 1, leaf, way)[1]
            ensure(root == top.root, self.seen, "包含证明不成立")
        else:
            ensure(row["seq"] == self.size, self.size, "缺失、多出或错位")
            self.grow(bytes.fromhex(row["leaf"]), body)

    def count(self, seq, body):
        self.seen, self.left, self.bare = seq, self.left - 1, self.bare + (not body)
        if ARCHIVE in body and (said := json.loads(body))["action"] == "trail.archive":
            self.archives.append((said["detail"]["first"], said["detail"]["last"]))

    def grow(self, leaf, body):
        at = self.size
        self.count(at, body)
        if not self.late and body and body.partition(AT)[2][:10] < self.since:
            self.late = f"；第 {at} 条的时间早于其前的检查点 (entry {at} is back-dated)"
        while at & 1:
            leaf, at = self.hash(b"\1" + self.edge.pop() + leaf), at >> 1
        self.edge.append(leaf)
        self.size += 1
        for note in [*self.older, self.notes.get(self.size)]:
            if note and note.size == self.size:
                self.compare(note)

    def compare(self, note):
        """A root on the way: where it differs, the fault lies after the last one that agreed."""
        root = self.edge[-1]
        for left in self.edge[-2::-1]:
            root = self.hash(b"\1" + left + root)
        if note.root != root:
            note.check(self.keys)
        why = f"至第 {note.size - 1} 条与检查点 {note.size} 的树根不符"
        ensure(note.root == root, self.safe, why)
        self.safe, self.since = note.size, note.at[3:13].encode()

    def close(self):
        """At the end: nothing is missing, the top is signed, every older checkpoint is its beginning."""
        top, first = self.notes[self.head["last"]], self.head["first"]
        ensure(not self.left and self.size in (first, top.size), self.size, "材料不完整")
        for note in [top, *self.older]:
            note.check(self.keys)
            size, parts = note.size, self.grown.get(note.size)
            ensure(size <= top.size, top.size, f"日志曾有 {size} 条，材料被截短，或早于该检查点")
            begins = parts is None or self.begins(note, top, parts)
            ensure(begins, 0, f"前 {size} 条不是检查点 {size} 时的日志")
            ensure(size < top.size or note.root == top.root, 0, f"同为 {size} 条的两份日志")
            if parts is None and size != top.size and not first < size <= self.size:
                raise Verdict(NOT_COMPARABLE, f"没有到检查点 {size} 的证明 (not comparable)")
        if self.bare and (self.bare < self.head["entries"] or self.size > first):
            self.check_archives()  # not of a selection that shows hashes only
        bare = f"；{self.bare} 条无正文 ({self.bare} without body)" if self.bare else ""
        return f"一致：日志 {top.size} 条，{top.at}，公钥 {top.key} (ok){bare}{self.late}"

    def check_archives(self):
        """Raises unless entries say of all that the head calls archived that it is."""
        covered = self.head["first"]
        for first, last in sorted(self.archives):
            covered = last if first <= covered < last else covered
        archived = self.head["archived"]
        ensure(covered >= archived, covered, f"至 {archived} 条，日志中没有正文归档的记录")

    def begins(self, old, top, parts):
        """Whether the consistency proof leads from the older checkpoint to the top.

        It starts at the root of the complete subtree that ends the older log, `low` levels up.
        """
        start, *rest = parts if old.size & (old.size - 1) else [old.root, *parts]
        low = (old.size & -old.size).bit_length() - 1
        roots = self.climb((old.size - 1) >> low, (top.size - 1) >> low, start, rest)
        return roots == (old.root, top.root)


def verify(path, key=None, older=()):
    """(exit status, sentence) of a bundle."""
    bundle = None
    try:
        notes = [Note(Path(name).read_text(encoding="utf-8")) for name in older]
        with open(path, "rb") as lines:
            bundle = Bundle(json.loads(next(lines)), key and Path(key).read_text(), notes)
            for line in lines:
                front, _, body = line.rpartition(b"}\n")[0].partition(BODY)
                bundle.read(front, b"" if body == b"null" else body)
            return OK, bundle.close()
    except Verdict as verdict:
        return verdict.args
    except (AttributeError, LookupError, OSError, StopIteration, TypeError, ValueError) as fault:
        seen = bundle and bundle.seen
        if seen is None or isinstance(fault, OSError):
            return NOT_COMPARABLE, f"无法比较 (not comparable)：{fault!r}"
        return BROKEN, f"第 {seen} 条之后无法读取 (broken after entry {seen})：{fault!r}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("path")
    parser.add_argument("--key")
    parser.add_argument("--older", nargs="*", default=[])
    status, sentence = verify(**vars(parser.parse_args()))
    sys.stdout.write(f"{sentence}\n")
    sys.exit(status)
