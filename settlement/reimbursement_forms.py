"""Forms of 手工报销: a request, its documents, its steps, the claim that a clerk types in, slots."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import django_filters
from django import forms
from django.db.models import Q, QuerySet

from audit.procedure import PROCEDURES, Step
from institutions import crypto
from institutions.models import Institution, Office, User
from institutions.registry_forms import Scans
from settlement import contract, sealed
from settlement.invoices import normal
from settlement.models import AppointmentSlot, Reimbursement
from settlement.personal_accounts import ways
from settlement.reimbursement_steps import TABLE
from settlement.words import MEDIA

ZONE = ZoneInfo("Asia/Shanghai")
CHOOSE = ("", "请选择")
WAY_HELP = "个人账户只限在本统筹区参保、险种有个人账户的人员。"
FEN_PER_YUAN = 100
LINES = 6  #: empty lines that are offered at once
KINDS = (("consult", "诊察费"), ("drug", "药品费"), ("other", "其他"))
CONDITIONS = (("chronic", "慢性病"), ("common", "常见病"), ("acute_not_common", "急症，非常见病"))


def offer(field: forms.Field, rows: Any) -> None:
    """What a field offers: rows of the database, or pairs of code and word."""
    if isinstance(field, forms.ModelChoiceField):
        field.queryset = rows
    elif isinstance(field, forms.ChoiceField):
        field.choices = rows


def day_field(label: str, *, required: bool = True, help_text: str = "") -> forms.DateField:
    """A day, as browsers send it."""
    return forms.DateField(
        label=label, required=required, help_text=help_text, input_formats=["%Y-%m-%d"],
        widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"),
    )  # fmt: skip


def text_field(
    label: str, most: int, *, required: bool = True, help_text: str = "", hint: str = ""
) -> forms.CharField:
    """A short text that browsers do not fill in."""
    return forms.CharField(
        label=label, required=required, max_length=most, help_text=help_text,
        widget=forms.TextInput({"autocomplete": "off", **({"placeholder": hint} if hint else {})}),
    )  # fmt: skip


def moment_field(label: str, *, required: bool = True) -> forms.DateTimeField:
    """A time of a day in Shanghai."""
    return forms.DateTimeField(
        label=label, required=required, input_formats=["%Y-%m-%dT%H:%M"],
        widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M"),
    )  # fmt: skip


class Yuan(forms.DecimalField):
    """An amount in yuan with two digits; its value is fen."""

    def __init__(self, label: str, **options: Any):
        super().__init__(label=label, min_value=0, max_digits=11, decimal_places=2, **options)

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        return int(found * FEN_PER_YUAN) if found is not None else None


def written(moment: dt.datetime) -> str:
    """A time as the contract of claims writes it."""
    return moment.astimezone(ZONE).isoformat()


# --- Requests ---


class ReimbursementFilter(django_filters.FilterSet):
    """The query bar of requests; a person is found by the hash of the ID number."""

    q = django_filters.CharFilter(
        label="申请号或发票号", method="by_number", max_length=40,
        widget=forms.TextInput({"placeholder": "BX… 或电子发票号"}),
    )  # fmt: skip
    state = django_filters.ChoiceFilter(label="状态", choices=(), empty_label="全部")
    kind = django_filters.ChoiceFilter(
        label="报销方式", choices=Reimbursement.Kind.choices, empty_label="全部"
    )
    provider = django_filters.CharFilter(
        label="就诊机构", method="by_provider", max_length=120,
        widget=forms.TextInput({"placeholder": "名称或编码"}),
    )  # fmt: skip
    person = django_filters.CharFilter(method="by_person", widget=forms.HiddenInput)

    class Meta:
        model = Reimbursement
        fields = ()

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        states = PROCEDURES[TABLE].states.values()
        self.filters["state"].extra["choices"] = [(state.key, state.label) for state in states]

    def by_number(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(Q(number=value.upper().strip()) | Q(e_invoice_no=normal(value)))

    def by_provider(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        return rows.filter(Q(provider=value.upper()) | Q(provider__name__icontains=value))

    def by_person(self, rows: QuerySet, name: str, value: str) -> QuerySet:
        try:
            return rows.filter(person__id_hash=bytes.fromhex(value))
        except ValueError:
            return rows.none()


class SlotField(forms.ModelChoiceField):
    """A time at an office, with the places that are left."""

    def label_from_instance(self, obj: AppointmentSlot) -> str:
        return f"{obj} {obj.office.name}（余 {obj.capacity - obj.booked}）"


class RequestForm(forms.Form):
    """What a person hands in, as the clerk writes it down."""

    kind = forms.ChoiceField(label="报销方式", choices=[CHOOSE, *Reimbursement.Kind.choices])
    credential = text_field("身份证号", 40, help_text="加密保存，只显示掩码。")
    provider = forms.ModelChoiceField(
        label="就诊机构", queryset=Institution.objects.none(), empty_label="请选择",
        error_messages={"required": "请选择就诊机构。", "invalid_choice": "辖区内没有这一机构编码"},
    )  # fmt: skip
    cause = forms.ChoiceField(
        label="未联网结算原因", choices=[CHOOSE, *Reimbursement.Cause.choices]
    )
    service_date = day_field("就诊日期")
    amount = Yuan("发票金额（元）")
    invoice_code = text_field("电子发票代码", 20)
    invoice_number = text_field("电子发票号码", 20)
    way = forms.ChoiceField(label="收款方式", help_text=WAY_HELP)
    holder = text_field("户名", 60, required=False)
    bank = text_field("开户行", 120, required=False)
    number = text_field("银行账号", 40, required=False, help_text="加密保存，只显示后四位。")
    phone = text_field("联系电话", 20, required=False)
    tracking_no = text_field("快递单号", 60, required=False, help_text="邮寄报销填写")
    deferred_until = day_field("约定提交日", required=False, help_text="延时报销填写")
    slot = SlotField(
        label="预约时段", required=False, queryset=AppointmentSlot.objects.none(),
        empty_label="不预约", help_text="预约报销选择",
    )  # fmt: skip
    papers = Scans("电子发票文件")

    def __init__(self, *args: Any, user: User, today: dt.date, **options: Any):
        super().__init__(*args, **options)
        self.user = user
        slots = AppointmentSlot.objects.visible_to(user).filter(day__gte=today)
        places = Institution.objects.visible_to(user).select_related("region").order_by("name")
        free = slots.exclude(capacity=0).select_related("office")
        pool = user.region.policy_region if user.region is not None else ""
        choices = (("slot", free), ("provider", places), ("way", ways(pool, today)))
        for name, rows in choices:
            offer(self.fields[name], rows)

    def clean_credential(self) -> str:
        """A valid ID number in upper case."""
        try:
            return crypto.id_number(self.cleaned_data["credential"])
        except crypto.IdNumberError as error:
            raise forms.ValidationError(f"{error}。") from None

    def asked(self) -> dict[str, Any]:
        """The arguments of `settlement.reimbursements.Request`."""
        given = self.cleaned_data
        plain = ("kind", "credential", "provider", "cause", "service_date", "amount", "way", "phone",
                 "tracking_no", "deferred_until")  # fmt: skip
        account = (given["holder"], given["bank"], given["number"])
        return {name: given[name] for name in plain} | {
            "e_invoice_no": f"{given['invoice_code']}-{given['invoice_number']}",
            "account": sealed.Account(*account) if any(account) else None,
            "slot_id": given["slot"].pk if given["slot"] else None,
        }  # fmt: skip


class PaperForm(forms.Form):
    """A document of a request."""

    kind = forms.ChoiceField(label="材料")
    papers = Scans("文件", required=True)

    def __init__(self, data: Any = None, files: Any = None):
        super().__init__(data, files, auto_id="paper_%s")
        self.fields["kind"] = forms.ChoiceField(
            label="材料", choices=list(PROCEDURES[TABLE].data["documents"].items())
        )


class StepForm(forms.Form):
    """The inputs of a step as its table asks them; `version` is what the person saw."""

    def __init__(self, data: Any = None, *, step: Step, version: int, **options: Any):
        super().__init__(data, auto_id=f"step_{step.key}_%s", **options)
        self.step = step
        self.fields["step"] = forms.CharField(initial=step.key, widget=forms.HiddenInput)
        self.fields["version"] = forms.IntegerField(initial=version, widget=forms.HiddenInput)
        for ask in step.asks:
            if ask.kind == "items":
                self.fields[ask.key] = forms.MultipleChoiceField(
                    label=ask.label, required=False, widget=forms.CheckboxSelectMultiple,
                    choices=list(PROCEDURES[TABLE].data["documents"].items()),
                )  # fmt: skip
            else:
                long = ask.kind == "long"
                self.fields[ask.key] = forms.CharField(
                    label=ask.label, required=False, help_text=ask.help, max_length=500,
                    widget=forms.Textarea({"rows": 3}) if long else forms.TextInput(),
                )  # fmt: skip


class AccountForm(forms.Form):
    """Another account after the bank returned the money."""

    holder = text_field("户名", 60)
    bank = text_field("开户行", 120)
    number = text_field("银行账号", 40, help_text="加密保存；由另一人复核后再次拨付。")

    def account(self) -> sealed.Account:
        """The account in clear."""
        given = self.cleaned_data
        return sealed.Account(given["holder"], given["bank"], given["number"])


# --- The claim ---


class ClaimForm(forms.Form):
    """The encounter of a claim as the papers say it; its lines are `LineForms`."""

    encounter = text_field("就诊编号", 60, help_text="病历或发票上的门诊号")
    physician = text_field("医师代码", 20)
    started = moment_field("就诊开始")
    ended = moment_field("就诊结束")
    department_code = text_field("诊疗科目代码", 20, hint="如 A03（内科）")
    medium = forms.ChoiceField(label="就诊方式", choices=list(MEDIA.items()))
    visit_type = forms.ChoiceField(
        label="初诊或复诊", choices=(("revisit", "复诊"), ("first", "首诊"))
    )
    condition = forms.ChoiceField(label="病情", choices=CONDITIONS)
    diagnosis_code = text_field("主要诊断编码", 12, hint="如 I10.x00x002")
    diagnosis_name = text_field("主要诊断名称", 100)
    matched = forms.BooleanField(label="发票、病历与参保人身份相符", required=False)
    consented = forms.BooleanField(label="有知情同意记录", required=False)
    prescription_no = text_field("处方号", 40, required=False, help_text="有处方时填写")
    signed_at = moment_field("医师签名时间", required=False)
    reviewer = text_field("审核药师代码", 20, required=False)
    reviewed_at = moment_field("药师审核时间", required=False)

    def claim(self, lines: list[dict]) -> dict:
        """The claim without number, person and invoice: those are the request's."""
        given = self.cleaned_data
        started = written(given["started"])
        drugs = [line for line in lines if line["kind"] == "drug"]
        number = given["prescription_no"]
        for line in drugs:
            if number:
                line["prescription_no"] = number
        return {
            "encounter": {
                "id": given["encounter"], "business_type": "internet",
                "visit_type": given["visit_type"], "condition": given["condition"],
                "started_at": started, "ended_at": written(given["ended"]),
                "department_code": given["department_code"],
                "diagnoses": [{"code": given["diagnosis_code"], "name": given["diagnosis_name"],
                               "main": True}],
                "session": {"medium": given["medium"]},
            },
            "person": {"credential_type": "id_card", "matched": given["matched"]},
            "consent": {"item_and_price_explained": given["consented"],
                        "given_at": started if given["consented"] else None},
            "physician": {"code": given["physician"]},
            "prescriptions": [self._prescription(number, drugs)] if number else [],
            "lines": lines,
        }  # fmt: skip

    def _prescription(self, number: str, drugs: list[dict]) -> dict:
        given = self.cleaned_data
        signed, reviewed = given["signed_at"], given["reviewed_at"]
        return {
            "no": number,
            "signed_by": given["physician"] if signed else None,
            "signed_at": written(signed) if signed else None,
            "reviewed_by": given["reviewer"] or None,
            "reviewed_at": written(reviewed) if reviewed else None,
            "lines": [{"drug_code": line["item_code"], "quantity": line["quantity"],
                       "days_supply": 0, "unit": "份"} for line in drugs],
        }  # fmt: skip


class LineForm(forms.Form):
    """A line of the fee list; the fee is price times quantity, rounded half up."""

    kind = forms.ChoiceField(label="类别", choices=KINDS, initial=KINDS[0][0])
    item_code = text_field("项目或药品编码", 20)
    quantity = forms.DecimalField(
        label="数量", min_value=0, max_digits=11, decimal_places=contract.QUANTITY_DIGITS
    )
    unit_price = forms.DecimalField(
        label="单价（元）", min_value=0, max_digits=15, decimal_places=contract.PRICE_DIGITS
    )

    def line(self, number: int) -> dict:
        """The line as the contract has it."""
        given = self.cleaned_data
        line = {"line_no": number, "kind": given["kind"], "item_code": given["item_code"],
                "quantity": f"{given['quantity']:f}", "unit_price": f"{given['unit_price']:f}"}  # fmt: skip
        fen = contract.product_fen(line)
        return line | {"fee": f"{fen // FEN_PER_YUAN}.{fen % FEN_PER_YUAN:02d}"}


class BaseLines(forms.BaseFormSet):
    """At least one line is filled in."""

    def clean(self) -> None:
        if not any(self.errors) and not any(form.has_changed() for form in self.forms):
            raise forms.ValidationError("请至少录入一行费用明细")


def lines_of(lines: forms.BaseFormSet) -> list[dict]:
    """The lines of the claim that were filled in, numbered from 1."""
    filled = [form for form in lines.forms if form.has_changed()]
    return [form.line(number) for number, form in enumerate(filled, 1)]


LineForms = forms.formset_factory(
    LineForm,
    formset=BaseLines,
    extra=LINES,
    max_num=contract.MAX_LINES,
    absolute_max=contract.MAX_LINES,
)


# --- Slots ---


class SlotForm(forms.Form):
    """Times that are opened on every working day of a span."""

    office = forms.ModelChoiceField(
        label="办理机构", queryset=Office.objects.none(), empty_label="请选择"
    )
    first = day_field("自")
    last = day_field("至", help_text="只在工作日开放，一次至多 92 日")
    spans = text_field("时段", 200, help_text="用顿号分隔", hint="09:00-10:00、10:00-11:00")
    capacity = forms.IntegerField(label="每时段人数", min_value=1, max_value=200, initial=5)

    def __init__(self, *args: Any, user: User, **options: Any):
        super().__init__(*args, **options)
        field = self.fields["office"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = Office.objects.filter(
                kind=Office.Kind.AGENCY, region__code__within=user.region.prefix
            ) if user.region else Office.objects.none()  # fmt: skip

    def clean_spans(self) -> list[tuple[dt.time, dt.time]]:
        """Pairs of times."""
        found = []
        for part in self.cleaned_data["spans"].replace("，", "、").replace(",", "、").split("、"):
            start, _, end = part.strip().replace("–", "-").partition("-")
            try:
                found.append(
                    (dt.time.fromisoformat(start.strip()), dt.time.fromisoformat(end.strip()))
                )
            except ValueError:
                raise forms.ValidationError("时段应如 09:00-10:00、10:00-11:00") from None
        return found


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(label="原因", max_length=200, widget=forms.Textarea({"rows": 2}))
