"""mongodb:// and mongodbs://: healthy if `hello` reports a primary or secondary.

Source: MongoDB Wire Protocol (OP_MSG), the command `hello`, which needs no login, and bsonspec.org.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from healthchecker._net.stream import Stream
from healthchecker._protocols.base import Healthy, StreamProber, require_role
from healthchecker._protocols.reply import MAX_REPLY_BYTES, CodecError, read_reply, shown_text
from healthchecker._values.result import Reason, UnexpectedResponse
from healthchecker._values.target import Scheme

_FORM = "mongodb[s]://HOST"
_OPTIONS = frozenset({"role"})
_HEADER = struct.Struct("<4i")  # length, request id, response to, opcode
_OP_MSG = 2013
_BODY = bytes(5)  # no flags; one section, of kind 0
_COMMAND = b"\x10hello\0" + struct.pack("<i", 1) + b"\x02$db\0" + struct.pack("<i", 6) + b"admin\0"
_DOCUMENT = struct.pack("<i", len(_COMMAND) + 5) + _COMMAND + b"\0"
_REQUEST_ID = 1
HELLO = (
    _HEADER.pack(_HEADER.size + len(_BODY) + len(_DOCUMENT), _REQUEST_ID, 0, _OP_MSG)
    + _BODY
    + _DOCUMENT
)

_DOUBLE, _STRING, _DOCUMENT_TYPE, _ARRAY, _BINARY, _BOOL, _INT32, _INT64 = 1, 2, 3, 4, 5, 8, 16, 18
_SIZES = {_DOUBLE: 8, 6: 0, 7: 12, _BOOL: 1, 9: 8, 10: 0, _INT32: 4, 17: 8, _INT64: 8, 19: 16}
"""Of values that have a fixed one, by type."""
_NUMBERS = {_DOUBLE: "<d", _BOOL: "<?", _INT32: "<i", _INT64: "<q"}
_COMMAND_NOT_FOUND = 59

Value = float | bool | str | None


class MongodbProber(StreamProber):
    """Sends `hello`."""

    SCHEMES: ClassVar = {
        "mongodb": Scheme(_FORM, 27017, options=_OPTIONS),
        "mongodbs": Scheme(_FORM, 27017, tls=True, options=_OPTIONS),
    }

    def _exchange(self, stream: Stream) -> Healthy:
        stream.write(HELLO)
        hello = read_reply(stream, decode_message)
        if hello.get("ok") != 1:
            code = hello.get("code")
            status = int(code) if isinstance(code, (int, float)) else None
            if status == _COMMAND_NOT_FOUND and not self._options.role:  # before 4.4.2
                return Healthy(status, "alive, hello is not supported")
            message = hello.get("errmsg")
            text = message if isinstance(message, str) else "hello failed"
            raise UnexpectedResponse(Reason.NOT_SERVING, text, status)
        if not (hello.get("isWritablePrimary") or hello.get("secondary")):
            raise UnexpectedResponse(Reason.NOT_SERVING, "neither primary nor secondary")
        role = "primary" if hello.get("isWritablePrimary") else "secondary"
        require_role(self._options.role, role)
        return Healthy(None, role)


def decode_message(data: bytes) -> dict[str, Value] | None:
    """Return the fields of the reply's document; None if it is incomplete.

    Only numbers, booleans and strings have their values; other fields are None.
    """
    if len(data) < _HEADER.size:
        return None
    size, _, response_to, opcode = _HEADER.unpack_from(data)
    prefix = _HEADER.size + len(_BODY)
    if (response_to, opcode) != (_REQUEST_ID, _OP_MSG) or not prefix < size <= MAX_REPLY_BYTES:
        raise CodecError("not a MongoDB reply")
    if len(data) < size:
        return None
    try:
        return decode_document(data[prefix:size])
    except (struct.error, IndexError, ValueError) as error:
        raise CodecError("malformed MongoDB reply") from error


def decode_document(data: bytes) -> dict[str, Value]:
    """Return the fields of a BSON document, as `decode_message`."""
    fields: dict[str, Value] = {}
    position = 4
    while kind := data[position]:
        end = data.index(0, position + 1)
        name = shown_text(data[position + 1 : end])
        position = end + 1
        size = _SIZES.get(kind)
        if size is None:
            (size,) = struct.unpack_from("<i", data, position)
            if kind == _STRING:
                size += 4
            elif kind == _BINARY:
                size += 5
            elif kind not in (_DOCUMENT_TYPE, _ARRAY):
                raise ValueError
            if size < 4:  # noqa: PLR2004 - of the size itself
                raise ValueError
        fields[name] = None
        if kind == _STRING:
            fields[name] = shown_text(data[position + 4 : position + size - 1])
        elif kind in _NUMBERS:
            (fields[name],) = struct.unpack_from(_NUMBERS[kind], data, position)
        position += size
    return fields
