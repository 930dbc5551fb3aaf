"""TLS clients, for every protocol over TLS. A plain check uses nothing of this."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from io import FileIO
from typing import Any

from healthchecker._net.deadline import Deadline
from healthchecker._net.issuers import LeftOut, bundled_file, can_leave_out
from healthchecker._net.stream import Stream, demand_resources, os_message
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._values.result import BadArgumentError, Phase, ProbeFailure, Reason
from healthchecker._values.target import certified_name
from healthchecker._values.tls_options import TlsOptions

# The CA certificates of distributions: the lists of Go's crypto/x509.
_SYSTEM_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""The file name of a certificate that OpenSSL looks up without reading the others."""

_OPTIONS: Any = vars(ssl.SSLContext.__base__)["options"]
"""An integer. `SSLContext.options` makes a member of an enum of each new combination."""
_NO_RX_CERTIFICATE_COMPRESSION = 1 << 33
"""OpenSSL's, which the module `ssl` does not name. Older versions than 3.2 do not compress."""

_MANY_BYTES = range(16 * 1024, 512 * 1024)
"""The size of a file of which most certificates are decoded only when needed."""

_MOMENT = 0.5
"""How many seconds the constructor waits for the files that the caller named."""


class TlsClient:
    """TLS client configuration: trusted CA certificates and the client certificate. One per target.

    Trusts `cacert` if given; otherwise what SSL_CERT_FILE and SSL_CERT_DIR name; otherwise the
    system's store; otherwise the bundled CA certificates. Each certificate in a store is trusted by
    itself, also an intermediate or the server's own. In a directory OpenSSL looks up the one that
    it needs. A large file takes longer than the rest of a check if every certificate is decoded, so
    most are left out until one is needed (see `LeftOut`), and after a directory it is
    loaded only if that was not enough (see `trust_more`).

    All files are read within a deadline, whatever their file system does.
    """

    def __init__(self, options: TlsOptions, alpn_protocol: str | None = None) -> None:
        """Read the files that `options` name; one that cannot be used is a `BadArgumentError`.

        If they cannot be read in a moment, `read_files` waits for them and raises the error.
        """
        self._options = options
        self._alpn_protocol = alpn_protocol
        self._stores: Iterator[None] | None = None
        self._left_out: LeftOut | None = None
        self._looks_up_files = False
        self._lacks_files = options.cacert is not None or options.cert is not None
        self._calls = UnboundedCalls()
        with contextlib.suppress(ProbeFailure):  # not an argument's error: the probe reports it
            self._open_files(Deadline(_MOMENT))

    def read_files(self, deadline: Deadline, enter: Callable[[Phase], None]) -> None:
        """Read the files that the options name, unless the constructor has; `enter` the phase."""
        if self._lacks_files:
            enter(Phase.TLS)
            self._open_files(deadline)

    def start(self, stream: Stream, host: str, deadline: Deadline) -> None:
        """Do the handshake with `host` on a stream.

        Raises `UnknownIssuer` if the peer may be trusted on a new connection after `trust_more`.
        """
        context = self._open_context(deadline)
        name = self._options.server_name or certified_name(host)
        try:
            stream.start_tls(context, name, self._calls, reads_files=self._looks_up_files)
        finally:
            if self._left_out is not None:
                self._left_out.raise_error()
        self._demand_lifetime(stream.certificate_end())

    def trust_more(self, deadline: Deadline) -> bool:
        """Trust the CA certificates of the next store too; return whether there was one."""
        stores = self._stores
        if stores is None:
            return False
        return self._calls.call(lambda: next(stores, stores), deadline) is not stores

    def _open_context(self, deadline: Deadline) -> ssl.SSLContext:
        self._open_files(deadline)
        if self._stores is None and not self._options.insecure and self._options.cacert is None:
            stores = self._load_stores()
            self._calls.call(lambda: next(stores, None), deadline)
            self._stores = stores
        return self._context

    def _open_files(self, deadline: Deadline) -> ssl.SSLContext:
        """Return the context, with the files that the caller named."""
        context = self._context  # made on this thread
        if self._lacks_files:
            self._calls.call(self._load_files, deadline)
            context = self._context
        return context

    def _demand_lifetime(self, end: str | None) -> None:
        """Demand that the peer's certificate ends late enough; `end` as OpenSSL prints it."""
        lifetime = self._options.cert_lifetime
        if lifetime is None or end is None:
            return
        moment = _read_time(end)
        if moment < datetime.now(UTC) + timedelta(seconds=lifetime):
            problem = f"the certificate expires at {moment:%Y-%m-%d %H:%M} UTC"
            raise ProbeFailure(Reason.CERTIFICATE_EXPIRES, f"{problem}, sooner than required")

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return _make_context(self._options, self._alpn_protocol)

    def _load_files(self) -> None:
        """Load the files that the caller named, unless a call that took long has done so."""
        options = self._options
        if not self._lacks_files:
            return
        if options.cacert is not None:
            _readable("cacert", options.cacert)
            try:
                self._load_file(options.cacert)
            except (OSError, ValueError) as error:
                problem = "must be a file of PEM certificates"
                raise BadArgumentError("cacert", options.cacert, problem) from error
        if options.cert is not None:
            _readable("cert", options.cert)
            if options.key is not None:
                _readable("key", options.key)
            try:
                self._context.load_cert_chain(options.cert, options.key, password=_no_password)
            except (OSError, ValueError) as error:
                problem = "must be a PEM certificate with its matching, unencrypted private key"
                raise BadArgumentError("cert", options.cert, problem) from error
        self._lacks_files = False

    def _load_stores(self) -> Iterator[None]:
        """Load one store at each step."""
        file, directories = _named_by_environment()
        named = bool(file or directories)
        places = directories if named else _SYSTEM_DIRECTORIES
        directories = [one for one in places if _is_hashed(one)]
        if directories:
            self._context.load_verify_locations(capath=os.pathsep.join(directories))
            self._looks_up_files = True
            yield
        if file:
            try:
                self._load_file(file)
            except OSError as error:
                raise _unusable("SSL_CERT_FILE", file, error) from error
            yield
        if named:
            return
        for bundle in _SYSTEM_BUNDLES:
            try:
                self._load_file(bundle)
            except OSError as error:
                demand_resources(error)
                continue
            yield
            return
        if not directories:
            if not self._leaves_out(bundled_file):
                self._context.load_verify_locations(cadata=bundled_file().decode())
            yield

    def _load_file(self, name: str) -> None:
        """Trust a file of PEM certificates."""
        if not self._leaves_out(lambda: _read_many(name)):
            self._context.load_verify_locations(cafile=name)

    def _leaves_out(self, read: Callable[[], bytes]) -> bool:
        """Trust the file that `read` returns, but leave out most of it, if that can be done.

        It cannot beside a directory, in which OpenSSL would look for certificates that are left
        out, or with a client certificate, whose chain OpenSSL completes from loaded ones.
        """
        if self._looks_up_files or self._options.cert is not None or not can_leave_out:
            return False
        make_context = partial(_make_context, self._options, self._alpn_protocol)
        try:
            left_out = LeftOut(read(), make_context)
        except (IndexError, OSError, ValueError):
            return False
        try:
            left_out.trust(self._context)
        except ssl.SSLError:
            del self._context  # it may trust some of them
            return False
        self._left_out = left_out
        return True


def _make_context(options: TlsOptions, alpn_protocol: str | None) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    except ssl.SSLError as error:  # a filter of system calls denies getrandom
        lack = "memory" if ssl.RAND_status() else "random numbers from the system"
        problem = f"OpenSSL cannot start: it gets no {lack}"
        raise ProbeFailure(Reason.TLS_FAILURE, problem) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525, section 1.2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_RENEGOTIATION  # which would bring other certificates
    if ssl.OPENSSL_VERSION_INFO >= (3, 2):
        _refuse_compression(context)
    if alpn_protocol is not None:
        context.set_alpn_protocols([alpn_protocol])
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read_many(name: str) -> bytes:
    """Return the content of a file; of one that is small, large or no regular file, nothing."""
    status = os.stat(name)  # noqa: PTH116 - `Path` interns the parts of each name
    if stat.S_ISREG(status.st_mode) and status.st_size in _MANY_BYTES:
        with FileIO(name) as file:
            return file.readall()
    return b""


def _read_time(text: str) -> datetime:
    """Read a time such as `Jun  6 21:41:46 2027 GMT`, whatever the locale."""
    month, day, clock, year, _ = text.split()
    hour, minute, second = map(int, clock.split(":"))
    return datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)


def _named_by_environment() -> tuple[str, list[str]]:
    """Return the file of SSL_CERT_FILE and the directories of SSL_CERT_DIR, all readable."""
    file = os.environ.get("SSL_CERT_FILE", "")
    directories = [one for one in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if one]
    if file:
        try:
            FileIO(file).close()
        except OSError as error:
            raise _unusable("SSL_CERT_FILE", file, error) from error
    for directory in directories:
        try:
            os.scandir(directory).close()
        except OSError as error:
            raise _unusable("SSL_CERT_DIR", directory, error) from error
    return file, directories


def _unusable(variable: str, place: str, error: OSError) -> ProbeFailure:
    demand_resources(error)
    pem = isinstance(error, ssl.SSLError)
    message = "contains no PEM certificates" if pem else os_message(error)
    return ProbeFailure(Reason.TLS_FAILURE, f"{variable}: {place}: {message}")


def _is_hashed(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(_HASHED.fullmatch(entry.name) for entry in entries)
    except OSError as error:
        demand_resources(error)
        return False


def _refuse_compression(context: ssl.SSLContext) -> None:
    """Offer no compressed certificates: they would pass the limit on the size of a handshake."""
    options = _OPTIONS.__get__(context) | _NO_RX_CERTIFICATE_COMPRESSION
    with contextlib.suppress(OverflowError):  # Python 3.12 on a machine of 32 bits
        _OPTIONS.__set__(context, options)


def _readable(argument: str, name: str) -> None:
    try:
        FileIO(name).close()
    except OSError as error:
        demand_resources(error)
        raise BadArgumentError(argument, name, os_message(error)) from error
    except ValueError as error:
        raise BadArgumentError(argument, name, "not a valid file name: contains a NUL") from error


def _no_password() -> str:
    """Replace OpenSSL's interactive passphrase prompt."""
    raise ValueError("encrypted key")
