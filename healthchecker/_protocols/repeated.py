"""Secrets that a peer repeats: they are left out of what is shown of its reply."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

from healthchecker._protocols.reply import SHORTEST_SECRET, without_parts
from healthchecker._values.options import CheckOptions, basic_authorization
from healthchecker._values.result import CheckResult, Phase
from healthchecker._values.target import HIDDEN, Target
from healthchecker._values.text import encode

_LONGEST_QUOTED = 1024
"""A longer secret is looked for as it is: quoting takes fifty times its memory."""
_PUBLIC_HEADERS = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "cache-control"),
        *("connection", "content-type", "host", "origin", "upgrade", "user-agent"),
    }
)
_KINDS = frozenset({"apikey", "basic", "bearer", "digest", "token"})
"""What stands before the secret in the header Authorization."""


def without_repeated(result: CheckResult, target: Target, options: CheckOptions) -> CheckResult:
    """Return a result without the secrets that were sent to the peer.

    A peer may send back what it got: in the Location of a redirect, an error or an echo.
    """
    if result.healthy or result.phase is not Phase.RESPONSE:
        return result  # nothing of the peer's is shown
    secrets = set(_secrets(target, options))
    if not secrets and options.data is None:
        return result
    texts = {text for secret in secrets for text in _spellings(secret)}
    detail = result.detail
    short_enough = (text for text in texts if len(text) <= len(detail))
    longest_first = sorted(short_enough, key=lambda text: (-len(text), text))
    if longest_first:
        detail = re.sub("(?i:" + "|".join(map(re.escape, longest_first)) + ")", HIDDEN, detail)
    sent = b"\n".join([*map(encode, sorted(texts)), options.data or b""])
    # An excerpt may end in the middle of a secret.
    excerpt = without_parts(encode(result.excerpt), sent).decode("utf-8", "replace")
    return replace(result, detail=detail, excerpt=excerpt)


def _secrets(target: Target, options: CheckOptions) -> Iterator[str]:
    """Yield the secrets among what was sent to the peer."""
    sent = [*target.secrets]
    for credentials in (target.basic_auth, options.basic_auth):
        if credentials is not None and credentials[0] != credentials[1]:  # a user is shown
            sent += (credentials[1], basic_authorization(credentials).partition(" ")[2])
    for name, value in options.headers:
        if name.lower() not in _PUBLIC_HEADERS:
            sent += (word for word in value.split() if word.lower() not in _KINDS)
    return (secret for secret in sent if len(secret) >= SHORTEST_SECRET)


def _spellings(secret: str) -> tuple[str, ...]:
    """Return the secret as it is, and as a URL has it."""
    if len(secret) > _LONGEST_QUOTED:
        return (secret,)
    quoted = quote(encode(secret), safe="")
    return (secret, quoted, quote(encode(secret)))
