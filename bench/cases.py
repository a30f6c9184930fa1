"""What is measured: a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCALE = 10  # of pgbench's tables: a million accounts
PIPELINED = 10  # statements in a batch

POINT = f"\\set aid random(1, {SCALE * 100_000})\n"
ROWS = "select * from pgbench_accounts limit 2000;\n"
COPY = "copy (select * from pgbench_accounts limit 20000) to stdout"
PIPELINE = "\n".join([
    POINT + "\\startpipeline",
    *["select abalance from pgbench_accounts where aid = :aid;"] * PIPELINED,
    "\\endpipeline\n",
])  # fmt: skip
# The name of the column differs, which no fingerprint looks over: every statement is one that nobody has seen.
NEW = POINT + "\\set n random(1, 1000000000000000)\nselect abalance as c:n from pgbench_accounts where aid = :aid;\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work, done by a number of clients."""

    name: str  # what --only takes
    title: str
    clients: int
    options: tuple[str, ...] = ()  # of pgbench
    script: str = ""  # pgbench's; empty: what the options say
    load: Literal["pgbench", "copy", "idle"] = "pgbench"
    where: Literal["standby", "primary"] = "standby"  # for subjects that cannot tell by themselves
    login: Literal["trust", "scram"] = "trust"
    quick: bool = False  # also in a quick run
    at_most: int = 1000  # rounds: of what hardly varies and takes long

    @property
    def prepared(self) -> bool:
        """Whether it needs prepared statements."""
        return "prepared" in self.options


SELECT = ("-S", "-M")
CASES = (
    Case("simple-1", "select-only, simple", 1, (*SELECT, "simple")),
    Case("simple", "select-only, simple", 16, (*SELECT, "simple"), quick=True),
    Case("simple-100", "select-only, simple", 100, (*SELECT, "simple")),
    Case("simple-1000", "select-only, simple", 1000, (*SELECT, "simple")),
    Case("extended", "select-only, extended", 16, (*SELECT, "extended"), quick=True),
    Case("prepared", "select-only, prepared", 16, (*SELECT, "prepared"), quick=True),
    Case("tpcb", "TPC-B", 16, ("-M", "simple"), where="primary"),
    Case("rows", "2000 rows", 4, ("-M", "simple"), ROWS, quick=True),
    Case("copy", "COPY out, 20000 rows", 4, load="copy"),
    Case("pipeline", f"pipeline of {PIPELINED} selects", 16, ("-M", "extended"), PIPELINE),
    Case("new", "statements never seen", 16, ("-M", "simple"), NEW),
    Case("connect", "connect, SCRAM, select, disconnect", 4, ("-C", *SELECT, "simple"), login="scram", quick=True),
    Case("idle", "idle clients", 5000, load="idle", quick=True, at_most=2),
)
