"""The protocols that can be asked. A new one is a module beside this and a name in `_PROBERS`."""

from __future__ import annotations

from collections.abc import Sequence

from healthchecker._protocols.amqp import AmqpProber
from healthchecker._protocols.base import Prober
from healthchecker._protocols.file import FileProber
from healthchecker._protocols.grpc.check import GrpcProber
from healthchecker._protocols.http.prober import HttpProber
from healthchecker._protocols.mysql import MysqlProber
from healthchecker._protocols.pid import PidProber
from healthchecker._protocols.postgresql import PostgresqlProber
from healthchecker._protocols.redis import RedisProber
from healthchecker._protocols.tcp import TcpProber
from healthchecker._values.options import CheckOptions, options_for, usable_options
from healthchecker._values.target import Target, read_target

_PROBERS: tuple[type[Prober], ...] = (
    HttpProber,
    TcpProber,
    GrpcProber,
    PostgresqlProber,
    MysqlProber,
    RedisProber,
    AmqpProber,
    FileProber,
    PidProber,
)

_PROBER_BY_SCHEME = {scheme: prober for prober in _PROBERS for scheme in prober.SCHEMES}
SCHEMES = {name: scheme for prober in _PROBERS for name, scheme in prober.SCHEMES.items()}


def parse_target(text: str, unix_socket: str | None = None) -> Target:
    """Read a TARGET; raise `BadArgumentError` when it is none."""
    return read_target(text, SCHEMES, unix_socket)


def make_probers(targets: Sequence[Target], options: CheckOptions) -> list[Prober]:
    """Return the probers for targets that are checked together.

    Options that none of them can use are a `BadArgumentError`.
    """
    return [
        _PROBER_BY_SCHEME[target.scheme](target, own)
        for target, own in zip(targets, distribute_options(targets, options), strict=True)
    ]


def make_prober(target: Target, options: CheckOptions) -> Prober:
    """Return the prober for one target, as `make_probers`."""
    return make_probers([target], options)[0]


def distribute_options(targets: Sequence[Target], options: CheckOptions) -> list[CheckOptions]:
    """Return for each target those of the options that it can use, as `make_probers`."""
    usable = {
        target.scheme: usable_options(
            SCHEMES[target.scheme], follow_redirects=options.follow_redirects
        )
        for target in targets
    }
    return [options_for(target.scheme, usable, options) for target in targets]
