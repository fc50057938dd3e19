"""What is wrong with a policy text: every fault at once, with line, key path and what is expected.

The shape is pricing/schema.yaml; what a schema cannot say is a lint rule in pricing/lint.py.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from pricing.document import Policy, PolicyError, parse
from pricing.lint import RULES, Fault, KeyPath
from pricing.policy import compile_rules
from pricing.rules import CODES, DECISIONS, IMPLICIT, SERVICES, VOCABULARY
from pricing.watching import BEHAVIOURS, MOMENTS, NUMBERS, WATCHES

SCHEMA = Path(__file__).with_name("schema.yaml")
MAX_CHARACTERS = 1_000_000
WORDS = {
    "object": "键值表", "array": "列表", "string": "文本", "integer": "整数",
    "boolean": "true 或 false", "date": "日期 YYYY-MM-DD", "null": "null",
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One fault: `line` counts from 1, `path` is the key path, `message` what is expected."""

    name: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}:{self.line}: {self.path}：{self.message}"


def problems(text: str, *, name: str) -> list[Problem]:
    """Every fault of a policy text in order of lines; an empty list when it may be published."""
    return list(_problems(text, name))


@lru_cache(maxsize=32)
def _problems(text: str, name: str) -> tuple[Problem, ...]:
    """The same text is judged once: it is checked when drafted, and again when put in force."""
    return tuple(_judged(text, name))


def _judged(text: str, name: str) -> list[Problem]:
    if len(text) > MAX_CHARACTERS:
        return [Problem(name, 1, "/", f"文本不得超过 {MAX_CHARACTERS} 字")]
    try:
        root = _compose(text)
        policy = parse(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        detail = getattr(error, "problem", None) or error
        return [Problem(name, mark.line + 1 if mark else 1, "/", f"不是有效的 YAML：{detail}")]
    except (PolicyError, ValueError) as error:
        return [Problem(name, 1, "/", str(error))]
    found = [
        Problem(name, _line(root, path), "/".join(str(part) for part in path) or "/", message)
        for path, message in _faults(policy, root)
    ]
    return sorted(set(found), key=lambda problem: (problem.line, problem.path, problem.message))


def _compose(text: str) -> yaml.Node:
    """The node tree, which knows lines. Anchors are refused: a short text must stay short."""
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
            raise yaml.MarkedYAMLError(problem="不得使用锚点和引用", problem_mark=token.start_mark)
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    if root is None:
        raise PolicyError("文本为空")
    return root


def _faults(policy: Policy, root: yaml.Node) -> Iterator[Fault]:
    yield from _twice(root, ())
    shape = [(tuple(error.absolute_path), error) for error in validator().iter_errors(policy.data)]
    for path, error in shape:
        yield path, expected(error)
    broken = {str(path[0]) if path else "" for path, _ in shape}
    for rule in RULES:
        if not broken & {"", *rule.sections}:
            yield from rule.check(policy)
    if not shape and policy.kind == "policy":
        yield from _uncompilable(policy)


def _uncompilable(policy: Policy) -> Iterator[Fault]:
    """A published text that cannot be compiled would stop every settlement: it is refused here."""
    try:
        compile_rules(policy)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        yield (), f"不能编译为结算规则：{error!r}"


def _twice(node: yaml.Node, path: KeyPath) -> Iterator[Fault]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            here = (*path, key.value)
            if key.value in seen:
                yield here, "同一个键重复出现"
            seen.add(key.value)
            yield from _twice(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _twice(value, (*path, number))


def _line(node: yaml.Node, path: KeyPath) -> int:
    """The line (from 1) of the key or list entry at `path`, or of the nearest that exists."""
    line = node.start_mark.line + 1
    for part in path:
        step = _child(node, part)
        if step is None:
            return line
        line, node = step
    return line


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):
            if key.value == str(part):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _is_date(_checker, value: object) -> bool:
    return type(value) is dt.date


def _is_whole(_checker, value: object) -> bool:
    return type(value) is int


@cache
def validator() -> Draft202012Validator:
    """The schema with the vocabulary's names, dates and strict integers."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    names = {
        "scheme": CODES["scheme"][1:],
        "title": CODES["doctor_title"][1:],
        "agreement_state": CODES["agreement_state"][1:],
        "service": SERVICES[1:],
        "decision": DECISIONS,
        "rule": [rule for rule in VOCABULARY if rule not in IMPLICIT],
        "behaviour": tuple(BEHAVIOURS),
        "watched": tuple(NUMBERS),
        "moment": MOMENTS,
        "watch": WATCHES,
    }
    schema["$defs"] |= {name: {"enum": list(values)} for name, values in names.items()}
    types = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"date": _is_date, "integer": _is_whole}
    )
    return extend(Draft202012Validator, type_checker=types)(schema)


def expected(error: ValidationError) -> str:
    """The fault of a shape in Chinese: what is expected, and what stands there."""
    value, got = error.validator_value, error.instance
    wanted = {
        "type": lambda: f"应为{'或'.join(WORDS[t] for t in _many(value))}，现为 {got!r}",
        "enum": lambda: f"应为 {'、'.join(map(str, value))} 之一，现为 {got!r}",
        "const": lambda: f"应为 {value!r}，现为 {got!r}",
        "required": lambda: f"缺少 {_quoted(error.message)}",
        "additionalProperties": lambda: f"不认识的键 {_quoted(error.message)}",
        "pattern": lambda: f"应为{error.schema.get('description', value)}，现为 {got!r}",
        "minimum": lambda: f"应在 {value} 与 {error.schema.get('maximum')} 之间，现为 {got}",
        "maximum": lambda: f"应在 {error.schema.get('minimum')} 与 {value} 之间，现为 {got}",
    }.get(str(error.validator))
    return wanted() if wanted else f"不符合 {error.validator}: {value}，现为 {got!r}"


def _many(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]


def _quoted(message: str) -> str:
    """The names that jsonschema put in quotation marks."""
    return "、".join(message.split("'")[1::2])
