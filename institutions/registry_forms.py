"""Forms of the registry: one per command; what is wrong in law, the command says."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile

from audit.procedure import Step
from institutions.commands.facts import FIELDS
from institutions.commands.identity import IDENTITY, TIERS
from institutions.documents import LARGEST
from institutions.forms import CLASSES
from institutions.law import LEVELS
from institutions.models import (
    Change,
    CodeMapping,
    Institution,
    InstitutionFacts,
    Physician,
    PhysicianTitle,
    Qualification,
)

MEGABYTE = 1024 * 1024
MOST_FILES = 10
FILE_TYPES = ".pdf,.jpg,.jpeg,.png,.xlsx"
FILE_HELP = f"PDF、JPG、PNG 或 XLSX，不超过 {LARGEST // MEGABYTE} MB"
YES_NO = (("", "请选择"), ("yes", "是"), ("no", "否"))
CHOOSE = ("", "请选择")


def _date(label: str, *, required: bool = True, help_text: str = "") -> forms.DateField:
    return forms.DateField(
        label=label, required=required, help_text=help_text, input_formats=["%Y-%m-%d"],
        widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
    )  # fmt: skip


def _text(
    label: str, length: int, *, required: bool = True, help_text: str = ""
) -> forms.CharField:
    return forms.CharField(
        label=label, required=required, max_length=length, help_text=help_text,
        widget=forms.TextInput({"autocomplete": "off"}),
    )  # fmt: skip


def _yes_no(label: str, *, required: bool = False, help_text: str = "") -> forms.TypedChoiceField:
    return forms.TypedChoiceField(
        label=label, required=required, choices=YES_NO, empty_value=None, help_text=help_text,
        coerce=lambda value: value == "yes",
    )  # fmt: skip


def _kinds(label: str, choices: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, choices=[CHOOSE, *choices])


class Departments(forms.Field):
    """Codes of departments, separated by commas, spaces or lines; a list."""

    def __init__(self, label: str):
        super().__init__(
            label=label, required=False, help_text="诊疗科目代码，以顿号、逗号或空格分隔",
            widget=forms.TextInput({"autocomplete": "off"}),
        )  # fmt: skip

    def prepare_value(self, value: Any) -> str:
        return "、".join(value) if isinstance(value, list) else value or ""

    def to_python(self, value: Any) -> list[str]:
        text = str(value or "")
        for mark in "、，,；;":
            text = text.replace(mark, " ")
        return text.split()


class Scan(forms.FileField):
    """One scanned document; large ones are refused before they are read."""

    def __init__(self, label: str = "扫描件", *, required: bool = False):
        super().__init__(
            label=label, required=required, help_text=FILE_HELP,
            widget=forms.FileInput({"accept": FILE_TYPES}),
        )  # fmt: skip

    def clean(self, data: Any, initial: Any = None) -> UploadedFile | None:
        found = super().clean(data, initial)
        if found and found.size > LARGEST:
            raise forms.ValidationError(f"文件超过 {LARGEST // MEGABYTE} MB")
        return found


class _ManyInput(forms.FileInput):
    allow_multiple_selected = True


class Scans(forms.FileField):
    """Several scanned documents."""

    def __init__(self, label: str, *, required: bool = False):
        super().__init__(
            label=label, required=required, help_text=f"{FILE_HELP}，至多 {MOST_FILES} 个",
            widget=_ManyInput({"accept": FILE_TYPES, "multiple": True}),
        )  # fmt: skip

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        given = [part for part in (data if isinstance(data, list | tuple) else [data]) if part]
        if not given and self.required:
            raise forms.ValidationError("请选择文件")
        if len(given) > MOST_FILES:
            raise forms.ValidationError(f"一次至多 {MOST_FILES} 个文件")
        if any(part.size > LARGEST for part in given):
            raise forms.ValidationError(f"每个文件不超过 {LARGEST // MEGABYTE} MB")
        return given


# --- Institutions and facts ---


class FactFields(forms.Form):
    """The facts of a span of days."""

    name = _text("机构名称", 120, required=False, help_text="只在更名时填写；原名称自动保留为别名")
    internet_hospital_name = _text("互联网医院名称", 160, required=False, help_text="第二名称")
    price_class = forms.ChoiceField(
        label="价格类别", required=False, choices=[CHOOSE, *CLASSES.items()],
        help_text="收费目录的类别，不是医院等级；药店和物流企业不填",
    )  # fmt: skip
    hospital_grade = _text("等级", 10, required=False)
    ownership = forms.ChoiceField(
        label="所有制", required=False, choices=[CHOOSE, *InstitutionFacts.Ownership.choices]
    )
    nonprofit = _yes_no(
        "互联网医院为非营利性", help_text="互联网医院自身的经营性质（温州 八第1款）"
    )
    physical_nonprofit = _yes_no("实体机构为非营利性")
    representative = _text("法定代表人", 40, required=False)
    address = _text("地址", 200, required=False)
    filed_on = _date("医保备案日", required=False)
    online_settlement = _yes_no("可联网结算")
    offline_departments = Departments("线下诊疗科目")
    internet_departments = Departments("互联网诊疗科目")

    def values(self) -> dict[str, Any]:
        """The facts that were stated: not what was left empty or as it was."""
        return {key: self.cleaned_data[key] for key in FIELDS
                if key in self.changed_data and key in self.cleaned_data
                and self.cleaned_data[key] is not None}  # fmt: skip


def facts_as_initial(row: InstitutionFacts | None) -> dict[str, Any]:
    """A span of facts as a form shows it."""
    if row is None:
        return {}
    words = {True: "yes", False: "no", None: ""}
    found = {key: getattr(row, key) for key in FIELDS if key != "name"}
    return {
        key: words[value] if isinstance(value, bool) or (value is None and "profit" in key)
        else value for key, value in found.items()
    }  # fmt: skip


class RecordFacts(FactFields):
    """From a day on something else is true."""

    valid_from = _date("自哪一日起", help_text="可为月中任意一日；该日之前的登记保持不变")
    source = _text("依据", 120, help_text="文号、证照或备案号")
    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    field_order = ("valid_from", "source")


class CorrectFacts(FactFields):
    """What was recorded for a span was wrong."""

    valid_from = _date("自")
    valid_until = _date("至", required=False, help_text="留空：更正至此后全部登记")
    source = _text("更正依据", 120, help_text="更正前的登记永久保留，可按“当时所知”查询")
    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)
    field_order = ("valid_from", "valid_until", "source")


class RegisterInstitution(FactFields):
    """A party with its first facts."""

    code = _text("机构编码", 12, help_text="国家医保机构编码，12 位")
    title = _text("机构全称", 120)
    kind = forms.ChoiceField(label="类型", choices=Institution.Kind.choices)
    region = forms.ChoiceField(label="所在区域")
    credit_code = _text("统一社会信用代码", 18, required=False, help_text="18 位，登记时校验")
    tier = forms.ChoiceField(label="层级", required=False, choices=[("", "不适用"), *TIERS.items()])
    aliases = _text("别名", 300, required=False, help_text="以顿号分隔")
    parent = _text("实体医疗机构编码", 12, required=False, help_text="单独登记的互联网医院才填写")
    valid_from = _date("登记生效日")
    source = _text("依据", 120, required=False)
    field_order = (
        "code", "title", "kind", "region", "credit_code", "tier", "internet_hospital_name",
        "aliases", "parent", "valid_from", "source",
    )  # fmt: skip

    def __init__(self, *args: Any, regions: Any, **options: Any):
        super().__init__(*args, **options)
        del self.fields["name"]
        self.fields["region"] = forms.ChoiceField(
            label="所在区域", choices=[CHOOSE, *((row.code, row.name) for row in regions)]
        )
        self.order_fields(self.field_order)


class IdentityForm(forms.Form):
    """What was registered wrongly of the identity; `seen` is what the person saw."""

    credit_code = _text("统一社会信用代码", 18, required=False, help_text="18 位，按 GB 32100 校验")
    tier = forms.ChoiceField(label="层级", required=False, choices=[("", "不适用"), *TIERS.items()])
    aliases = _text("别名", 600, required=False, help_text="以顿号分隔")
    parent = _text("实体医疗机构编码", 12, required=False, help_text="留空：本机构即实体机构")
    source = _text("更正依据", 120, help_text="证照或文号")
    reason = _text("更正原因", 200, help_text="更正前后的内容记入全程留痕")
    seen = forms.CharField(widget=forms.HiddenInput, required=False, max_length=1000)

    def values(self) -> dict[str, Any]:
        """What was changed; aliases as a list."""
        given = {key: self.cleaned_data[key] for key in IDENTITY if key in self.changed_data}
        if "aliases" in given:
            given["aliases"] = given["aliases"].replace("，", "、").split("、")
        return given


class FreezeForm(forms.Form):
    """Nothing is paid from a day on."""

    on = _date("自哪一日起暂停")
    until = _date("至", required=False, help_text="留空：直至登记恢复拨付")
    reason = _text("原因", 200, help_text="机构在档案和批量结算页面可见")


class UnfreezeForm(forms.Form):
    """Payments go on again."""

    on = _date("自哪一日起恢复")
    reason = _text("原因", 200)


class OfficeForm(forms.Form):
    """An authority of a region."""

    name = _text("名称", 120)
    address = _text("地址", 200, required=False, help_text="告知书和协议上载明的办公地址")
    phone = _text("办公电话", 40, required=False, help_text="对外公开的办公电话")


# --- Records of an institution ---


class QualificationForm(forms.Form):
    kind = _kinds("资质", Qualification.Kind.choices)
    number = _text("证照编号", 80)
    issuer = _text("发证机关", 120, required=False)
    level = forms.ChoiceField(
        label="等级保护级别", required=False, choices=[("", "不适用"), *((n, n) for n in LEVELS)],
        help_text="备案证明和测评报告必填（南通 三（四））",
    )  # fmt: skip
    valid_from = _date("有效期自")
    valid_until = _date("有效期至", required=False, help_text="长期有效的留空；测评报告必填")
    scan = Scan()


class PlatformForm(forms.Form):
    platform = forms.ChoiceField(label="平台")
    valid_from = _date("接入日")
    scan = Scan("接入证明")

    def __init__(self, *args: Any, platforms: dict[str, str], **options: Any):
        super().__init__(*args, **options)
        self.fields["platform"] = forms.ChoiceField(
            label="平台", choices=[CHOOSE, *platforms.items()],
            help_text="" if platforms else "本统筹区政策没有列明平台",
        )  # fmt: skip


class AccountForm(forms.Form):
    holder = _text("户名", 120)
    bank = _text("开户行", 120)
    number = _text("银行账号", 40, help_text="8 至 32 位数字；加密保存，页面只显示末四位")
    valid_from = _date("启用日")


class ContactForm(forms.Form):
    purpose = _text("事务", 40, help_text="如 医保结算、信息系统、投诉处理")
    name = _text("姓名", 40)
    phone = _text("电话", 20, help_text="加密保存，页面只显示末四位")
    email = forms.EmailField(label="邮箱", required=False)
    valid_from = _date("起用日")


class PractitionerForm(forms.Form):
    kind = _kinds("类别", Physician.Kind.choices)
    code = _text("国家编码", 20, help_text="医保医师、药师或护士代码")
    name = _text("姓名", 40)
    licence_no = _text("执业证书编号", 30)
    licence_until = _date("执业证书有效期至", required=False)
    registered_area = _text(
        "执业注册地", 6, required=False, help_text="6 位区划代码；留空即本机构所在地"
    )
    independent_since = _date("独立临床工作起始日")
    title = forms.ChoiceField(
        label="职称", required=False, choices=[("", "无"), *PhysicianTitle.Title.choices]
    )
    title_since = _date("职称起算日", required=False)
    joined_on = _date("到岗日", required=False, help_text="从其他机构调入或离职后返回的必填")


class CorrectPractitioner(forms.Form):
    """What was registered wrongly of a practitioner, with the reason."""

    name = _text("姓名", 40)
    licence_no = _text("执业证书编号", 30)
    licence_until = _date("执业证书有效期至", required=False)
    registered_area = _text("执业注册地", 6, help_text="6 位区划代码")
    independent_since = _date(
        "独立临床工作起始日", help_text="影响医师经验年限，只影响更正后的结算"
    )
    reason = _text("更正原因", 200, help_text="更正前后的内容和原因记入全程留痕")

    def changes(self) -> dict[str, Any]:
        """What the person changed."""
        return {key: self.cleaned_data[key] for key in self.changed_data if key != "reason"}


class CheckPractitioner(forms.Form):
    """The agency's finding on a registration and the titles that wait with it."""

    agreed = forms.ChoiceField(
        label="核验结论", widget=forms.RadioSelect,
        choices=[("yes", "与执业证书、职称证书一致"), ("no", "不一致，不予认可")],
    )  # fmt: skip
    reason = _text("不一致之处", 120, required=False, help_text="不予认可时必填，机构可以看到")
    proposals = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, said: Sequence[str], **options: Any):
        super().__init__(*args, **options)
        self.fields["agreed"].help_text = "待核验：" + "；".join(said)

    def titles(self) -> set[int]:
        """The proposals that stood on the page."""
        return {int(pk) for pk in self.cleaned_data["proposals"].split(",") if pk.isdigit()}


class CompareForm(forms.Form):
    """What comparing a registration found, where nothing is to be changed."""

    note = _text(
        "核对情况", 200, help_text="例如：登记与卫生健康部门注册信息一致，暂停期间不变更。"
    )


class TitleForm(forms.Form):
    title = forms.ChoiceField(label="新职称")
    valid_from = _date("起算日", help_text="原职称止于前一日")

    def __init__(self, *args: Any, titles: Any, **options: Any):
        super().__init__(*args, **options)
        labels = dict(PhysicianTitle.Title.choices)
        self.fields["title"] = forms.ChoiceField(
            label="新职称", choices=[CHOOSE, *((title, labels[title]) for title in titles)]
        )
        self.order_fields(("title", "valid_from"))


class LicenceForm(forms.Form):
    licence_until = _date("新的有效期至")


class PhysicianAgreementForm(forms.Form):
    name = forms.ChoiceField(label="协议")
    number = _text("协议编号", 60, required=False)
    signed_on = _date("签订日")
    valid_from = _date("有效期自")
    valid_until = _date("有效期至", required=False)

    def __init__(self, *args: Any, names: Any, **options: Any):
        super().__init__(*args, **options)
        self.fields["name"] = forms.ChoiceField(
            label="协议", choices=[CHOOSE, *((name, name) for name in names)],
            help_text="" if names else "本统筹区政策没有列明医师协议",
        )  # fmt: skip


class DayForm(forms.Form):
    """Only a day: leaving, the end of a connection or contact."""

    on = _date("最后一日")


class ReasonForm(forms.Form):
    """Why somebody wants to see what is hidden."""

    reason = _text("查看原因", 120, help_text="查看行为将记入全程留痕")


class UploadForm(forms.Form):
    kind = forms.ChoiceField(
        label="类别",
        choices=[("correspondence", "往来文书"), ("evidence", "证明材料"), ("other", "其他")],
    )
    papers = Scans("文件", required=True)


class CheckForm(forms.Form):
    """Confirms that a record was compared with its scan."""

    agreed = forms.BooleanField(label="已与扫描件逐项核对，登记内容一致")


# --- Changes and mappings ---


class ChangeForm(forms.Form):
    """One change with its evidence; only the fields of its kind are used."""

    effective_from = _date("生效日", help_text="可为月中任意一日")
    reason = _text("变更原因", 200, required=False)
    papers = Scans("证明材料")

    def __init__(self, *args: Any, kind: str, fields: tuple[str, ...], **options: Any):
        super().__init__(*args, **options)
        self.kind, self.content = kind, fields
        source = FactFields.base_fields | AccountForm.base_fields
        for key in fields:
            self.fields[key] = source[key] if key != "name" else _text("新机构名称", 120)
        self.order_fields((*fields, "effective_from", "reason", "papers"))

    def values(self) -> dict[str, Any]:
        """The new values that were filled in."""
        return {key: self.cleaned_data[key] for key in self.content
                if self.cleaned_data.get(key) not in (None, "", [])}  # fmt: skip


class ChangeKind(forms.Form):
    kind = forms.ChoiceField(
        label="变更事项", choices=Change.Kind.choices, widget=forms.RadioSelect
    )


class MappingForm(forms.Form):
    kind = _kinds("类别", CodeMapping.Kind.choices)
    local_code = _text("院内编码", 60)
    local_name = _text("院内名称", 120)
    national_code = _text("国家编码", 60)
    national_name = _text("国家名称", 120, required=False)
    valid_from = _date("生效日")
    valid_until = _date("失效日", required=False)


class StepForm(forms.Form):
    """The inputs of a step as its table asks them; `version` is what the person saw."""

    def __init__(self, data: Any = None, *, step: Step, version: int, **options: Any):
        super().__init__(data, auto_id=f"step_{step.key}_%s", **options)
        self.step = step
        self.fields["step"] = forms.CharField(initial=step.key, widget=forms.HiddenInput)
        self.fields["version"] = forms.IntegerField(initial=version, widget=forms.HiddenInput)
        if step.day:
            self.fields["on"] = _date(step.day)
        for ask in step.asks:
            self.fields[ask.key] = forms.CharField(
                label=ask.label, required=False, help_text=ask.help, max_length=1000,
                widget=forms.Textarea({"rows": 3}) if ask.kind == "long" else forms.TextInput(),
            )  # fmt: skip
            self.fields[ask.key].widget.attrs["aria-required"] = str(ask.required).lower()


class CaseQuery(forms.Form):
    """Which changes or mappings: words, state."""

    q = forms.CharField(
        label="机构或编号", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "机构名称、编码、备案号或院内编码"}),
    )  # fmt: skip
    state = forms.ChoiceField(label="状态", required=False)
    kind = forms.ChoiceField(label="事项", required=False)

    def __init__(self, data: Any, *, states: Any, kinds: Any):
        super().__init__(data, auto_id="case_%s")
        for name, label, choices in (("state", "状态", states), ("kind", "事项", kinds)):
            self.fields[name] = forms.ChoiceField(
                label=label, required=False, choices=[("", "全部"), *choices]
            )


class ExpiryQuery(forms.Form):
    """What ends within how many days."""

    q = forms.CharField(
        label="机构", required=False, max_length=60,
        widget=forms.TextInput({"placeholder": "名称、别名或编码"}),
    )  # fmt: skip
    days = forms.TypedChoiceField(
        label="期限", required=False, coerce=int, empty_value=None,
        choices=[("", "提醒期内"), ("0", "已到期"), ("30", "30 日内"), ("60", "60 日内"),
                 ("90", "90 日内"), ("180", "180 日内")],
    )  # fmt: skip
