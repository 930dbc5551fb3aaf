"""Results as text or JSON: one line each, escaped, and no longer than Docker's health log keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from healthchecker._values.result import CheckResult

MAX_OUTPUT_BYTES = 4095
"""Docker keeps 4,096 bytes of a check's output; all of ours stays below."""

_MAX_UNKNOWN_BYTES = 400
_MAX_LINES_BYTES = (MAX_OUTPUT_BYTES - _MAX_UNKNOWN_BYTES) // 2  # healthy ones, and others

_MAX_PART = 400
_MAX_PARTS_SHORT = (400, 120, 40)


def failure_line(result: CheckResult, *, verbose: bool = False) -> str:
    """Return the line for an unhealthy target.

    Equal failures have equal lines, so there is no time in it: Kubernetes counts up an existing
    Event only if the message is the same. With `verbose` there is one, and the start of an
    unexpected body.
    """
    line = f"unhealthy: {escape(result.target)}: {result.reason}: {escape(result.detail)}"
    if verbose:
        body = f", body: {escape(result.excerpt)}" if result.excerpt else ""
        return f"{line} ({_milliseconds(result)} ms){body}"
    return line


def success_line(result: CheckResult) -> str:
    """Return the line that `-v` prints for a healthy target."""
    return f"healthy: {escape(result.target)}: {escape(result.detail)} ({_milliseconds(result)} ms)"


def text_lines(results: Sequence[CheckResult], *, healthy: bool, verbose: bool = False) -> str:
    """Return the lines of all results that are `healthy`, or of those that are not.

    Together they are no longer than the output may be.
    """
    return _lines(
        [
            success_line(result) if healthy else failure_line(result, verbose=verbose)
            for result in results
            if result.healthy is healthy
        ]
    )


def _lines(lines: Sequence[str]) -> str:
    text = ""
    for index, one in enumerate(lines):
        more = f"and {len(lines) - index} more\n"
        if len(text) + len(one) + 1 + len(more) > _MAX_LINES_BYTES:
            return text + more
        text += one + "\n"
    return text


def unknown_variables_line(names: Sequence[str]) -> str:
    """Return the line that names unknown variables; empty if there are none."""
    if not names:
        return ""
    plural = "s" if len(names) > 1 else ""
    line = (
        f"healthchecker: warning: ignoring unknown environment variable{plural}: {', '.join(names)}"
    )
    return escape(line, _MAX_UNKNOWN_BYTES - 1) + "\n"


def json_line(
    healthy: bool, results: Sequence[CheckResult], unknown_variables: Sequence[str] = ()
) -> str:
    """Return the JSON object of `--output json`, within the limit of the output.

    If not all results fit, texts are cut first; then healthy ones, then any are left out, and
    `omitted` counts them.
    """
    checks = [result.to_dict() for result in results]
    more = _unknown(unknown_variables)
    for longest in _MAX_PARTS_SHORT:
        shown = {"healthy": healthy, "checks": [cut(one, longest) for one in checks], **more}
        text = json.dumps(shown)
        if len(text) < MAX_OUTPUT_BYTES:
            return text + "\n"
    kept = sorted((cut(one, _MAX_PARTS_SHORT[-1]) for one in checks), key=_is_healthy)
    return _as_many_as_fit(
        len(kept),
        lambda count: {
            "healthy": healthy,
            "checks": kept[:count],
            "omitted": len(kept) - count,
            **more,
        },
    )


def list_json_line(
    check: CheckResult, statuses: Mapping[str, str], unknown_variables: Sequence[str] = ()
) -> str:
    """Return the object of `json_line` with `services`: serving status by name."""
    checks = [cut(check.to_dict(), _MAX_PARTS_SHORT[0])]
    shown = {"healthy": check.healthy, "checks": checks, **_unknown(unknown_variables)}
    whole = json.dumps({**shown, "services": statuses})
    if len(whole) < MAX_OUTPUT_BYTES:
        return whole + "\n"
    services = list(statuses.items())
    return _as_many_as_fit(
        len(services),
        lambda count: {
            **shown,
            "services": dict(services[:count]),
            "omitted": len(services) - count,
        },
    )


def watch_line(result: CheckResult, *, changed: bool, verbose: bool) -> str:
    """Return the line of `watch` for one probe, which begins with the present time."""
    line = success_line(result) if result.healthy else failure_line(result, verbose=verbose)
    return f"{_now()} {'' if changed else 'probe '}{line}\n"


def watch_json_line(result: CheckResult, state: bool | None, *, changed: bool) -> str:
    """Return the JSON object of `watch` for one probe; `state` is None while it is unknown."""
    shown = {"time": _now(), "healthy": state, "changed": changed, "check": cut(result.to_dict())}
    return json.dumps(shown) + "\n"


def list_lines(statuses: Mapping[str, str]) -> str:
    """Return a line for each service, status first; the nameless one is the whole server."""
    return _lines(
        [f"{status} {escape(name) or '(the server)'}" for name, status in statuses.items()]
    )


def escape(text: str, max_length: int = _MAX_PART) -> str:
    """Return printable ASCII; control and other characters are escaped."""
    if text.isascii() and text.isprintable():
        shown = text
    else:
        shown = "".join(
            char if char.isprintable() and char.isascii() else ascii(char)[1:-1]
            for char in text[: max_length + 1]
        )
    return shown if len(shown) <= max_length else shown[: max_length - 3] + "..."


def cut(check: dict[str, object], longest: int = _MAX_PART) -> dict[str, object]:
    """Return the object with its texts cut to `longest` characters."""
    return {
        key: value[: longest - 3] + "..."
        if isinstance(value, str) and len(value) > longest
        else value
        for key, value in check.items()
    }


def _unknown(names: Sequence[str]) -> dict[str, object]:
    """Return the part of the JSON object with unknown variables: as many names as fit."""
    kept: list[str] = []
    for name in names:
        if len(json.dumps([*kept, name])) > _MAX_UNKNOWN_BYTES:
            break
        kept.append(name)
    return {"unknown_variables": kept} if names else {}


def _as_many_as_fit(total: int, make: Callable[[int], dict[str, object]]) -> str:
    for count in range(total - 1, -1, -1):
        text = json.dumps(make(count))
        if len(text) < MAX_OUTPUT_BYTES:
            break
    return text + "\n"


def _is_healthy(check: dict[str, object]) -> bool:
    return bool(check["healthy"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(result: CheckResult) -> float:
    return round(result.elapsed * 1000, 1)
