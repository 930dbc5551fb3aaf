"""The supported protocols. A new one is a module beside this, and its class in `_PROBERS`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from healthchecker._protocols.amqp import AmqpProber
from healthchecker._protocols.base import Prober
from healthchecker._protocols.cassandra import CassandraProber
from healthchecker._protocols.dns import DnsProber
from healthchecker._protocols.fastcgi import FastcgiProber
from healthchecker._protocols.file import FileProber
from healthchecker._protocols.grpc.check import GrpcProber
from healthchecker._protocols.http.prober import HttpProber
from healthchecker._protocols.kafka import KafkaProber
from healthchecker._protocols.ldap import LdapProber
from healthchecker._protocols.mongodb import MongodbProber
from healthchecker._protocols.mqtt import MqttProber
from healthchecker._protocols.mssql import MssqlProber
from healthchecker._protocols.mysql import MysqlProber
from healthchecker._protocols.nats import NatsProber
from healthchecker._protocols.pid import PidProber
from healthchecker._protocols.postgresql import PostgresqlProber
from healthchecker._protocols.redis import RedisProber
from healthchecker._protocols.tcp import TcpProber
from healthchecker._protocols.text import TextProber
from healthchecker._protocols.udp import UdpProber
from healthchecker._protocols.websocket import WebSocketProber
from healthchecker._values.options import (
    FOR_EVERY_TARGET,
    TLS_OPTIONS,
    CheckOptions,
    given_options,
    without,
)
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import (
    Scheme,
    Target,
    local_url,
    read_target,
    refuse_unescaped_password,
    trimmed,
)

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
    TextProber,
    DnsProber,
    UdpProber,
    LdapProber,
    FastcgiProber,
    WebSocketProber,
    MongodbProber,
    KafkaProber,
    MqttProber,
    NatsProber,
    CassandraProber,
    MssqlProber,
)

_PROBER_BY_SCHEME = {scheme: prober for prober in _PROBERS for scheme in prober.SCHEMES}
SCHEMES = {name: scheme for prober in _PROBERS for name, scheme in prober.SCHEMES.items()}


def parse_target(text: str, unix_socket: str | None = None) -> Target:
    """Parse a TARGET as people write it; raise `BadArgumentError` if it is malformed."""
    text = trimmed(text)
    refuse_unescaped_password(text, SCHEMES)
    return read_target(text, SCHEMES, unix_socket)


def local_target(host: str, port: int, path: str, unix_socket: str | None = None) -> Target:
    """Return the target of `--host`, `--port` and `--path`."""
    return read_target(local_url(host, port, path), SCHEMES, unix_socket)


LEADS_TO_TLS = ("follow_redirects", "starttls")
"""Options with which TLS options also apply to targets that do not begin with TLS."""


def applies(option: str, schemes: Iterable[Scheme], given: Collection[str]) -> bool:
    """Return whether targets of one of the schemes can use an option, beside those `given`."""
    return any(_takes(scheme, option, given) for scheme in schemes)


def _takes(scheme: Scheme, option: str, given: Collection[str]) -> bool:
    if option == "unix_socket":
        return scheme.over_unix_socket
    if option in FOR_EVERY_TARGET or option in scheme.options:
        return True
    return option in TLS_OPTIONS and (
        scheme.tls or any(one in given and one in scheme.options for one in LEADS_TO_TLS)
    )


def not_applicable(option: str, scheme: str) -> BadArgumentError:
    """Return the error for an option that does not apply to a target of this scheme."""
    if option in TLS_OPTIONS and "starttls" in SCHEMES[scheme].options:
        return BadArgumentError(option, f"{scheme}://", "also needs starttls= here")
    return BadArgumentError(option, f"{scheme}://", f"only applies to {targets_with(option)}")


def targets_with(option: str) -> str:
    """Return the targets that an option applies to, as text."""
    if option in TLS_OPTIONS:
        return "TLS targets, such as https://"
    names = [name for name, scheme in SCHEMES.items() if _takes(scheme, option, ())]
    spelled = [
        f"{name}[s]://" if f"{name}s" in names else f"{name}:" if name == "unix" else f"{name}://"
        for name in names
        if not (name.endswith("s") and name[:-1] in names)
    ]
    *most, last = spelled or ["no"]
    return f"{', '.join(most)} and {last} targets" if most else f"{last} targets"


def make_probers(targets: Sequence[Target], options: CheckOptions) -> list[Prober]:
    """Return the probers of targets that are checked together.

    An option that none of them can use is a `BadArgumentError`.
    """

    def make(target: Target, own: CheckOptions) -> Prober:
        return _PROBER_BY_SCHEME[target.scheme](target, own)

    return list(map(make, targets, distribute_options(targets, options)))


def make_prober(target: Target, options: CheckOptions) -> Prober:
    """Return the prober of one target; raises like `make_probers`."""
    return make_probers([target], options)[0]


def distribute_options(targets: Sequence[Target], options: CheckOptions) -> list[CheckOptions]:
    """Return for each target those of the options that it can use.

    An option that none of them can use is rejected, because users would assume it is enforced.
    """
    given = given_options(options)
    if not given:  # as for most checks
        return [options] * len(targets)
    schemes = {target.scheme: SCHEMES[target.scheme] for target in targets}
    for name in sorted(given):
        # `read_target` has refused a Unix socket where it cannot be used.
        if name != "unix_socket" and schemes and not applies(name, schemes.values(), given):
            raise not_applicable(name, next(iter(schemes)))
    own = {
        name: without(options, [one for one in given if not _takes(scheme, one, given)])
        for name, scheme in schemes.items()
    }
    return [own[target.scheme] for target in targets]
