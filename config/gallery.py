"""Sample data of the gallery page: every component in every state, with the longest words.

Nothing here is real; names of hospitals are invented, figures follow the arithmetic of the portal.
"""

from datetime import date
from typing import Any

from django import forms

from audit import charts
from audit.tables import Action, Cell, Column, Pages, Row, Table
from audit.text import mask_id, mask_name, yuan

NOTICE = "示例〔2000〕1号"
LONG_NAME = "示例自治区人民医院暨示例医科大学附属第一互联网医院（东院区）"
CLAUSE_SPLIT = {
    "document": NOTICE,
    "clause": "二（二）2",
    "text": "费用超过支付标准的部分由患者自费，记为丙2类；未超过的按实际费用计入政策范围。",
}
CLAUSE_CAP = {
    "document": NOTICE,
    "clause": "二（二）1",
    "text": "公立机构按类别规定每次支付标准，标准以内由居民基金定额支付。",
}
CLAUSE_ITEM = {
    "document": NOTICE,
    "clause": "附件",
    "text": "项目名称、内涵、计价单位和各类别价格。",
}
CLAUSE_ACCOUNT = {
    "document": NOTICE,
    "clause": "三（三）1",
    "text": "个人负担部分可由个人账户或绑定的银行卡支付。",
    "url": "#clauses",
}

MENU = [
    {
        "label": "工作台",
        "items": [
            {"label": "我的待办", "url": "#", "icon": "inbox-stack", "current": False, "count": 12},
            {"label": "运行概况", "url": "#", "icon": "presentation-chart-line", "current": False},
        ],
    },
    {
        "label": "结算",
        "items": [
            {
                "label": "费用查询",
                "url": "#",
                "icon": "document-magnifying-glass",
                "current": False,
            },
            {"label": "批量结算", "url": "#", "icon": "queue-list", "current": False},
            {"label": "政策试算", "url": "#", "icon": "calculator", "current": False},
        ],
    },
    {
        "label": "政策与机构",
        "items": [
            {"label": "价格目录", "url": "#", "icon": "book-open", "current": False},
            {"label": "定点机构", "url": "#", "icon": "building-office-2", "current": False},
        ],
    },
    {
        "label": "监督",
        "items": [
            {"label": "全程留痕", "url": "#", "icon": "finger-print", "current": False},
            {"label": "组件陈列", "url": "/gallery/", "icon": "swatch", "current": True},
        ],
    },
]
STATES = [
    ("已支付", "ok"),
    ("审核中", "wait"),
    ("须人工审核", "warn"),
    ("不予支付", "bad"),
    ("已受理", "info"),
    ("已冲正", "mute"),
]


class SampleFilter(forms.Form):
    """Every kind of field a query bar holds."""

    institution = forms.CharField(
        label="医疗机构", required=False, widget=forms.TextInput({"placeholder": "名称或编码"})
    )
    state = forms.ChoiceField(
        label="结算状态",
        required=False,
        choices=[("", "全部"), ("paid", "已支付"), ("review", "须人工审核")],
    )
    since = forms.DateField(
        label="服务日期起", required=False, widget=forms.DateInput({"type": "date"})
    )
    until = forms.DateField(
        label="服务日期止", required=False, widget=forms.DateInput({"type": "date"})
    )
    item = forms.CharField(label="项目编码", required=False)
    amount = forms.DecimalField(label="费用不低于（元）", required=False)


class SampleForm(forms.Form):
    """Every kind of field with help, error and required mark."""

    name = forms.CharField(label="机构名称", help_text="与医疗机构执业许可证一致。", max_length=60)
    number = forms.RegexField(
        r"^\d{18}$", label="参保人身份证号", error_messages={"invalid": "身份证号应为 18 位数字。"}
    )
    price_class = forms.ChoiceField(
        label="价格类别",
        help_text="附件按类别定价，与医院等级无关。",
        choices=[("3", "三类"), ("2", "二类"), ("1", "一类")],
    )
    ownership = forms.ChoiceField(
        label="所有制",
        widget=forms.RadioSelect,
        choices=[("public", "公立"), ("private", "社会办")],
    )
    document = forms.FileField(
        label="补充协议扫描件", required=False, help_text="PDF，不超过 8 MB。"
    )
    reason = forms.CharField(label="情况说明", widget=forms.Textarea({"rows": 3}), required=False)
    agreed = forms.BooleanField(label="已核对申报材料，内容真实、完整")


def settlement_chart(
    *, fee: int = 3500, cap: int = 2200, fund: int = 600, account: int = 1000
) -> dict[str, Any]:
    """The waterfall of one expert consultation; amounts in fen."""
    over, rest = max(fee - cap, 0), min(fee, cap) - fund - account
    return charts.waterfall(
        title="费用分解",
        identity=f"统筹基金 {yuan(fund)} ＋ 个人账户 {yuan(account)} ＋ "
        f"个人现金 {yuan(rest + over)} ＝ 费用 {yuan(fee)}，分项相加等于总额",
        steps=[
            {
                "label": "费用",
                "amount": fee,
                "kind": "total",
                "tone": "total",
                "note": "主任医师诊察费 × 1",
                "clauses": [CLAUSE_ITEM],
            },
            {
                "label": "超标准自费（丙2类）",
                "amount": over,
                "kind": "less",
                "tone": "over",
                "note": f"支付标准 {yuan(cap)}",
                "clauses": [CLAUSE_SPLIT],
            },
            {
                "label": "政策范围内",
                "amount": min(fee, cap),
                "kind": "total",
                "tone": "scope",
                "clauses": [CLAUSE_CAP],
            },
            {
                "label": "统筹基金",
                "amount": fund,
                "kind": "less",
                "tone": "fund",
                "note": "居民医保定额",
                "clauses": [CLAUSE_CAP],
            },
            {
                "label": "个人账户",
                "amount": account,
                "kind": "less",
                "tone": "account",
                "clauses": [CLAUSE_ACCOUNT],
            },
            {
                "label": "个人现金",
                "amount": rest + over,
                "kind": "total",
                "tone": "cash",
                "parts": [
                    {"label": "范围内", "amount": rest, "tone": "cash"},
                    {"label": "丙2类", "amount": over, "tone": "over"},
                ],
                "clauses": [CLAUSE_SPLIT],
            },
        ],
    )


def claims_table(*, page: int, size: int, sort: str) -> Table:
    """A page of 10,000 invented claims."""
    pages = Pages(total=10_000, size=size, page=min(max(page, 1), -(-10_000 // size)))
    numbers = range(pages.first_row, min(pages.last_row, pages.first_row + 9) + 1)
    return Table(
        id="claims",
        caption="费用明细",
        sort=sort,
        pages=pages,
        columns=[
            Column(label="单据号", sort="claim_no"),
            Column(label="医疗机构", wide=True),
            Column(label="参保人"),
            Column(label="服务日期", sort="date"),
            Column(label="费用（元）", sort="fee", numeric=True),
            Column(label="统筹基金（元）", sort="fund", numeric=True, hint="由统筹基金支付的金额"),
            Column(label="状态"),
        ],
        toolbar=[
            Action(label="导出", url="#", icon="arrow-down-tray"),
            Action(label="批量导入", url="#", icon="arrow-up-tray"),
            Action(label="新建", url="#", icon="plus", tone="primary"),
        ],
        bulk=[
            Action(label="批量通过", value="pass"),
            Action(label="批量退回", value="return", tone="danger"),
        ],
        bulk_url="#",
        rows=[_claim(n) for n in numbers],
    )


def _claim(n: int) -> Row:
    word, tone = STATES[n % len(STATES)]
    fee = (n * 7919) % 90_000 + 1_000
    no = f"WZ2000{n:08d}"
    institution = LONG_NAME if n % 5 == 2 else f"示例市第{n % 7 + 1}人民医院互联网医院"
    return Row(
        key=str(n),
        label=no,
        tone={"warn": "warn", "bad": "bad"}.get(tone, ""),
        cells=[
            Cell(text=no, url="#", code=True),
            Cell(text=institution, sub="三类 · 公立"),
            Cell(text=mask_name("欧阳示例"), sub=mask_id("990101200001010000")),
            Cell(text="2000-01-15"),
            Cell(text=yuan(fee)),
            Cell(text=yuan(fee * 6 // 10 if tone == "ok" else 0)),
            Cell(text=word, tone=tone),
        ],
        actions=[Action(label="详情", url="#"), Action(label="审核", url="#")],
    )


def context(*, page: int, size: int, sort: str) -> dict[str, Any]:
    """Everything the gallery shows."""
    plain = [
        Column(label="单据号"),
        Column(label="医疗机构", wide=True),
        Column(label="费用（元）", numeric=True),
    ]
    return {
        "menu": MENU,
        "search_url": "/gallery/",
        "scope_label": "示例市（地市级）",
        "user": SampleUser(),
        "user_initial": "示",
        "role_label": "经办机构 · 审核岗",
        "user_menu": [{"label": "账号与安全", "url": "#", "icon": "shield-check"}],
        "demo_today": date(2000, 1, 31),
        "breadcrumbs": [
            {"label": "首页", "url": "/"},
            {"label": "监督", "url": "#"},
            {"label": "组件陈列", "url": ""},
        ],
        "colours": [
            "bg",
            "surface",
            "surface-3",
            "line",
            "primary",
            "primary-soft",
            "ok",
            "info",
            "wait",
            "warn",
            "bad",
            "mute",
        ],
        "states": STATES,
        "filter_form": SampleFilter({"institution": "示例", "item": ""}),
        "form": SampleForm(),
        "bad_form": SampleForm({"name": "", "number": "123", "price_class": "3"}),
        "claims": claims_table(page=page, size=size, sort=sort),
        "none": Table(
            id="none",
            caption="退回补正",
            rows=[],
            columns=plain,
            empty_title="没有待补正的单据",
            empty_text="所有退回的单据都已补正。",
        ),
        "cursor": Table(
            id="cursor",
            caption="接口调用记录",
            narrow="scroll",
            columns=plain,
            pages=Pages(size=20, previous="a", next="b"),
            rows=[
                Row(
                    key=str(n),
                    label=str(n),
                    cells=[
                        Cell(text=f"WZ2000{n:08d}", code=True),
                        Cell(text=LONG_NAME),
                        Cell(text=yuan(n * 1234567)),
                    ],
                )
                for n in range(1, 4)
            ],
        ),
        "settlement": settlement_chart(),
        "within": settlement_chart(fee=1200, cap=1200, fund=600, account=0),
        **_charts(),
        **_procedures(),
    }


class SampleUser:
    """Stands in for the user who is logged in."""

    is_authenticated = True

    def __str__(self) -> str:
        return "示例用户"


def _charts() -> dict[str, Any]:
    months = [f"{n}月" for n in range(1, 13)]
    paid = [182, 143, 201, 224, 239, 251, 268, 244, 279, 301, 322, 348]
    fund, own = [n * 10_000_00 for n in paid], [n * 6_000_00 for n in paid]
    return {
        "bars": charts.bars(
            title="各月支付构成",
            labels=months,
            money=True,
            stacked=True,
            description="全年统筹基金与个人负担，逐月上升。",
            series=[{"label": "统筹基金", "values": fund}, {"label": "个人负担", "values": own}],
        ),
        "grouped": charts.bars(
            title="受理与办结",
            labels=["一季度", "二季度", "三季度", "四季度"],
            series=[
                {"label": "受理", "values": [420, 510, 498, 602]},
                {"label": "办结", "values": [400, 505, 480, 590]},
                {"label": "退回", "values": [12, 9, 14, 0]},
            ],
        ),
        "line": charts.line(
            title="每日结算笔数",
            labels=[f"{n}日" for n in range(1, 32)],
            series=[
                {"label": "本月", "values": [300 + (n * 37) % 190 + n * 6 for n in range(31)]},
                {"label": "上月", "values": [280 + (n * 53) % 170 + n * 3 for n in range(31)]},
            ],
        ),
        "donut": charts.donut(
            title="审核结论",
            centre="合计（笔）",
            parts=[
                {"label": "准予支付", "value": 8421, "url": "#"},
                {"label": "须人工审核", "value": 903},
                {"label": "不予支付", "value": 620},
                {"label": "无适用规则", "value": 56},
            ],
        ),
        "ranking": charts.ranking(
            title="统筹基金支付前列机构（元）",
            money=True,
            rows=[
                {"label": LONG_NAME, "value": 128_450_00, "url": "#", "note": "三类"},
                {"label": "示例市中医院互联网医院", "value": 96_300_50, "note": "三类"},
                {"label": "示例县人民医院", "value": 31_020_00, "note": "二类"},
            ],
        ),
        "no_chart": charts.bars(
            title="暂无数据的图", labels=["一季度"], series=[{"label": "受理", "values": [0]}]
        ),
        "spark_up": charts.spark([12, 15, 14, 18, 17, 21, 24, 23, 28], label="近九月持续上升"),
        "spark_down": charts.spark([30, 28, 29, 24, 22, 23, 19, 17], label="近八月持续下降"),
        "spark_flat": charts.spark([5, 5, 5, 5], label="近四月持平"),
    }


def _procedures() -> dict[str, Any]:
    return {
        "description_items": [
            {"label": "单据号", "value": "WZ200000000042", "code": True},
            {"label": "状态", "value": "须人工审核", "tone": "warn"},
            {"label": "服务日期", "value": "2000-01-15"},
            {"label": "医疗机构", "value": LONG_NAME, "url": "#", "sub": "三类 · 公立 · 非营利"},
            {
                "label": "参保人",
                "value": mask_name("欧阳示例"),
                "sub": mask_id("990101200001010000"),
            },
            {"label": "险种", "value": "居民基本医疗保险"},
            {"label": "支付标准", "value": "22.00 元/次", "clause": CLAUSE_CAP},
            {"label": "备注", "value": ""},
            {
                "label": "审核意见",
                "wide": True,
                "value": "同一次就诊另有一笔诊察费，级别不同，转人工审核；请核对电子病历。",
            },
        ],
        "steps_flow": [
            {"label": "申请受理", "state": "done", "at": "2000-01-04"},
            {"label": "材料审核", "state": "done", "at": "2000-01-10", "note": "5 个工作日内"},
            {"label": "系统改造", "state": "now", "note": "3 个月内完成改造并申请测试"},
            {"label": "测试验收", "state": "next", "note": "10 个工作日内"},
            {"label": "签订补充协议", "state": "next", "note": "5 个工作日内"},
        ],
        "steps_failed": [
            {"label": "申请受理", "state": "done", "at": "2000-01-04"},
            {"label": "材料审核", "state": "failed", "at": "2000-01-11", "note": "已一次性告知"},
            {"label": "整改", "state": "paused", "note": "自告知送达之日起计算"},
            {"label": "再次申报", "state": "next"},
        ],
        "events": [
            {
                "at": "2000-01-15 10:24:07",
                "title": "结算完成",
                "by": "系统",
                "tone": "ok",
                "text": "统筹基金支付 6.00 元，个人负担 29.00 元。",
                "clause": CLAUSE_CAP,
            },
            {
                "at": "2000-01-15 10:24:07",
                "title": "触发规则：重复收费",
                "by": "系统",
                "tone": "warn",
            },
            {"at": "2000-01-15 10:24:06", "title": "收到费用明细", "by": LONG_NAME, "tone": "info"},
            {
                "at": "2000-01-15 10:02:51",
                "title": "实名核验未通过",
                "by": "医保电子凭证",
                "tone": "bad",
            },
        ],
        "tab_items": [
            {"label": "全部", "url": "#tabs", "current": True, "count": "10,000"},
            {"label": "待审核", "url": "#tabs", "count": "903"},
            {"label": "已支付", "url": "#tabs", "count": "8,421"},
            {"label": "条款", "url": "#tabs"},
        ],
        "clauses": [
            CLAUSE_ITEM,
            CLAUSE_CAP,
            CLAUSE_SPLIT,
            CLAUSE_ACCOUNT,
            {"document": NOTICE, "clause": "附件", "text": ""},
        ],
        "due": date(2000, 2, 4),
    }
