"""The probe for http:// and https:// targets: httpx's messages, carried by httpcore's HTTP/1.1."""

from __future__ import annotations

import json
import math
import ssl
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import ClassVar, cast

import httpcore
import httpx

from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream
from healthchecker._net.tls import make_context
from healthchecker._options import HTTP_OPTIONS, CheckOptions, TlsOptions, matches_json
from healthchecker._probers.prober import Healthy, Prober, Progress, connect
from healthchecker._result import BadArgumentError, ProbeFailure, Reason, UnexpectedAnswer
from healthchecker._target import Scheme, Target, read_target

MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 256
MAX_BODY_BYTES = 256 * 1024  # read as JSON, it may need thirty times the memory
MAX_REDIRECTS = 5

# The most that is read for a head: interim responses and the status line count, too.
_MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES

_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_HEADERS = {
    b"User-Agent": b"healthchecker",
    b"Accept": b"*/*",
    b"Accept-Encoding": b"identity",
    b"Connection": b"close",
}
_CREDENTIALS = (b"authorization", b"cookie", b"proxy-authorization")


class HttpProber(Prober):
    """Sends one request on a connection of its own, and judges the whole response."""

    SCHEMES: ClassVar = {
        "http": Scheme("http://HOST", 80, options=HTTP_OPTIONS),
        "https": Scheme("https://HOST", 443, tls=True, options=HTTP_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._context: ssl.SSLContext | None = None
        if target.tls or options.tls != TlsOptions():
            self._tls_context()  # a file that cannot be used is told at once
        self._request = self._make_request(target, options.method, with_credentials=True)

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        target, request = self._target, self._request
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with closing(self._open(target, request, deadline, progress)) as response:
                    status = response.status_code
                    if status in _REDIRECTS and status not in self._options.status:
                        target, request = self._follow(target, request, response)
                        continue
                    self._judge(response, deadline)
            except httpcore.RemoteProtocolError as error:
                raise _invalid(str(error)) from error
            except httpcore.LocalProtocolError as error:
                raise BadArgumentError("header", "", str(error)) from error
            return Healthy(status, f"HTTP status {status}")
        raise ProbeFailure(Reason.REDIRECT, f"more than {MAX_REDIRECTS} redirects", status)

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = make_context(self._options.tls, "http/1.1")
        return self._context

    def _open(
        self, target: Target, request: httpx.Request, deadline: Deadline, progress: Progress
    ) -> httpx.Response:
        """Send the request; return the response as soon as its head is there."""
        context = self._tls_context() if target.tls else None
        stream = connect(target.endpoint, self._options, deadline, progress, context)
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=target.endpoint.port,
            target=request.url.raw_path,
        )
        network = _NetworkStream(stream)
        connection = httpcore.HTTP11Connection(url.origin, network)
        try:
            response = connection.handle_request(
                httpcore.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=cast("httpx.SyncByteStream", request.stream),
                )
            )
            _check_size(response.headers)
            network.head_is_read()
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response, connection)
        )

    def _make_request(
        self, target: Target, method: str, *, with_credentials: bool
    ) -> httpx.Request:
        # httpx would add the same Host, but not for a name that only DNS takes for a good one.
        headers = {b"Host": target.url.netloc, **_DEFAULT_HEADERS}
        auth = self._options.basic_auth or self._target.basic_auth
        if auth is not None:
            headers[b"Authorization"] = b"Basic " + b64encode(":".join(auth).encode())
        given = [(name.encode(), value.encode()) for name, value in self._options.headers]
        for name, _ in given:
            headers.pop(name.title(), None)
        return httpx.Request(
            method,
            target.url,
            headers=[
                (name, value)
                for name, value in (*headers.items(), *given)
                if with_credentials or name.lower() not in _CREDENTIALS
            ],
        )

    def _follow(
        self, target: Target, request: httpx.Request, response: httpx.Response
    ) -> tuple[Target, httpx.Request]:
        """Return where a redirect leads, if that is where we may go."""
        status = response.status_code
        location = response.headers.get("location", "")

        def refuse(why: str) -> ProbeFailure:
            return ProbeFailure(Reason.REDIRECT, f"HTTP status {status}{why}", status)

        try:
            url = target.url.join(location)
            if url.scheme not in self.SCHEMES:
                raise refuse(" to another protocol")
            new = read_target(str(url), self.SCHEMES, target.endpoint.unix_socket)
        except (BadArgumentError, httpx.InvalidURL, ValueError) as error:
            raise refuse(" to what is no URL") from error
        if not self._options.follow_redirects:
            raise refuse(f" to {new.label}, and redirects are not followed")
        if new.endpoint.host.lower() != target.endpoint.host.lower():
            raise refuse(f" to another host: {new.label}")
        if target.tls and not new.tls:
            raise refuse(f" to another protocol: {new.label}")
        method = request.method
        if (status == httpx.codes.SEE_OTHER and method != "HEAD") or (
            status in (httpx.codes.MOVED_PERMANENTLY, httpx.codes.FOUND) and method == "POST"
        ):
            method = "GET"  # RFC 9110, section 15.4
        same_origin = (new.scheme, new.endpoint) == (target.scheme, target.endpoint)
        return new, self._make_request(
            new, method, with_credentials=same_origin and _has_credentials(request)
        )

    def _judge(self, response: httpx.Response, deadline: Deadline) -> None:
        options = self._options
        status = response.status_code
        if status not in options.status:
            raise UnexpectedAnswer(
                Reason.UNEXPECTED_STATUS,
                f"HTTP status {status}, expected {options.status.text}",
                status,
            )
        for name, value in options.expect_header:
            if value not in response.headers.get_list(name):
                raise UnexpectedAnswer(
                    Reason.UNEXPECTED_HEADER, f"no header {name} with the expected value", status
                )
        body = _read_body(response, deadline)
        for text in options.expect_body:
            if text.encode() not in body:
                raise _unexpected_body(f"no {text!r} in the body", status)
        if options.expect_json:
            try:
                value = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise _unexpected_body("the body is not JSON", status) from error
            for path, expected in options.expect_json:
                if not matches_json(value, path, expected):
                    shown = expected if isinstance(expected, str) else json.dumps(expected)
                    raise _unexpected_body(f"{path} is not {shown} in the JSON body", status)


class _NetworkStream(httpcore.NetworkStream):
    """A `Stream` as httpcore wants it. The time-outs are the stream's own."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._head_bytes: float = _MAX_HEAD_BYTES

    def head_is_read(self) -> None:
        """Lift the limit that holds until the response's head is there."""
        self._head_bytes = math.inf

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._head_bytes <= 0:
            raise _invalid("the response does not come to the end of its headers")
        data = self._stream.read(int(min(max_bytes, self._head_bytes)))
        self._head_bytes -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> None:
        return None


class _Body(httpx.SyncByteStream):
    """The body of a response, and the connection that ends with it."""

    def __init__(self, response: httpcore.Response, connection: httpcore.HTTP11Connection) -> None:
        self._response = response
        self._connection = connection

    def __iter__(self) -> Iterator[bytes]:
        return iter(cast("httpx.SyncByteStream", self._response.stream))

    def close(self) -> None:
        self._connection.close()


def _read_body(response: httpx.Response, deadline: Deadline) -> bytes:
    """Return the body, decoded; one longer than `MAX_BODY_BYTES` is an invalid response."""
    # httpx would decode without a bound: a few kilobytes of gzip can hold a gigabyte.
    encoding = response.headers.get("content-encoding", "").strip().lower()
    decoder = None
    if encoding in ("gzip", "x-gzip", "deflate"):
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    body = bytearray()
    received = 0
    for chunk in response.iter_raw():
        deadline.remaining()  # one read may bring ten thousand chunks
        received += len(chunk)
        room = MAX_BODY_BYTES + 1 - len(body)
        try:
            body += decoder.decompress(chunk, room) if decoder else chunk
        except zlib.error as error:
            raise _invalid(f"the body is not {encoding}") from error
        if max(len(body), received) > MAX_BODY_BYTES:
            raise _invalid(f"the body is longer than {MAX_BODY_BYTES} bytes")
    if decoder and received and not decoder.eof:
        raise _invalid(f"the {encoding} body is cut off")
    return bytes(body)


def _check_size(headers: Sequence[tuple[bytes, bytes]]) -> None:
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise _invalid("the response has too many or too long headers")


def _has_credentials(request: httpx.Request) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.headers.raw)


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)


def _unexpected_body(message: str, status: int) -> UnexpectedAnswer:
    return UnexpectedAnswer(Reason.UNEXPECTED_BODY, message, status)
