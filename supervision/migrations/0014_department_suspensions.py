"""Departments that were suspended before settlement read it: known to it from now on.

They were named in words. Words that are a code or a name of the catalogue, or a code of the institution,
are recorded where settlement looks; others stay a task of people.
"""

from django.db import connection, migrations
from django.utils import timezone

from institutions.departments import code_of


def _codes(place):
    rows = place.facts.filter(superseded_at=None)
    found = rows.values_list("offline_departments", "internet_departments")
    return {code for row in found for codes in row for code in codes}


def record(apps, schema_editor):
    """One row for every department that is restricted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '*', true)")
    institutions = apps.get_model("institutions", "Institution").objects
    suspensions = apps.get_model("institutions", "DepartmentSuspension").objects
    restricted = apps.get_model("supervision", "Restriction").objects.filter(kind="department")
    for row in restricted.order_by("pk"):
        if suspensions.filter(source=f"restriction:{row.pk}").exists():
            continue
        place = institutions.filter(pk=row.institution_code).first()
        if place is not None and (code := code_of(row.subject_code, _codes(place))):
            suspensions.create(
                institution=place, department=code, valid_from=row.valid_from,
                valid_until=row.valid_until, clause=row.clause, source=f"restriction:{row.pk}",
                recorded_at=timezone.now(), recorded_by=row.made_by,
            )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.scope', '', true)")


class Migration(migrations.Migration):
    dependencies = (
        ("institutions", "0006_department_suspensions"),
        ("supervision", "0013_told_findings"),
    )
    operations = (migrations.RunPython(record, migrations.RunPython.noop),)
