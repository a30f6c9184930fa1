"""Lines of the log: as logging's own formatter writes them."""

from __future__ import annotations

import logging
import time

from pgrouter.cli.run import LINE, _Formatter


class Zoned(logging.Formatter):
    """What ours is held to."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  (logging's)
        return f"{super().formatTime(record, datefmt)} {time.strftime('%z', self.converter(record.created))}"


def test_a_line_reads_as_logging_would_have_written_it() -> None:
    ours, own = _Formatter(LINE), Zoned(LINE)
    for created in (1.0, 1.25, 1.9999, 2.001, 86_399.5, 1.5):
        record = logging.LogRecord("pgrouter.client", logging.INFO, "", 0, "C-%d %s", (1, "login"), None)
        record.created = created
        record.msecs = int(created % 1 * 1000)
        assert ours.format(record) == own.format(record)
