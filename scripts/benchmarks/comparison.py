"""The figures of `scripts/bench process` as a table and a picture, for docs/comparison.md.

python -m scripts.benchmarks.comparison     prints the table of docs/comparison.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from scripts.benchmarks.chart import Bar, Panel, svg

OURS = "healthchecker"
KINDS = {"http": "HTTP", "grpc": "gRPC"}
"""The kinds of checks that are shown."""
_HIDDEN = (f"{OURS}-cold",)

Figures: TypeAlias = Mapping[str, Any]
"""What `--json` writes."""


def table(figures: Figures) -> list[str]:
    """Return the rows of a Markdown table, the fastest program of each kind first."""
    rows = ["| one healthy check | time | CPU time | peak memory | size |", "|---|---|---|---|---|"]
    for kind, word in KINDS.items():
        for one in sorted(_programs(figures, kind), key=_wall):
            name = f"**{OURS}**" if one["name"] == OURS else one["name"]
            rows.append(
                f"| {word}, {name} | {_wall(one):.1f} ms | {one['cpu_ms'][1]:.1f} ms "
                f"| {one['peak_mib']:.1f} MiB | {_size(one):.1f} MB |"
            )
    return rows


def picture(figures: Figures) -> str:
    """Return the SVG with bars for time, memory and size."""
    http, grpc = (list(_programs(figures, kind)) for kind in KINDS)
    panels = [
        Panel("Time of one healthy HTTP check", "{:.1f} ms", [_bar(o, _wall(o)) for o in http]),
        Panel("Time of one healthy gRPC check", "{:.1f} ms", [_bar(o, _wall(o)) for o in grpc]),
        Panel("Peak memory (HTTP)", "{:.1f} MiB", [_bar(o, o["peak_mib"]) for o in http]),
        Panel(
            "Size, with the libraries that it loads",
            "{:.1f} MB",
            [_bar(one, _size(one)) for one in {o["name"]: o for o in (*grpc, *http)}.values()],
        ),
    ]
    shown = ", ".join(f"{bar.label} {bar.value:.1f} ms" for bar in panels[0].bars)
    return svg([panel for panel in panels if panel.bars], f"One healthy HTTP check: {shown}")


def _programs(figures: Figures, kind: str) -> Iterator[Mapping[str, Any]]:
    for one in figures["programs"]:
        if one["kind"] == kind and one["name"] not in _HIDDEN:
            yield one


def _bar(program: Mapping[str, Any], value: float) -> Bar:
    return Bar(program["name"], value, program["name"] == OURS)


def _wall(program: Mapping[str, Any]) -> float:
    median: float = program["wall_ms"][1]
    return median


def _size(program: Mapping[str, Any]) -> float:
    return float(program["size_bytes"]) / 1e6


if __name__ == "__main__":
    print("\n".join(table(json.loads(Path("docs/comparison.json").read_text()))))
