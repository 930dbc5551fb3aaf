"""A program that uses the whole library, for type checkers only."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Unpack

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from healthchecker import (
    AsyncWatch,
    BadArgumentError,
    CheckOutcome,
    CheckResult,
    HealthReport,
    HealthServer,
    HealthState,
    Heartbeat,
    Observation,
    OptionValues,
    Phase,
    Reason,
    ServerCheck,
    ServerStartError,
    UnhealthyError,
    Watch,
    __version__,
    acheck,
    acheck_all,
    awatch,
    check,
    check_all,
    watch,
)


def passing_on(target: str, **options: Unpack[OptionValues]) -> bool:
    one = check(target, expect_json="replicas>=2")
    return bool(one and check(target, **options))


def in_threads() -> tuple[Reason, Phase | None, list[CheckResult], str]:
    result: CheckResult = check(
        "https://localhost/health",
        timeout=1,
        connect_timeout=0.5,
        method="POST",
        headers={"Host": "a"},
        basic_auth=("user", "password"),
        status=[200, "3xx"],
        expect_json={"checks.db": True, "n": 3, "text": "UP"},
        expect_body=["UP"],
        expect_header=[("X-State", "fine")],
        cacert=Path("ca.pem"),
        unix_socket=Path("service.sock"),
    )
    results: list[CheckResult] = check_all([httpx.URL("http://localhost"), "tcp://localhost:1"])
    try:
        result.raise_for_unhealthy()
    except UnhealthyError as error:
        result = error.result
    except BadArgumentError as error:
        raise ValueError(error.argument) from error
    return result.reason, result.phase, results, __version__


def in_a_loop() -> bool:
    heartbeat = Heartbeat(Path("/dev/shm/beat"))
    reports: Watch = watch(
        "http://localhost", interval=1, timeout=0.5, every_probe=True, status="2xx"
    )
    with reports:
        for report in reports:
            heartbeat.beat()
            observation: Observation = report
            if not observation:
                return observation.result.healthy
    return True


async def in_asyncio() -> list[CheckResult]:
    results = [await acheck("http://localhost"), *await acheck_all(["tcp://localhost:1"])]
    watching: AsyncWatch = awatch("http://localhost")
    async with watching as reports:
        return results + [report.result async for report in reports]


async def ping() -> bool:
    return True


def changed(report: HealthReport) -> dict[str, str]:
    outcomes: list[CheckOutcome] = list(report.checks.values())
    assert all(one.critical or one.elapsed for one in outcomes)
    return {name: one.detail for name, one in report.checks.items()}


def mounted() -> tuple[Starlette, list[bytes]]:
    server = HealthServer()

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None: ...

    body = server.wsgi({"REQUEST_METHOD": "GET"}, start_response)
    return Starlette(routes=[Mount("/internal", app=server.app)]), list(body)


async def outcomes(server: HealthServer) -> dict[str, object]:
    return (await server.aresults()).to_dict() | check("tcp://localhost:1").to_dict()


def serve() -> int:
    server = HealthServer(
        8080,
        checks={
            "target": "tcp://localhost:1",
            "function": lambda: None,
            "coroutine": ping,
            "limited": ServerCheck(ping, timeout=0.5),
            "options": ServerCheck("http://localhost", status=204, critical=False),
        },
        liveness={"loop": ping},
        unix_socket=Path("health.sock"),
        drain=5,
        details=False,
        response_format="health+json",
        on_change=changed,
        log=logging.getLogger("program"),
    )
    try:
        with server as running:
            running.ready()
            running.drain_on_sigterm(seconds=1)
            if running.results().state is HealthState.DEGRADED:
                running.drain()
            return running.port
    except ServerStartError as error:
        return error.errno or 0
