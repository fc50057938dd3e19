"""The published interface specification: what a hospital's system must speak, made from OpenAPI.

信息部门公布接口规范，机构改造后验收 (温医保办〔2021〕6号 十六). Operations, bodies and statuses are read from
the description that the REST views give of themselves, so the page cannot go stale.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from oauth2_provider.settings import oauth2_settings

from audit import clock
from audit.access import public
from audit.openly import NotDisclosedError, digest_of, disclosed
from institutions.shape import MAX_BYTES
from pricing import releases
from pricing.catalogue import region_name
from pricing.document import Policy
from pricing.rules import DECISIONS, REVIEWED, VOCABULARY, WATCHED
from settlement.contract import MAX_LINES

HERE = Path(__file__).parent
SAMPLES = {
    "report.py": "text/x-python", "Report.java": "text/x-java", "Report.cs": "text/plain",
    "claim.json": "application/json",
}  # fmt: skip
KEY = "Idempotency-Key"
PLACES = {"path": "路径", "query": "查询", "header": "请求头"}
DECIDED = dict(zip(DECISIONS, ("支付", "不予支付", "转人工审核", "无规则"), strict=True))
#: what a document says of connecting: key of its procedures → how it is told
TIMES = (("rebuild", "机构改造，自审核通过"), ("acceptance_test", "测试验收，自收到申请"))


@dataclass(frozen=True)
class Operation:
    """One call of the interface as the description tells it; `since` is the version it came with."""

    id: str
    group: str
    method: str
    path: str
    summary: str
    scope: str
    sends: tuple[str, ...]
    parameters: tuple[dict, ...]
    answers: tuple[str, ...]
    refusals: tuple[str, ...]
    since: str


@lru_cache(maxsize=1)
def description() -> dict:
    """The description (OpenAPI) as it is served; it depends on the code alone."""
    found = SchemaGenerator().get_schema(request=None, public=True)
    return json.loads(json.dumps(found, default=str))


@lru_cache(maxsize=1)
def notes() -> dict:
    """Names of groups and what each version brought."""
    return yaml.safe_load((HERE / "interface.yaml").read_text(encoding="utf-8"))


def operations() -> list[Operation]:
    """Every operation, in the order of groups and addresses."""
    since = {name: row["version"] for row in notes()["versions"] for name in row["operations"]}
    order = list(notes()["groups"])
    found = [
        _operation(path, method, told, since.get(told["operationId"], ""))
        for path, methods in description()["paths"].items()
        for method, told in methods.items()
    ]
    last = len(order)
    return sorted(
        found, key=lambda one: (order.index(one.group) if one.group in order else last, one.group)
    )


def _operation(path: str, method: str, told: Mapping[str, Any], since: str) -> Operation:
    answers = told["responses"]
    return Operation(
        id=told["operationId"],
        group=told["tags"][0],
        method=method.upper(),
        path=path,
        summary=told.get("summary") or told.get("description", "").partition("\n")[0],
        scope="、".join(dict.fromkeys(s for way in told["security"] for ss in way.values() for s in ss)),
        sends=tuple(told.get("requestBody", {}).get("content", ())),
        parameters=tuple(_parameter(one) for one in told.get("parameters", ())),
        answers=tuple(
            f"{status} {kind}"
            for status, answer in sorted(answers.items()) if status < "400"
            for kind in answer.get("content", {})
        ),
        refusals=tuple(sorted(status for status in answers if status >= "400")),
        since=since,
    )  # fmt: skip


def _parameter(told: Mapping[str, Any]) -> dict:
    return {
        "name": told["name"], "place": PLACES[told["in"]],
        "required": told.get("required", False), "about": told.get("description", ""),
    }  # fmt: skip


def _groups() -> Iterator[dict]:
    """The operations under their groups, with the refusals that only some calls meet."""
    listed = operations()
    everywhere = set.intersection(*(set(one.refusals) for one in listed))
    for key in dict.fromkeys(one.group for one in listed):
        told = notes()["groups"].get(key, {"name": key, "about": ""})
        rows = [
            {"call": one, "more": [s for s in one.refusals if s not in everywhere]}
            for one in listed if one.group == key
        ]  # fmt: skip
        yield told | {"key": key, "rows": rows}


def _faults() -> list[dict]:
    """Statuses of refusals, their meaning, and whether every call may meet them."""
    listed = operations()
    return [
        {"status": status, "text": text,
         "always": all(str(status) in one.refusals for one in listed)}
        for status, text in notes()["faults"].items()
    ]  # fmt: skip


def _reasons() -> list[dict]:
    """Why a line is not paid: every code once, with the message shown for it."""
    found: dict[str, dict] = {}
    for rule in (*VOCABULARY.values(), *WATCHED.values()):
        row = {"code": rule.code, "message": rule.message, "decision": DECIDED[rule.decision]}
        found.setdefault(rule.code, row)
    for code, message in REVIEWED.items():
        paid = code in ("REVIEW_PASSED", "REVIEW_CUT")
        found[code] = {
            "code": code,
            "message": message,
            "decision": DECIDED["payable" if paid else "reject"],
        }
    return list(found.values())


def _connecting() -> list[dict]:
    """What the documents of today say of publishing, rebuilding and acceptance."""
    catalogue, today = releases.current(), clock.today()
    found = []
    for region in catalogue.regions():
        release = catalogue.policy(region, today)
        if release is not None and release.covers(today) and (rows := _told(release.policy)):
            found.append({
                "place": region_name(release.policy), "document": release.policy.document,
                "rows": rows,
            })  # fmt: skip
    return found


def _told(policy: Policy) -> list[dict]:
    rows = [
        {"text": f"公布{one['name']}规范", "clause": one["clause"], "gap": one.get("gap", "")}
        for one in policy.section("platforms", ())
        if isinstance(one, Mapping) and one.get("published_by")
    ]
    procedures = policy.section("procedures", {})
    for key, text in TIMES:
        rule = procedures.get(key)
        if rule and (length := _length(rule)):
            rows.append({"text": f"{text}起{length}", "clause": rule["clause"], "gap": ""})
    return rows


def _length(rule: Mapping[str, Any]) -> str:
    if "months" in rule:
        return f" {rule['months']} 个月内"
    return f" {rule['working_days']} 个工作日内" if "working_days" in rule else ""


@public
@disclosed
def interface(request: HttpRequest) -> HttpResponse:
    """The specification for everybody: how to connect, every operation, faults, samples, changes."""
    told = description()
    flow = next(
        scheme["flows"]["clientCredentials"]
        for scheme in told["components"]["securitySchemes"].values()
        if "clientCredentials" in scheme.get("flows", {})
    )
    return render(request, "public/interface.html", {
        "address": f"{request.scheme}://{request.get_host()}",
        "version": told["info"]["version"], "openapi": told["openapi"],
        "digest": digest_of(told), "count": len(operations()),
        "flow": flow, "token_minutes": oauth2_settings.ACCESS_TOKEN_EXPIRE_SECONDS // 60,
        "groups": list(_groups()), "faults": _faults(), "reasons": _reasons(),
        "keyed": [one for one in operations() if any(p["name"] == KEY for p in one.parameters)],
        "most_bytes": MAX_BYTES, "most_lines": MAX_LINES,
        "connecting": _connecting(), "versions": notes()["versions"],
        "samples": [
            {"name": name, "text": _sample(name), "url": reverse("public-sample", args=[name])}
            for name in SAMPLES
        ],
    })  # fmt: skip


@public
@disclosed
def sample(request: HttpRequest, name: str) -> HttpResponse:
    """A sample as a file."""
    if name not in SAMPLES:
        raise NotDisclosedError(f"没有名为“{name}”的样例。")
    response = HttpResponse(_sample(name), content_type=f"{SAMPLES[name]}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@lru_cache(maxsize=len(SAMPLES))
def _sample(name: str) -> str:
    return (HERE / "samples" / name).read_text(encoding="utf-8")
