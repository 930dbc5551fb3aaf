"""fastcgi://: healthy if the response has an accepted status and meets every expectation.

Source: FastCGI Specification 1.0, sections 3.3 (records), 3.4 (name-value pairs), 5 (applications)
and 6.2 (responder); RFC 3875, sections 4.1 (parameters) and 6 (response).
"""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import unquote

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber
from healthchecker._protocols.reply import CodecError
from healthchecker._values.expect.body import MAX_BODY_BYTES, Body, BodyExpectations, judge_body
from healthchecker._values.expect.header import judge_headers
from healthchecker._values.expect.status import judge_status
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target

_OPTIONS = frozenset(
    {"headers", "status", "expect_json", "expect_body", "match_body", "expect_header"}
)
_BEGIN, _END, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7
_VERSION = 1
_ID = b"\0\1"
_RESPONDER = b"\0\1" + bytes(6)  # the connection is closed after the response
_HEADER = 8
_MAX_CONTENT = 0xFFFF
_SHORT = 0x80
_LONG = 1 << 31
_OVERLOADED = 2
_CHUNK = 64 * 1024
_MAX_HEAD = 32 * 1024
_EXCERPT_BYTES = 200
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_PARAMETER = re.compile(r"[A-Z][A-Z0-9_]*_[A-Z0-9_]*")
_OK = 200


class FastcgiProber(StreamProber):
    """Sends one request for the script at the path, as php-fpm takes it."""

    SCHEMES: ClassVar = {"fastcgi": Scheme("fastcgi://HOST/PATH", 9000, options=_OPTIONS)}

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._expected_body = BodyExpectations(
            options.expect_body, options.match_body, options.expect_json
        )
        self._request = encode_request(self._parameters())

    def _parameters(self) -> dict[str, str]:
        """Return the parameters of the request; a header of such a name replaces one."""
        url = self._target.url
        path = unquote(url.path)
        query = url.query.decode("ascii")
        parameters = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": "GET",
            "SCRIPT_FILENAME": path,
            "SCRIPT_NAME": path,
            "REQUEST_URI": url.raw_path.decode("ascii"),
            "DOCUMENT_URI": path,
            "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "healthchecker",
            "SERVER_NAME": self._target.endpoint.host,
            "SERVER_PORT": str(self._target.endpoint.port),
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": "",
            "CONTENT_TYPE": "",
        }
        for name, value in self._options.headers:
            is_parameter = name in parameters or _PARAMETER.fullmatch(name)
            key = name if is_parameter else "HTTP_" + name.upper().replace("-", "_")
            parameters[key] = value
        return parameters

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(self._request)
        response = Response()
        while not response.is_complete:
            data = stream.read(_CHUNK)
            if not data:
                raise ProbeFailure(
                    Reason.INVALID_RESPONSE, "connection closed before the end of the response"
                )
            try:
                response.feed(data)
            except CodecError as error:
                raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        return self._judge(response, stream)

    def _judge(self, response: Response, stream: Stream) -> Healthy:
        if response.protocol_status == _OVERLOADED:
            raise UnexpectedResponse(Reason.NOT_SERVING, "overloaded", "OVERLOADED")
        try:
            status, headers, body = response.decode()
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        options = self._options
        try:
            judge_status(options.status, status)
            if options.expect_header:
                judge_headers(options.expect_header, headers, status)
            if self._expected_body:
                judge_body(self._expected_body, body, status, stream.remaining)
        except UnexpectedResponse as failure:
            failure.excerpt = body.data[:_EXCERPT_BYTES].decode("utf-8", "replace")
            raise
        return Healthy(status, f"status {status}")


def encode_request(parameters: dict[str, str]) -> bytes:
    """Return all records of a request."""
    pairs = b"".join(_pair(*pair) for pair in parameters.items())
    return b"".join(
        (
            _record(_BEGIN, _RESPONDER),
            *(
                _record(_PARAMS, pairs[start : start + _MAX_CONTENT])
                for start in range(0, len(pairs), _MAX_CONTENT)
            ),
            _record(_PARAMS, b""),
            _record(_STDIN, b""),
        )
    )


def _record(kind: int, content: bytes) -> bytes:
    return bytes([_VERSION, kind]) + _ID + len(content).to_bytes(2) + b"\0\0" + content


def _pair(name: str, value: str) -> bytes:
    parts = [text.encode("utf-8", "surrogateescape") for text in (name, value)]
    return b"".join(map(_length, map(len, parts))) + b"".join(parts)


def _length(size: int) -> bytes:
    return bytes([size]) if size < _SHORT else (size | _LONG).to_bytes(4)


class Response:
    """The records of a response, fed with bytes. Only the start of a long body is kept."""

    def __init__(self) -> None:
        self.is_complete = False
        self.protocol_status = 0
        self._data = b""
        self._output = bytearray()
        self._is_cut = False

    def feed(self, data: bytes) -> None:
        """Decode more bytes; raise `CodecError` if they are not records of a response."""
        data = self._data + data
        start = 0
        while len(data) - start >= _HEADER and not self.is_complete:
            version, kind = data[start : start + 2]
            if version != _VERSION or kind not in (_END, _STDOUT, _STDERR):
                raise CodecError("not a FastCGI response")
            content = start + _HEADER
            size = int.from_bytes(data[start + 4 : start + 6])
            end = content + size + data[start + 6]
            if len(data) < end:
                break
            self._record(kind, data[content : content + size])
            start = end
        self._data = data[start:]
        if self._data[:1] not in (b"", bytes([_VERSION])):
            raise CodecError("not a FastCGI response")

    def _record(self, kind: int, content: bytes) -> None:
        if kind == _STDOUT:
            room = _MAX_HEAD + MAX_BODY_BYTES - len(self._output)
            self._output += content[:room]
            self._is_cut = self._is_cut or len(content) > room
        elif kind == _END:
            self.is_complete = True
            self.protocol_status = content[4] if len(content) > 4 else 0  # noqa: PLR2004

    def decode(self) -> tuple[int, dict[str, list[str]], Body]:
        """Return status, headers (names in lower case) and body of a complete response."""
        if not self._output:
            raise CodecError("empty response")
        end = _HEAD_END.search(self._output)
        if end is None or end.end() > _MAX_HEAD:
            raise CodecError("response without an end of its headers")
        headers: dict[str, list[str]] = {}
        for line in self._output[: end.start()].decode("latin-1").splitlines():
            name, colon, value = line.partition(":")
            if not colon:
                raise CodecError("malformed header line")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        text = (headers.get("status", [str(_OK)])[0].split(maxsplit=1) or [""])[0]
        if not (len(text) == 3 and text.isascii() and text.isdigit()):  # noqa: PLR2004 - digits
            raise CodecError("malformed Status header")
        body = bytes(self._output[end.end() :])
        size = headers.get("content-length", [""])[0]
        if not self._is_cut and size.isascii() and size.isdigit() and len(body) < int(size[:9]):
            raise CodecError("response shorter than its Content-Length")
        is_whole = not self._is_cut and len(body) <= MAX_BODY_BYTES
        return int(text), headers, Body(body[:MAX_BODY_BYTES], is_whole)
