"""A real HTTP/2 server, hypercorn, with a service that reports the request in its response."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

_RESPONSES: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = {
    "/health": (200, [(b"x-state", b"fine")]),
    "/missing": (404, []),
    "/moved": (302, [(b"location", b"/health")]),
}


async def _service(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    received = b""
    more = True
    while more:
        event = await receive()
        received += event.get("body", b"")
        more = event.get("more_body", False)
    text = f"HTTP/{scope['http_version']} {scope['method']} {received.decode()}"
    status, headers = _RESPONSES[scope["path"]]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


@contextmanager
def http2_service(
    authority: trustme.CA | None = None, directory: Path | None = None, *, http1_only: bool = False
) -> Iterator[int]:
    """Run the service; the value is its port on 127.0.0.1.

    With an authority it uses TLS; the certificate file is put into `directory`.
    """
    config = Config()
    config.loglevel = "CRITICAL"
    config.graceful_timeout = 0.1
    if authority is not None and directory is not None:
        chain = directory / "chain.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
        config.certfile = config.keyfile = str(chain)
    if http1_only:
        config.alpn_protocols = ["http/1.1"]
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]  # which is closed when the server stops
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()
    serving = serve(_service, config, shutdown_trigger=stopped.wait)  # type: ignore[arg-type]
    thread = threading.Thread(target=loop.run_until_complete, args=(serving,))
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
