"""First self-pay, funds after the basic one, persons insured elsewhere; one account per person."""

import django.db.models.deletion
from django.db import migrations, models

AMOUNTS = ("first_self_pay", "major", "assistance")

#: Rows settled before have no such parts: the default says so, and COPY names the columns.
COLUMNS = "\n".join(
    f"ALTER TABLE settlement_{table} ADD COLUMN {name} bigint NOT NULL DEFAULT 0;"
    for table in ("settlement", "lineresult")
    for name in AMOUNTS
)

CHECKS = """
ALTER TABLE settlement_settlement ADD COLUMN insured_pool varchar(30) NOT NULL DEFAULT '';
CREATE INDEX settlement_settlement_pool ON settlement_settlement (insured_pool, period)
    WHERE insured_pool <> '';
ALTER TABLE settlement_lineresult ADD COLUMN drug_list integer NOT NULL DEFAULT 0;

ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_parts_add_up;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_parts_add_up
    CHECK (fee = fund + major + assistance + account + cash + hospital + held);
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_fund_within_scope;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_fund_within_scope
    CHECK (abs(fund + major + assistance) <= abs(in_scope));
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_first_self_pay_and_fund_within_scope
    CHECK (abs(fund + first_self_pay + deductible) <= abs(in_scope));
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_later_signs CHECK (
    CASE WHEN state = 'reversed' THEN greatest(first_self_pay, major, assistance) <= 0
    ELSE least(first_self_pay, major, assistance) >= 0 END);

ALTER TABLE settlement_lineresult DROP CONSTRAINT line_refused_pays_nothing;
ALTER TABLE settlement_lineresult ADD CONSTRAINT line_refused_pays_nothing
    CHECK (decision = 0 OR (fund IN (0, -1) AND major = 0 AND assistance = 0));
ALTER TABLE settlement_lineresult DROP CONSTRAINT line_fund_within_scope;
ALTER TABLE settlement_lineresult ADD CONSTRAINT line_fund_within_scope CHECK (decision <> 0 OR
    (abs(fund + major + assistance) <= abs(in_scope)
        AND abs(fund + first_self_pay + deductible) <= abs(in_scope)));
"""

UNCHECK = """
ALTER TABLE settlement_lineresult DROP CONSTRAINT line_fund_within_scope;
ALTER TABLE settlement_lineresult ADD CONSTRAINT line_fund_within_scope
    CHECK (decision <> 0 OR abs(fund) <= abs(in_scope));
ALTER TABLE settlement_lineresult DROP CONSTRAINT line_refused_pays_nothing;
ALTER TABLE settlement_lineresult ADD CONSTRAINT line_refused_pays_nothing
    CHECK (decision = 0 OR fund IN (0, -1));
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_later_signs;
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_first_self_pay_and_fund_within_scope;
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_fund_within_scope;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_fund_within_scope
    CHECK (abs(fund) <= abs(in_scope));
ALTER TABLE settlement_settlement DROP CONSTRAINT settlement_parts_add_up;
ALTER TABLE settlement_settlement ADD CONSTRAINT settlement_parts_add_up
    CHECK (fee = fund + account + cash + hospital + held);
ALTER TABLE settlement_lineresult DROP COLUMN drug_list;
DROP INDEX settlement_settlement_pool;
ALTER TABLE settlement_settlement DROP COLUMN insured_pool;
"""
DROP = "\n".join(
    f"ALTER TABLE settlement_{table} DROP COLUMN {name};"
    for table in ("settlement", "lineresult")
    for name in AMOUNTS
)

#: What a year was opened with is the person's; of several years the least left is nobody's loss. A
#: newly reported balance replaces what is left.
ACCOUNTS = """
INSERT INTO settlement_personalaccount (person_id, account_left, region_code)
    SELECT a.person_id, greatest(min(p.account_balance) - sum(p.account_balance - a.account_left), 0),
        min(a.region_code)
    FROM settlement_accumulator a JOIN settlement_insuredperson p ON p.id = a.person_id
    GROUP BY a.person_id;
ALTER TABLE settlement_personalaccount ENABLE ROW LEVEL SECURITY;
CREATE POLICY some_scope ON settlement_personalaccount
    USING (coalesce(current_setting('app.scope', true), '') <> '');
CREATE FUNCTION settlement_balance_reported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE settlement_personalaccount SET account_left = NEW.account_balance
        WHERE person_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER settlement_balance_reported AFTER UPDATE OF account_balance
    ON settlement_insuredperson FOR EACH ROW
    WHEN (OLD.account_balance IS DISTINCT FROM NEW.account_balance)
    EXECUTE FUNCTION settlement_balance_reported();
"""
UNACCOUNTS = """
DROP TRIGGER settlement_balance_reported ON settlement_insuredperson;
DROP FUNCTION settlement_balance_reported();
DROP POLICY some_scope ON settlement_personalaccount;
"""

SANE = (
    models.Q(
        deductible_used__gte=0, fund_used__gte=0, own_used__gte=0, major_used__gte=0,
        assistance_used__gte=0,
    )
    & models.Q(fund_used__lte=models.F("in_scope_used"))
    & models.Q(deductible_used__lte=models.F("in_scope_used"))
    & models.Q(own_used__gte=models.F("major_used") + models.F("assistance_used"))
)  # fmt: skip
#: What was left to the person before the funds that came later: scope less the fund.
OWN = "UPDATE settlement_accumulator SET own_used = in_scope_used - fund_used"


def _count(name: str) -> migrations.AddField:
    return migrations.AddField("accumulator", name, models.BigIntegerField(default=0))


class Migration(migrations.Migration):
    dependencies = (("settlement", "0004_periods"),)
    operations = (
        migrations.RunSQL(COLUMNS + CHECKS, UNCHECK + DROP),
        migrations.CreateModel(
            name="PersonalAccount",
            fields=[
                (
                    "person",
                    models.OneToOneField(
                        db_constraint=False, on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True, related_name="personal_account", serialize=False,
                        to="settlement.insuredperson",
                    ),
                ),
                ("account_left", models.BigIntegerField(help_text="fen")),
                ("region_code", models.CharField(max_length=6)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(account_left__gte=0), name="account_not_overdrawn"
                    )
                ]
            },
        ),
        migrations.RunSQL(ACCOUNTS, UNACCOUNTS),
        migrations.RemoveConstraint("accumulator", "accumulator_sane"),
        migrations.RemoveField("accumulator", "account_left"),
        _count("own_used"),
        _count("major_used"),
        _count("assistance_used"),
        migrations.RunSQL(OWN, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "accumulator", models.CheckConstraint(condition=SANE, name="accumulator_sane")
        ),
        migrations.AddField(
            "entitlement", "assistance",
            models.CharField(
                "医疗救助对象", blank=True, default="", max_length=15,
                choices=[("extreme_poverty", "特困人员"), ("subsistence", "最低生活保障对象"),
                         ("marginal", "低保边缘家庭成员"), ("relapse", "防止返贫监测对象")],
            ),
        ),
    )  # fmt: skip
