"""`bench` on a small size: the promised figures appear, add up, and the page is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_figures_of_a_small_run(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [
        sys.executable,
        "manage.py",
        "bench",
        "--n",
        "1000",
        "--only",
        "kernel",
        "--out",
        page,
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    figures = {figure["name"]: figure for figure in map(json.loads, lines)}
    assert set(figures) == {
        "batch.1worker", "batch.2workers", "batch.4workers", "batch.rss_mb", "batch.updates", "batch.vs_orm",
        "kernel.vs_python", "kernel.share", "kernel.difference",
    }  # fmt: skip
    assert set(figures["batch.1worker"]) == {"name", "value", "unit", "floor", "ratio", "n"}
    assert figures["batch.updates"]["value"] == 0
    assert figures["kernel.difference"]["value"] == 0
    assert figures["batch.rss_mb"]["value"] < 600
    text = page.read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in figures)
