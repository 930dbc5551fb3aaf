"""Loads OpenSSL without its configuration: the program's entry imports this first.

The file of OPENSSL_CONF, or that of the image, could disable what TLS needs, load code into the
program or, if it is a pipe, block it forever; it is read when `ssl` or `hashlib` is first imported.
The executables are built with an OpenSSL that reads no such file. As a library we leave OpenSSL to
the program that imports us.
"""

import os
import sys

_VARIABLE = "OPENSSL_CONF"
_before = os.environ.get(_VARIABLE)
os.environ[_VARIABLE] = ""  # no file has this name, also if there is no /dev/null

import ssl  # noqa: E402 - what all of this is for

if not hasattr(sys, "frozen"):  # an executable, whose saved heap may not have random numbers
    ssl.RAND_status()  # the first use, at which OpenSSL 3.5 reads what 3.0 reads when it is loaded

if _before is None:
    del os.environ[_VARIABLE]
else:
    os.environ[_VARIABLE] = _before  # for the command that `wait` may execute
