"""The few message types and request codes that a login consists of, by their names in the protocol chapter."""

from __future__ import annotations

import struct

import cython

# Frontend
PASSWORD = ord("p")  # PasswordMessage, SASLInitialResponse, SASLResponse
PROTOCOL_3_0 = 196608

# Backend
AUTHENTICATION = ord("R")
BACKEND_KEY_DATA = ord("K")
ERROR_RESPONSE = ord("E")
NEGOTIATE_PROTOCOL_VERSION = ord("v")
NOTICE_RESPONSE = ord("N")
PARAMETER_STATUS = ord("S")
READY_FOR_QUERY = ord("Z")

# What an Authentication message asks for
AUTH_OK = 0
AUTH_CLEARTEXT = 3
AUTH_MD5 = 5
AUTH_SASL = 10
AUTH_SASL_CONTINUE = 11
AUTH_SASL_FINAL = 12

MECHANISM = b"SCRAM-SHA-256"

# PostgreSQL's own limits: PG_MAX_AUTH_TOKEN_LENGTH and PG_MAX_SASL_MESSAGE_LENGTH
MAX_PASSWORD_BYTES = 65535
MAX_SASL_BYTES = 1024

_authentication_head = struct.Struct("!BII").pack


def password(body: bytes) -> bytes:
    """Frame a frontend's authentication message."""
    return struct.pack("!BI", PASSWORD, len(body) + 4) + body


def authentication(request: cython.int, data: bytes = b"") -> bytes:
    """Frame a backend's authentication message."""
    return _authentication_head(AUTHENTICATION, len(data) + 8, request) + data


def as_bytes(text: str) -> bytes:
    """Return the bytes of a password or name; bytes that were not UTF-8 come out as they came in."""
    return text.encode("utf-8", "surrogateescape")


def as_text(raw: bytes) -> str:
    """Return the text of bytes that should be UTF-8; `as_bytes` is the exact inverse, whatever they were."""
    return raw.decode("utf-8", "surrogateescape")
