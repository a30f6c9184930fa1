"""Positions in the WAL, as bytes since 0/0."""

from __future__ import annotations

import re

# At the beginning of a page a primary tells where the next record will be, behind the page's header (short or long),
# and a replica where the last one has ended, in front of it (XLogBytePosToRecPtr, XLogBytePosToEndRecPtr in xlog.c).
PAGE_SIZE = 8192  # bytes: wal_block_size of every packaged server
PAGE_HEADERS = (24, 40)

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse(text: str) -> int | None:
    """Read a position as PostgreSQL writes it; None when it is none.

    >>> parse("1/A"), parse("x")
    (4294967306, None)
    """
    match = _LSN.fullmatch(text.strip())
    return (int(match[1], 16) << 32) + int(match[2], 16) if match else None


def end_of_record(lsn: int) -> int:
    """Give the position where the last record has ended from where the next one will begin.

    >>> end_of_record(8192 + 24), end_of_record(8192 + 32)
    (8192, 8224)
    """
    offset = lsn % PAGE_SIZE
    return lsn - offset if offset in PAGE_HEADERS else lsn
