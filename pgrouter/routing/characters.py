"""What a byte may begin in SQL, by the rules of PostgreSQL's lexer (src/backend/parser/scan.l). Tables only."""

from __future__ import annotations

OTHER, SPACE, WORD, DIGIT, OPERATOR, PUNCTUATION, DOT, QUOTE, DOUBLE_QUOTE, DOLLAR = range(10)


def _classes() -> bytes:
    table = bytearray(256)
    for kind, members in (
        (SPACE, b" \t\n\r\f\v"),
        (WORD, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_" + bytes(range(128, 256))),
        (DIGIT, b"0123456789"),
        (OPERATOR, b"+-*/<>=~!@#%^&|`?:"),
        (PUNCTUATION, b"()[],;"),
        (DOT, b"."),
        (QUOTE, b"'"),
        (DOUBLE_QUOTE, b'"'),
        (DOLLAR, b"$"),
    ):
        for byte in members:
            table[byte] = kind
    return bytes(table)


def _folded() -> bytes:
    table = bytearray(256)
    for byte in range(256):
        if CLASS[byte] in (WORD, DIGIT) or byte == 36:
            table[byte] = byte + 32 if 65 <= byte <= 90 else byte
    return bytes(table)


CLASS = _classes()
FOLDED = _folded()  # a byte that may go on with a word, in lower case; 0: the word has ended
