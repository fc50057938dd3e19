"""Pages of docs/ that are made from the code and the law, so that they cannot go stale."""

from collections.abc import Iterator
from pathlib import Path

from config.roles import PERMISSIONS, ROLES
from pricing.policy import Policy, parse
from pricing.rules import GROUPS, VOCABULARY

POLICIES = Path(__file__).parent.parent / "pricing" / "policies"


def pages() -> dict[str, str]:
    """File name in docs/ → its text."""
    return {"rules.md": "\n".join(rule_book()) + "\n", "roles.md": "\n".join(role_matrix()) + "\n"}


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
