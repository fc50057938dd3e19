"""Binary COPY through numpy: what goes in comes out; what would be read shifted is refused."""

import numpy as np
import pytest
from django.db import connection

from settlement.batch.load import text_array
from settlement.copy import HEADER, TRAILER, columns, copy_in, copy_out, decode, encode

FIXED = columns(a="int8", b="int2", c="date", d="timestamptz", e="bool", f="bytea:4")


def rows(n: int) -> dict:
    return {
        "a": np.arange(n) - 2**40,
        "b": np.arange(n) % 100 - 50,
        "c": np.arange(n) + 18_000,
        "d": np.arange(n) * 1_000_003,
        "e": np.arange(n) % 2 == 0,
        "f": np.frombuffer(np.arange(n, dtype=">i4").tobytes(), "V4"),
    }


def test_fixed_rows_come_back_as_they_went() -> None:
    given = rows(1_000)
    stream = b"".join(encode(FIXED, given, 1_000))
    assert stream.startswith(HEADER)
    assert stream.endswith(TRAILER)
    found = decode(FIXED, stream)
    for name, values in given.items():
        assert (found[name] == values).all(), name


def test_no_rows_are_no_rows() -> None:
    assert len(decode(FIXED, b"".join(encode(FIXED, rows(0), 0)))) == 0


def test_null_and_other_widths_are_refused() -> None:
    shape = columns(a="int8", f="bytea:4")
    null = b"".join(encode(shape, {"a": np.arange(2), "f": None}, 2))
    with pytest.raises(ValueError, match="not a binary COPY"):
        decode(shape, null)
    wide = columns(a="int4", f="bytea:8")
    other = b"".join(encode(wide, {"a": np.arange(2), "f": np.array([b"x" * 8] * 2, "V8")}, 2))
    with pytest.raises(ValueError, match="another width"):
        decode(shape, other)


def test_texts_nulls_json_and_arrays_reach_the_table(db) -> None:
    shape = columns(id="int4", t="text", n="int8", j="jsonb", x="array", k="text")
    texts = np.array([text.encode() for text in ("", "甲", "ab", "", "更长的文本", "z")])
    arrays = [[], ["a"], ["b", "丙"], [], ["ccc"], []]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE t"
            " (id int, t varchar(20), n bigint, j jsonb, x varchar(40)[], k text)"
        )
        values = {
            "id": np.arange(6), "t": texts, "n": None, "j": b'{"a": [1]}',
            "x": np.array([text_array(a) for a in arrays]), "k": "常量".encode(),
        }  # fmt: skip
        copy_in(cursor, "t", shape, values, 6)
        cursor.execute("SELECT t, n, j->'a'->>0, x, k FROM t ORDER BY id")
        found = cursor.fetchall()
    assert found == [
        (text.decode(), None, "1", array, "常量") for text, array in zip(texts, arrays, strict=True)
    ]


def test_dates_and_times_are_those_of_the_database(db) -> None:
    shape = columns(c="date", d="timestamptz")
    with connection.cursor() as cursor:
        found = copy_out(
            cursor,
            "SELECT DATE '1970-01-02', TIMESTAMPTZ '1970-01-01 00:00:01+00' WHERE %s",
            shape,
            [True],
        )
    assert (found["c"][0], found["d"][0]) == (1, 1_000_000)
