"""Message types and request codes, as numbers, by their names in the protocol chapter."""

from __future__ import annotations

# Frontend messages
BIND = ord("B")
CLOSE = ord("C")
COPY_DATA = ord("d")
COPY_DONE = ord("c")
COPY_FAIL = ord("f")
DESCRIBE = ord("D")
EXECUTE = ord("E")
FLUSH = ord("H")
FUNCTION_CALL = ord("F")
PARSE = ord("P")
PASSWORD = ord("p")  # also SASLInitialResponse, SASLResponse, GSSResponse
QUERY = ord("Q")
SYNC = ord("S")
TERMINATE = ord("X")

# What a frontend message means for a batch: it completes one, belongs to one, or stands outside
UNKNOWN, IN_BATCH, ENDS_BATCH, COPY, LAST = range(5)

# Backend messages
AUTHENTICATION = ord("R")
BACKEND_KEY_DATA = ord("K")
BIND_COMPLETE = ord("2")
CLOSE_COMPLETE = ord("3")
COMMAND_COMPLETE = ord("C")
COPY_BOTH_RESPONSE = ord("W")
COPY_IN_RESPONSE = ord("G")
COPY_OUT_RESPONSE = ord("H")
DATA_ROW = ord("D")
EMPTY_QUERY_RESPONSE = ord("I")
ERROR_RESPONSE = ord("E")
FUNCTION_CALL_RESPONSE = ord("V")
NEGOTIATE_PROTOCOL_VERSION = ord("v")
NO_DATA = ord("n")
NOTICE_RESPONSE = ord("N")
NOTIFICATION_RESPONSE = ord("A")
PARAMETER_DESCRIPTION = ord("t")
PARAMETER_STATUS = ord("S")
PARSE_COMPLETE = ord("1")
PORTAL_SUSPENDED = ord("s")
READY_FOR_QUERY = ord("Z")
ROW_DESCRIPTION = ord("T")

# Transaction status in ReadyForQuery
IDLE = ord("I")
IN_TRANSACTION = ord("T")
FAILED_TRANSACTION = ord("E")

# What an Authentication message asks for
AUTH_OK = 0
AUTH_CLEARTEXT = 3
AUTH_MD5 = 5
AUTH_SASL = 10
AUTH_SASL_CONTINUE = 11
AUTH_SASL_FINAL = 12

# Request codes in place of a protocol version
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
PROTOCOL_3_0 = 196608
PROTOCOL_3_2 = 196610  # PostgreSQL 18: longer cancel keys; 3.1 was skipped

# SQLSTATE for what no frontend may send
PROTOCOL_VIOLATION = "08P01"

# PostgreSQL rejects larger ones, too: MaxAllocSize, memutils.h
MAX_MESSAGE = 0x3FFFFFFF
MAX_SMALL_MESSAGE = 10_000  # of most types: see framing.LARGE_KINDS
# MAX_STARTUP_PACKET_LENGTH, pqcomm.h
MAX_STARTUP_PACKET = 10000
