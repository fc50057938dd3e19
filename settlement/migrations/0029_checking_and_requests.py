"""A file waits to be checked by a worker; what persons hand in without log-in."""

import django.db.models.deletion
from django.db import migrations, models

MOVES = """
CREATE OR REPLACE FUNCTION batch_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> NEW.state AND NOT (OLD.state || '>' || NEW.state) = ANY (ARRAY[
        ADDED'checked>loading', 'checked>cancelled', 'loading>running', 'loading>failed',
        'loading>cancelled', 'running>paused', 'running>closed', 'running>failed',
        'running>cancelled', 'paused>running', 'paused>closed', 'paused>failed', 'paused>cancelled',
        'failed>reversing', 'cancelled>reversing', 'reversing>reversed'])
    THEN
        RAISE EXCEPTION 'a batch does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
"""
CHECKING = "'checking>checked', 'checking>failed', 'checking>cancelled', "
GUARDS = """
ALTER TABLE settlement_personrequest ENABLE ROW LEVEL SECURITY;
ALTER TABLE settlement_personrequest FORCE ROW LEVEL SECURITY;
CREATE POLICY scope ON settlement_personrequest
    USING (scope_allows(region_code, institution_code))
    WITH CHECK (scope_allows(region_code, institution_code));
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON settlement_personrequest
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION person_request_ends_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN ('taken', 'declined', 'withdrawn') OR (NEW.number, NEW.kind, NEW.region_code,
            NEW.id_hash, NEW.query_hash, NEW.code, NEW.slot_id)
        IS DISTINCT FROM (OLD.number, OLD.kind, OLD.region_code, OLD.id_hash, OLD.query_hash, OLD.code,
            OLD.slot_id) THEN
        RAISE EXCEPTION 'request % is decided once', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decided_once BEFORE UPDATE ON settlement_personrequest
    FOR EACH ROW EXECUTE FUNCTION person_request_ends_once();
"""
UNGUARD = """
DROP TRIGGER kept ON settlement_personrequest;
DROP TRIGGER decided_once ON settlement_personrequest;
DROP FUNCTION person_request_ends_once();
DROP POLICY scope ON settlement_personrequest;
ALTER TABLE settlement_personrequest DISABLE ROW LEVEL SECURITY;
"""
STATES = [
    ("checking", "检查中"), ("checked", "已试算校验"), ("loading", "装载中"), ("running", "结算中"),
    ("paused", "已暂停"), ("closed", "已完成"), ("failed", "失败"), ("cancelled", "已取消"),
    ("reversing", "冲正中"), ("reversed", "已冲正"),
]  # fmt: skip


class Migration(migrations.Migration):
    dependencies = (("settlement", "0028_undone_by_two"),)
    operations = (
        migrations.AlterField("batch", "state", models.CharField(choices=STATES, max_length=9)),
        migrations.AlterField(
            "batch",
            "attempts",
            models.IntegerField(default=0, help_text="of checking it, then of loading it"),
        ),
        migrations.AddField(
            "batch",
            "start_when_sound",
            models.BooleanField(default=False, help_text="without another word of a person"),
        ),
        migrations.CreateModel(
            name="PersonRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.CharField(max_length=40, unique=True, verbose_name="申请号")),
                ("query_hash", models.BinaryField(max_length=32)),
                (
                    "kind",
                    models.CharField(
                        choices=[("disease", "门诊慢特病认定"), ("booking", "预约报销")],
                        max_length=8,
                        verbose_name="事项",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("received", "待核对"),
                            ("asked", "待补材料"),
                            ("taken", "已受理"),
                            ("declined", "不予受理"),
                            ("withdrawn", "已取消"),
                        ],
                        default="received",
                        max_length=9,
                        verbose_name="状态",
                    ),
                ),
                ("region_code", models.CharField(max_length=6)),
                ("institution_code", models.CharField(blank=True, max_length=12)),
                ("id_hash", models.BinaryField(max_length=32)),
                ("id_masked", models.CharField(max_length=18, verbose_name="证件号码")),
                ("id_cipher", models.BinaryField()),
                ("name_masked", models.CharField(max_length=40, verbose_name="姓名")),
                ("name_cipher", models.BinaryField()),
                ("phone_tail", models.CharField(max_length=4, verbose_name="联系电话")),
                ("phone_cipher", models.BinaryField()),
                ("code", models.CharField(blank=True, max_length=20, verbose_name="病种编码")),
                ("name", models.CharField(blank=True, max_length=60, verbose_name="病种")),
                (
                    "hospital",
                    models.CharField(blank=True, max_length=120, verbose_name="就诊医疗机构"),
                ),
                ("reason", models.CharField(blank=True, max_length=500, verbose_name="申请说明")),
                ("answer", models.CharField(blank=True, max_length=500, verbose_name="答复")),
                ("received_at", models.DateTimeField()),
                ("handled_by", models.CharField(blank=True, max_length=150)),
                (
                    "filing",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="handed_in",
                        to="settlement.diseasefiling",
                    ),
                ),
                (
                    "reimbursement",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="booked",
                        to="settlement.reimbursement",
                    ),
                ),
                (
                    "slot",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bookings",
                        to="settlement.appointmentslot",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["region_code", "state"], name="person_request_state")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("institution_code", "")),
                        name="person_request_institutions_see_none",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("kind", "disease"),
                                ("reimbursement__isnull", True),
                                ("slot__isnull", True),
                                models.Q(("code", ""), _negated=True),
                            ),
                            models.Q(
                                ("code", ""),
                                ("filing__isnull", True),
                                ("kind", "booking"),
                                ("slot__isnull", False),
                            ),
                            _connector="OR",
                        ),
                        name="person_request_of_its_kind",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("filing__isnull", False), ("state", "taken")),
                            models.Q(("reimbursement__isnull", False), ("state", "taken")),
                            models.Q(
                                models.Q(("state", "taken"), _negated=True),
                                ("filing__isnull", True),
                                ("reimbursement__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="person_request_taken_up",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ("asked", "declined")), _negated=True),
                            models.Q(("answer", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="person_request_told_why",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(MOVES.replace("ADDED", CHECKING), MOVES.replace("ADDED", "")),
    )
