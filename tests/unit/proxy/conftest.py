"""A router without sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.desk import Desk, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A router with nobody in it."""
    with opened() as desk:
        yield desk
