"""The figures as a picture: an SVG with bars for time, memory and size, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABELS, _BAR, _ROW, _TITLE = 760, 190, 14, 22, 40
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.ours { fill: #1a7f37 } .theirs { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ours { fill: #3fb950 } .theirs { fill: #6e7681 }
}"""


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    value: float
    ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of one unit, the shortest first."""

    title: str
    form: str
    """The format of a value, such as `{:.1f} ms`."""
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel], description: str) -> str:
    """Return the picture; `description` is its text for screen readers."""
    parts: list[str] = []
    y = 0
    for panel in panels:
        y += _TITLE
        parts.append(f'<text class="title" x="0" y="{y - 12}">{escape(panel.title)}</text>')
        longest = max(bar.value for bar in panel.bars)
        for bar in sorted(panel.bars, key=lambda bar: bar.value):
            length = max((_WIDTH - _LABELS - 90) * bar.value / longest, 1)
            kind = "ours" if bar.ours else "theirs"
            end, text = f"{_LABELS + length + 6:.1f}", y + _BAR - 2
            size = f'width="{length:.1f}" height="{_BAR}"'
            value = escape(panel.form.format(bar.value))
            parts += [
                f'<text x="{_LABELS - 8}" y="{text}" text-anchor="end">{escape(bar.label)}</text>',
                f'<rect class="{kind}" x="{_LABELS}" y="{y}" {size} rx="2"/>',
                f'<text x="{end}" y="{text}">{value}</text>',
            ]
            y += _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" '
        f'width="{_WIDTH}" height="{y + 8}" role="img" aria-label="{escape(description)}">\n'
        f"<style>\n{_STYLE}\n</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
