"""The decode functions of the protocols, with the scheme whose opening is an example for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from healthchecker._protocols.amqp import decode_start
from healthchecker._protocols.cassandra import decode_frame
from healthchecker._protocols.fastcgi import Response
from healthchecker._protocols.kafka import decode_api_versions
from healthchecker._protocols.ldap import decode_bind_response
from healthchecker._protocols.mongodb import decode_message
from healthchecker._protocols.mqtt import decode_connack
from healthchecker._protocols.mssql import decode_prelogin
from healthchecker._protocols.mysql import decode_greeting, decode_login_reply
from healthchecker._protocols.nats import decode_info, decode_pong
from healthchecker._protocols.postgresql import decode_startup_reply
from healthchecker._protocols.redis import decode_replies
from healthchecker._protocols.text import DIALOGUES, decode_line
from healthchecker._protocols.websocket import decode_response

Decode = Callable[[bytes], object]


def _decode_records(data: bytes) -> object:
    response = Response()
    response.feed(data)
    return response.decode() if response.is_complete else None


DECODERS: tuple[tuple[str, str, Decode], ...] = (
    ("start-up reply", "postgresql", decode_startup_reply),
    ("greeting", "mysql", decode_greeting),
    ("login reply", "mysql", decode_login_reply),
    ("replies", "redis", partial(decode_replies, count=1)),
    ("Connection.Start", "amqp", decode_start),
    ("INFO", "nats", decode_info),
    ("PONG", "nats", decode_pong),
    ("CONNACK", "mqtt", decode_connack),
    ("ApiVersions", "kafka", decode_api_versions),
    ("frame", "cassandra", decode_frame),
    ("PRELOGIN", "mssql", decode_prelogin),
    ("hello", "mongodb", decode_message),
    ("bind response", "ldap", decode_bind_response),
    ("handshake", "ws", decode_response),
    ("records", "fastcgi", _decode_records),
    *(("line", next(iter(one.schemes)), partial(decode_line, one)) for one in DIALOGUES),
)
