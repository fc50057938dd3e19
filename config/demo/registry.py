"""The registry of the demonstration: authorities, licences, accounts, changes and mappings, all invented."""

import datetime as dt
from collections.abc import Iterator

from config.demo import ACTOR, TODAY, identity, moment
from config.demo.hospitals import HOSPITALS, Hospital, listed
from config.demo.physicians import roster
from institutions import commands
from institutions.documents import store
from institutions.expiries import watch
from institutions.models import (
    Change,
    CodeMapping,
    Document,
    Institution,
    Office,
    Physician,
    Qualification,
    Region,
    User,
)
from pricing.registry import law_of

Day = dt.date
OPENED = Day(2020, 1, 1)
SINCE = moment(Day(2020, 1, 3))
FILLED_AT = moment(
    Day(2021, 7, 2)
)  #: after the last of the facts that the demonstration begins with
WARN_DAYS = 60
CHECKER = "reviewer.yinchuan"  #: compares what Ningxia's hospitals register with its scan
#: area code → what its authorities are called
PLACES = {
    "320600": "南通市", "330300": "温州市", "220000": "吉林省", "640000": "宁夏回族自治区",
    "640100": "银川市", "640200": "石嘴山市", "640300": "吴忠市", "640400": "固原市",
    "640500": "中卫市",
}  # fmt: skip
OFFICES = (
    (Office.Kind.BUREAU, "医疗保障局"), (Office.Kind.AGENCY, "医疗保障服务中心（示例）"),
    (Office.Kind.INFORMATION, "医疗保障信息中心（示例）"), (Office.Kind.HEALTH, "卫生健康委员会"),
)  # fmt: skip
#: hospitals whose file is filled in: key → last day of the protection test report
FILLED = {
    "nt1": Day(2022, 1, 15), "nt2": Day(2022, 9, 30), "nt3": Day(2021, 12, 10),
    "wz1": Day(2022, 6, 30), "wz2": Day(2022, 2, 10), "wz4": Day(2022, 8, 31),
}  # fmt: skip
Kind = Qualification.Kind


def make_registry() -> str:
    """Store it by the same commands that the pages use; returns how much."""
    _offices()
    parties = [_pharmacy(), _logistics()]
    for key, report_until in FILLED.items():
        _file(HOSPITALS[key], report_until)
    platforms = sum(_platforms(hospital.code) for hospital in listed() if hospital.batch == 1)
    practitioners = sum(1 for _ in _practitioners())
    changes, mappings = len(list(_changes())), len(list(_mappings()))
    watch(on=TODAY, days=WARN_DAYS, by=ACTOR, at=moment(TODAY, 1))
    return (
        f"{len(FILLED)} 家机构档案，{len(parties)} 家药店和物流企业，{platforms} 项平台接入，"
        f"{practitioners} 名药师等，{changes} 件变更，{mappings} 条对码"
    )


def _offices() -> None:
    Office.objects.bulk_create(
        (
            Office(
                region_id=code,
                kind=kind,
                name=f"{place}{name}",
                phone=f"0000-{code}（示例）",
                address=f"{place}示例路1号",
            )
            for code, place in PLACES.items()
            for kind, name in OFFICES
        ),
        ignore_conflicts=True,
    )


def sample_pdf(words: str) -> bytes:
    """A one-page PDF that stands for a scan; `words` are Latin letters."""
    text = f"BT /F1 18 Tf 72 720 Td (SAMPLE - {words}) Tj ET".encode()
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
            b"/Resources<</Font<</F1 5 0 R>>>>>>"
        ),
        b"<</Length %d>>stream\n%b\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj%b endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return body + (
        b"xref\n0 6\n0000000000 65535 f \n%btrailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
        % (table, len(body))
    )


def _scan(place: Institution, name: str, words: str) -> Document:
    return store(
        content=sample_pdf(words), name=f"{name}.pdf", kind="scan",
        subject=f"institution:{place.code}", institution=place, by=ACTOR, at=SINCE,
    )  # fmt: skip


# --- Parties ---


def _pharmacy() -> Institution:
    return _party("P", "330302", 201, "温州示例大药房", Institution.Kind.PHARMACY, Kind.DRUG)


def _logistics() -> Institution:
    return _party(
        "L", "330302", 202, "温州示例医药物流", Institution.Kind.LOGISTICS, Kind.TRANSPORT
    )


def _party(letter: str, area: str, serial: int, name: str, kind: str, licence: str) -> Institution:
    made = commands.register_institution(
        code=letter + identity.institution_code(area, serial)[1:], name=name, kind=kind,
        region=Region.objects.get(pk=area), credit=identity.credit_code(serial, "91"),
        valid_from=OPENED, source="示例登记", by=ACTOR, at=SINCE, is_demo=True,
        facts={"ownership": "private", "nonprofit": False, "online_settlement": True},
    )  # fmt: skip
    _licence(made, licence, f"示例{serial}", Day(2024, 12, 31))
    return made


# --- The files of hospitals ---


def _file(hospital: Hospital, report_until: Day) -> None:
    place = Institution.objects.select_related("region").get(pk=hospital.code)
    commands.record_facts(
        institution=place, valid_from=OPENED, source="示例登记", by=ACTOR, at=FILLED_AT,
        changes={"representative": identity.person_name(70_000 + hospital.serial),
                 "address": f"{place.region.name}示例路{hospital.serial}号"},
    )  # fmt: skip
    serial = f"示例{hospital.serial:03d}"
    _licence(place, Kind.PRACTICE, f"{serial}-执业", Day(2024, 12, 31))
    _licence(place, Kind.INTERNET_HOSPITAL, f"{serial}-互联网", Day(2023, 3, 31))
    _licence(place, Kind.MLPS_RECORD, f"{serial}-备案", None, level="第三级")
    _licence(place, Kind.MLPS_REPORT, f"{serial}-测评", report_until, level="第三级")
    commands.set_account(
        institution=place, holder=hospital.name, bank="示例银行营业部",
        number=f"6200{hospital.serial:015d}", valid_from=OPENED, by=ACTOR, at=SINCE,
    )  # fmt: skip
    for number, purpose in enumerate(("医保结算", "信息系统")):
        commands.add_contact(
            institution=place, purpose=purpose, valid_from=OPENED, by=ACTOR, at=SINCE,
            name=identity.person_name(71_000 + hospital.serial * 2 + number),
            phone=f"000-{hospital.serial:04d}{number:04d}",
        )  # fmt: skip


def _licence(
    place: Institution, kind: str, number: str, until: Day | None, *, level: str = ""
) -> None:
    label = Kind(kind).label
    commands.add_qualification(
        institution=place, kind=kind, number=number, valid_from=OPENED, valid_until=until,
        issuer="示例发证机关", level=level, by=ACTOR, at=SINCE,
        document=_scan(place, label, str(kind)),
    )  # fmt: skip


def _platforms(code: str) -> int:
    """A Ningxia hospital of the first batch is joined to every platform that the notice names."""
    place = Institution.objects.select_related("region").get(pk=code)
    names = law_of(place.region.policy_region, TODAY).platforms
    proof = _scan(place, "平台接入证明", "platforms")
    for number, key in enumerate(names):
        day = Day(2021, 11, 22 + number)
        row = commands.connect_platform(
            institution=place, platform=key, valid_from=day, document=proof, by=ACTOR,
            at=moment(day),
        )  # fmt: skip
        commands.check_record(record=row, by=CHECKER, at=moment(day, 8))
    return len(names)


def _practitioners() -> Iterator[Physician]:
    """A pharmacist at every filled hospital; licences and agreements of Wenzhou's physicians."""
    for key in FILLED:
        hospital = HOSPITALS[key]
        place = Institution.objects.select_related("region").get(pk=hospital.code)
        yield commands.register_practitioner(
            institution=place, code=f"Y{hospital.area}99{hospital.serial:04d}", kind="pharmacist",
            name=identity.person_name(72_000 + hospital.serial), title="pharmacist_in_charge",
            licence_no=f"示例Y{hospital.serial:04d}", licence_until=Day(2024, 6, 30),
            independent_since=Day(2012, 7, 1), checked=True, by=ACTOR, at=SINCE, is_demo=True,
        )  # fmt: skip
    names = law_of("wenzhou", TODAY).physician_agreements
    for number, doctor in enumerate(list(roster()["wz1"].values())[:4]):
        row = Physician.objects.get(pk=doctor.code)
        until = Day(2022, 1, 10) if number == 0 else Day(2025, 5, 31)
        commands.renew_licence(physician=row, licence_until=until, by=ACTOR, at=SINCE)
        for name in names[: len(names) - (number == 3)]:
            commands.sign_physician_agreement(
                physician=row,
                name=name,
                signed_on=Day(2021, 3, 15),
                valid_from=Day(2021, 3, 15),
                valid_until=Day(2022, 12, 31),
                by=ACTOR,
                at=moment(Day(2021, 3, 15)),
            )


# --- Changes and mappings in every state ---


def _changes() -> Iterator[Change]:
    place, hospital = _of("nt1"), "hospital.nantong1"
    reviewer = User.objects.get(username="reviewer.nantong")
    paper = [("示例证明材料.pdf", sample_pdf("evidence"))]
    done = commands.file_change(
        institution=place, kind="representative", effective_from=Day(2021, 10, 18), by=hospital,
        content={"representative": "示例新院长"}, reason="任免通知", files=paper,
        at=moment(Day(2021, 10, 12)),
    )  # fmt: skip
    commands.take_step(case=done, step="accept", who=reviewer, by=reviewer.username,
                       at=moment(Day(2021, 10, 14)))  # fmt: skip
    yield done
    yield commands.file_change(
        institution=place, kind="account", effective_from=Day(2022, 1, 1), by=hospital, files=paper,
        content={"holder": "南通示例第一医院", "bank": "示例银行新支行", "number": "6200999000000008866"},
        reason="开户行撤并", at=moment(Day(2021, 12, 16)),
    )  # fmt: skip
    returned = commands.file_change(
        institution=_of("nt2"), kind="departments", effective_from=Day(2022, 1, 10),
        content={"internet_departments": ["A03", "A03.03", "A50", "A20"]}, reason="新增互联网科目",
        by="hospital.nantong2", at=moment(Day(2021, 12, 8)),
    )  # fmt: skip
    commands.take_step(
        case=returned, step="return", who=reviewer, by=reviewer.username,
        at=moment(Day(2021, 12, 13)), note="请补充卫生健康部门核准的诊疗科目变更材料。",
    )  # fmt: skip
    yield returned
    yield commands.file_change(
        institution=_of("wz1"), kind="address", effective_from=Day(2021, 12, 20), files=paper,
        content={"address": "鹿城区示例大道100号"}, by="hospital.wenzhou1",
        at=moment(Day(2021, 12, 17)),
    )  # fmt: skip


def _mappings() -> Iterator[CodeMapping]:
    place, by = _of("wz1"), "hospital.wenzhou1"
    checker = User.objects.get(username="information.wenzhou")
    doctors = list(roster()["wz1"].values())
    for number, doctor in enumerate(doctors[:3]):
        row = commands.submit_mapping(
            institution=place, kind="physician", local_code=f"YS{number + 1:03d}",
            local_name=doctor.name, national_code=doctor.code, national_name=doctor.name,
            valid_from=Day(2021, 4, 1), valid_until=Day(2022, 1, 31) if number == 0 else None,
            by=by, at=moment(Day(2021, 3, 29)),
        )  # fmt: skip
        commands.take_step(case=row, step="approve", who=checker, by=checker.username,
                           at=moment(Day(2021, 3, 31)))  # fmt: skip
        yield row
    yield commands.submit_mapping(
        institution=place, kind="drug", local_code="YP0001", local_name="苯磺酸氨氯地平片 5mg",
        national_code="示例药品编码0001", valid_from=Day(2022, 1, 1), by=by,
        at=moment(Day(2021, 12, 15)),
    )  # fmt: skip
    yield commands.submit_mapping(
        institution=_of("nt1"), kind="item", local_code="ZC001", local_name="互联网普通门诊",
        national_code="111102001", valid_from=Day(2021, 12, 1), by="hospital.nantong1",
        at=moment(Day(2021, 12, 6)),
    )  # fmt: skip


def _of(key: str) -> Institution:
    return Institution.objects.select_related("region").get(pk=HOSPITALS[key].code)
