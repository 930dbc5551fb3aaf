"""SCRAM's key derivation, compared with hashlib's, which the executable does not have."""

from __future__ import annotations

from hashlib import pbkdf2_hmac

import pytest

from healthchecker._protocols.scram import _salted


@pytest.mark.parametrize("password", [b"", b"pencil", b"p" * 64, b"p" * 65, "pässword".encode()])
@pytest.mark.parametrize("iterations", [1, 2, 4096])
def test_salted_password(password: bytes, iterations: int) -> None:
    salt = bytes(range(16))
    expected = pbkdf2_hmac("sha256", password, salt, iterations)
    assert _salted(password, salt, iterations) == expected
