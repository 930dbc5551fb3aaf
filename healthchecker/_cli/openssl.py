"""Loads OpenSSL, without its configuration: the entry of the program imports this first.

A file that OPENSSL_CONF names, or one of the image's, could switch off what TLS needs, load code
into the program or, as a pipe, make it wait forever, and it is read when `ssl` or `hashlib` is
imported for the first time. The executables are built with an OpenSSL that has no such file. As a
library we leave OpenSSL to the program that we are part of.
"""

import os

_VARIABLE = "OPENSSL_CONF"
_before = os.environ.get(_VARIABLE)
os.environ[_VARIABLE] = ""  # the name of no file, also if there is no /dev/null

import ssl  # noqa: E402 - what all of this is for

ssl.RAND_status()  # the first use, at which OpenSSL 3.5 reads what 3.0 reads when it is loaded

if _before is None:
    del os.environ[_VARIABLE]
else:
    os.environ[_VARIABLE] = _before  # for the command that `wait` may become
