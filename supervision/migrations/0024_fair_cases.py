"""An insured person's case is no institution's to see."""

from django.db import migrations

#: an institution sees a case that it is party to, once told
PARTY = """
DROP POLICY scope ON supervision_supervisioncase;
CREATE POLICY scope ON supervision_supervisioncase
    USING (scope_allows(region_code, {own})) WITH CHECK (scope_allows(region_code, {own}));
"""
BEFORE = "CASE WHEN told_on IS NULL THEN '' ELSE institution_code END"
NOW = "CASE WHEN told_on IS NULL OR subject_kind = 'person' THEN '' ELSE institution_code END"


class Migration(migrations.Migration):
    dependencies = (("supervision", "0021_merged_findings"),)
    operations = (migrations.RunSQL(PARTY.format(own=NOW), PARTY.format(own=BEFORE)),)
