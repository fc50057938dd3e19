"""What the page of an application shows, prepared from its records and its procedure's table.

Nothing here knows a region or a state by name: phases, holders, who judges what and what can be
filled in are read from the table.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from django.urls import NoReverseMatch, reverse

from agreements.handbook import HANDBOOK
from agreements.models import Application, Contract, Notice, Requirement, Signature, SigningKey
from agreements.texts import version_label
from agreements.views.remaining import Clocks, waiting
from audit import clock
from audit.models import Move, Task
from audit.moves import offered
from audit.procedure import PROCEDURES, Procedure, State, Step
from institutions.inbox import role_label
from institutions.models import Document, User
from institutions.naming import Login, shown_names
from pricing.document import Policy
from pricing.releases import current

APPLY = "applications.apply"
MARKS = {True: "ok", False: "bad", None: "info"}
MEGABYTE, KILOBYTE = 1024 * 1024, 1024


def tone_of(state: State) -> str:
    """The tone of a state on a page: quiet while somebody else works on it."""
    return state.tone if state.tone in {"ok", "info", "wait", "warn", "bad", "mute"} else "info"


def link(name: str, *arguments: Any) -> str:
    """The address of a page, empty where the portal has none."""
    try:
        return reverse(name, args=arguments)
    except NoReverseMatch:
        return ""


class Dossier:
    """An application as one reader sees it on one day; every table is read at most once."""

    def __init__(self, application: Application, *, user: User, today: dt.date):
        self.application = application
        self.user = user
        self.today = today
        self.procedure: Procedure = PROCEDURES[application.procedure]
        self.state: State = self.procedure.states[application.state]

    # --- Records ---

    @cached_property
    def moves(self) -> list[Move]:
        return list(Move.objects.filter(subject=self.application.subject).order_by("pk"))

    @cached_property
    def requirements(self) -> list[Requirement]:
        rows = self.application.requirements.prefetch_related("documents")
        return list(rows.order_by("pk"))

    @cached_property
    def task(self) -> Task | None:
        open_ones = Task.objects.filter(
            subject=self.application.subject, state=Task.State.OPEN, permission=self.state.holder
        )
        return open_ones.first()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the reader can take now."""
        return offered(
            case=self.application, procedure=self.procedure, handbook=HANDBOOK, who=self.user,
            level=self.user.level,
        )  # fmt: skip

    # --- Who fills in what ---

    def fillable(self, part: str) -> bool:
        """Whether the reader states conditions and attaches evidence now."""
        return self.user.may(APPLY) and self.state.key in self._checklist(part).get("stated", ())

    def judged(self, part: str) -> bool:
        """Whether the reader judges a part of the checklist now."""
        return self.user.may(self.state.holder) and self.state.key in self._checklist(part).get(
            "judged", ()
        )

    @property
    def published(self) -> bool:
        """Whether the public notice before signing stands now."""
        return waiting(self.application)

    def _checklist(self, part: str) -> Mapping[str, Any]:
        return self.procedure.data.get("checklist", {}).get(part) or {}

    # --- The head of the page ---

    def badge(self) -> dict[str, str]:
        return {"text": self.state.label, "tone": tone_of(self.state)}

    def phases(self) -> list[dict[str, str]]:
        """The bar of phases: what is done, where it stands, where it ended."""
        names = self._phase_names()
        began: dict[str, dt.date] = {}
        for move in self.moves:
            began.setdefault(self.procedure.states[move.target].phase, move.on)
        here = self._phase_now(names)
        at = names.index(here) if here in names else 0
        return [
            {"label": name, "state": self._phase_state(number, at),
             "at": began[name].isoformat() if name in began else "",
             "note": self.state.label if number == at and not self._succeeded else ""}
            for number, name in enumerate(names)
        ]  # fmt: skip

    def _phase_names(self) -> list[str]:
        """Phases in the order of the table, without those in which a case only comes to nothing."""
        grouped: dict[str, list[State]] = {}
        for state in self.procedure.states.values():
            grouped.setdefault(state.phase, []).append(state)
        return [
            phase for phase, states in grouped.items()
            if phase and not all(state.final and state.tone != "ok" for state in states)
        ]  # fmt: skip

    def _phase_now(self, names: Sequence[str]) -> str:
        if self.state.phase in names:
            return self.state.phase
        passed = [self.procedure.states[move.target].phase for move in self.moves]
        return next((phase for phase in reversed(passed) if phase in names), names[0])

    @property
    def _succeeded(self) -> bool:
        return self.state.final and self.state.tone == "ok"

    def _phase_state(self, number: int, at: int) -> str:
        if number != at:
            return "done" if number < at else "next"
        if self._succeeded:
            return "done"
        if self.state.final:
            return "failed"
        return "paused" if self.application.stopped else "now"

    def facts(self) -> list[dict[str, Any]]:
        """The description list."""
        row = self.application
        first = self.moves[0].on.isoformat() if self.moves else ""
        items: list[dict[str, Any]] = [
            {"label": "受理编号", "value": row.number, "code": True},
            {"label": "医疗机构", "value": row.institution.name, "sub": row.institution.code,
             "url": reverse("institution", args=[row.institution_id])},
            {"label": "所在区域", "value": row.institution.region.name},
            {"label": "办理事项", "value": self.procedure.title, "sub": self.procedure.document},
            {"label": "建立", "value": first, "sub": Login(row.opened_by)},
            {"label": "申请内容", "value": "定点协议与补充协议" if row.includes_main else "补充协议"},
        ]  # fmt: skip
        if row.previous:
            items.append({"label": "前次申请", "value": row.previous.number,
                          "url": reverse("application", args=[row.previous_id])})  # fmt: skip
        if row.agreement:
            items.append({"label": "签订的协议", "value": row.agreement.number,
                          "url": link("agreement", row.agreement_id)})  # fmt: skip
        if row.intention:
            items.append({"label": "申请说明", "value": row.intention, "wide": True})
        return items

    def holder(self) -> dict[str, str]:
        """Whom the case waits for."""
        if self.state.final:
            return {"who": "", "todo": ""}
        own = " （我方）" if self.user.may(self.state.holder) else ""
        taken = self.task.assignee if self.task else ""
        assigned = shown_names([taken])[taken] if taken else ""
        return {"who": f"{assigned or role_label(self.state.holder)}{own}", "todo": self.state.todo}

    def deadline(self, clocks: Clocks) -> dict[str, Any] | None:
        """The clock that runs, with both dates and the clause; None without one."""
        row = self.application
        left = clocks.left(row)
        if left is None:
            return None
        return {
            "left": left, "due": row.due, "tone": left.tone,
            "nominal": row.due_nominal if row.due_nominal != row.due else None,
            "since": row.entered_on,
            "clause": self.clause(row.due_clause) if row.due_clause else None,
        }  # fmt: skip

    # --- Checklist ---

    def checklists(self) -> list[dict[str, Any]]:
        """Each part of the checklist with its rows and what is missing."""
        parts = [(part, [row for row in self.requirements if row.part == part])
                 for part in Requirement.Part]  # fmt: skip
        return [
            {"part": part.value, "title": part.label, "rows": [self._line(row) for row in rows],
             "judged": self.judged(part), "summary": self._summary(part, rows)}
            for part, rows in parts if rows
        ]  # fmt: skip

    def told(self, part: str) -> bool:
        """Whether the reader sees what was judged: the institution once the result is given out."""
        if self.user.institution_id is None:
            return True
        waiting = any(row.kind == part and not row.delivered_on for row in self._notices)
        return not waiting and self.state.key not in self._checklist(part).get("judged", ())

    def _line(self, row: Requirement) -> dict[str, Any]:
        told = self.told(row.part)
        words, tone = {
            True: ("符合", "ok"), False: ("不符合", "bad"), None: ("待审核", "mute"),
        }[row.met if told else None]  # fmt: skip
        documents = [document_of(found) for found in row.documents.all()]
        if row.met is None and self.state.key in self._checklist(row.part).get("stated", ()):
            words, tone = ("已填写", "info") if row.statement or documents else ("未填写", "warn")
        judged = f"{clock.local(row.judged_at):%Y-%m-%d}" if row.judged_at and told else ""
        remark, by = (row.remark, row.judged_by if judged else "") if told else ("", "")
        return {
            "row": row, "words": words, "tone": tone, "documents": documents, "judged": judged, "by": by,
            "remark": remark,
            "before": self._said_before(row),
            "clause": self.clause(row.clause),
            "fillable": self.fillable(row.part),
        }  # fmt: skip

    def _summary(self, part: str, rows: Sequence[Requirement]) -> dict[str, Any]:
        met = sum(row.met is True for row in rows)
        unmet = sum(row.met is False for row in rows)
        return {"total": len(rows), "met": met, "unmet": unmet, "open": len(rows) - met - unmet,
                "shown": self.told(part)}  # fmt: skip

    def missing(self) -> list[Requirement]:
        """Conditions without statement and evidence, or found not met: what is still to be done."""
        return [
            row for row in self.requirements
            if (row.met is False and self.told(row.part))
            or (row.met is None and row.part == Requirement.Part.MATERIALS
                and not row.statement and not row.documents.all())
        ]  # fmt: skip

    # --- The attempt before ---

    @cached_property
    def _told_before(self) -> Notice | None:
        """The notice by which the last attempt since a success failed; None without one."""
        row = self.application
        if row.previous_id is None:
            return None
        failed = Application.objects.failed(institution=row.institution_id, procedure=row.procedure)
        earlier = [found.pk for found in failed if found.pk < row.pk]
        told = Notice.objects.filter(application__in=earlier[-1:], delivered_on__isnull=False)
        return told.order_by("-pk").first()

    def before(self) -> dict[str, Any] | None:
        """What the notice before this attempt told, each with its line of the checklist if it has one."""
        told = self._told_before
        if told is None:
            return None
        lines = {(row.part, row.text): row.pk for row in self.requirements}
        return {
            "row": told, "stage": told.get_kind_display(),
            "url": f"{reverse('application', args=[told.application_id])}#notice-{told.pk}",
            "items": [{**item, "line": lines.get((told.kind, item["text"]))} for item in told.items],
        }  # fmt: skip

    def _said_before(self, row: Requirement) -> str:
        told = self._told_before
        if told is None or told.kind != row.part:
            return ""
        return next((item["remark"] for item in told.items if item["text"] == row.text), "")

    # --- Papers ---

    def notices(self) -> list[dict[str, Any]]:
        """Notices; to the institution from their delivery on."""
        own = self.user.institution_id is not None
        return [self._notice(row) for row in self._notices if row.delivered_on or not own]

    @cached_property
    def _notices(self) -> list[Notice]:
        return list(self.application.notices.select_related("document").order_by("pk"))

    def _notice(self, row: Notice) -> dict[str, Any]:
        deliveries = self._choices("delivery")
        facts = [
            {"label": "不合格环节", "value": row.get_kind_display()},
            {"label": "作出日", "value": row.made_on.isoformat(), "sub": row.made_by},
            {"label": "送达日", "value": row.delivered_on.isoformat() if row.delivered_on else "待送达",
             "sub": "期间自送达之次日起算" if row.delivered_on else ""},
        ]  # fmt: skip
        if row.delivered_on:
            facts.append({"label": "送达方式", "value": deliveries.get(row.delivery, row.delivery),
                          "sub": f"签收：{row.receipt}" if row.receipt else ""})  # fmt: skip
        items: list[dict[str, Any]] = [
            dict(item) if isinstance(item, Mapping) else {"text": str(item)}
            for item in row.items or ()
        ]
        return {"row": row, "facts": facts, "items": items,
                "document": document_of(row.document) if row.document else None}  # fmt: skip

    def _choices(self, key: str) -> dict[str, str]:
        return {
            value: label
            for step in self.procedure.steps
            for ask in step.asks
            if ask.key == key
            for value, label in ask.choices
        }

    def contracts(self) -> list[dict[str, Any]]:
        rows = self.application.contracts.select_related("document").prefetch_related(
            "signatures__document", "signatures__key"
        )
        return [self._contract(row) for row in rows.order_by("pk")]

    def _contract(self, row: Contract) -> dict[str, Any]:
        signatures = sorted(row.signatures.all(), key=lambda found: found.signed_at)
        latest = signatures[-1].document if signatures else row.document
        signed = {found.side for found in signatures}
        sides = (SigningKey.Side.INSTITUTION, SigningKey.Side.AGENCY)
        until = f" 至 {row.valid_until}" if row.valid_until else " 起，未印终止日"
        return {
            "row": row, "document": document_of(latest),
            "facts": [
                {"label": "协议编号", "value": row.number, "code": True},
                {"label": "协议期", "value": f"{row.valid_from}{until}"},
                {"label": "文本版本", "value": version_label(row.text_version)},
            ],
            "signatures": [_signature(found) for found in signatures],
            "waiting": [side.label for side in sides if side not in signed],
        }  # fmt: skip

    def documents(self) -> list[dict[str, str]]:
        rows = Document.objects.visible_to(self.user).filter(subject=self.application.subject)
        return [document_of(row) for row in rows.order_by("-pk")]

    # --- History ---

    def timeline(self) -> list[dict[str, Any]]:
        """What happened, newest first, each step with whether it was in time."""
        return [self._event(move) for move in reversed(self.moves)]

    def _event(self, move: Move) -> dict[str, Any]:
        state = self.procedure.states.get(move.target)
        told = [move.note.rstrip("。；"), *self._told(move)]
        timed = move.due and not waiting(self.application, move.source)
        if timed:
            told.append(f"{'按期' if move.on_time else '逾期'}（期限 {move.due}）")
        recorded = clock.local(move.at)
        late = f"，{recorded:%Y-%m-%d %H:%M} 登记" if recorded.date() != move.on else ""
        return {
            "at": f"{move.on}{late}", "by": move.by,
            "title": f"{move.label} → {state.label}" if state and move.source else move.label,
            "text": "；".join(filter(None, told)), "tone": MARKS[move.on_time if timed else None],
            "clause": self.clause(move.clause) if move.clause else None,
        }  # fmt: skip

    def _told(self, move: Move) -> Iterable[str]:
        """The recorded inputs of a step by their labels."""
        step = next((step for step in self.procedure.steps if step.key == move.step), None)
        for ask in step.asks if step else ():
            value = move.facts.get(ask.key)
            if value not in (None, "", []) and ask.kind != "files":
                yield f"{ask.label}：{dict(ask.choices).get(str(value), value)}"

    # --- The law ---

    @cached_property
    def _policy(self) -> Policy | None:
        found = current().policy(self.application.institution.region.policy_region, self.today)
        return found.policy if found else None

    def clause(self, reference: str) -> dict[str, str]:
        """A clause with its document and our one-sentence summary."""
        document = self.procedure.document
        number = reference.removeprefix(document).strip()
        text = self._policy.clause_text(number) if self._policy else ""
        return {"document": document, "clause": number, "text": text}


def document_of(row: Document) -> dict[str, str]:
    """A file as a page names it."""
    size = (
        f"{row.size / MEGABYTE:.1f} MB"
        if row.size >= MEGABYTE
        else f"{-(-row.size // KILOBYTE)} KB"
    )
    return {
        "name": row.name, "kind": row.kind, "size": size, "digest": row.digest,
        "url": link("document", row.pk), "by": row.uploaded_by,
        "at": f"{clock.local(row.uploaded_at):%Y-%m-%d %H:%M}",
    }  # fmt: skip


def _signature(row: Signature) -> dict[str, str]:
    return {
        "side": SigningKey.Side(row.side).label, "by": row.signed_by,
        "at": f"{clock.local(row.signed_at):%Y-%m-%d %H:%M}", "subject": row.key.subject,
        "digest": row.digest, "demo": "演示证书" if row.key.is_demo else "",
    }  # fmt: skip
