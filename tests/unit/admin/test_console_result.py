"""Values in PostgreSQL's binary formats, as a driver reads them."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.types.numeric import NumericBinaryLoader

from pgrouter.admin.result import INT4, NUMERIC


@given(st.integers(-(10**40), 10**40))
@example(0)
@example(10_000)
@example(9_999)
@example(120_000_000)
def test_numeric_is_read_as_the_same_number(value: int) -> None:
    assert NumericBinaryLoader(1700).load(NUMERIC.binary(value)) == Decimal(value)
    assert NUMERIC.text(value) == str(value).encode()


@pytest.mark.parametrize(("value", "read"), [(7, 7), (-1, -1), (2**31, 2**31 - 1), (-(2**40), -(2**31))])
def test_int4_has_a_largest_value(value: int, read: int) -> None:
    assert struct.unpack("!i", INT4.binary(value)) == (read,)
