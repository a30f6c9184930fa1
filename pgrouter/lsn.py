"""Positions in the WAL, as bytes since 0/0."""

from __future__ import annotations

import re

# At a page boundary a primary reports where the next record will start, after the page header (short or long), and a
# replica where the last record ended, before it (XLogBytePosToRecPtr, XLogBytePosToEndRecPtr in xlog.c).
PAGE_SIZE = 8192  # bytes: the wal_block_size of every packaged server
PAGE_HEADERS = (24, 40)

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(text: str) -> int | None:
    """Parse a position as PostgreSQL writes it; None if it is not one.

    >>> parse("1/A"), parse("x")
    (4294967306, None)
    """
    match = _LSN.fullmatch(text.strip())
    return (int(match[1], 16) << 32) + int(match[2], 16) if match else None


def end_of_record(lsn: int) -> int:
    """Return where the last record ended, given where the next one will start.

    >>> end_of_record(8192 + 24), end_of_record(8192 + 32)
    (8192, 8224)
    """
    offset = lsn % PAGE_SIZE
    return lsn - offset if offset in PAGE_HEADERS else lsn
