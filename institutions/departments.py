"""诊疗科目 in words, from `departments.yaml`. PURE."""

from functools import cache
from pathlib import Path

import yaml

SHIPPED = Path(__file__).with_name("departments.yaml")


@cache
def _names() -> dict[str, str]:
    return yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["departments"]


def department(code: str) -> str:
    """`A03` → 内科 A03; a code that the catalogue lacks stands for itself."""
    name = _names().get(code)
    return f"{name} {code}" if name else code
