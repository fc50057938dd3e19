"""The repository tests itself: the rules that no linter knows."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.apps import apps
from django.conf import settings
from django.db.migrations.loader import MigrationLoader
from django.urls import URLPattern, URLResolver, get_resolver

from audit.access import DECLARED, PUBLIC, SIGNED_IN
from config.docs import pages
from config.roles import PERMISSIONS

ROOT = Path(__file__).resolve().parent.parent
LINE = (
    "config",
    "gateway",
    "supervision",
    "settlement",
    "agreements",
    "pricing",
    "institutions",
    "audit",
)
OURS = [label for label in LINE if apps.is_installed(label)]
# Standard library and these only: no Django, no clock, no input or output.
PURE = {
    "audit/merkle.py",
    "institutions/calendar.py",
    "pricing/benefits.py",
    "pricing/document.py",
    "pricing/policy.py",
    "pricing/lint.py",
    "pricing/values.py",
    "agreements/deadlines.py",
    "agreements/onboarding.py",
    "agreements/standing.py",
    "settlement/capitals.py",
    "settlement/checks.py",
    "settlement/consultation.py",
    "settlement/folds.py",
    "settlement/kernel.py",
    "settlement/line_fees.py",
    "settlement/posting.py",
    "settlement/register/timeline.py",
    "settlement/why.py",
    "pricing/watching.py",
    "supervision/bench/plants.py",
    "supervision/bench/practice.py",
    "supervision/rules/__init__.py",
}
PURE_IMPORTS = {"numpy", "numba", "yaml"}
IMPURE_STANDARD = {
    "os", "io", "pathlib", "socket", "subprocess", "time", "random", "secrets", "tempfile",
    "shutil", "urllib", "http", "threading", "multiprocessing", "asyncio", "sqlite3", "logging",
}  # fmt: skip
CLOCK_CALLS = {"now", "today", "utcnow", "localtime", "open", "print", "input"}
EXACT = (
    "settlement/kernel*.py",
    "settlement/folds.py",
    "settlement/ledger*.py",
    "settlement/posting*.py",
)


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Files that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@functools.cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def below(label: str, other: str) -> bool:
    """Whether `label` may know `other`: the same package, one below it, or none of ours."""
    return other not in LINE or LINE.index(other) >= LINE.index(label)


# --- The import line, where the linter cannot see it ---


def test_foreign_keys_obey_the_line() -> None:
    wrong = [
        f"{model.__name__}.{field.name} → {field.related_model._meta.label}"
        for label in OURS
        for model in apps.get_app_config(label).get_models(include_auto_created=True)
        for field in model._meta.get_fields()
        if field.is_relation and field.related_model and not field.auto_created
        and not below(label, field.related_model._meta.app_label)
    ]  # fmt: skip
    assert wrong == []


def test_migrations_obey_the_line() -> None:
    migrations = MigrationLoader(None, load=False)
    migrations.load_disk()
    wrong = [
        f"{label}.{name} needs {other}"
        for (label, name), migration in migrations.disk_migrations.items()
        for other, _ in migration.dependencies
        if label in LINE and not below(label, other)
    ]
    assert wrong == []


def pure_modules() -> list[Path]:
    """The pure modules and every module of ours that they reach."""
    reached: list[Path] = []
    waiting = [ROOT / name for name in sorted(PURE) if (ROOT / name).exists()]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.append(path)
            modules = (module for _, module in imported(ast.parse(text_of(path))))
            waiting += [file for module in modules if (file := file_of(module))]
    return sorted(reached)


def file_of(module: str) -> Path | None:
    """Source of a module of ours."""
    if module.partition(".")[0] not in LINE:
        return None
    place = ROOT.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def allowed_in_pure(module: str) -> bool:
    top = module.partition(".")[0]
    if top in LINE or top in PURE_IMPORTS:  # ours are followed by pure_modules
        return True
    return top in sys.stdlib_module_names and top not in IMPURE_STANDARD


def name_of(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


@pytest.mark.parametrize("path", pure_modules(), ids=named)
def test_pure_modules_know_no_framework_no_clock_no_files(path: Path) -> None:
    tree = ast.parse(text_of(path))
    wrong = [
        f"line {line}: {module}" for line, module in imported(tree) if not allowed_in_pure(module)
    ]
    wrong += [
        f"line {node.lineno}: {called}()"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (called := name_of(node.func)) in CLOCK_CALLS
    ]
    assert wrong == []


# --- Money is whole fen ---


def test_kernel_and_ledger_know_no_fractions() -> None:
    modules = {path for pattern in EXACT for path in ROOT.glob(pattern)}
    assert modules
    wrong = [
        f"{named(path)}:{node.lineno} {ast.unparse(node)}"
        for path in sorted(modules)
        for node in ast.walk(ast.parse(text_of(path)))
        if is_fraction(node)
    ]
    assert wrong == []


def is_fraction(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Div)
    if isinstance(node, ast.Name | ast.Attribute):
        return name_of(node) in {"float", "float16", "float32", "float64", "Decimal", "true_divide"}
    return False


# --- Nothing is kept that nobody uses; nothing is cited that does not exist ---


def overrides_library(template: str) -> bool:
    """Whether an installed package or Django itself looks for this very name."""
    if re.fullmatch(r"(40[034]|403_csrf|429|500)\.html", template):
        return True
    homes = [Path(config.path) / "templates" for config in apps.get_app_configs()]
    return any((home / template).is_file() for home in homes)


def test_every_template_is_used() -> None:
    templates = [path for path in tracked() if ROOT / "templates" in path.parents]
    everything = {path: text_of(path) for path in [*templates, *sources()]}
    unused = [
        name
        for path in templates
        if not overrides_library(name := path.relative_to(ROOT / "templates").as_posix())
        and not any(name in text for other, text in everything.items() if other != path)
    ]
    assert unused == []


@functools.cache
def documents() -> dict[str, set[str]]:
    """Document number → its clause keys, from the shipped policy files."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "pricing" / "policies").glob("*.yaml")):
        policy = yaml.safe_load(text_of(path))
        if policy["kind"] == "policy":
            found[policy["document"]] = set(map(str, policy["clauses"]))
    return found


NUMBER = r"[\u4e00-\u9fff]{2,6}〔20\d\d〕\d+号"
CLAUSE = r"(?:附件\d*|[一二三四五六七八九十]+（[一二三四五六七八九十]+）(?:第\d+款)?)"


def test_every_cited_clause_exists() -> None:
    wrong = []
    for path in sources():
        for match in re.finditer(rf"({NUMBER})[ 　]?({CLAUSE})", text_of(path)):
            document, clause = match.groups()
            if "示例" in document or path.is_relative_to(ROOT / "tests"):
                continue
            keys = documents().get(document)
            if keys is None or not any(key.startswith(clause) for key in keys):
                wrong.append(f"{named(path)}: {document} {clause}")
    assert wrong == []


@pytest.mark.parametrize("path", sorted((ROOT / "pricing" / "policies").glob("*.yaml")), ids=named)
def test_every_clause_used_in_a_policy_is_summarised_there(path: Path) -> None:
    policy = yaml.safe_load(text_of(path))
    if policy["kind"] == "parameters":
        known = documents()[document_of_region(policy["region"])]
    else:
        known = set(map(str, policy["clauses"]))
    assert {clause for clause in clauses_in(policy)} - known == set()


def document_of_region(region: str) -> str:
    for path in (ROOT / "pricing" / "policies").glob("*.yaml"):
        policy = yaml.safe_load(text_of(path))
        if policy["kind"] == "policy" and policy["region"] == region:
            return policy["document"]
    raise LookupError(region)


def clauses_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "clause" and entry is not None:
                yield str(entry)
            else:
                yield from clauses_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from clauses_in(entry)


# --- Nothing of the machine it was made on ---

# Put together here so that this file does not hold what it looks for.
HOSTS = ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian.org"]
PLACES = ["/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/", "/tm" + "p/"]
MACHINE = re.compile("|".join([*map(re.escape, HOSTS), *(rf"(?<![\w.]){p}\w" for p in PLACES)]))


def test_no_registry_and_no_path_of_a_machine_in_any_file() -> None:
    found = [
        f"{named(path)}: {match.group()}"
        for path in tracked()
        if path.suffix not in {".png", ".jpg", ".pdf", ".woff2", ".xlsx", ".ico"}
        and (match := MACHINE.search(text_of(path)))
    ]
    assert found == []


def test_every_pinned_package_has_a_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        blocks = re.split(r"\n(?=[a-z0-9])", text_of(ROOT / name), flags=re.IGNORECASE)
        pins = [block for block in blocks if "==" in block.partition("\n")[0]]
        assert pins
        assert [block for block in pins if "--hash=sha256:" not in block] == []


def test_every_direct_dependency_says_why() -> None:
    for name in ("requirements.in", "requirements-dev.in"):
        lines = [line for line in text_of(ROOT / name).splitlines() if line[:1].isalnum()]
        assert [line for line in lines if not re.search(r"\S\s+# \w", line)] == []


def test_no_unfinished_work_is_marked() -> None:
    marks = [
        "TO" + "DO",
        "FIX" + "ME",
        "raise NotImplemented" + "Error",
        "type: " + "ignore",
        "XX" + "X",
    ]
    found = [
        f"{named(path)}: {mark}"
        for path in sources()
        for mark in marks
        if re.search(rf"\b{mark}\b", text_of(path))
    ]
    assert found == []


def test_every_package_of_the_top_level_stands_in_the_line() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests"} == set(LINE)


# --- Who may open what ---


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        where = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, where)
        else:
            yield where, entry


def policy_of(pattern: URLPattern) -> str | None:
    """The declared permission, `public`, `signed-in`, or the OAuth scopes of a REST view."""
    view = pattern.callback
    declared = getattr(view, DECLARED, None)
    scopes = getattr(getattr(view, "cls", None), "required_scopes", None)
    return declared or (" ".join(scopes) if scopes else None)


def test_every_address_has_a_declared_policy() -> None:
    known = {PUBLIC, SIGNED_IN, *PERMISSIONS, *settings.OAUTH2_PROVIDER["SCOPES"]}
    undeclared = [
        f"{where}: {policy}"
        for where, pattern in patterns(get_resolver())
        if (policy := policy_of(pattern)) is None or not set(policy.split()) <= known
    ]
    assert undeclared == []


def test_generated_pages_of_the_documentation_are_fresh() -> None:
    stale = [name for name, text in pages().items() if text_of(ROOT / "docs" / name) != text]
    assert stale == [], "run `manage.py docs`"
