"""诊疗科目 in words, from `departments.yaml`. PURE."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

SHIPPED = Path(__file__).with_name("departments.yaml")


@cache
def _names() -> dict[str, str]:
    return yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["departments"]


def code_of(words: str, listed: Iterable[str] = ()) -> str:
    """The code that words stand for: a code of the catalogue or of `listed`, or a name; '' of none."""
    if words in _names() or words in listed:
        return words
    return next((code for code, name in _names().items() if name == words), "")


def codes_named(text: str) -> list[str]:
    """The codes whose name holds `text`."""
    return [code for code, name in _names().items() if text in name]


def department(code: str) -> str:
    """`A03` → 内科 A03; a code that the catalogue lacks stands for itself."""
    name = _names().get(code)
    return f"{name} {code}" if name else code
