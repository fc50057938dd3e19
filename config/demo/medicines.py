"""Drug catalogues, retail pharmacies, and prescriptions in every state, made by the real commands."""

import datetime as dt
import hashlib
from collections.abc import Iterator

from agreements.models import Agreement, AgreementState
from config.demo import ACTOR, CLIENT_KEY, TODAY, identity, moment
from config.demo.accounts import make_users
from config.demo.claims import Maker, Visit
from config.demo.drugs import DRUGS, sheet
from config.demo.hospitals import HOSPITALS, OPENED, TERM_END, Hospital
from institutions import commands as registry
from institutions.models import ApiClient, Institution, Physician, Region
from institutions.money import yuan
from pricing import drug_lists
from pricing.models import DrugList
from pricing.releases import current
from settlement import commands, drug_returns, evidence, goods, medicines
from settlement.facts import Claimant
from settlement.goods import quantity_text
from settlement.models import Claim, Dispensing, Prescription

Day = dt.date
SINCE = moment(Day(2020, 1, 2))
SOURCE = "示例（自拟，非官方）"
FIRST_LIST = Day(2020, 1, 1)
PHARMACIES = (("P33030299201", "温州示例大药房"), ("P33038199203", "瑞安示例大药房"))
CARRIER = "L33030299202"
WATCHED = dt.timedelta(days=3)
#: how far each prescription has come: story, days ago
STORIES = (
    ("delivered", 3), ("delivered", 2), ("on_the_way", 1), ("pharmacy", 3), ("pharmacy", 2),
    ("released", 1), ("partly", 2), ("reviewed", 0), ("signed", 0), ("signed", 0),
    ("returned", 1), ("withdrawn", 2), ("expired", 9), ("brought_back", 3), ("released", 1),
)  # fmt: skip


# --- Records: catalogues and parties ---


def make_medicines() -> str:
    """Example catalogues (one waits for its second person), pharmacies, pharmacists, clients."""
    lists = 0
    for region, person in (("wenzhou", "policy.wenzhou"), ("nantong", "policy.nantong")):
        made = _list(region, "示例2020", FIRST_LIST, sheet())
        drug_lists.publish(drugs=made, by=person, at=SINCE)
        lists += 1
    coming = sheet(without=2, changed=True)
    _list("wenzhou", "示例2022", Day(2022, 1, 1), coming, at=moment(Day(2021, 12, 15)))
    pharmacies = [_pharmacy(code, name) for code, name in PHARMACIES]
    ApiClient.objects.bulk_create(map(_client, pharmacies, (1, 2)))
    make_users(pharmacies=True)
    return f"{lists} 版药品目录，1 版待发布，{len(pharmacies)} 家定点药店，{_pharmacists()} 名药师"


def _list(
    region: str, version: str, first: Day, content: bytes, *, at: dt.datetime = SINCE
) -> DrugList:
    """A draft from its sheet."""
    return drug_lists.draft(
        region=region, version=version, title="示例药品目录（仅供演示，非官方）", source_kind="example",
        source_ref=SOURCE, clause="", valid_from=first, file_name=f"{version}.csv",
        content=content, by=ACTOR, at=at,
    )  # fmt: skip


def _pharmacy(code: str, name: str) -> Institution:
    """A retail pharmacy with its agreement; the first is in the registry's example already."""
    found = Institution.objects.filter(pk=code).first() or registry.register_institution(
        code=code, name=name, kind=Institution.Kind.PHARMACY,
        region=Region.objects.get(pk=code[1:7]), credit=identity.credit_code(int(code[-3:]), "91"),
        valid_from=OPENED, source="示例登记", by=ACTOR, at=SINCE, is_demo=True,
        facts={"ownership": "private", "nonprofit": False, "online_settlement": True},
    )  # fmt: skip
    agreement = Agreement.objects.create(
        institution=found, kind=Agreement.Kind.MAIN, number=f"示例药店-{code}-2020",
        valid_from=OPENED, valid_until=TERM_END, signed_on=OPENED,
    )  # fmt: skip
    AgreementState.objects.create(
        agreement=agreement, state=AgreementState.State.ACTIVE, valid_from=OPENED,
        valid_until=TERM_END, recorded_at=SINCE, recorded_by=ACTOR,
    )  # fmt: skip
    return found


def _client(place: Institution, number: int) -> ApiClient:
    return ApiClient(
        client_id=f"demo-ph{number}", client_secret=CLIENT_KEY, hash_client_secret=True,
        client_type=ApiClient.CLIENT_CONFIDENTIAL, name=f"{place.name} 接口（示例）",
        authorization_grant_type=ApiClient.GRANT_CLIENT_CREDENTIALS, institution=place,
        purpose="药店系统（示例）", issued_at=SINCE, issued_by="security.admin",
    )  # fmt: skip


def pharmacist(hospital: Hospital) -> str:
    """The code of a hospital's pharmacist, as its claims name it."""
    return f"Y{hospital.area}99{hospital.serial:04d}"


def _pharmacists() -> int:
    """A pharmacist for every hospital of Wenzhou that the registry's example left without one."""
    places = [one for one in HOSPITALS.values() if one.region == "wenzhou"]
    known = set(
        Physician.objects.filter(code__in=map(pharmacist, places)).values_list("code", flat=True)
    )
    missing = [one for one in places if pharmacist(one) not in known]
    for hospital in missing:
        registry.register_practitioner(
            institution=_of(hospital), code=pharmacist(hospital), kind="pharmacist",
            name=identity.person_name(72_000 + hospital.serial), title="pharmacist_in_charge",
            licence_no=f"示例Y{hospital.serial:04d}", licence_until=Day(2024, 6, 30),
            independent_since=Day(2012, 7, 1), checked=True, by=ACTOR, at=SINCE, is_demo=True,
        )  # fmt: skip
    return len(missing) + sum(_of_pharmacy(*pharmacy) for pharmacy in enumerate(PHARMACIES, 1))


def _of_pharmacy(number: int, pharmacy: tuple[str, str]) -> int:
    """The pharmacist who dispenses at a retail pharmacy."""
    place = Institution.objects.select_related("region").get(pk=pharmacy[0])
    registry.register_practitioner(
        institution=place, code=f"Y{place.region_id}98{number:04d}", kind="pharmacist",
        name=identity.person_name(72_900 + number), title="pharmacist_in_charge",
        licence_no=f"示例YD{number:04d}", licence_until=Day(2024, 6, 30),
        independent_since=Day(2012, 7, 1), checked=True, by=ACTOR, at=SINCE, is_demo=True,
    )  # fmt: skip
    return 1


def _of(hospital: Hospital) -> Institution:
    return Institution.objects.select_related("region").get(pk=hospital.code)


# --- Stories: prescriptions from the visit to the patient ---


def make_prescriptions(maker: Maker) -> str:
    """Prescriptions in every state, evidence of the last days, and what of it is missing."""
    for number, (story, days_ago) in enumerate(STORIES):
        _Story(maker, number, TODAY - dt.timedelta(days=days_ago)).tell(story)
    medicines.expire(on=TODAY, by=ACTOR, at=moment(TODAY, 1))
    files = sum(1 for _ in _evidence())
    gaps = evidence.watch(
        catalogue=current(), region="wenzhou", by=ACTOR, at=moment(TODAY, 10),
        since=TODAY - WATCHED,
    )  # fmt: skip
    return f"{len(STORIES)} 张处方，就诊材料 {files} 件，缺少或迟交 {gaps} 件"


class _Story:
    """One visit in Wenzhou and what became of its prescription."""

    def __init__(self, maker: Maker, number: int, day: Day):
        hospital = HOSPITALS["wz1" if number % 3 else "wz3"]
        found = maker.visit("wenzhou", hospital=hospital.key, day=day)
        self.visit = Visit(found.hospital, found.doctor, found.person, day, 8 * 60 + 7 * number)
        self.draft = maker.wenzhou(self.visit)
        self.hospital, self.number = hospital, number
        self.claimant = Claimant.of(_of(hospital))
        self.start = moment(day, *divmod(self.visit.minute, 60))
        self.given = self.draft.body["prescriptions"][0]

    def at(self, minutes: int) -> dt.datetime:
        return self.start + dt.timedelta(minutes=minutes)

    def tell(self, story: str) -> None:
        made = self._issued()
        if story == "signed":
            return
        passed = story != "returned"
        medicines.review(
            institution=self.claimant, prescription_id=made.pk, by=self.by, at=self.at(7),
            given={"reviewed_by": pharmacist(self.hospital), "passed": passed,
                   "reviewed_at": self.at(6).isoformat(),
                   "reason": None if passed else "用药天数超过规定，请核对"},
        )  # fmt: skip
        act = getattr(self, f"_{story}", None)
        if act is not None:
            act(made)

    @property
    def by(self) -> str:
        return f"client:demo-{self.hospital.key}"

    def _issued(self) -> Prescription:
        body = self.draft.body
        signature = hashlib.new("sm3", self.given["no"].encode()).hexdigest()
        made, _ = medicines.issue(
            institution=self.claimant, by=self.by, at=self.at(5),
            given={"no": self.given["no"], "encounter": body["encounter"],
                   "person": body["person"], "signed_by": self.visit.doctor.code,
                   "signed_at": self.at(4).isoformat(), "signature": signature,
                   "lines": self.given["lines"]},
        )  # fmt: skip
        return made

    def _claimed(self) -> None:
        self.draft.body["prescriptions"][0] |= {"reviewed_by": pharmacist(self.hospital)}
        commands.receive(
            institution=self.claimant, claim=self.draft.body, by=self.by, at=self.at(25)
        )

    def _dispensed(
        self, made: Prescription, claimant: Claimant, by: str, *, part: bool = False
    ) -> Dispensing:
        lines = list(made.lines.all())
        found, _ = goods.dispense(
            institution=claimant, prescription_id=made.pk, by=by, at=self.at(60),
            given={"no": f"FY{self.number:04d}", "dispensed_at": self.at(50).isoformat(),
                   "lines": [
                       {"drug_code": line.drug_code, "quantity": quantity_text(line.quantity),
                        "trace_codes": [f"8199{self.number:06d}{line.pk:08d}{box:02d}"
                                        for box in range(line.quantity // goods.UNITS)]}
                       for line in (lines[:1] if part else lines)]},
        )  # fmt: skip
        return found

    def _delivered(self, made: Prescription) -> None:
        self._claimed()
        self._parcel(made, ("picked_up", 120), ("delivered", 1200), ("signed", 1203))

    def _on_the_way(self, made: Prescription) -> None:
        self._claimed()
        self._parcel(made, ("picked_up", 120))

    def _parcel(self, made: Prescription, *steps: tuple[str, int]) -> None:
        dispensing = self._dispensed(made, self.claimant, self.by)
        parcel, _ = goods.send(
            institution=self.claimant, dispensing_id=dispensing.pk, by=self.by, at=self.at(90),
            given={"logistics": CARRIER, "waybill": f"SLYD{self.number:06d}"},
        )  # fmt: skip
        for kind, minutes in steps:
            relation = "family" if kind == "signed" else None
            goods.step(
                institution=self.claimant, delivery_id=parcel.pk, by=self.by, at=self.at(minutes),
                given={"kind": kind, "at": self.at(minutes).isoformat(), "relation": relation},
            )  # fmt: skip

    def _released(self, made: Prescription) -> tuple[Claimant, str]:
        number = self.number % len(PHARMACIES)
        code = PHARMACIES[number][0]
        medicines.release(
            institution=self.claimant, prescription_id=made.pk, pharmacy=code, by=self.by,
            at=self.at(12),
        )  # fmt: skip
        place = Institution.objects.select_related("region").get(pk=code)
        return Claimant.of(place), f"client:demo-ph{number + 1}"

    def _partly(self, made: Prescription) -> None:
        pharmacy, by = self._released(made)
        self._dispensed(made, pharmacy, by, part=made.lines.count() > 1)

    def _pharmacy(self, made: Prescription) -> None:
        pharmacy, by = self._released(made)
        self._dispensed(made, pharmacy, by)
        prices = {drug.code: drug.price for drug in DRUGS}
        boxes = [(line.drug_code, line.quantity // goods.UNITS) for line in made.lines.all()]
        goods.charge(
            institution=pharmacy, prescription_id=made.pk, by=by, at=self.at(70),
            given={"claim_no": f"YD{self.number:06d}", "person": self.draft.body["person"],
                   "pay_from_account": False, "e_invoice_no": f"SLFPYD{self.number:06d}",
                   "lines": [{"line_no": n, "item_code": code, "quantity": str(count),
                              "unit_price": yuan(prices[code]), "fee": yuan(prices[code] * count)}
                             for n, (code, count) in enumerate(boxes, 1)]},
        )  # fmt: skip

    def _brought_back(self, made: Prescription) -> None:
        """A pharmacy's drugs, claimed, then one package taken back: its claim is reversed."""
        self._pharmacy(made)
        given = made.dispensings.get()
        line = given.lines.all()[0]
        code = given.traces.filter(drug_code=line.drug_code).values_list("code", flat=True)[0]
        place = Institution.objects.select_related("region").get(pk=given.institution_code)
        drug_returns.take_back(
            institution=Claimant.of(place), dispensing_id=given.pk, by=given.recorded_by,
            at=self.at(600),
            given={"no": f"TY{self.number:04d}", "returned_at": self.at(590).isoformat(),
                   "reason": "quality", "note": "铝箔包装破损",
                   "lines": [{"drug_code": line.drug_code, "quantity": "1",
                              "trace_codes": [code]}]},
        )  # fmt: skip

    def _withdrawn(self, made: Prescription) -> None:
        medicines.withdraw(
            institution=self.claimant, prescription_id=made.pk, reason="患者要求更换药品",
            by=self.by, at=self.at(40),
        )  # fmt: skip


def _evidence() -> Iterator[int]:
    """Records of the last days as hospitals send them: most in time, some late, a few never."""
    rows = Claim.objects.filter(
        region_code__within="3303", service_date__gte=TODAY - WATCHED
    ).order_by("pk")
    places: dict[str, Claimant] = {}
    for number, claim in enumerate(rows):
        ended = dt.datetime.fromisoformat(claim.document["encounter"]["ended_at"])
        if "circulation" in claim.document:
            continue
        code = claim.institution_code
        if code not in places:
            found = Institution.objects.select_related("region").get(pk=code)
            places[code] = Claimant.of(found)
        for kind in ("record", "realname", "purchase"):
            if (number + len(kind)) % 9 == 0:
                continue
            late = dt.timedelta(hours=30 if (number + len(kind)) % 7 == 0 else 0, minutes=20)
            if ended + late > moment(TODAY, 9):
                continue
            digest = hashlib.new("sm3", f"{claim.pk} {kind}".encode()).hexdigest()
            told = {"kind": kind, "content_hash": digest, "at": ended.isoformat(),
                    "reference": f"EMR-{claim.encounter_id}-{kind}"}  # fmt: skip
            evidence.take(
                institution=places[code], encounter=claim.encounter_id, evidence=told,
                by=f"client:{code}", at=ended + late,
            )  # fmt: skip
            yield claim.pk
