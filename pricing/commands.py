"""Acts on releases: draft, edit, publish; the shipped files become the first releases.

A published text never changes. A later release of the same document begins on its own day and ends
its predecessor the day before; claims keep the release they were settled under: history stays.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from audit import trail
from audit.models import Event
from pricing.document import Policy, PolicyError, parse
from pricing.models import Combination, Release
from pricing.validation import Problem, problems

SHIPPED = Path(__file__).with_name("policies")
SHIPPED_BY = "随系统提供的文件"
ONE_DAY = dt.timedelta(days=1)
WRITTEN = ("release.draft", "release.edit")


class ReleaseError(ValueError):
    """The act is not possible; the message says why (Chinese). `problems` are the text's faults."""

    def __init__(self, message: str, found: list[Problem] | None = None):
        super().__init__("\n".join([message, *(str(problem) for problem in found or ())]))
        self.problems = found or []


@dataclass(frozen=True)
class Loaded:
    """What loading did with a file: `unchanged`, `published` or `draft` (awaits a person)."""

    name: str
    outcome: str
    release: Release


def sm3(text: str) -> str:
    """The hash of a text, in hex, as releases and their evidence name it."""
    return hashlib.new("sm3", text.encode()).hexdigest()


@transaction.atomic
def draft(*, text: str, by: str, at: dt.datetime) -> Release:
    """Store a text as a draft. It need not be free of faults yet, but must say what it is."""
    release = Release(drafted_by=by, drafted_at=at)
    policy = _take(release, text)
    release.save(force_insert=True)
    _record("release.draft", release, policy, by=by, at=at)
    return release


@transaction.atomic
def edit_draft(*, release: Release, text: str, by: str, at: dt.datetime) -> Release:
    """Replace the text of a draft; whoever wrote any of it cannot publish it."""
    release = _locked(release)
    _must_be_draft(release)
    before = release.sm3
    release.drafted_by, release.drafted_at = by, at
    policy = _take(release, text)
    release.save()
    _record("release.edit", release, policy, by=by, at=at, before=before)
    return release


@transaction.atomic
def publish(*, release: Release, evidence: dict, by: str, at: dt.datetime) -> Release:
    """Put a draft in force: a second person, a text without faults, evidence of a passed run.

    `evidence` is bound to the text: {"sm3": …, "cases": {"passed": n, "failed": 0}}. An open end of
    the predecessor is set to the day before. Raises ReleaseError.
    """
    release = _locked(release)
    _must_be_draft(release)
    if by in _writers(release):
        raise ReleaseError("须由起草人以外的第二人发布")
    _must_prove(release, evidence)
    return _put_in_force(release, evidence, by=by, at=at)


@transaction.atomic
def end(*, release: Release, until: dt.date, reference: str, by: str, at: dt.datetime) -> Release:
    """Set the open end of a published release, once, with the document that says so (I-NT-8)."""
    release = _locked(release)
    if release.state != Release.State.PUBLISHED or release.valid_until is not None:
        raise ReleaseError("只有已发布且未定截止日的版本可以录入截止日")
    if until < release.valid_from:
        raise ReleaseError(f"截止日 {until} 早于生效日 {release.valid_from}")
    if not reference.strip():
        raise ReleaseError("须注明规定截止日的文件")
    release.valid_until = until
    release.save(update_fields=["valid_until"])
    _combine(release.region)
    _record("release.end", release, parse(release.text), by=by, at=at, reference=reference)
    return release


@transaction.atomic
def load_shipped(*, by: str, at: dt.datetime, folder: Path = SHIPPED) -> list[Loaded]:
    """Load the shipped files; doing it again changes nothing.

    A document not yet known becomes its first release. A changed file is published only when its
    own first day lies after the last release's and after `at` (no past day is judged anew);
    otherwise it is left as a draft for a person to date and publish.
    """
    return [_load(path, by=by, at=at) for path in sorted(folder.glob("*.yaml"))]


def _load(path: Path, *, by: str, at: dt.datetime) -> Loaded:
    text = path.read_text(encoding="utf-8")
    digest = sm3(text)
    release = Release(drafted_by=SHIPPED_BY, drafted_at=at)
    policy = _take(release, text)
    _lock_document(release)
    same = Release.objects.filter(slug=release.slug, region=release.region)
    known = same.filter(Q(sm3=digest) | Q(evidence__loading__sm3=digest)).first()
    if known is not None:
        return Loaded(path.name, "unchanged", known)
    found = problems(text, name=path.name)
    if found:
        raise ReleaseError(f"{path.name} 不能发布", found)
    last = same.published().order_by("-valid_from").first()
    release.evidence = {"loading": {"file": path.name, "sm3": digest, "problems": 0}}
    release.save(force_insert=True)
    _record("release.draft", release, policy, by=SHIPPED_BY, at=at, file=path.name)
    if last is not None and release.valid_from <= max(last.valid_from, at.date()):
        return Loaded(path.name, "draft", release)
    _put_in_force(release, {"sm3": digest}, by=by, at=at)
    return Loaded(path.name, "published", release)


def _put_in_force(release: Release, evidence: dict, *, by: str, at: dt.datetime) -> Release:
    _lock_document(release)
    found = problems(release.text, name=release.slug)
    if found:
        raise ReleaseError("文本有误，不能发布", found)
    policy = parse(release.text)
    _end_predecessor(release, policy, by=by, at=at)
    release.state = Release.State.PUBLISHED
    release.published_by, release.published_at = by, at
    release.evidence = release.evidence | evidence
    try:
        with transaction.atomic():
            release.save()
    except IntegrityError as error:
        if "release_no_overlap" not in str(error):
            raise
        raise ReleaseError("有效期与同一文件已发布的版本重叠") from error
    _combine(release.region)
    _record("release.publish", release, policy, by=by, at=at, evidence=evidence)
    return release


#: What of a region's parameter sets holds together on some day, with the hashes of the sets.
TOGETHER = """WITH sets AS (
    SELECT id, sm3, valid_from, valid_until FROM pricing_release
    WHERE state = 'published' AND kind = 'parameters' AND region = %(region)s
), days AS (
    SELECT valid_from AS day FROM sets UNION SELECT valid_until + 1 FROM sets
)
SELECT DISTINCT array_agg(id ORDER BY valid_from, id), string_agg(sm3, ' ' ORDER BY valid_from, id)
FROM days JOIN sets ON valid_from <= day AND (valid_until IS NULL OR valid_until >= day)
GROUP BY day HAVING count(*) > 1"""


def _combine(region: str) -> None:
    """Number the parameter sets of a region that hold together, so that settlements can name them."""
    with connection.cursor() as cursor:
        cursor.execute(TOGETHER, {"region": region})
        found = cursor.fetchall()
    Combination.objects.bulk_create(
        (Combination(releases=sets, sm3=sm3(hashes)) for sets, hashes in found),
        ignore_conflicts=True,
    )


def _end_predecessor(release: Release, policy: Policy, *, by: str, at: dt.datetime) -> None:
    """End the open release that began before this one; every other overlap is refused."""
    before = (
        Release.objects.published()
        .filter(slug=release.slug, region=release.region, valid_until=None)
        .filter(valid_from__lt=release.valid_from)
        .select_for_update()
        .first()
    )
    if before is None:
        return
    before.valid_until = release.valid_from - ONE_DAY
    before.save(update_fields=["valid_until"])
    _record(
        "release.end", before, policy, by=by, at=at,
        until=before.valid_until, successor=release.pk,
    )  # fmt: skip


def _take(release: Release, text: str) -> Policy:
    """Fill a release from its text, which names the document, the region and the dates."""
    try:
        policy = parse(text)
        release.slug, release.kind, release.region = policy.slug, policy.kind, policy.region
        release.document, release.title = policy.document, policy.title or policy.document
        release.valid_from, release.valid_until = policy.effective
    except PolicyError as error:
        raise ReleaseError(str(error)) from error
    except (KeyError, TypeError) as error:
        message = f"缺少 {error}：须写明 slug、region、document 和 effective.from"
        raise ReleaseError(message) from error
    if not isinstance(release.valid_from, dt.date):
        raise ReleaseError("effective.from 应为日期 YYYY-MM-DD")
    release.text, release.sm3 = text, sm3(text)
    return policy


def _locked(release: Release) -> Release:
    return Release.objects.select_for_update().get(pk=release.pk)


def _lock_document(release: Release) -> None:
    """One publisher of a document at a time; held to the end of the transaction."""
    with connection.cursor() as cursor:
        key = f"release:{release.region}:{release.slug}"
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])


def _must_be_draft(release: Release) -> None:
    if release.state != Release.State.DRAFT:
        raise ReleaseError("该版本已发布，不能再改动")


def _writers(release: Release) -> set[str]:
    events = Event.objects.filter(subject=_subject(release), action__in=WRITTEN)
    return {release.drafted_by, *events.values_list("actor", flat=True)}


def _must_prove(release: Release, evidence: dict) -> None:
    if evidence.get("sm3") != release.sm3:
        raise ReleaseError("试算证据与草案文本不符（SM3 不一致），须就当前文本重新运行案例")
    cases = evidence.get("cases") or {}
    if cases.get("failed") != 0 or not cases.get("passed"):
        raise ReleaseError("须附案例全部通过的证据：cases.passed 大于 0，cases.failed 为 0")


def _subject(release: Release) -> str:
    return f"release:{release.pk}"


def _record(
    action: str, release: Release, policy: Policy, *, by: str, at: dt.datetime, **detail: object
) -> None:
    trail.record(
        by=by,
        at=at,
        action=action,
        subject=_subject(release),
        region_code=str(policy.data.get("area_code", "")),
        detail={
            "slug": release.slug, "sm3": release.sm3,
            "from": release.valid_from, "until": release.valid_until, **detail,
        },
    )  # fmt: skip
