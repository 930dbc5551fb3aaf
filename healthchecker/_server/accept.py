"""Which representation a client prefers: the `Accept` header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Return the media type of `offered` that the client prefers; the first one on a tie.

    A type that is named exactly wins over one that only a wildcard matches. If none is acceptable,
    it is the first one, as the RFC allows.
    """
    ranges = [one for one in map(_read_range, accept.split(",")) if one is not None]
    if not ranges:
        return offered[0]
    rated = [(_rate(media_type, ranges), media_type) for media_type in offered]
    best = max(rate for rate, _ in rated)
    if best[0] == 0:
        return offered[0]
    return next(media_type for rate, media_type in rated if rate == best)


def _read_range(text: str) -> tuple[str, float] | None:
    """Return the media range in lower case and its weight; None if it is malformed."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = "1"
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            weight = value
    if "/" not in name or not _WEIGHT.fullmatch(weight):
        return None
    return name, float(weight)


def _rate(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """Return the weight of the most specific range that matches, and how specific it is."""
    wildcard = media_type.partition("/")[0] + "/*"
    for specificity, name in ((2, media_type), (1, wildcard), (0, "*/*")):
        weights = [weight for one, weight in ranges if one == name]
        if weights:
            return max(weights), specificity if max(weights) else 0
    return 0.0, 0
