"""Pages of docs/ that are made from the code and the law, so that they cannot go stale."""

from collections.abc import Iterator
from pathlib import Path

from audit.procedure import PROCEDURES, Procedure, State, Step, diagram
from config.roles import PERMISSIONS, ROLES
from pricing.document import Policy, parse
from pricing.rules import GROUPS, VOCABULARY
from pricing.watching import BEHAVIOURS
from supervision.rules import RULES

POLICIES = Path(__file__).parent.parent / "pricing" / "policies"


def pages() -> dict[str, str]:
    """File name in docs/ → its text."""
    made = {"rules.md": rule_book(), "roles.md": role_matrix(), "procedures.md": procedures()}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def shipped() -> list[Policy]:
    """The shipped policy documents, in the order of their files."""
    policies = [parse(path.read_text()) for path in sorted(POLICIES.glob("*.yaml"))]
    return [policy for policy in policies if policy.kind == "policy"]


def rule_book() -> Iterator[str]:
    """Every rule: code, message, and where a document switches it on with which numbers."""
    yield "# 规则手册"
    yield (
        "\n由 `manage.py docs` 从词汇表（`pricing/rules.py`）和政策文件生成，请勿手改。"
        "首个不符合的规则给出原因，组的顺序："
    )
    yield " → ".join(f"`{group}`" for group in GROUPS)
    policies = shipped()
    for group in GROUPS:
        rules = [rule for rule in VOCABULARY.values() if rule.group == group]
        if rules:
            yield f"\n## {group}\n"
            yield "| 规则 | 原因代码 | 提示 | 结论 | 文件、条款、数字 |\n|---|---|---|---|---|"
        for rule in rules:
            uses = "<br>".join(_uses(rule.name, policies)) or "每个文件"
            yield f"| `{rule.name}` | `{rule.code}` | {rule.message} | {rule.decision} | {uses} |"
    yield from watching_book(policies)


def watching_book(policies: list[Policy]) -> Iterator[str]:
    """The rules of supervision: message, and where a document switches them on."""
    yield "\n# 监督规则"
    yield (
        "\n同一规则用于事前提醒（remind）、事中监督（watch）和事后审核（audit）；由政策文件的 "
        "`supervision_rules` 一节启用，文件未印的阈值由参数 `supervision_numbers` 给出。"
    )
    for behaviour, label in BEHAVIOURS.items():
        rules = [rule for rule in RULES.values() if rule.behaviour == behaviour]
        if rules:
            yield f"\n## {label}（`{behaviour}`）\n"
            yield "| 规则 | 提示 | 阈值 | 文件、条款、环节 |\n|---|---|---|---|"
        for rule in rules:
            numbers = "、".join(f"`{name}`" for name in rule.numbers) or "—"
            uses = "<br>".join(_watched(rule.code, policies)) or "未启用"
            kind = "（统计）" if rule.statistical else ""
            yield f"| `{rule.code}` | {rule.message}{kind} | {numbers} | {uses} |"


def _watched(name: str, policies: list[Policy]) -> Iterator[str]:
    for policy in policies:
        for entry in policy.section("supervision_rules", {}).get("rules", ()):
            if entry["rule"] == name:
                moments = "、".join(entry["moments"])
                watch = f"；{entry['watch']}" if entry.get("watch") else ""
                yield f"{policy.document} {entry['clause']}（{moments}{watch}）"


def _uses(name: str, policies: list[Policy]) -> Iterator[str]:
    hidden = {"rule", "clause", "note", "gap", "when_fact_given", "decision"}
    for policy in policies:
        for entry in policy.section("requires", ()):
            if entry["rule"] == name:
                numbers = "；".join(f"{k}={v}" for k, v in entry.items() if k not in hidden)
                yield f"{policy.document} {entry['clause']}" + (f"（{numbers}）" if numbers else "")


def role_matrix() -> Iterator[str]:
    """Roles × permissions, from config/roles.py."""
    yield "# 角色与权限\n\n由 `manage.py docs` 从 `config/roles.py` 生成，请勿手改。\n"
    names = sorted(PERMISSIONS)
    yield "| 权限 | " + " | ".join(role.label for role in ROLES.values()) + " |"
    yield "|---|" + "---|" * len(ROLES)
    for name in names:
        marks = ("●" if name in role.permissions else "" for role in ROLES.values())
        yield f"| `{name}` | " + " | ".join(marks) + " |"


def procedures() -> Iterator[str]:
    """Every procedure: its state diagram, who holds which state how long, who may take which step."""
    yield "# 办理程序"
    yield (
        "\n由 `manage.py docs` 从各程序表（`agreements/procedures/`、`institutions/procedures/`）生成，"
        "请勿手改。期限的天数在政策文件里；“自动”的步骤由门户办理。"
    )
    for procedure in sorted(PROCEDURES.values(), key=lambda table: table.slug):
        yield f"\n## {procedure.title}（`{procedure.slug}`）\n"
        if procedure.document:
            yield f"{procedure.document}\n"
        yield f"```mermaid\n{diagram(procedure)}\n```\n"
        yield from _states(procedure)
        yield from _steps(procedure)


def _states(procedure: Procedure) -> Iterator[str]:
    yield "| 状态 | 由谁办理 | 期限 | 条款 |\n|---|---|---|---|"
    for state in procedure.states.values():
        yield f"| {state.label} | {_holders(state)} | {_clock(state)} | {state.clause} |"


def _holders(state: State) -> str:
    level = f"（{LEVELS[state.level]}）" if state.level else ""
    return _with(state.holder) + level if state.holder else "—"


def _clock(state: State) -> str:
    parts = [f"`{state.within}`"] if state.within else []
    return "；".join(parts + ([f"`{state.stops}` 停止计时"] if state.stops else [])) or "—"


def _steps(procedure: Procedure) -> Iterator[str]:
    yield "\n| 步骤 | 从 | 到 | 由谁办理 | 条款 |\n|---|---|---|---|---|"
    states = procedure.states
    for step in procedure.steps:
        sources = "、".join(states[source].label for source in step.source)
        target = states[step.target].label
        yield f"| {step.label} | {sources} | {target} | {_actors(step)} | {step.clause} |"


def _actors(step: Step) -> str:
    if step.automatic:
        return "自动"
    levels = "、".join(LEVELS[level] for level in step.levels)
    return _with(step.permission) + (f"（{levels}）" if levels else "")


def _with(permission: str) -> str:
    """The roles that hold a permission."""
    return "、".join(role.label for role in ROLES.values() if permission in role.permissions)


LEVELS = {"province": "省级", "prefecture": "地市级", "county": "县级"}
