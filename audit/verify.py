"""Verifies a bundle of the trail anywhere: Python's standard library and openssl, nothing else.

    python verify.py BUNDLE.jsonl [--key KEY.pem] [--older CHECKPOINT.txt ...]

--key: the log's public key from elsewhere (else the bundle's own); --older: signed checkpoints kept before.
Exit status: 0 everything agrees, 1 broken (the first broken entry is named), 2 not comparable.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

OK, BROKEN, NOT_COMPARABLE = 0, 1, 2
AT = ',"at":"'  # members are sorted and quotes in texts escaped: its first place is the time of the act


class Verdict(Exception):
    """(exit status, sentence)"""


def broken(seq, why):
    return Verdict(BROKEN, f"第 {seq} 条起不一致：{why} (broken at entry {seq})")


class Note:
    """A signed checkpoint (C2SP tlog-checkpoint): origin, size, root, algorithm, time, signature."""

    def __init__(self, text):
        body, last = text.replace("\r\n", "\n").split("\n\n\u2014 ")
        _, size, root, _, self.at = body.split("\n")
        self.name, signature = last.split("\n")[0].split(" ")
        self.size, self.root, self.body = int(size), base64.b64decode(root), f"{body}\n".encode()
        self.key, self.sign = base64.b64decode(signature)[:4].hex(), base64.b64decode(signature)[4:]

    def check(self, keys):
        """Raises unless the key of this name and id signed it: SM2 with SM3."""
        pem = keys.get(self.key, "")
        der = base64.b64decode("".join(x for x in pem.split("\n") if not x.startswith("-")))
        known = hashlib.sha256(self.name.encode() + b"\n\xffsm2-sm3" + der).hexdigest()
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "key").write_text(pem)
            Path(folder, "sign").write_bytes(self.sign)
            words = "openssl dgst -sm3 -sigopt distid:1234567812345678 -verify key -signature sign"
            done = subprocess.run(words.split(), input=self.body, capture_output=True, cwd=folder)
        if known[:8] != self.key or done.returncode:
            raise Verdict(BROKEN, f"检查点 {self.size} 的签名无效或公钥未知 (signature)")


class Bundle:
    """A bundle, verified while it is read along the right edge of an RFC 9162 tree."""

    def __init__(self, head, pem, older):
        self.head, self.older, self.notes, self.grown = head, older, {}, {}
        self.keys = {key: pem or own for key, own in head["keys"].items()}
        self.fresh, self.edge = hashlib.new(head["alg"]), unhex(head["frontier"])
        self.size = self.safe = head["first"]
        self.left, self.since, self.late = head["entries"], "", None

    def hash(self, content):
        found = self.fresh.copy()
        found.update(content)
        return found.digest()

    def climb(self, at, last, start, proof):
        """(root without what came later, root with it); (None, None) for a misfit (RFC 9162 2.1)."""
        before = after = start
        for part in proof:
            if not last:
                return None, None
            if at & 1 or at == last:
                before, after = self.hash(b"\1" + part + before), self.hash(b"\1" + part + after)
                while at and not at & 1:
                    at, last = at >> 1, last >> 1
            else:
                after = self.hash(b"\1" + after + part)
            at, last = at >> 1, last >> 1
        return (None, None) if last else (before, after)

    def read(self, row):
        if "checkpoint" in row:
            note = Note(row["checkpoint"])
            self.notes[note.size] = note
        elif "grown" in row:
            self.grown[row["grown"]] = unhex(row["proof"])
        else:
            self.entry(row["seq"], bytes.fromhex(row["leaf"]), row["body"], row.get("proof"))

    def entry(self, seq, leaf, body, proof):
        """Body and leaf; then its proof, or in a stretch its place and the roots so far."""
        self.left -= 1
        text = body.encode(errors="surrogateescape") if body else b""
        if self.hash(b"\0" + text) != leaf and (body or seq >= self.head["archived"]):
            raise broken(seq, "正文与叶哈希不符")
        if proof is not None:
            top = self.notes[self.head["last"]]
            if self.climb(seq, top.size - 1, leaf, unhex(proof))[1] != top.root:
                raise broken(seq, "包含证明不成立")
            return
        if self.late is None and body and body[body.find(AT) + len(AT) :][:10] < self.since[:10]:
            self.late = f"；第 {seq} 条的时间早于其前的检查点 (entry {seq} is back-dated)"
        self.grow(seq, leaf)

    def grow(self, seq, leaf):
        if seq != self.size:
            raise broken(self.size, "缺失、多出或错位")
        while seq & 1:
            leaf, seq = self.hash(b"\1" + self.edge.pop() + leaf), seq >> 1
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
            raise broken(self.safe, f"至第 {note.size - 1} 条与检查点 {note.size} 的树根不符")
        self.safe, self.since = note.size, note.at[3:]

    def close(self):
        """At the end: nothing is missing, the top is signed, every older checkpoint is its beginning."""
        top, first = self.notes[self.head["last"]], self.head["first"]
        if self.left or self.size not in (first, top.size):
            raise broken(self.size, "材料不完整")
        for note in [top, *self.older]:
            note.check(self.keys)
            parts = self.grown.get(note.size)
            if note.size > top.size and note.at < top.at:
                raise broken(top.size, f"日志曾有 {note.size} 条，被截短")
            if parts is not None and not self.begins(note, top, parts):
                raise broken(0, f"前 {note.size} 条不是检查点 {note.size} 时的日志")
            if note.size == top.size and note.root != top.root:
                raise broken(0, f"同为 {top.size} 条的两份日志")
            if parts is None and note.size != top.size and not first < note.size <= self.size:
                raise Verdict(
                    NOT_COMPARABLE, f"没有与检查点 {note.size} 比较的证明 (not comparable)"
                )
        return f"一致：日志 {top.size} 条，{top.at}，公钥 {top.key} (ok){self.late or ''}"

    def begins(self, old, top, parts):
        """Whether the consistency proof leads from the older checkpoint to the top."""
        start, *rest = parts if old.size & (old.size - 1) else [old.root, *parts]
        at, last = old.size - 1, top.size - 1
        while at & 1:
            at, last = at >> 1, last >> 1
        return self.climb(at, last, start, rest) == (old.root, top.root)


def unhex(texts):
    return [bytes.fromhex(text) for text in texts]


def verify(path, key=None, older=()):
    """(exit status, sentence) of a bundle."""
    seen = None
    try:
        notes = [Note(Path(name).read_text(encoding="utf-8")) for name in older]
        with open(path, encoding="utf-8") as lines:
            bundle = Bundle(json.loads(next(lines)), key and Path(key).read_text(), notes)
            for row in map(json.loads, lines):
                seen = row.get("seq", seen)
                bundle.read(row)
            return OK, bundle.close()
    except Verdict as verdict:
        return verdict.args
    except (AttributeError, LookupError, OSError, StopIteration, TypeError, ValueError) as fault:
        if seen is None or isinstance(fault, OSError):
            return NOT_COMPARABLE, f"无法比较 (not comparable)：{fault!r}"
        return BROKEN, f"第 {seen} 条之后无法读取 (broken after entry {seen})：{fault!r}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--key")
    parser.add_argument("--older", nargs="*", default=[])
    given = parser.parse_args()
    status, sentence = verify(given.bundle, given.key, given.older)
    sys.stdout.write(f"{sentence}\n")
    sys.exit(status)
