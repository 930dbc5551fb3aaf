"""One request over HTTP/2 (RFC 9113), on a connection of its own. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from healthchecker._protocols.h2_connection import ClientConnection, Data, End, Event, Response
from healthchecker._protocols.h2_fields import is_connection_specific
from healthchecker._protocols.http.messages import (
    CLOSED_IN_BODY,
    CLOSED_IN_HEAD,
    Fields,
    Head,
    checked_head,
    invalid,
)

_HOST = b"host"
"""Sent as `:authority`."""


class Http2:
    """See `messages.Client`."""

    def __init__(self, request: httpx.Request) -> None:
        self._connection = ClientConnection(
            _request_fields(request), request.content, has_content=request.method != "HEAD"
        )
        self._events: Iterator[Event] = iter(())
        self._has_head = self._is_complete = False

    def bytes_to_send(self) -> bytes:
        return self._connection.bytes_to_send()

    def feed(self, data: bytes) -> None:
        if not data:
            raise invalid(CLOSED_IN_BODY if self._has_head else CLOSED_IN_HEAD)
        self._connection.feed(data)

    def read_head(self) -> Head | None:
        while (event := self._next_event()) is not None:
            if isinstance(event, Response):
                self._has_head = True
                status = int(dict(event.fields)[b":status"])
                return checked_head(
                    status, [one for one in event.fields if not one[0].startswith(b":")]
                )
        return None

    def read_body(self) -> bytes | None:
        while not self._is_complete and (event := self._next_event()) is not None:
            if isinstance(event, Data) and event.data:
                return event.data
            self._is_complete = isinstance(event, End)
        return b"" if self._is_complete else None

    def _next_event(self) -> Event | None:
        event = next(self._events, None)
        if event is None:
            self._events = self._connection.events()
            event = next(self._events, None)
        return event


def _request_fields(request: httpx.Request) -> Fields:
    fields = [(name.lower(), value.strip()) for name, value in request.headers.raw]
    authority = [(b":authority", value) for name, value in fields if name == _HOST and value]
    return [
        (b":method", request.method.encode("ascii")),
        (b":scheme", request.url.raw_scheme),
        *authority,
        (b":path", request.url.raw_path),
        *(field for field in fields if field[0] != _HOST and not is_connection_specific(*field)),
    ]
