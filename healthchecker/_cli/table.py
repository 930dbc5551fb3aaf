"""A table of targets for a terminal. Pure: results go in, lines come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from healthchecker._cli.render import escape
from healthchecker._values.result import CheckResult

_LATENCIES = ((120, 5, "LATENCY"), (80, 3, "LATENCY"), (60, 1, "TOOK"), (0, 0, ""))
"""(minimum columns, number of latencies shown, their heading)"""
_LATENCY_WIDTH = 5
_SINCE_WIDTH = 4
_STATES = {True: "healthy", False: "unhealthy", None: "unknown"}
_STATE_WIDTH = max(map(len, _STATES.values()))
_LINES_AROUND = 3  # the title, the names of the columns, and the line that the cursor is left on
_COLORS = {"healthy ": 32, "unhealthy ": 31}  # green, red


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    target: str
    healthy: bool | None
    """None while that is unknown."""
    since: float | None
    """Seconds since this last changed."""
    detail: str
    """The result of the last probe."""
    latencies: tuple[float, ...]
    """Seconds that the last probes took, newest first."""


class Seen:
    """The history of a target. Times are in seconds of a monotonic clock."""

    def __init__(self, target: str) -> None:
        self.healthy: bool | None = None
        self.target = target
        self._changed: float | None = None
        self._detail = ""
        self._latencies: deque[float] = deque(maxlen=_LATENCIES[0][1])

    def take(self, result: CheckResult, healthy: bool | None, now: float) -> None:
        """Add the result of a probe, after which the target counts as `healthy`."""
        if healthy is not self.healthy:
            self.healthy = healthy
            self._changed = now
        self._detail = result.detail if result.healthy else f"{result.reason}: {result.detail}"
        self._latencies.appendleft(result.elapsed)

    def row(self, now: float) -> Row:
        """Return the row at this time."""
        since = None if self._changed is None else now - self._changed
        return Row(self.target, self.healthy, since, self._detail, tuple(self._latencies))


def table(title: str, rows: Sequence[Row], columns: int, lines: int) -> list[str]:
    """Return the lines of a table that fits a terminal of any size.

    If not all rows fit, those of healthy targets are left out first; the last line counts them.
    """
    width = columns - 1  # a terminal may wrap a line that is full
    room = max(lines - _LINES_AROUND, 1)
    shown = rows if len(rows) <= room else _most_important(rows, room - 1)
    latencies, heading = next(
        (count, heading) for least, count, heading in _LATENCIES if columns >= least
    )
    latency_width = latencies * (_LATENCY_WIDTH + 1)
    texts_width = max(width - _STATE_WIDTH - _SINCE_WIDTH - latency_width - 3, 2)
    longest = max((len(escape(row.target)) for row in shown), default=0)
    target_width = max(min(longest, texts_width // 2), len("TARGET"))
    detail_width = max(texts_width - target_width, 1)

    def line(state: str, since: str, latency: str, target: str, detail: str) -> str:
        start = f"{state:{_STATE_WIDTH}} {since:>{_SINCE_WIDTH}} {latency:{latency_width}}"
        return f"{start}{target:{target_width}} {detail}"[:width].rstrip()

    made = [_cut(title, width), line("STATE", "FOR", heading, "TARGET", "LAST")]
    for row in shown:
        newest = (f"{_duration(one):>{_LATENCY_WIDTH}} " for one in row.latencies[:latencies])
        made.append(
            line(
                _STATES[row.healthy],
                "" if row.since is None else _age(row.since),
                "".join(newest),
                _cut(row.target, target_width),
                _cut(row.detail, detail_width),
            )
        )
    if len(shown) < len(rows):
        made.append(f"and {len(rows) - len(shown)} more"[:width])
    return made


def drawn(before: Sequence[str], after: Sequence[str], columns: int, *, color: bool) -> str:
    """Return the text that replaces the lines `before` on a terminal by the lines `after`.

    The cursor is left on the line below. A terminal that has become narrower has wrapped the lines
    that no longer fit; `columns` is its present width.
    """
    height = sum(max(-(-len(line) // columns), 1) for line in before)
    up = f"\x1b[{height}A" if height else ""
    shown = map(_colored, after) if color else after
    return f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in shown)


def _most_important(rows: Sequence[Row], count: int) -> list[Row]:
    """Return `count` rows in their order, those of healthy targets only if there is room."""
    ranked = sorted(range(len(rows)), key=lambda index: rows[index].healthy is True)
    return [rows[index] for index in sorted(ranked[:count])]


def _cut(text: str, width: int) -> str:
    return escape(text, width)[:width]


def _colored(line: str) -> str:
    for word, code in _COLORS.items():
        if line.startswith(word):
            return f"\x1b[{code}m{word}\x1b[m{line[len(word) :]}"
    return line


def _duration(seconds: float) -> str:
    """Return the duration of a probe in at most five characters."""
    if seconds < 0.9995:  # noqa: PLR2004 - longer times round to 1000 ms
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 99.95 else _age(seconds)  # noqa: PLR2004 - as above


def _age(seconds: float) -> str:
    """Return a time in at most four characters: its largest unit, rounded down."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{min(seconds // size, 999):.0f}{unit}"
    return f"{max(seconds, 0) // 1:.0f}s"
