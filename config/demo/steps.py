"""The demonstration in order: each step is one transaction and leaves its mark in the trail."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from config.demo import ACTOR, TODAY, moment
from config.demo.accounts import make_api_clients, make_users
from config.demo.agreements import make_agreements
from config.demo.applicants import make_applicants
from config.demo.applications import make_applications
from config.demo.cases import make_cases
from config.demo.claims import Maker
from config.demo.corrections import make_corrections
from config.demo.entitlements import make_entitlements
from config.demo.hospitals import make_hospitals
from config.demo.inbox import make_tasks
from config.demo.jilin import make_jilin
from config.demo.marks import LAST, mark, marked
from config.demo.medicines import make_medicines, make_prescriptions
from config.demo.monthly import make_monthly
from config.demo.parameters import include_jilin
from config.demo.people import make_people
from config.demo.physicians import make_physicians
from config.demo.registry import make_registry
from config.demo.reimbursements import make_reimbursements
from config.demo.reports import make_reports
from config.demo.reviews import make_reviews
from config.demo.seals import awake, make_seal
from config.demo.sending import doorbells_unplugged, send, send_paused, send_reversals
from config.demo.statements import make_statements
from config.demo.supervision import make_findings
from config.demo.waves import make_waves
from institutions.access import EVERYTHING, scoped
from institutions.holidays import NATIONAL, import_year, national_year
from institutions.models import CalendarDay
from institutions.regions import load_regions, shipped
from pricing.commands import load_shipped
from pricing.releases import current

YEARS = range(TODAY.year - 2, TODAY.year + 3)


@dataclass(frozen=True)
class Size:
    """How much is made: settled claims, and claims of the paused batch."""

    claims: int
    paused: int


def run(size: Size) -> Iterator[tuple[str, str]]:
    """Make what is missing; yields (what, how much) after each step."""
    for name, label, step in RECORDS:
        if not marked(name):
            with scoped(EVERYTHING):
                result = step()
                mark(name, result)
            yield label, result
    maker = Maker(current())
    for name, label, step_of in CLAIMS:
        if marked(name):
            continue
        awake()
        with doorbells_unplugged():
            result = step_of(maker, size)
        with scoped(EVERYTHING):
            mark(name, result)
        yield label, result


def _calendar() -> str:
    national = CalendarDay.objects.filter(region_code=NATIONAL)
    for year in YEARS:
        if national.filter(day__year=year).exists():
            continue
        import_year(
            year=year, region=NATIONAL, rows=national_year(year), by=ACTOR, at=moment(TODAY)
        )
    return f"{YEARS[0]}–{YEARS[-1]}年"


def _policies() -> str:
    loaded = load_shipped(by=ACTOR, at=moment(TODAY))
    include_jilin()
    return f"{len(loaded)} 份文件与参数集，另发布 1 份示例参数新版本"


def _people() -> str:
    persons, visits = make_people()
    return f"{persons} 人，线下就诊 {visits} 次"


def _send(maker: Maker, size: Size) -> str:
    files, singles = send(maker, size.claims)
    return f"{size.claims} 张：批量 {files} 个文件，逐笔 {singles} 张"


def _paused(maker: Maker, size: Size) -> str:
    batch = send_paused(maker, size.paused)
    return f"批次 {batch.pk}：{size.paused} 张待结算，可在页面继续"


def _reimbursements(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_reimbursements(maker)


def _statements(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_statements()


def _corrections(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_corrections()


def _findings(maker: Maker, size: Size) -> str:
    return make_findings(maker)


def _reviews(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_reviews()


def _reports(maker: Maker, size: Size) -> str:
    return make_reports()


def _seal(maker: Maker, size: Size) -> str:
    return make_seal()


def _cases(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_cases(maker)


def _monthly(maker: Maker, size: Size) -> str:
    return make_monthly()


def _tasks(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return f"{make_tasks(current())} 项"


def _prescriptions(maker: Maker, size: Size) -> str:
    with scoped(EVERYTHING):
        return make_prescriptions(maker)


def _regions() -> str:
    load_regions(by=ACTOR, at=moment(TODAY))
    return f"{len(shipped())} 个"


Step = Callable[[], str]
RECORDS: tuple[tuple[str, str, Step], ...] = (
    ("regions", "行政区划", _regions),
    ("calendar", "工作日历", _calendar),
    ("policies", "政策与参数", _policies),
    ("institutions", "医疗机构", lambda: f"{make_hospitals()} 家，含宁夏名单内 38 家"),
    ("applicants", "申请机构", lambda: f"{make_applicants()} 家"),
    ("physicians", "医师", lambda: f"{make_physicians()} 人"),
    ("people", "参保人员", _people),
    (
        "accounts",
        "账号与接口",
        lambda: f"{make_users()} 个登录账号，{make_api_clients()} 个接口客户端",
    ),
    ("registry", "机构档案", make_registry),
    ("medicines", "药品目录与药店", make_medicines),
    ("entitlements", "参保登记", make_entitlements),
    ("applications", "协议申请", lambda: f"{make_applications()} 项，从草稿到签约"),
    ("agreements", "协议与考核", make_agreements),
    ("waves", "宁夏批次与申请表", make_waves),
    ("jilin", "远程会诊与专线", make_jilin),
)
CLAIMS: tuple[tuple[str, str, Callable[[Maker, Size], str]], ...] = (
    ("claims", "费用申报", _send),
    ("reversals", "冲正", lambda maker, size: f"{send_reversals(size.claims)} 笔"),
    ("paused", "暂停的批次", _paused),
    ("reimbursements", "手工报销与拨付", _reimbursements),
    ("prescriptions", "处方流转与就诊材料", _prescriptions),
    ("statements", "月结与预算", _statements),
    ("corrections", "特殊调整与机构对账", _corrections),
    ("findings", "审核疑点", _findings),
    ("reviews", "费用审核", _reviews),
    ("seal", "全程留痕封存", _seal),
    ("reports", "监督报告与审计样本", _reports),
    ("cases", "监管案件与检查", _cases),
    ("monthly", "监管月报", _monthly),
    (LAST, "待办", _tasks),
)
