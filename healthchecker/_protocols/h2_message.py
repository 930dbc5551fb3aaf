"""Messages about invalid HTTP/2 for users; those of h2 contain its internal objects."""

from __future__ import annotations

_MESSAGES = {
    "cannot receive data before headers": "data before headers",
    "conflicting content-length": "conflicting content lengths",
    "connection-specific header": "a connection-specific header",
    "encountered request-only headers": "request-only headers in a response",
    "error decoding header block": "headers that cannot be decoded",
    "frame data missing": "a frame with an invalid length",
    "header block missing": "a response without a status",
    "illegal character": "a header with an illegal character",
    "invalid content-length": "an invalid content-length",
    "invalid input": "an unexpected frame",
    "invalid frame during header block": "a frame interrupting the headers",
    "invalid stream id": "a frame for an unknown stream",
    "invalidbodylengtherror": "a body that does not match its content-length",
    "may not increment flow control": "a flow control window that is too large",
    "oversized header block": "oversized header block",
    "received custom pseudo-header": "an unknown pseudo-header",
    "received duplicate pseudo-header": "a duplicate pseudo-header",
    "received frame with invalid header": "a frame on the wrong stream",
    "received frame with invalid padding": "a frame with invalid padding",
    "received frame with non-compliant data": "a frame with invalid content",
    "received header name with zero length": "a header without a name",
    "received header value surrounded": "a header value with surrounding whitespace",
    "received pseudo-header field out of sequence": "a pseudo-header after other headers",
    "received pseudo-header in trailer": "a pseudo-header in the trailers",
    "received pushed stream": "a pushed stream",
    "received uppercase header name": "an uppercase header name",
    "setting": "a setting with an invalid value",
    "too many continuation frames": "too many continuation frames",
    "trailers must have end_stream": "trailers that do not end the stream",
}
"""By the start of the message of h2, in lower case."""


def h2_message(message: str) -> str:
    """Translate the message of an h2 error about something the peer sent."""
    if message.isdecimal():  # some errors have only the number of the stream
        return "not valid HTTP/2: a frame on a stream that is not open"
    for beginning, translation in _MESSAGES.items():
        if message.lower().startswith(beginning):
            return f"not valid HTTP/2: {translation}"
    return "not valid HTTP/2"
