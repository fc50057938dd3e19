"""Binary COPY through numpy: rows ⇄ structured arrays, both ways, without a Python step per row.

The upper half is PURE: `Column` lists describe rows, `encode` and `decode` turn columns into the
bytes of PostgreSQL's binary COPY format and back. The lower half hands the bytes to a cursor.

A row of constant width is one record of a structured dtype: field count, then length and value of
each field, big-endian. Texts of several lengths make several dtypes: rows are grouped by it, so
the rows of a group have one width. The order of rows inside a group is kept.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
#: Days and microseconds from 1970-01-01 to PostgreSQL's own epoch, 2000-01-01.
EPOCH_DAYS = 10_957
EPOCH_MICROSECONDS = EPOCH_DAYS * 86_400 * 1_000_000

#: Value dtypes of fixed-size kinds; `date` counts days and `timestamptz` microseconds since 1970.
KINDS = {
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "bool": "u1",
    "date": ">i4",
    "timestamptz": ">i8",
}
SHIFT = {"date": EPOCH_DAYS, "timestamptz": EPOCH_MICROSECONDS}
#: Bytes that a kind puts before its text.
PREFIX = {"jsonb": b"\x01"}


MOST = 1 << 20  #: bytes asked for at once
#: Inside a transaction that reads whole ranges: with more than one core.
ALL_CORES = """SELECT set_config('parallel_setup_cost', '0', true),
    set_config('parallel_tuple_cost', '0', true), set_config('min_parallel_table_scan_size', '0', true),
    set_config('min_parallel_index_scan_size', '0', true)"""
BLOCK = 1_024  #: rows encoded or decoded at once: they stay in the processor's cache


@dataclass(frozen=True)
class Column:
    """A column of a table: a kind of `KINDS`, text, jsonb, array, bytea (`S`; bytea also `V`)."""

    name: str
    kind: str
    width: int = 0  #: bytes of a fixed-size bytea that is read back


def columns(**kinds: str) -> tuple[Column, ...]:
    """`columns(id="int8", facts="bytea:46")`; the number is the width of a fixed-size bytea."""
    made = []
    for name, kind in kinds.items():
        word, _, width = kind.partition(":")
        made.append(Column(name, word, int(width or 0)))
    return tuple(made)


def encode(shape: Sequence[Column], values: Mapping[str, Any], n: int) -> Iterator[bytes]:
    """The COPY stream of `n` rows in pieces. A value is an array of n, or one scalar for every row.

    Texts are numpy `S` arrays or bytes; None is NULL in every row.
    """
    yield HEADER
    ready = {column.name: _prepared(column, values[column.name]) for column in shape}
    for rows, widths in _same_widths(shape, ready, n):
        yield from _records(shape, ready, rows, widths)
    yield TRAILER


def decode(shape: Sequence[Column], stream: bytes | memoryview) -> np.ndarray:
    """The rows of a COPY stream whose columns are all fixed-size and never NULL, as native columns.

    Raises ValueError when the stream is anything else, so that no row is ever read shifted.
    """
    widths = tuple(column.width or np.dtype(KINDS[column.kind]).itemsize for column in shape)
    record = _dtype(shape, widths)
    body = memoryview(stream)[len(HEADER) : -len(TRAILER)]
    if bytes(stream[: len(HEADER)]) != HEADER or len(body) % record.itemsize:
        raise ValueError("not a binary COPY stream of fixed-size rows")
    rows = np.frombuffer(body, record)
    plain = np.empty(len(rows), [(c.name, _native(c)) for c in shape])
    for start in range(0, len(rows), BLOCK):
        block, out = rows[start : start + BLOCK], plain[start : start + BLOCK]
        _refuse_shifted(shape, widths, block)
        for column in shape:
            out[column.name] = block[column.name]
    for column in shape:
        if shift := SHIFT.get(column.kind):
            plain[column.name] += shift
    return plain


def _refuse_shifted(shape: Sequence[Column], widths: tuple[int, ...], rows: np.ndarray) -> None:
    if (rows["#"] != len(shape)).any():
        raise ValueError("a row has another number of fields")
    for column, width in zip(shape, widths, strict=True):
        if (rows[f"#{column.name}"] != width).any():
            raise ValueError(f"column {column.name} is NULL or of another width somewhere")


def _native(column: Column) -> str:
    return (
        f"V{column.width}" if column.width else np.dtype(KINDS[column.kind]).newbyteorder("=").str
    )


def _dtype(shape: Sequence[Column], widths: Sequence[int | None]) -> np.dtype:
    """The record of one row; a width of None is NULL (length -1, no value)."""
    fields: list[tuple[str, str]] = [("#", ">i2")]
    for column, width in zip(shape, widths, strict=True):
        fields.append((f"#{column.name}", ">i4"))
        if width:
            fields.append((column.name, KINDS.get(column.kind, f"V{width}")))
    return np.dtype(fields)


def _prepared(column: Column, value: Any) -> Any:
    """The value as an array of the wire's type, or None."""
    if value is None:
        return None
    if column.kind in KINDS:
        shift = SHIFT.get(column.kind, 0)
        return np.asarray(value) - shift if shift else np.asarray(value)
    prefix = PREFIX.get(column.kind, b"")
    if isinstance(value, bytes):
        return np.array(prefix + value, f"V{len(prefix + value)}") if prefix + value else b""
    return np.char.add(prefix, value) if prefix else value


def _lengths(column: Column, value: Any) -> Any:
    """Bytes of each value: a scalar, or an array where texts differ."""
    if value is None:
        return None
    if column.kind in KINDS:
        return np.dtype(KINDS[column.kind]).itemsize
    if isinstance(value, bytes):
        return len(value)
    if value.dtype.kind == "V":
        return value.dtype.itemsize
    lengths = np.char.str_len(value)
    same = lengths.size and (lengths == lengths[0]).all()
    return int(lengths[0]) if same else lengths


def _same_widths(
    shape: Sequence[Column], ready: Mapping[str, Any], n: int
) -> Iterator[tuple[Any, tuple[int | None, ...]]]:
    """(rows, widths) of groups of rows whose values have the same lengths."""
    lengths = [_lengths(column, ready[column.name]) for column in shape]
    varying = [k for k, length in enumerate(lengths) if isinstance(length, np.ndarray)]
    if not n:
        return
    if not varying:
        yield np.arange(n), tuple(lengths)
        return
    code = np.zeros(n, np.int64)
    for k in varying:
        code = code * (int(lengths[k].max()) + 1) + lengths[k]
        code = np.unique(code, return_inverse=True)[1]
    for group in range(int(code.max()) + 1):
        rows = np.flatnonzero(code == group)
        widths = [length[rows[0]] if k in varying else length for k, length in enumerate(lengths)]
        yield rows, tuple(None if width is None else int(width) for width in widths)


def _records(
    shape: Sequence[Column],
    ready: Mapping[str, Any],
    rows: np.ndarray,
    widths: Sequence[int | None],
) -> Iterator[bytes]:
    """The records of rows of one width, BLOCK by BLOCK."""
    record = _dtype(shape, widths)
    same = np.zeros(1, record)  # what every row has: number of fields, lengths, scalars
    same["#"] = len(shape)
    many = []
    for column, width in zip(shape, widths, strict=True):
        same[f"#{column.name}"] = -1 if width is None else width
        value = ready[column.name]
        if width and value.ndim:
            many.append((column, width, value))
        elif width:
            same[column.name] = value if column.kind in KINDS else _trimmed(value, width)
    whole = f"V{record.itemsize}"
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        out = np.empty(len(block), record)
        out.view(whole)[:] = same.view(whole)[0]
        for column, width, value in many:
            given = value[block]
            out[column.name] = given if column.kind in KINDS else _trimmed(given, width)
        yield out.tobytes()


def _trimmed(value: np.ndarray, width: int) -> np.ndarray:
    """Texts of exactly `width` bytes as raw bytes (numpy would strip trailing NULs from `S`)."""
    if value.dtype.kind == "V":
        return value
    return np.ascontiguousarray(value.astype(f"S{width}")).view(f"V{width}").reshape(value.shape)


def copy_in(
    cursor: Any, table: str, shape: Sequence[Column], values: Mapping[str, Any], n: int
) -> None:
    """COPY `n` rows into a table in the cursor's transaction (a Django or psycopg2 cursor)."""
    copy_bytes(cursor, table, shape, encode(shape, values, n))


def copy_bytes(
    cursor: Any, table: str, shape: Sequence[Column], pieces: Iterable[bytes], *,
    between: Callable[[], object] | None = None,
) -> None:  # fmt: skip
    """COPY an encoded stream into a table; `between` is called while the server waits for more."""
    names = ", ".join(column.name for column in shape)
    source = _Source(iter(pieces), between)
    cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)", source, MOST)


class _Source:
    """Pieces as the file that psycopg2 reads: one at each call, whatever size is asked for."""

    def __init__(self, pieces: Iterator[bytes], between: Callable[[], object] | None) -> None:
        self._pieces, self._between, self._begun = pieces, between, False

    def read(self, size: int = MOST) -> bytes:
        if self._begun and self._between:
            self._between()
        self._begun = True
        return next(self._pieces, b"")


def copy_out(
    cursor: Any, query: str, shape: Sequence[Column],
    parameters: Sequence | Mapping[str, Any] = (),
) -> np.ndarray:  # fmt: skip
    """The rows of a query as a structured array; see `decode` for what its columns must be."""
    return decode(shape, copy_raw(cursor, query, parameters))


def copy_raw(cursor: Any, query: str, parameters: Sequence | Mapping[str, Any] = ()) -> memoryview:
    """The rows of a query as a COPY stream."""
    sink = io.BytesIO()
    statement = cursor.mogrify(query, parameters).decode() if parameters else query
    cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT binary)", sink, 1 << 20)
    return sink.getbuffer()
