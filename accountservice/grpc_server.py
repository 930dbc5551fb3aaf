"""The gRPC side: accounts, and the service's health as grpc.health.v1."""

from __future__ import annotations

import socket
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as grpc_health

from accountservice.database import TIMEOUT, Database, DatabaseError
from accountservice.health import Health
from accountservice.proto import account_pb2, account_pb2_grpc

SERVICE = "accountservice.v1.AccountService"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcServer:
    """AccountService and Health on one port."""

    def __init__(self, host: str, port: int, database: Database, health: Health) -> None:
        """Bind the port, 0 being a free one. Raises OSError."""
        # Without SO_REUSEPORT a second process on the same port fails, as it should.
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        name = f"[{host}]" if ":" in host else host
        try:
            port = self._server.add_insecure_port(f"{name}:{port}")
        except RuntimeError:
            raise OSError(f"cannot bind gRPC port {port} on {host}") from None
        self.address = f"{name}:{port}"
        self._health = health
        self._health_service = _HealthService()
        health_pb2_grpc.add_HealthServicer_to_server(self._health_service, self._server)
        accounts = _AccountService(database, served_by=f"{socket.gethostname()}:{port}")
        account_pb2_grpc.add_AccountServiceServicer_to_server(  # type: ignore[no-untyped-call]
            accounts, self._server
        )

    async def serve(self) -> None:
        """Serve calls, and publish every change of health. Never returns."""
        await self._publish(serving=False)  # grpc_health would begin with "" as SERVING
        await self._server.start()
        async for serving in self._health.states():
            await self._publish(serving=serving)

    async def stop(self) -> None:
        """Refuse new calls, let running ones finish, and end the watches, which would not."""
        await self._server.stop(grace=TIMEOUT)

    async def _publish(self, *, serving: bool) -> None:
        for service in ("", SERVICE):
            await self._health_service.set(service, _SERVING if serving else _NOT_SERVING)


class _HealthService(grpc_health.HealthServicer):
    """The service of grpc_health, plus the RPC `List`, which it lacks."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses: dict[str, Any] = {}

    async def set(self, service: str, status: Any) -> None:
        self._statuses[service] = status
        await super().set(service, status)

    async def List(  # noqa: N802 - the name in health.proto
        self, _request: Any, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        response = health_pb2.HealthListResponse()  # type: ignore[attr-defined]
        for service, status in self._statuses.items():
            response.statuses[service].status = status
        return response


class _AccountService(account_pb2_grpc.AccountServiceServicer):
    def __init__(self, database: Database, served_by: str) -> None:
        self._database = database
        self._served_by = served_by

    async def GetAccount(  # noqa: N802 - the name in account.proto
        self,
        request: account_pb2.GetAccountRequest,
        context: grpc.aio.ServicerContext[
            account_pb2.GetAccountRequest, account_pb2.GetAccountResponse
        ],
    ) -> account_pb2.GetAccountResponse:
        try:
            account = await self._database.account(request.account_id)
        except DatabaseError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "database inaccessible")
        if account is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such account")
        return account_pb2.GetAccountResponse(
            id=account.id, name=account.name, served_by=self._served_by
        )
