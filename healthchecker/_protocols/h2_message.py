"""What is wrong with a peer's HTTP/2, for people: h2's own sentences show objects of its inside."""

from __future__ import annotations

_WORDS = {
    "cannot receive data before headers": "data before headers",
    "conflicting content-length": "two lengths of one body",
    "connection-specific header": "a header of HTTP/1 only",
    "encountered request-only headers": "headers of a request",
    "error decoding header block": "headers that cannot be decoded",
    "frame data missing": "a frame of a wrong length",
    "header block missing": "a response without a status",
    "illegal character": "a header with an illegal character",
    "invalid content-length": "a length that is no number",
    "invalid input": "a frame that must not come here",
    "invalid frame during header block": "a frame in the middle of the headers",
    "invalid stream id": "a frame of a stream that does not exist",
    "invalidbodylengtherror": "a body of another length than was said",
    "may not increment flow control": "a flow control window that is too large",
    "oversized header block": "oversized header block",
    "received custom pseudo-header": "an unknown pseudo-header",
    "received duplicate pseudo-header": "a pseudo-header twice",
    "received frame with invalid header": "a frame of the wrong stream",
    "received frame with invalid padding": "a frame with invalid padding",
    "received frame with non-compliant data": "a frame with invalid content",
    "received header name with zero length": "a header without a name",
    "received header value surrounded": "a header with spaces around its value",
    "received pseudo-header field out of sequence": "a pseudo-header after other headers",
    "received pseudo-header in trailer": "a pseudo-header in the trailers",
    "received pushed stream": "a pushed stream",
    "received uppercase header name": "a header with capital letters in its name",
    "setting": "a setting with an invalid value",
    "too many continuation frames": "too many continuation frames",
    "trailers must have end_stream": "trailers before the end of the answer",
}
"""By the beginning of h2's sentence, in small letters."""


def h2_message(message: str) -> str:
    """Translate the message of an error of h2 about what the peer has sent."""
    if message.isdecimal():  # all that some errors say is the number of the stream
        return "not valid HTTP/2: a frame of a stream that is not open"
    said = message.lower()
    for beginning, words in _WORDS.items():
        if said.startswith(beginning):
            return f"not valid HTTP/2: {words}"
    return "not valid HTTP/2"
