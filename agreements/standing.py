"""PURE. What an application, a filing or an event does to an agreement, by the document in force.

`law` is the whole policy document as data; which states, tasks and conditions there are is said
there. Commands ask `shortcomings`, `accepted`, `effect_of`, `filing_of`; `SUBJECTS` answers case files.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agreements.deadlines import step_due
from agreements.facts import (
    CaseError,
    Facts,
    Subjects,
    Unanswerable,
    as_day,
    day_of,
    flag_of,
    iso,
    names_of,
    optional_day_of,
    part_of,
    section,
    text_of,
)
from institutions.calendar import Calendar

MAIN, SUPPLEMENTARY = "main", "supplementary"
ONE = dt.timedelta(days=1)


@dataclass(frozen=True)
class Condition:
    """A condition of signing (温州第六条): its number, our summary, its clause."""

    no: str
    name: str
    text: str
    clause: str


@dataclass(frozen=True)
class Effect:
    """What an event makes of both agreements; `task` is what a person must now decide."""

    main: str
    supplementary: str
    automatic: bool
    task: str | None
    clause: str


@dataclass(frozen=True)
class Filing:
    """Where an institution stands between filing, online signature and signature on paper."""

    state: str | None
    operational: bool
    paper_deadline: dt.date | None
    clause: str


def conditions(law: Facts) -> tuple[Condition, ...]:
    """The conditions that the document sets, in its order."""
    rows = law.get("conditions")
    if not isinstance(rows, list | tuple) or not rows:
        raise CaseError("conditions：政策文件没有规定")
    return tuple(Condition(row["no"], row["name"], row["text"], row["clause"]) for row in rows)


def shortcomings(shown: Mapping[str, bool | None], *, law: Facts) -> tuple[Condition, ...]:
    """Every condition not shown to be met, all at once (一次性告知); `shown` by condition number."""
    known = conditions(law)
    for no, met in shown.items():
        if no not in {condition.no for condition in known}:
            raise Unanswerable(f"conditions.{no}", "政策文件没有这一条件")
        if met is not None and not isinstance(met, bool):
            raise CaseError(f"conditions.{no}：{met!r}不是true、false")
    return tuple(condition for condition in known if not shown.get(condition.no))


def accepted(*, main_designated: bool, applies: Iterable[str], procedures: Facts) -> bool:
    """Whether an application for a supplementary agreement is taken in (第五条).

    It rests on a main agreement, in force or applied for at the same time.
    """
    together = section(procedures, "application").get("may_apply_together", ())
    kinds = list(applies)
    unknown = [kind for kind in kinds if kind not in {MAIN, SUPPLEMENTARY}]
    if unknown or SUPPLEMENTARY not in kinds or len(set(kinds)) != len(kinds):
        raise CaseError(f"applies：{kinds}不是补充协议的申请")
    return main_designated or (MAIN in kinds and set(kinds) <= set(together))


def may_sign_first(kind: str, *, procedures: Facts) -> bool:
    """Whether an agreement of this kind may be signed before the other one."""
    order = section(procedures, "application").get("sign_order")
    if not order or kind not in order:
        raise CaseError("sign_order：政策文件没有规定签约顺序")
    return order[0] == kind


def effect_of(event: str, *, procedures: Facts) -> Effect:
    """The effect of an event such as `main_suspended` (第二十二条), as the document states it."""
    rule = section(part_of(procedures, "cascade"), event)
    return Effect(
        rule["main"], rule["supplementary"], rule["automatic"], rule.get("task"), rule["clause"]
    )


def filing_of(
    *,
    filed: dt.date | None,
    signed: dt.date | None,
    paper: dt.date | None,
    procedures: Facts,
    calendar: Calendar,
) -> Filing:
    """The state after online filing, online mutual signature and signature on paper (南通三（一）).

    A signature on paper without one online is an ordinary signature. No paper deadline is printed.
    """
    states = part_of(procedures, "states")
    events = [day for day in (filed, signed, paper) if day is not None]
    if events != sorted(events):
        raise CaseError("日期应按备案、网上互签、补签纸质的先后排列")
    if paper is not None:
        state = states["after_paper"]
    elif signed is not None:
        state = states["before_paper"]
    else:
        state = states["before_online_sign"] if filed else None
    deadline = None
    if signed is not None and procedures.get("paper_deadline") is not None:
        deadline = step_due(
            step="paper_deadline", start=signed, procedures=procedures, calendar=calendar
        ).day
    online = signed is not None and procedures.get("operational_from") == "online_signed"
    return Filing(state, online or paper is not None, deadline, procedures["clause"])


def _application(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    procedures = part_of(law, "procedures")
    if facts.get("sign_order") is not None:
        order = names_of(facts, "sign_order")
        if sorted(order) not in ([MAIN], [SUPPLEMENTARY], [MAIN, SUPPLEMENTARY]):
            raise CaseError(f"sign_order：{order}不是签约顺序")
    return {
        "accepted_application": accepted(
            main_designated=flag_of(facts, "main_designated"),
            applies=names_of(facts, "applies"),
            procedures=procedures,
        ),
        "sign_supplementary_before_main": may_sign_first(SUPPLEMENTARY, procedures=procedures),
    }


def _conditions(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    shown = facts.get("conditions")
    if not isinstance(shown, Mapping):
        raise CaseError("conditions：应为条件序号与true、false的对象")
    missing = [condition.no for condition in shortcomings(shown, law=law)]
    return {"review": "fail" if missing else "pass", "missing": missing}


def _cascade(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    procedures = part_of(law, "procedures")
    part_of(procedures, "cascade")
    asked = [form for form in CASCADE_FORMS if form[0] in facts]
    if len(asked) != 1:
        raise CaseError("应恰有event、main_end、main_renewed_to之一")
    key, more, handler = asked[0]
    stray = facts.keys() - {key, "region"} - more
    if stray:
        raise CaseError(f"{'、'.join(sorted(stray))}：不能与{key}并用")
    return dict.fromkeys(CASCADE_ANSWER) | handler(facts, procedures)


def _on_event(facts: Facts, procedures: Facts) -> dict:
    event, day = text_of(facts, "event"), day_of(facts, "date")
    if event not in EVENTS:
        raise CaseError(f"event：{event}不是中止、解除或恢复")
    effect = effect_of(event, procedures=procedures)
    touched = effect.automatic or event.startswith(SUPPLEMENTARY)
    return {
        "main_state": effect.main,
        "supplementary_state": effect.supplementary,
        "supplementary_from": iso(day) if touched else None,
        "automatic": effect.automatic,
        "task": effect.task,
    }


def _at_the_end(facts: Facts, procedures: Facts) -> dict:
    """The main agreement runs out: the supplementary one ends with it (第七条)."""
    end, signed = day_of(facts, "main_end"), optional_day_of(facts, "supplementary_signed")
    today = optional_day_of(facts, "today")
    if signed is not None and (end < signed or (today is not None and today < signed)):
        raise CaseError("supplementary_signed：签订晚于实体协议终止日或所问之日")
    if section(procedures, "supplementary_term").get("end") != "main_agreement_end":
        raise CaseError("政策文件未规定补充协议期限与实体协议一致")
    effect = effect_of("main_expired", procedures=procedures)
    over = today is not None and today > end
    running = procedures["cascade"]["main_expired"]["running"]
    return {
        "main_state": effect.main if over else running,
        "supplementary_state": effect.supplementary if over else running,
        "supplementary_from": iso(end + ONE if over else signed),
        "supplementary_last_day": iso(end),
        "supplementary_end": iso(end),
        "automatic": effect.automatic,
        "task": effect.task,
    }


def _on_renewal(facts: Facts, procedures: Facts) -> dict:
    """The main agreement is renewed: the supplementary one keeps its end, a task is opened."""
    renewed, end = day_of(facts, "main_renewed_to"), day_of(facts, "supplementary_end")
    today = optional_day_of(facts, "today")
    if renewed <= end:
        raise CaseError("main_renewed_to：应晚于补充协议终止日")
    effect = effect_of("main_renewed", procedures=procedures)
    over = today is not None and today > end
    running = procedures["cascade"]["main_renewed"]["running"]
    return {
        "main_state": effect.main,
        "supplementary_state": effect.supplementary if over else running,
        "supplementary_last_day": iso(end),
        "supplementary_end": iso(end),
        "automatic": effect.automatic,
        "task": effect.task,
    }


def _publication(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    """On the public list from the day of signing; “及时” prints no number of days (第十九条)."""
    rule = section(part_of(law, "procedures"), "publication")
    if "signed" not in facts:
        raise CaseError("signed：缺少签订日（未签订的填null）")
    signed = facts["signed"]
    if signed is None or isinstance(signed, bool):
        return {"on_public_list": bool(signed), "deadline": None}
    day, deadline = as_day(signed, "signed"), None
    if "working_days" in rule or "months" in rule:
        deadline = step_due(
            step="publication", start=day, procedures=law["procedures"], calendar=calendar
        ).day
    return {"on_public_list": True, "deadline": iso(deadline)}


def _filing(facts: Facts, law: Facts, calendar: Calendar) -> dict:
    filed, signed, paper = (optional_day_of(facts, key) for key in FILING)
    if signed is not None and filed is None and "online_filed" in facts:
        raise CaseError("online_filed：尚未备案，不能网上互签")
    filing = filing_of(
        filed=filed, signed=signed, paper=paper,
        procedures=section(law, "procedures"), calendar=calendar,
    )  # fmt: skip
    return {
        "state": filing.state,
        "operational": filing.operational,
        "paper_deadline": iso(filing.paper_deadline),
    }


FILING = ("online_filed", "online_signed", "paper_signed")
EVENTS = frozenset(
    f"{kind}_{what}"
    for kind in (MAIN, SUPPLEMENTARY)
    for what in ("suspended", "terminated", "resumed")
)
#: the key that says which question is asked, the keys that may stand beside it, how it is answered
CASCADE_FORMS = (
    ("event", {"date"}, _on_event),
    ("main_end", {"supplementary_signed", "today"}, _at_the_end),
    ("main_renewed_to", {"supplementary_end", "today"}, _on_renewal),
)
CASCADE_ANSWER = (
    "main_state", "supplementary_state", "supplementary_from", "supplementary_last_day",
    "supplementary_end", "automatic", "task",
)  # fmt: skip
CASCADE_INPUT = frozenset().union(*({key} | more for key, more, _ in CASCADE_FORMS))

SUBJECTS: Subjects = {
    "application": (_application, frozenset({"main_designated", "applies", "sign_order"})),
    "conditions": (_conditions, frozenset({"conditions"})),
    "cascade": (_cascade, CASCADE_INPUT),
    "publication": (_publication, frozenset({"signed"})),
    "filing": (_filing, frozenset(FILING)),
}
