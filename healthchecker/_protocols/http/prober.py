"""The probe for http:// and https:// targets: one request, redirects, and what the answer says."""

from __future__ import annotations

import re
from contextlib import closing, suppress
from typing import ClassVar

import httpx

from healthchecker._net.deadline import Deadline
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.http.decoding import ContentError, decode
from healthchecker._protocols.http.exchange import ALPN_HTTP1, ALPN_HTTP2, exchange, stream_of
from healthchecker._values.expect.body import MAX_BODY_BYTES, Body, BodyExpectations, judge_body
from healthchecker._values.expect.header import judge_headers
from healthchecker._values.expect.status import judge_status
from healthchecker._values.options import CheckOptions, basic_authorization
from healthchecker._values.result import BadArgumentError, ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Scheme, Target, read_target
from healthchecker._values.tls_options import NO_TLS

MAX_REDIRECTS = 5

_OPTIONS = frozenset(
    {
        *("method", "data", "http2", "headers", "basic_auth", "follow_redirects"),
        *("status", "expect_json", "expect_body", "match_body", "expect_header"),
    }
)

_EXCERPT_BYTES = 200
_EXCERPT_SECONDS = 0.1
"""How long a verdict that is known waits for the body that goes with it."""
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_HEADERS = {
    b"User-Agent": b"healthchecker",
    b"Accept": b"*/*",
    b"Accept-Encoding": b"identity",
    b"Connection": b"close",
}
_ZONE = re.compile(rb"%25[^\]]*")
"""The zone of an address, which means something on this machine only (RFC 6874, section 1)."""
_FORM = b"application/x-www-form-urlencoded"
_CREDENTIALS = (b"authorization", b"cookie", b"proxy-authorization")


class HttpProber(Prober):
    """Sends one request on a connection of its own, and judges the whole response."""

    SCHEMES: ClassVar = {
        "http": Scheme("http://HOST", 80, options=_OPTIONS),
        "https": Scheme("https://HOST", 443, tls=True, options=_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._expected_body = BodyExpectations(
            options.expect_body, options.match_body, options.expect_json
        )
        self._tls: TlsClient | None = None
        if target.tls or options.tls != NO_TLS:
            self._tls_client()  # a file that cannot be used is told at once
        self._request = self._make_request(
            target, options.method, options.data, with_credentials=True
        )

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        target, request = self._target, self._request
        for _ in range(MAX_REDIRECTS + 1):
            with closing(self._open(target, request, deadline, progress)) as response:
                status = response.status_code
                if status in _REDIRECTS and status not in self._options.status:
                    target, request = self._follow(target, request, response)
                    continue
                self._judge(response, deadline)
            return Healthy(status, f"HTTP status {status}")
        raise ProbeFailure(Reason.REDIRECT, f"more than {MAX_REDIRECTS} redirects", status)

    def _tls_client(self) -> TlsClient:
        if self._tls is None:
            protocol = ALPN_HTTP2 if self._options.http2 else ALPN_HTTP1
            self._tls = TlsClient(self._options.tls, protocol)
        return self._tls

    def _open(
        self, target: Target, request: httpx.Request, deadline: Deadline, progress: Progress
    ) -> httpx.Response:
        """Send the request; return the response as soon as its head is there."""
        tls = self._tls_client() if target.tls else None
        stream = connect(target.endpoint, self._options, deadline, progress, tls)
        return exchange(stream, request, target.endpoint.port, http2=self._options.http2)

    def _make_request(
        self, target: Target, method: str, data: bytes | None, *, with_credentials: bool
    ) -> httpx.Request:
        # httpx would add the same Host, but not for a name that only DNS takes for a good one.
        headers = {b"Host": _ZONE.sub(b"", target.url.netloc), **_DEFAULT_HEADERS}
        if data is not None:
            headers[b"Content-Type"] = _FORM  # as curl and wget have it
            headers[b"Content-Length"] = str(len(data)).encode()
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
            content=data,
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
        method, data = request.method, self._options.data
        if (status == httpx.codes.SEE_OTHER and method != "HEAD") or (
            status in (httpx.codes.MOVED_PERMANENTLY, httpx.codes.FOUND) and method == "POST"
        ):
            method, data = "GET", None  # RFC 9110, section 15.4
        same_origin = (new.scheme, new.endpoint) == (target.scheme, target.endpoint)
        return new, self._make_request(
            new,
            method,
            data if request.content else None,
            with_credentials=same_origin and _has_credentials(request),
        )

    def _judge(self, response: httpx.Response, deadline: Deadline) -> None:
        options = self._options
        status = response.status_code
        content = _Content(response, deadline)
        try:
            judge_status(options.status, status)
            if options.expect_header:
                found = {name: response.headers.get_list(name) for name in response.headers}
                judge_headers(options.expect_header, found, status)
            if self._expected_body:
                judge_body(self._expected_body, content.body(), status, deadline.remaining)
        except UnexpectedResponse as answer:
            answer.excerpt = content.excerpt()
            raise
        content.read_to_end()


class _Content:
    """The body of a response, of which no more is read than is asked for."""

    def __init__(self, response: httpx.Response, deadline: Deadline) -> None:
        self._response = response
        self._deadline = deadline
        self._chunks = response.iter_raw()  # httpx would decode without a bound
        self._received = bytearray()

    def body(self) -> Body:
        """Return as much of the body as is looked at, decoded."""
        self._receive(MAX_BODY_BYTES)
        is_whole = len(self._received) <= MAX_BODY_BYTES
        try:
            data = self._decoded(MAX_BODY_BYTES + 1, is_whole=is_whole)
        except ContentError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        return Body(data[:MAX_BODY_BYTES], is_whole and len(data) <= MAX_BODY_BYTES)

    def excerpt(self) -> str:
        """Return the start of the body, as far as it can be had without much ado."""
        stream_of(self._response).extend(self._deadline.tightened(_EXCERPT_SECONDS))
        with suppress(ProbeFailure):
            self._receive(_EXCERPT_BYTES)
        try:
            data = self._decoded(_EXCERPT_BYTES, is_whole=False)
        except ContentError:
            return ""
        return data.decode("utf-8", "replace")

    def read_to_end(self) -> None:
        """Read what is left of the body, however long: its end shows that it is whole."""
        for _ in self._chunks:
            self._deadline.remaining()  # one read may bring ten thousand chunks

    def _receive(self, size: int) -> None:
        """Read on until more than `size` bytes are there, or all of them."""
        while len(self._received) <= size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._deadline.remaining()
            self._received += chunk

    def _decoded(self, max_size: int, *, is_whole: bool) -> bytes:
        coding = self._response.headers.get("content-encoding", "")
        return decode(coding, bytes(self._received), max_size, is_whole=is_whole)


def _has_credentials(request: httpx.Request) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.headers.raw)
