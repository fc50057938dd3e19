"""Texts of agreements: versions by day, every article with a clause that the document has."""

import datetime as dt
from pathlib import Path

import pytest
import yaml

from agreements import texts
from agreements.models import Agreement

ROOT = Path(__file__).parents[2]
DAY = dt.date(2021, 12, 20)
SHIPPED = [
    ("main", "wenzhou"),
    ("supplementary", "wenzhou"),
    ("supplementary", "nantong"),
    ("supplementary", "ningxia"),
]


def policies():
    """Document number → its clauses, region and first day, from the shipped policy files."""
    for path in (ROOT / "pricing/policies").glob("*.yaml"):
        policy = yaml.safe_load(path.read_text(encoding="utf-8"))
        if policy["kind"] == "policy":
            yield policy["document"], policy


@pytest.mark.parametrize(("kind", "region"), SHIPPED)
def test_every_article_cites_clauses_of_its_document(kind, region):
    text = texts.text_for(kind, region, DAY)
    policy = dict(policies())[text.document]
    assert policy["region"] == region
    assert text.document in "".join(text.basis)
    cited = {clause for article in text.articles for clause in article.clauses}
    assert cited <= set(map(str, policy["clauses"]))
    assert all(article.clauses and article.text and article.title for article in text.articles)


@pytest.mark.parametrize("text", texts.all_texts(), ids=lambda text: text.key)
def test_every_text_says_that_it_is_an_example(text):
    assert "示例" in text.label
    assert "示例" in text.version
    assert text.kind in Agreement.Kind.values
    assert len(text.sha256) == 64
    numbers = [article.no for article in text.articles]
    assert len(set(numbers)) == len(numbers)


def test_no_text_before_the_first_version_or_elsewhere():
    assert texts.text_for("supplementary", "nantong", dt.date(2020, 2, 25)).region == "nantong"
    with pytest.raises(texts.NoText):
        texts.text_for("supplementary", "nantong", dt.date(2020, 2, 24))
    with pytest.raises(texts.NoText):
        texts.text_for("main", "jilin", DAY)


def test_the_later_version_is_in_force_from_its_day_and_has_its_own_digest(tmp_path, monkeypatch):
    whole = yaml.safe_load((texts.FOLDER / "wenzhou-main.yaml").read_text(encoding="utf-8"))
    later = {**whole["versions"][0], "version": "2022（示例）", "valid_from": dt.date(2022, 1, 1)}
    whole["versions"].append(later)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
    monkeypatch.setattr(texts, "FOLDER", tmp_path)
    texts.all_texts.cache_clear()
    days = [dt.date(2021, 12, 31), dt.date(2022, 1, 1)]
    found = [texts.text_for("main", "wenzhou", day) for day in days]
    texts.all_texts.cache_clear()
    assert [text.version for text in found] == ["2021-03（示例）", "2022（示例）"]
    assert found[0].sha256 != found[1].sha256
