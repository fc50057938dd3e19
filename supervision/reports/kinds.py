"""The kinds of reports: one module each, with what it is asked, `gather` and `lay`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from institutions.models import User
from supervision.reports import (
    agreements,
    case,
    claims,
    evaluation,
    fund,
    institution,
    monthly,
    prices,
    statement,
    trail,
)
from supervision.reports.book import Book
from supervision.reports.wish import Wish

Gather = Callable[[Wish, User], dict[str, Any]]
Lay = Callable[[Mapping[str, Any], Book], None]


@dataclass(frozen=True)
class Kind:
    """`asks` names the fields of a wish that it needs beside the days and the place.

    `gather` reads the figures (integers and texts, plain JSON) inside the reader's scope; `lay` writes
    them into a book and reads nothing else. `permission` is needed beside `reports.make`; `about_one`
    finds the one thing that a report is about and says its days and place, `persons` whose data it is.
    A system has scopes, no role: kinds that only some roles may read (`to_systems` false) stay in the portal.
    """

    key: str
    title: str
    about: str
    clauses: tuple[str, ...]  #: those that the region's document has are printed
    gather: Gather
    lay: Lay
    asks: tuple[str, ...] = ()
    permission: str = "reports.make"
    needs_institution: bool = False
    about_one: Callable[[Wish, User], Wish] | None = None
    persons: Callable[[Wish], Iterable[int | None]] | None = None
    to_systems: bool = True


_ALL = (
    Kind(
        "fund", "基金运行分析报告", "收支、结构、机构与险种构成，与上年同期比较，附图",
        ("十八", "二十四", "二（二）第2款"), fund.gather, fund.lay, ("institution", "scheme"),
    ),
    Kind(
        "institution", "定点医疗机构年度档案", "登记、协议、业务、结算、扣款、考核与疑点",
        ("二十一", "二十四", "三（一）"), institution.gather, institution.lay, ("institution",),
        permission="institutions.view", needs_institution=True,
    ),
    Kind(
        "agreements", "协议管理与办理时限报告", "协议状态、申请办理、各环节按时率与逾期明细",
        ("七", "二十二第1款", "三（一）"), agreements.gather, agreements.lay, ("institution",),
        permission="agreements.view",
    ),
    Kind(
        "prices", "价格执行情况报告", "各机构各项目收费与公布价格、支付标准的对照，超价明细",
        ("九第1款", "二（一）", "二（二）第1款"), prices.gather, prices.lay, ("institution", "scheme"),
        permission="claims.view",
    ),
    Kind(
        "evaluation", "“互联网+”医保支付评估报告", "分机构、分险种，以一日为界的前后对比",
        ("二十四", "四（三）"), evaluation.gather, evaluation.lay,
        ("institution", "day"),
    ),
    Kind(
        "monthly", "监管月报", "一个月的结算、疑点、案件、追回、举报、记分与时限，报送上级的正式文本",
        ("二十四", "二十五", "四（三）"), monthly.gather, monthly.lay, ("monthly",),
        permission="monthly.view", about_one=monthly.about,
    ),
    Kind(
        "case", "监管案件卷宗", "一案的线索、调查、证据、告知、决定、执行与文书",
        ("二十七", "二十八", "四（三）"), case.gather, case.lay, ("case",),
        permission="cases.view", about_one=case.about, persons=case.persons, to_systems=False,
    ),
    Kind(
        "statement", "机构月结算单", "一张结算单的正式文本及其单据明细",
        ("二十四", "三（三）第1款"), statement.gather, statement.lay, ("statement",),
        permission="statements.view", about_one=statement.about,
    ),
    Kind(
        "claims", "费用结算明细表", "期间内每一笔结算与冲正，姓名证件已脱敏",
        ("二十三", "二十四", "三（三）第1款"), claims.gather, claims.lay,
        ("institution", "scheme"), permission="claims.view",
    ),
    Kind(
        "trail", "全程留痕摘录", "期间内的事件及其在留痕日志中的位置与包含证明",
        ("二十六", "三（四）"), trail.gather, trail.lay, ("subject", "institution"),
        permission="trail.view", to_systems=False,
    ),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.key: kind for kind in _ALL}


def offered(user: User) -> list[Kind]:
    """The kinds that a person may make."""
    return [kind for kind in _ALL if user.may("reports.make") and user.may(kind.permission)]
