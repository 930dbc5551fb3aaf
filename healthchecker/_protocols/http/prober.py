"""The prober for http:// and https:// targets: the request, redirects, and the expectations."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import ClassVar, cast

import httpx

from healthchecker._net.deadline import Deadline
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Healthy, Prober, Progress, connect
from healthchecker._protocols.http.decoding import ContentError, Decoded, decode
from healthchecker._protocols.http.exchange import exchange, stream_of
from healthchecker._protocols.http.messages import ALPN_HTTP1, ALPN_HTTP2
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
        "proxy_protocol",
        *("status", "expect_json", "expect_body", "match_body", "expect_header"),
    }
)

_EXCERPT_BYTES = 200
_EXCERPT_SECONDS = 0.1
"""How long to wait for the body excerpt once the verdict is known."""
_MAX_CODING_SHOWN = 40
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_HEADERS = {
    b"User-Agent": b"healthchecker",
    b"Accept": b"*/*",
    b"Accept-Encoding": b"identity",
    b"Connection": b"close",
}
_ZONE = re.compile(rb"%25[^\]]*")
"""The zone of an address, which has a meaning on this machine only (RFC 6874, section 1)."""
_WITH_LENGTH = ("POST", "PUT", "PATCH")  # also without content: RFC 9110, section 8.6
_FORM_TYPE = b"application/x-www-form-urlencoded"
_CREDENTIALS = (b"authorization", b"cookie", b"proxy-authorization")


class HttpProber(Prober):
    """Sends one request on a connection of its own, and judges the complete response."""

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
            self._tls_client()  # an unusable file is reported immediately
        self._request = self._make_request(
            target, options.method, options.data, with_credentials=True
        )

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        target, request = self._target, self._request
        if self._tls is not None and target.tls:  # a redirect to https waits as well
            self._tls.read_files(deadline, progress.enter)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._open(target, request, deadline, progress)
            with stream_of(response):
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
        """Send the request; return the response as soon as its head has arrived."""
        tls = self._tls_client() if target.tls else None
        stream = connect(target.endpoint, self._options, deadline, progress, tls)
        return exchange(stream, request, http2=self._options.http2)

    def _make_request(
        self, target: Target, method: str, data: bytes | None, *, with_credentials: bool
    ) -> httpx.Request:
        host = target.url.netloc
        # httpx would add the same Host header, but rejects some names that DNS accepts.
        headers = {b"Host": _ZONE.sub(b"", host) if b"%" in host else host, **_DEFAULT_HEADERS}
        if data is not None:
            headers[b"Content-Type"] = _FORM_TYPE  # like curl and wget
            headers[b"Content-Length"] = str(len(data)).encode()
        elif method in _WITH_LENGTH:
            headers[b"Content-Length"] = b"0"
        auth = self._options.basic_auth or self._target.basic_auth
        if auth is not None:
            headers[b"Authorization"] = basic_authorization(auth).encode()
        given = []
        for name, value in self._options.headers:
            is_default = headers.pop(name.title().encode(), None) is not None
            if value or not is_default or name.lower() == "host":  # HTTP/1.1 needs a Host
                given.append((name.encode(), value.encode()))
        request = httpx.Request(
            method,
            target.url,
            # With `content`, httpx looks for headers to add: 5 % of a check's instructions.
            stream=httpx.ByteStream(data or b""),
            headers=[
                (name, value)
                for name, value in (*headers.items(), *given)
                if with_credentials or name.lower() not in _CREDENTIALS
            ],
        )
        request.read()
        return request

    def _follow(
        self, target: Target, request: httpx.Request, response: httpx.Response
    ) -> tuple[Target, httpx.Request]:
        """Return the target of a redirect and the request for it, if it may be followed."""
        status = response.status_code

        def refuse(why: str) -> ProbeFailure:
            return ProbeFailure(Reason.REDIRECT, f"HTTP status {status}: {why}", status)

        locations = response.headers.get_list("location")
        if not any(locations):
            raise refuse("redirect without Location")
        if len(locations) > 1:
            raise refuse("redirect with more than one Location")
        try:
            url = self._with_our_host(target, target.url.join(locations[0]))
            if url.scheme not in self.SCHEMES:
                raise refuse("redirect to another protocol")
            new = read_target(str(url), self.SCHEMES, target.endpoint.unix_socket)
        except (BadArgumentError, httpx.InvalidURL, ValueError) as error:
            raise refuse("redirect to an invalid URL") from error
        if not self._options.follow_redirects:
            raise refuse(f"redirect to {new.label} (not followed; see --follow-redirects)")
        if new.endpoint.host.lower() != target.endpoint.host.lower():
            raise refuse(f"redirect to another host: {new.label}")
        if target.tls and not new.tls:
            raise refuse(f"redirect to another protocol: {new.label}")
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

    def _with_our_host(self, target: Target, url: httpx.URL) -> httpx.URL:
        """Return the URL of a redirect with the target's host for the one that `Host` names.

        The peer knows its own name only; if that is in the URL, the request goes to the same peer,
        and to the same port unless the URL has another one than `Host`.
        """
        for name, value in self._options.headers:
            if name.lower() == "host" and value:
                named = _url_or_none(f"{target.scheme}://{value}")
                if named is not None and url.host == named.host:
                    same = (url.scheme, url.port) == (named.scheme, named.port)
                    port = target.url.port if same else url.port
                    return url.copy_with(host=target.url.host, port=port)
        return url

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
        except UnexpectedResponse as failure:
            if failure.reason is Reason.UNEXPECTED_BODY and content.unknown_coding:
                failure.message += f" (the body is encoded as {content.unknown_coding})"
            failure.excerpt = content.excerpt()
            raise
        content.read_to_end()


class _Content:
    """The body of a response. No more of it is read than is required."""

    unknown_coding = ""
    """The coding of a body that could not be decoded."""

    def __init__(self, response: httpx.Response, deadline: Deadline) -> None:
        self._response = response
        self._deadline = deadline
        # Not by httpx, which would decode without a bound.
        self._parts = iter(cast("httpx.SyncByteStream", response.stream))
        self._received = bytearray()

    def body(self) -> Body:
        """Return the part of the body that expectations are about, decoded."""
        self._receive(MAX_BODY_BYTES)
        is_whole = len(self._received) <= MAX_BODY_BYTES
        try:
            decoded = self._decoded(MAX_BODY_BYTES + 1, is_whole=is_whole)
        except ContentError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error
        self.unknown_coding = decoded.coding[:_MAX_CODING_SHOWN]
        data = decoded.data
        return Body(data[:MAX_BODY_BYTES], decoded.is_whole and len(data) <= MAX_BODY_BYTES)

    def excerpt(self) -> str:
        """Return the start of the body, as far as it is available quickly."""
        stream_of(self._response).extend(self._deadline.tightened(_EXCERPT_SECONDS))
        with suppress(ProbeFailure):
            self._receive(_EXCERPT_BYTES)
        try:
            data = self._decoded(_EXCERPT_BYTES, is_whole=False).data
        except ContentError:
            return ""
        return data.decode("utf-8", "replace")

    def read_to_end(self) -> None:
        """Read the rest of the body, however long: only its end shows that it is complete."""
        for _ in self._parts:
            self._deadline.remaining()  # one read may bring thousands of parts

    def _receive(self, size: int) -> None:
        """Read until there are more than `size` bytes, or the whole body."""
        while len(self._received) <= size:
            part = next(self._parts, None)
            if part is None:
                break
            self._deadline.remaining()
            self._received += part

    def _decoded(self, max_size: int, *, is_whole: bool) -> Decoded:
        coding = self._response.headers.get("content-encoding", "")
        return decode(coding, bytes(self._received), max_size, is_whole=is_whole)


def _url_or_none(text: str) -> httpx.URL | None:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return None


def _has_credentials(request: httpx.Request) -> bool:
    return any(name.lower() in _CREDENTIALS for name, _ in request.headers.raw)
