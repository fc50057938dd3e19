"""What the tests of registry sheets share: files, a dry run, writing."""

import csv
import datetime as dt
import io

import xlsxwriter

from institutions.exchange import intake
from institutions.exchange.intake import KINDS
from institutions.models import Import, User
from tests import factories

AT = dt.datetime(2021, 12, 20, 9, tzinfo=factories.ZONE)
ON = dt.date(2021, 12, 20)
NEW = {
    "机构编码": "H32060099991", "机构名称": "崇川示例医院", "行政区划代码": "320600",
    "生效日期": "2021-01-01", "价格类别": "三类", "所有制": "公立", "互联网医院非营利": "是",
}  # fmt: skip
MAPPED = {
    "对码类别": "医疗服务项目", "院内编码": "HLW001", "院内名称": "互联网复诊",
    "国家编码": "111102001", "有效期起日": "2021-01-01",
}  # fmt: skip


def sheet(*rows: dict[str, str], encoding: str = "utf-8") -> bytes:
    """A CSV with the columns that the rows name."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, head)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(encoding)


def xlsx(*rows: dict) -> bytes:
    head = list(dict.fromkeys(key for row in rows for key in row))
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"strings_to_formulas": False}) as book:
        page = book.add_worksheet()
        page.write_row(0, 0, head)
        for number, row in enumerate(rows, 1):
            for at, key in enumerate(head):
                page.write(number, at, row.get(key, ""))
    return sink.getvalue()


def check(user: User, kind: str, content: bytes, name: str = "a.csv") -> Import:
    return intake.check(
        kind=KINDS[kind], file_name=name, content=content, user=user, by=user.username, at=AT
    )


def write(user: User, found: Import) -> Import:
    """Confirm and run; the import as it is then."""
    intake.confirm(sheet=found, user=user, by=user.username, at=AT)
    intake.run(import_id=found.pk, at=AT)
    found.refresh_from_db()
    return found
