"""Hospitals of the demonstration that apply for agreements."""

import datetime as dt
from dataclasses import replace
from functools import partial

from config.demo.hospitals import HOSPITALS, Hospital, listed, of_wenzhou, store

Day = dt.date
OPENED, TERM_END = Day(2020, 1, 1), Day(2023, 12, 31)
FIRST_SERIAL = 60  #: of their institution codes
CLASS_2 = ((OPENED, "2"),)
NINGXIA = "nx"  #: `nx3`: the third hospital that the notice lists

_wenzhou = partial(of_wenzhou, classes=CLASS_2, grade="二级甲等", supplement=None, term=TERM_END)
_nantong = partial(
    Hospital, region="nantong", classes=CLASS_2, grade="二级乙等", filed=None, supplement=None,
    term=TERM_END,
)  # fmt: skip
_TABLE = (
    _wenzhou("wz7", "平阳示例医院", "330326"),
    _wenzhou("wz8", "永嘉示例医院", "330324"),
    _wenzhou("wz9", "文成示例医院", "330328"),
    _wenzhou("wz10", "泰顺示例医院", "330329"),
    _wenzhou("wz12", "龙港示例医院", "330383"),
    _wenzhou("wz13", "温州示例康复医院", "330302", main=False),
    _wenzhou("wz14", "瓯海示例中西医结合医院", "330304"),
    _wenzhou("wz15", "瑞安示例妇幼保健院", "330381"),
    _wenzhou("wz16", "鹿城示例社区卫生服务中心", "330302", tier="community"),
    _nantong("nt11", "海门示例中医院", "320614"),
    _nantong("nt12", "启东示例中医院", "320681"),
)
APPLICANTS: dict[str, Hospital] = {
    row.key: replace(row, serial=FIRST_SERIAL + number) for number, row in enumerate(_TABLE)
}


def make_applicants() -> int:
    """Store the applicants with their main agreements; how many."""
    return store(APPLICANTS.values())


def code_of(key: str) -> str:
    """The institution code of a hospital's key; empty for what is no key."""
    found = HOSPITALS.get(key) or APPLICANTS.get(key)
    if found is not None:
        return found.code
    number = key.removeprefix(NINGXIA)
    return listed()[int(number) - 1].code if number != key and number.isdigit() else ""
