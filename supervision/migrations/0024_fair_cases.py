"""Cases are fair: no institution sees a person's case, a loss counts in one case and is taken once, a
suspension lasts as long as the law wants at least, the party reads nothing that is internal.
"""

import datetime as dt

from django.db import connection, migrations, models
from django.db.models import F, Q

from institutions.calendar import add_months
from supervision import law

#: an institution sees a case that it is party to, once told
PARTY = """
DROP POLICY scope ON supervision_supervisioncase;
CREATE POLICY scope ON supervision_supervisioncase
    USING (scope_allows(region_code, {own})) WITH CHECK (scope_allows(region_code, {own}));
"""
BEFORE = "CASE WHEN told_on IS NULL THEN '' ELSE institution_code END"
NOW = "CASE WHEN told_on IS NULL OR subject_kind = 'person' THEN '' ELSE institution_code END"

#: a finding or a claim carries a loss in one case only; a case that came to nothing lets go of it
ONE_CASE = """
CREATE FUNCTION refuse_second_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('case losses'));
    IF EXISTS (
        SELECT FROM supervision_caseevidence e JOIN supervision_supervisioncase c ON c.id = e.case_id
        WHERE e.loss > 0 AND e.case_id <> NEW.case_id AND c.state NOT IN ('declined', 'dismissed')
            AND (e.kind = 'finding' AND NEW.kind = 'finding' AND e.reference = NEW.reference
                OR e.claim_id = NEW.claim_id))
    THEN
        RAISE EXCEPTION 'another case carries this loss: %', NEW.reference
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER one_case_of_a_loss BEFORE INSERT ON supervision_caseevidence FOR EACH ROW
    WHEN (NEW.loss > 0 AND NEW.kind IN ('finding', 'claim')) EXECUTE FUNCTION refuse_second_loss();
"""
NO_ONE_CASE = """
DROP TRIGGER one_case_of_a_loss ON supervision_caseevidence;
DROP FUNCTION refuse_second_loss();
"""
#: all recoveries of a case together take back no more than was lost: as listed, then as decided
LOSS = """
CREATE FUNCTION refuse_more_than_lost() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stated bigint;
    listed bigint;
    taken bigint;
BEGIN
    SELECT loss INTO stated FROM supervision_supervisioncase WHERE id = NEW.case_id FOR NO KEY UPDATE;
    SELECT coalesce(sum(loss), 0) INTO listed FROM supervision_caseevidence WHERE case_id = NEW.case_id;
    SELECT coalesce(sum(amount), 0) INTO taken FROM supervision_sanction
        WHERE case_id = NEW.case_id AND kind = 'recovery' AND id IS DISTINCT FROM NEW.id
            AND state IN ('proposed', 'ordered', 'done');
    IF taken + NEW.amount > (CASE NEW.state WHEN 'proposed' THEN listed ELSE least(listed, stated) END) THEN
        RAISE EXCEPTION 'more is recovered than was lost: %', NEW.case_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER no_more_than_lost BEFORE INSERT OR UPDATE OF state, amount ON supervision_sanction
    FOR EACH ROW WHEN (NEW.kind = 'recovery' AND NEW.state IN ('proposed', 'ordered', 'done'))
    EXECUTE FUNCTION refuse_more_than_lost();
"""
NO_LOSS = """
DROP TRIGGER no_more_than_lost ON supervision_sanction;
DROP FUNCTION refuse_more_than_lost();
"""

LEAST_STAYS = """
CREATE TRIGGER least_is_fixed BEFORE UPDATE ON supervision_restriction FOR EACH ROW
    WHEN (OLD.least_until IS NOT NULL AND OLD.least_until IS DISTINCT FROM NEW.least_until)
    EXECUTE FUNCTION refuse_change_of_record();
"""
NO_LEAST = "DROP TRIGGER least_is_fixed ON supervision_restriction;"
MONTHS = {"suspend_department": "department_months", "suspend_person": "online_months"}


def keep_least(apps, schema_editor):
    """Until when restrictions of before last at least: by the article of their measure."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', true)")
    rows = apps.get_model("supervision", "Restriction").objects
    measures = apps.get_model("supervision", "Sanction").objects.filter(
        kind__in=MONTHS, state="done"
    )
    for measure in measures.exclude(article=""):
        least = law.decree().articles[measure.article].months_range(MONTHS[measure.kind]).least
        made = [effect["restriction"] for effect in measure.effects if "restriction" in effect]
        for row in rows.filter(pk__in=made, lifted_at=None):
            row.least_until = add_months(row.valid_from, least) - dt.timedelta(days=1)
            row.save(update_fields=["least_until"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '', true)")


#: neither an internal piece of evidence nor a loan of the file is the party's
INTERNAL = """
DROP POLICY scope ON supervision_caseevidence;
CREATE POLICY scope ON supervision_caseevidence USING ({piece}) WITH CHECK ({piece});
DROP POLICY scope ON supervision_archiveloan;
CREATE POLICY scope ON supervision_archiveloan USING ({loan}) WITH CHECK ({loan});
"""
OF_CASE = "EXISTS (SELECT FROM supervision_supervisioncase c WHERE c.id = case_id{more})"
OFFICE = "scope_allows(c.region_code, '')"
READ = {"piece": OF_CASE.format(more=f" AND (NOT internal OR {OFFICE})"),
        "loan": OF_CASE.format(more=f" AND {OFFICE}")}  # fmt: skip
READ_BEFORE = dict.fromkeys(READ, OF_CASE.format(more=""))


class Migration(migrations.Migration):
    dependencies = (("supervision", "0023_report_slices"),)
    operations = (
        migrations.AddIndex(
            model_name="caseevidence",
            index=models.Index(fields=["reference"], name="case_evidence_reference"),
        ),
        migrations.AddIndex(
            model_name="caseevidence",
            index=models.Index(
                fields=["claim_id"], condition=models.Q(claim_id__isnull=False),
                name="case_evidence_claim",
            ),
        ),
        migrations.AddConstraint(
            model_name="supervisioncase",
            constraint=models.CheckConstraint(
                condition=~Q(procedure="agreement_case")
                | (Q(route="agreement") & ~Q(subject_kind="person")),
                name="case_of_the_agreement",
            ),
        ),
        migrations.RunSQL(PARTY.format(own=NOW), PARTY.format(own=BEFORE)),
        migrations.RunSQL(ONE_CASE, NO_ONE_CASE),
        migrations.RunSQL(LOSS, NO_LOSS),
        migrations.AlterField(
            model_name="casepaper",
            name="kind",
            field=models.CharField(
                choices=[
                    ("filing", "立案审批表"), ("notice", "处理告知书"), ("evidence", "证据清单"),
                    ("request", "当事人申请登记表"), ("recusal", "回避决定书"),
                    ("hearing", "听证通知书"), ("nohear", "不予听证通知书"), ("decision", "处理决定书"),
                    ("dismiss", "不予处理决定书"), ("transfer", "案件移送书"), ("receipt", "送达回证"),
                    ("inform", "案件通报函"), ("closing", "结案报告"), ("talk", "约谈通知书"),
                    ("minutes", "约谈笔录"), ("review", "复查决定书"),
                ],
                max_length=8, verbose_name="文书",
            ),
        ),
        migrations.AlterField(
            "caseinspector", "certificate",
            models.CharField(blank=True, max_length=40, verbose_name="执法证号"),
        ),
        *(migrations.AddField("restriction", name, field) for name, field in (
            ("least_until", models.DateField(blank=True, null=True, verbose_name="法定最短期限")),
            ("review_on", models.DateField(blank=True, null=True, verbose_name="提请复查的最后一日")),
            ("review_reason", models.CharField(
                blank=True, db_default="", max_length=400, verbose_name="复查理由")),
            ("review_by", models.CharField(
                blank=True, db_default="", max_length=150, verbose_name="提出复查的人")),
            ("review_at", models.DateTimeField(blank=True, null=True)),
            ("lift_paper", models.CharField(
                blank=True, db_default="", max_length=60, verbose_name="复查决定书")),
        )),
        migrations.AddField(
            "caseevidence", "internal",
            models.BooleanField(db_default=False, default=False, verbose_name="内部材料"),
        ),
        migrations.AddConstraint(
            model_name="caseevidence",
            constraint=models.CheckConstraint(
                condition=Q(internal=False) | Q(loss=0, document__isnull=False),
                name="case_evidence_internal_file",
            ),
        ),
        migrations.RunSQL(INTERNAL.format(**READ), INTERNAL.format(**READ_BEFORE)),
        migrations.RunPython(keep_least, migrations.RunPython.noop),
        migrations.RunSQL(LEAST_STAYS, NO_LEAST),
        migrations.AddConstraint(
            model_name="restriction",
            constraint=models.CheckConstraint(
                condition=Q(lifted_at__isnull=True) | Q(least_until__isnull=True)
                | Q(valid_until__gte=F("least_until"))
                | (~Q(lift_paper="") & ~Q(review_by="") & ~Q(review_by=F("lifted_by"))),
                name="restriction_least_or_reviewed",
            ),
        ),
        migrations.AddConstraint(
            model_name="restriction",
            constraint=models.CheckConstraint(
                condition=Q(review_by="", review_reason="", review_on__isnull=True,
                            review_at__isnull=True)
                | (~Q(review_by="") & ~Q(review_reason="")
                   & Q(review_on__isnull=False, review_at__isnull=False)),
                name="restriction_review_whole",
            ),
        ),
    )  # fmt: skip
