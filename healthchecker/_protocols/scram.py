"""SCRAM-SHA-256 without channel binding, the client's side (RFC 5802, RFC 7677). Pure."""

from __future__ import annotations

import hmac
import os
import unicodedata
from base64 import b64decode, b64encode
from hashlib import sha256

from healthchecker._protocols.reply import CodecError

_HASH = "sha256"
_BLOCK_BYTES = 64
_NO_BINDING = b"n,,"
_MAX_ITERATIONS = 100_000
"""The most that a server may demand: more would outlast the timeout."""


class Scram:
    """One exchange. The user name stays empty: PostgreSQL takes that of the start-up message."""

    def __init__(self, password: str, nonce: bytes | None = None) -> None:
        # In place of SASLprep, which differs from it for characters that no password should have.
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._nonce = b64encode(os.urandom(18)) if nonce is None else nonce
        self._server_signature = b""
        self.is_verified = False

    def first_message(self) -> bytes:
        """Return the client's first message."""
        return _NO_BINDING + self._first_bare()

    def final_message(self, challenge: bytes) -> bytes:
        """Return the client's final message, with the proof for the server's first one."""
        fields = _fields(challenge)
        try:
            nonce, salt, count = fields[b"r"], b64decode(fields[b"s"], validate=True), fields[b"i"]
        except (KeyError, ValueError) as error:
            raise CodecError("malformed SCRAM challenge") from error
        if not nonce.startswith(self._nonce) or not count.isdigit() or len(count) > len("100000"):
            raise CodecError("malformed SCRAM challenge")
        iterations = int(count)
        if not 0 < iterations <= _MAX_ITERATIONS:
            raise CodecError(f"SCRAM with more than {_MAX_ITERATIONS} iterations")
        salted = _salted(self._password, salt, iterations)
        final = b"c=" + b64encode(_NO_BINDING) + b",r=" + nonce
        messages = b",".join((self._first_bare(), challenge, final))
        client_key = hmac.digest(salted, b"Client Key", _HASH)
        signature = hmac.digest(sha256(client_key).digest(), messages, _HASH)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", _HASH)
        self._server_signature = hmac.digest(server_key, messages, _HASH)
        return final + b",p=" + b64encode(proof)

    def verify(self, final: bytes) -> None:
        """Verify that the server also knows the password."""
        signature = b64encode(self._server_signature)
        if not self._server_signature or _fields(final).get(b"v") != signature:
            raise CodecError("the server does not prove that it knows the password")
        self.is_verified = True

    def _first_bare(self) -> bytes:
        return b"n=,r=" + self._nonce


def _salted(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Return Hi() of RFC 5802, which is PBKDF2 with one block.

    Not hashlib's `pbkdf2_hmac`: it is OpenSSL's, and the executable's hashlib is without OpenSSL.
    """
    key = sha256(password).digest() if len(password) > _BLOCK_BYTES else password
    key = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (sha256(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C))  # RFC 2104
    block, mixed = salt + b"\0\0\0\x01", 0
    for _ in range(iterations):
        first, second = inner.copy(), outer.copy()
        first.update(block)
        second.update(first.digest())
        block = second.digest()
        mixed ^= int.from_bytes(block)
    return mixed.to_bytes(sha256().digest_size)


def _fields(message: bytes) -> dict[bytes, bytes]:
    return {field[:1]: field[2:] for field in message.split(b",")}
