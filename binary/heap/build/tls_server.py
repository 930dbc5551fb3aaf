"""An HTTPS server for the build: the interpreter of the build is a TLS client only.

tls_server.py CERTIFICATE VERSION prints its port. VERSION is the only one of TLS.
"""

import socket
import ssl
import sys
from contextlib import suppress

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def main(certificate: str, version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            peer, _ = listener.accept()
            with (
                suppress(OSError),
                peer,
                context.wrap_socket(peer, server_side=True) as encrypted,
            ):
                if encrypted.recv(65536):
                    encrypted.sendall(_ANSWER)
                    encrypted.unwrap()


main(*sys.argv[1:])
