"""PURE. What can be wrong with stated facts: strict JSON, a fault named, its RFC 9457 object."""

import json
import re

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
MAX_DEPTH = 30


class FactError(ValueError):
    """A fact is missing or wrong: `field` and a Chinese `reason` (HTTP 422)."""

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}：{reason}" if field else reason)
        self.field = field
        self.reason = reason


def problem(error: FactError, *, pointer: str = "") -> dict:
    """The RFC 9457 object of a fault; `pointer` is where the object stands in the request."""
    return {
        "type": "about:blank",
        "title": "事实缺失或有误 / A fact is missing or wrong",
        "status": 422,
        "code": "FACT_INVALID",
        "detail": str(error),
        "field": error.field,
        "reason": error.reason,
        "pointer": f"{pointer}/{error.field}" if error.field else pointer,
    }


def read_json(text: str) -> object:
    """Strict JSON: no NaN, no key twice, no lone surrogate, no deep nesting. Raises FactError."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FactError):
            raise
        raise FactError("", f"不是有效的 JSON：{error}") from error
    _shallow(value, MAX_DEPTH)
    if SURROGATE.search(text):
        _encodable(value)
    return value


def _no_constant(name: str) -> object:
    raise FactError("", f"不是有效的 JSON：{name}")


def _once(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise FactError(twice, "同一对象内重复出现")
    return found


def _shallow(value: object, depth: int) -> None:
    if depth == 0:
        raise FactError("", "JSON 嵌套过深")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            if isinstance(part, dict | list):
                _shallow(part, depth - 1)


def _encodable(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FactError("", "文本含有不成对的 Unicode 代理字符") from error
