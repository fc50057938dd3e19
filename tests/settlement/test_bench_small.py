"""`bench` on a small size: the figures asked for and no others, they add up, and the page is written."""

import json
import os
import subprocess
import sys
from pathlib import Path

from settlement.bench.growth import Side, in_turns

ROOT = Path(__file__).resolve().parents[2]
BATCH = {"batch.1worker", "batch.rss_mb", "batch.updates", "batch.vs_orm"}
KERNEL = {"kernel.settle", "kernel.vs_python", "kernel.share", "kernel.difference"}


def measured(only: str, page: Path) -> dict[str, dict]:
    command = [sys.executable, "manage.py", "bench", "--n", "1000", "--only", only, "--out", page]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return {figure["name"]: figure for figure in map(json.loads, lines)}


def test_the_figures_of_a_small_run(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    figures = measured(",".join(("kernel", *BATCH)), page)
    assert set(figures) == BATCH | KERNEL
    assert set(figures["batch.1worker"]) == {"name", "value", "unit", "floor", "ratio", "n"}
    assert figures["batch.updates"]["value"] == 0
    assert figures["kernel.difference"]["value"] == 0
    assert 0 < figures["kernel.share"]["value"] < 1
    assert figures["batch.vs_orm"]["ratio"] > 1
    assert figures["batch.rss_mb"]["value"] < 600
    text = page.read_text(encoding="utf-8")
    assert all(f"| {name} |" in text for name in figures)


def test_a_figure_is_measured_alone(tmp_path: Path) -> None:
    assert set(measured("batch.growth", tmp_path / "page.md")) == {"batch.growth"}


def test_small_batches_are_settled_evenly_among_the_chunks_of_the_large_one() -> None:
    order: list[str] = []

    class Process:
        """Answers every message at once."""

        def __init__(self, name: str):
            self.name = name

        def send(self, _: str) -> None:
            order.append(self.name)

        def poll(self, _: float) -> bool:
            return True

        def recv(self) -> float:
            return 1.0

    large, small = Side(Process("L"), 8, 8), [Side(Process(name), 2, 2) for name in "ab"]
    in_turns(large, small)
    assert "".join(order) == "LLaLLaLLbLLb"
    assert (large.cost, [side.cost for side in small]) == (1.0, [1.0, 1.0])
