"""HPACK, the coding of header fields in HTTP/2 (RFC 7541).

The tables are those of the library hpack. Its own coders serve any connection; for the few short
blocks of one request, they take five times as many instructions.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpack.exceptions import HPACKError
from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable, table_entry_size

from healthchecker._protocols.h2_frames import invalid

Field = tuple[bytes, bytes]
Fields = Sequence[Field]

_INDEXED, _ADDED, _TABLE_SIZE, _NEVER_INDEXED, _NOT_INDEXED = 0x80, 0x40, 0x20, 0x10, 0x00
"""The forms of a field, and of a new size of the table; each is a bit of the first byte."""
_INDEX_BITS, _ADDED_BITS, _TABLE_SIZE_BITS, _LITERAL_BITS = 7, 6, 5, 4
_HUFFMAN, _LENGTH_BITS = 0x80, 7
_MORE, _NUMBER_BITS = 0x80, 7
_MAX_NUMBER_BYTES = 5
"""The most bytes of a number after the first one, enough for 32 bits."""
_SHORT = 126
"""The longest text whose length is one byte."""
_MAX_TABLE_SIZE = HeaderTable.DEFAULT_SIZE
_SECRET = (b"authorization", b"proxy-authorization", b"cookie")
"""What no proxy may keep in a table, from which an attacker could guess it (section 7.1.3)."""


def _literal(name: bytes, index: int) -> bytes:
    """Return the start of a field whose name has this index in the static table."""
    start = encode_integer(index, _LITERAL_BITS)
    start[0] |= _NEVER_INDEXED if name in _SECRET else _NOT_INDEXED
    return bytes(start)


_STATIC = HeaderTable.STATIC_TABLE_MAPPING
_WHOLE_FIELDS = {
    (name, value): bytes((_INDEXED | index,))
    for name, (_, values) in _STATIC.items()
    for value, index in values.items()
}
_NAMES = {name: _literal(name, index) for name, (index, _) in _STATIC.items()}
_encode_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
_USUAL_TEXTS = {
    _encode_huffman(text): text
    for text in (
        *(b"0", b"application/grpc", b"grpc-status", b"grpc-message", b"grpc-accept-encoding"),
        *(b"identity", b"gzip", b"identity, deflate, gzip", b"application/json"),
    )
}
"""Texts by their Huffman codes, of which the library decodes half a byte at a time: 3,000
instructions for each byte of a code."""


def encode_fields(fields: Fields) -> bytes:
    """Return the fields of the only request on a connection, with names in lower case.

    They are coded by the static table alone (appendix A): a dynamic table and Huffman coding would
    save 100 bytes, but cost many instructions.
    """
    block = bytearray()
    for field in fields:
        whole = _WHOLE_FIELDS.get(field)
        if whole is not None:
            block += whole
            continue
        name, value = field
        block += _NAMES.get(name) or bytes((_NOT_INDEXED,)) + _encode_text(name)
        block += _encode_text(value)
    return bytes(block)


def _encode_text(text: bytes) -> bytes:
    size = len(text)
    return (bytes((size,)) if size <= _SHORT else bytes(encode_integer(size, _LENGTH_BITS))) + text


class FieldsDecoder:
    """Decodes the blocks of header fields that arrive on a connection, in their order."""

    def __init__(self, max_size: int) -> None:
        """Refuse lists of more than `max_size` bytes, counted as in section 4.1."""
        self._max_size = max_size
        self._table = HeaderTable()

    def decode(self, block: bytes) -> list[Field]:
        """Return the fields; raise `CodecError` for a block that cannot be decoded."""
        try:
            return self._decode(block)
        except (HPACKError, IndexError) as error:
            raise invalid("headers that cannot be decoded") from error

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        size = at = 0
        while at < len(block):
            first = block[at]
            if first & _INDEXED:
                index, at = _decode_number(block, at, _INDEX_BITS)
                field = self._table.get_by_index(index)
            elif first & _ADDED:
                field, at = self._decode_literal(block, at, _ADDED_BITS)
                self._table.add(*field)
            elif first & _TABLE_SIZE:
                if fields:
                    raise HPACKError
                at = self._resize(block, at)
                continue
            else:
                field, at = self._decode_literal(block, at, _LITERAL_BITS)
            fields.append(field)
            size += table_entry_size(*field)
            if size > self._max_size:
                raise invalid("oversized header block")
        return fields

    def _decode_literal(self, block: bytes, at: int, bits: int) -> tuple[Field, int]:
        index, at = _decode_number(block, at, bits)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, at = _decode_text(block, at)
        value, at = _decode_text(block, at)
        return (name, value), at

    def _resize(self, block: bytes, at: int) -> int:
        size, at = _decode_number(block, at, _TABLE_SIZE_BITS)
        if size > _MAX_TABLE_SIZE:
            raise HPACKError
        self._table.maxsize = size
        return at


def _decode_number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Return a number that begins in the last bits of a byte, and where it ends."""
    limit = (1 << bits) - 1
    number = block[at] & limit
    at += 1
    if number < limit:
        return number, at
    for shift in range(0, _MAX_NUMBER_BYTES * _NUMBER_BITS, _NUMBER_BITS):
        byte = block[at]
        at += 1
        number += (byte & ~_MORE) << shift
        if not byte & _MORE:
            return number, at
    raise HPACKError


def _decode_text(block: bytes, at: int) -> tuple[bytes, int]:
    """Return a text, and where it ends."""
    is_huffman = block[at] & _HUFFMAN
    size, at = _decode_number(block, at, _LENGTH_BITS)
    end = at + size
    if end > len(block):
        raise HPACKError
    text = block[at:end]
    if is_huffman:
        text = _USUAL_TEXTS.get(text) or decode_huffman(text)
    return text, end
