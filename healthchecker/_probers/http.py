"""The probe for http:// and https:// targets: httpx's messages, carried by httpcore's HTTP/1.1."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import ClassVar, cast

import httpcore
import httpx

from healthchecker._judge import MAX_BODY_BYTES, Body, judge_body, judge_headers, judge_status
from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream, UnannouncedEnd
from healthchecker._net.tls import TlsClient
from healthchecker._options import HTTP_OPTIONS, CheckOptions, TlsOptions, basic_authorization
from healthchecker._probers.content import ContentError, decode
from healthchecker._probers.prober import Healthy, Prober, Progress, connect
from healthchecker._result import BadArgumentError, ProbeFailure, Reason
from healthchecker._target import Scheme, Target, read_target

MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 256
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
_ZONE = re.compile(rb"%25[^\]]*")
"""The zone of an address, which means something on this machine only (RFC 6874, section 1)."""
_CREDENTIALS = (b"authorization", b"cookie", b"proxy-authorization")


class HttpProber(Prober):
    """Sends one request on a connection of its own, and judges the whole response."""

    SCHEMES: ClassVar = {
        "http": Scheme("http://HOST", 80, options=HTTP_OPTIONS),
        "https": Scheme("https://HOST", 443, tls=True, options=HTTP_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._tls: TlsClient | None = None
        if target.tls or options.tls != TlsOptions():
            self._tls_client()  # a file that cannot be used is told at once
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
                raise _invalid(_protocol_words(str(error))) from error
            return Healthy(status, f"HTTP status {status}")
        raise ProbeFailure(Reason.REDIRECT, f"more than {MAX_REDIRECTS} redirects", status)

    def _tls_client(self) -> TlsClient:
        if self._tls is None:
            self._tls = TlsClient(self._options.tls, "http/1.1")
        return self._tls

    def _open(
        self, target: Target, request: httpx.Request, deadline: Deadline, progress: Progress
    ) -> httpx.Response:
        """Send the request; return the response as soon as its head is there."""
        tls = self._tls_client() if target.tls else None
        stream = connect(target.endpoint, self._options, deadline, progress, tls)
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
        headers = {b"Host": _ZONE.sub(b"", target.url.netloc), **_DEFAULT_HEADERS}
        auth = self._options.basic_auth or self._target.basic_auth
        if auth is not None:
            headers[b"Authorization"] = basic_authorization(auth).encode()
        given = []
        for name, value in self._options.headers:
            is_default = headers.pop(name.title().encode(), None) is not None
            if value or not is_default or name.lower() == "host":  # HTTP/1.1 needs a Host
                given.append((name.encode(), value.encode()))
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

        def refuse(why: str) -> ProbeFailure:
            return ProbeFailure(Reason.REDIRECT, f"HTTP status {status}{why}", status)

        locations = response.headers.get_list("location")
        if not any(locations):
            raise refuse(": redirect without Location")
        if len(locations) > 1:
            raise refuse(": redirect with more than one Location")
        try:
            url = target.url.join(locations[0])
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
        judge_status(options.status, status)
        if options.expect_header:
            found = {name: response.headers.get_list(name) for name in response.headers}
            judge_headers(options.expect_header, found, status)
        chunks = _chunks(response, deadline)
        if options.expect_body or options.expect_json:
            body = _read_body(chunks, response.headers.get("content-encoding", ""))
            judge_body(options.expect_body, options.expect_json, body, status)
        for _ in chunks:
            pass  # it is read to its end, which shows that it is whole


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
        try:
            data = self._stream.read(int(min(max_bytes, self._head_bytes)))
        except UnannouncedEnd:
            return b""  # h11 knows whether the response is whole
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


def _chunks(response: httpx.Response, deadline: Deadline) -> Iterator[bytes]:
    """Return the parts of the body as they are sent."""
    for chunk in response.iter_raw():
        deadline.remaining()  # one read may bring ten thousand chunks
        yield chunk


def _read_body(chunks: Iterator[bytes], coding: str) -> Body:
    """Read as much of the body as is looked at, and decode it."""
    # httpx would decode without a bound.
    received = bytearray()
    for chunk in chunks:
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            break
    is_whole = len(received) <= MAX_BODY_BYTES
    try:
        data = decode(coding, bytes(received), MAX_BODY_BYTES + 1, is_whole=is_whole)
    except ContentError as error:
        raise _invalid(str(error)) from error
    return Body(data[:MAX_BODY_BYTES], is_whole and len(data) <= MAX_BODY_BYTES)


def _check_size(headers: Sequence[tuple[bytes, bytes]]) -> None:
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise _invalid("the response has too many or too long headers")


def _has_credentials(request: httpx.Request) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.headers.raw)


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)


# What h11 and httpcore say, by how it begins, and what people are told. Theirs are words for
# programmers, with the bytes in question in them.
_PROTOCOL_WORDS = {
    "illegal status line": "it does not begin with a status line of HTTP/1",
    "no response line received": "it does not begin with a status line of HTTP/1",
    "illegal header": "it has a header line that is none",
    "continuation line at start of headers": "it has a header line that is none",
    "receive buffer too long": "its headers are too long",
    "server disconnected without sending a response": (
        "the connection was closed before the end of the headers"
    ),
    "peer unexpectedly closed connection": (
        "the connection was closed before the end of the headers"
    ),
    "bad content-length": "its Content-Length is none",
    "conflicting content-length headers": "it has more than one Content-Length",
    "multiple transfer-encoding headers": "it has more than one Transfer-Encoding",
    "only transfer-encoding: chunked is supported": "its Transfer-Encoding is not just chunked",
    "illegal chunk header": "it has a chunk that is none",
    "malformed chunk footer": "it has a chunk that is none",
    "peer closed connection without sending complete message body": (
        "the connection was closed before the end of the body"
    ),
    "received server _switch_upgrade": "it switches protocols, which nobody has asked for",
}


def _protocol_words(message: str) -> str:
    """Translate an error of h11 or httpcore about the response; the one place that does."""
    said = message.lower()
    for beginning, words in _PROTOCOL_WORDS.items():
        if said.startswith(beginning):
            return f"not a valid HTTP response: {words}"
    return "not a valid HTTP response"
