"""PostgreSQL's regression suites run in order on the primary; each SELECT-like statement is judged at its place.

A session of the suite's own runs everything, so that each statement finds what those before it have made. Judged are
statements by themselves, in fresh sessions, as the router's command judges them: so temporary tables are made
permanent, its search_path is made the database's, and what only the suite's session knows (other settings, an open
transaction) is not there on either server.
The router is asked before the next statement that may change the catalog.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

from oracle import source
from oracle.judge import Judgement, Needs, Question, judge
from oracle.report import Finding, Report, finding
from oracle.script import Meta, Script, Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from oracle.classifier import Classifier
    from oracle.servers import Pair, Session

SELECT_LIKE = re.compile(r"(?is)[\s(]*(select|with|values|table|explain)\b|\s*copy\b.*\bto\s+stdout\b")
# Statements after which the catalog is as it was before.
KEEPS_CATALOG = re.compile(
    r"(?i)\s*(select|with|values|table|explain|show|set|reset|insert|update|delete|merge|copy|begin|start|savepoint"
    r"|release|fetch|move|close|declare|prepare|execute|deallocate|truncate|lock|notify|listen|unlisten|analyze)\b"
)
SELECT_INTO = re.compile(r"(?i)\binto\b")
TEMPORARY = re.compile(
    r"(?i)^(\s*create\s+(?:or\s+replace\s+)?(?:recursive\s+)?)(?:(?:local|global)\s+)?temp(?:orary)?\s+"
)
SEARCH_PATH = re.compile(r"(?i)\s*(set|reset|select|begin|commit|rollback)\b.*\b(search_path|schema)\b")
ON_COMMIT = re.compile(r"\bon\s+commit\s+(preserve\s+rows|delete\s+rows|drop)", re.IGNORECASE)
SERVER_COPY = re.compile(r"\s*copy\b(?P<what>.*)\bfrom\s+'(?P<file>[^']*)'(?P<rest>.*)", re.IGNORECASE | re.DOTALL)

# What a router keeps on the primary by rule, though it was harmless this time: functions labelled VOLATILE, foreign
# tables, and what leads to them.
BY_RULE = """
with recursive found(class, object) as (
    select 'pg_proc'::regclass::oid, oid from pg_proc where oid >= 16384 and provolatile = 'v'
    union select 'pg_class'::regclass, oid from pg_class where oid >= 16384 and relkind = 'f'
    union select next.* from found, lateral (
        select 'pg_class'::regclass::oid, r.ev_class from pg_depend d join pg_rewrite r on r.oid = d.objid
            where d.classid = 'pg_rewrite'::regclass and d.refclassid = class and d.refobjid = object
        union select 'pg_class'::regclass, p.polrelid from pg_depend d join pg_policy p on p.oid = d.objid
            where d.classid = 'pg_policy'::regclass and d.refclassid = class and d.refobjid = object
        union select 'pg_class'::regclass, i.inhparent from pg_inherits i
            where class = 'pg_class'::regclass and i.inhrelid = object
        union select d.classid, d.objid from pg_depend d
            where d.classid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_cast'::regclass)
              and d.refclassid = class and d.refobjid = object and d.deptype = 'n'
        union select 'pg_type'::regclass, k.contypid from pg_depend d join pg_constraint k on k.oid = d.objid
            where d.classid = 'pg_constraint'::regclass and k.contypid <> 0 and d.refclassid = class
              and d.refobjid = object
        union select 'pg_type'::regclass, t from pg_cast c, unnest(array[c.castsource, c.casttarget]) t
            where class = 'pg_cast'::regclass and c.oid = object and t >= 16384
    ) next)
select proname::text from pg_proc, found where class = 'pg_proc'::regclass and oid = object
union select relname from pg_class, found where class = 'pg_class'::regclass and oid = object
union select oprname from pg_operator, found where class = 'pg_operator'::regclass and oid = object
union select typname from pg_type, found where class = 'pg_type'::regclass and oid = object
"""

# Would harm the servers, or acts on one of them without a trace: neither run nor judged.
HARMFUL = re.compile(
    r"pg_promote|pg_wal_replay|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_rotate_logfile|pg_stat_reset"
    r"|pg_stat_force|pg_stat_clear|pg_log_backend|setseed|pg_advisory_unlock|alter\s+system|drop\s+database\s+regression|pg_sleep"
    r"|lo_export|pg_file_|pg_backup|slot", re.IGNORECASE
)  # fmt: skip

# No plain reads though both servers answer alike: what is asked of the session or the server is empty on both, or
# something is planned that neither executes. A router may send them anywhere, so a lost read they are not.
EITHER = re.compile(
    r"(?is)^\s*explain\b.*\b(insert\s+into|update|delete|merge|create|declare|execute|for\s+(no\s+key\s+update|key\s+share"
    r"|share)|select\b.*\binto)\b|\b(pg_cursors|pg_prepared_\w+|pg_locks|pg_stat_\w+|pg_statio_\w+|pg_ls_\w+|txid_\w+"
    r"|pg_xact_status|pg_current_xact_id_if_assigned|pg_listening_channels|pg_tablespace_databases)\b"
    r"|;\s*(begin|commit|rollback|savepoint|release)\b"
)

# Scripts that need another cluster, or do nothing but what takes long.
LEFT_OUT = {"tablespace", "create_am_long", "largeobject"}


class SessionLostError(Exception):
    """The suite's session has ended; the text says after which statement."""


class Runner:
    """Runs one suite in a database of its own."""

    def __init__(self, pair: Pair, classifier: Classifier, suite: source.Suite) -> None:
        self.findings: list[Finding] = []
        self._pair = pair
        self._classifier = classifier
        self._suite = suite
        self._database = f"regression_{suite.name}".replace("-", "_")
        self._search_path = '"$user", public'
        self._waiting: list[tuple[str, str, Judgement, str]] = []
        self._by_rule: set[str] | None = None  # names; None: not known since the catalog changed
        pair.primary.sql(f'create database "{self._database}" template template0')

    def run(self, scripts: Sequence[Path]) -> None:
        """Run scripts in order, each in a session of its own."""
        for path in scripts:
            started, before = time.monotonic(), len(self.findings)
            with self._pair.session(self._pair.primary, self._database) as session:
                session.run("set synchronous_commit = local; set intervalstyle = postgres_verbose")
                try:
                    self._script(session, path)
                except SessionLostError as error:
                    _say(f"the rest of the script is left out: {error}")
                self._ask()
                session.run("rollback; reset all")
                self._share_search_path(session)
            found = Report(self.findings[before:])
            _say(
                f"{self._suite.name}/{path.stem}: {len(found.findings)} judged, {len(found.leaks)} leaks, "
                f"{len(found.lost)} lost, {time.monotonic() - started:.1f} s"
            )

    def _script(self, session: Session, path: Path) -> None:
        variables: dict[str, str] = {}
        text = path.read_text("utf-8", "replace")
        for item in Script(text, variables):
            if isinstance(item, Statement):
                self._statement(session, item, f"{self._suite.name}/{path.stem}:{item.line}")
            else:
                self._meta(session, item, variables)

    def _statement(self, session: Session, statement: Statement, place: str) -> None:
        if HARMFUL.search(statement.sql) or not statement.sql:
            return
        if SELECT_LIKE.match(statement.sql):
            self._judge(statement.sql, place)
        if not KEEPS_CATALOG.match(statement.sql) or SELECT_INTO.search(statement.sql):
            self._ask()
        sql, data = self._local(statement)
        session.run(sql, data)
        if SEARCH_PATH.match(sql):
            self._share_search_path(session)
        if session.lost:
            raise SessionLostError(f"{place}: the session is gone after {sql}")

    def _share_search_path(self, session: Session) -> None:
        """Let fresh sessions, and so the router, find what the suite's session finds."""
        shown = session.row("show search_path")
        path = shown.get("search_path", "").strip().replace('""', "''") or "''"
        if shown and path != self._search_path and not path.startswith("pg_temp"):
            self._ask()
            self._search_path = path
            self._pair.primary.sql(f'alter database "{self._database}" set search_path = {path}')
            self._pair.forget_sessions()

    def _local(self, statement: Statement) -> tuple[str, bytes | None]:
        """Make temporary objects permanent, and send the files that the server would read."""
        sql = TEMPORARY.sub(r"\1", statement.sql)
        if sql != statement.sql:
            sql = ON_COMMIT.sub("", sql)
        copy = SERVER_COPY.match(sql)
        if copy and copy["file"].startswith(str(self._suite.directory)):
            try:
                with open(copy["file"], "rb") as file:  # noqa: PTH123  (as the server would)
                    return f"copy {copy['what']} from stdin {copy['rest']}", file.read()
            except OSError:
                return sql, None
        return sql, statement.data

    def _judge(self, sql: str, place: str) -> None:
        judgement = judge(self._pair, Question(sql, self._database))
        if judgement.needs is Needs.READ and EITHER.search(sql):
            judgement = Judgement(Needs.UNDECIDED, "alike by luck, or an EXPLAIN of what is no read")
        self._waiting.append((place, sql, judgement, self._by_rule_in(sql)))

    def _by_rule_in(self, sql: str) -> str:
        """Give the name of what a router keeps on the primary by rule, if the statement has one."""
        if self._by_rule is None:
            self._by_rule = {name for (name,) in self._pair.primary.sql(BY_RULE, self._database)}
        words = re.findall(r"\w+|[^\w\s(),;.'\"]+", sql.lower())
        return next((word for word in words if word in self._by_rule), "")

    def _ask(self) -> None:
        """Ask the router about what has been judged since the catalog changed."""
        self._by_rule = None
        if not self._waiting:
            return
        answers = self._classifier.ask(self._database, "postgres", [sql for _, sql, _, _ in self._waiting])
        for (place, sql, judgement, by_rule), answer in zip(self._waiting, answers, strict=True):
            self.findings.append(finding(place, 0, sql, judgement, answer, by_rule=by_rule))
        self._waiting.clear()

    def _meta(self, session: Session, meta: Meta, variables: dict[str, str]) -> None:
        words = meta.arguments.split(maxsplit=1)
        if meta.command == "getenv" and len(words) == 2:
            known = {"PG_ABS_SRCDIR": self._suite.directory, "PG_ABS_BUILDDIR": self._suite.directory}
            variables[words[0]] = str(known.get(words[1], ""))
        elif meta.command == "set" and len(words) == 2:
            variables[words[0]] = _joined(words[1], variables)
        elif meta.command in ("g", "gx") and meta.sql:
            self._statement(session, Statement(meta.sql, meta.line), f"{self._suite.name}:{meta.line}")
        elif meta.command == "gset" and meta.sql:
            variables.update(session.row(meta.sql))


def _joined(text: str, variables: dict[str, str]) -> str:
    """Put the words of a \\set together: strings, variables."""
    words = re.findall(r"'[^']*'|:\w+|[^\s':]+", text)
    return "".join(variables.get(word[1:], word) if word.startswith(":") else word.strip("'") for word in words)


def run(pair: Pair, classifier: Classifier, cache: Path, only: Sequence[str]) -> Report:
    """Fetch the suites and run them; `only` names suites, or core scripts, that are wanted."""
    found = source.find(cache, pair.cluster.binaries.major)
    installed = {name for (name,) in pair.primary.sql("select name from pg_available_extensions")}
    findings: list[Finding] = []
    for suite in source.suites(found, installed):
        scripts = [path for path in suite.scripts if path.stem not in LEFT_OUT]
        if only and suite.name not in only:
            scripts = [path for path in scripts if path.stem in {"test_setup", *only}] if suite.name == "core" else []
        if scripts:
            runner = Runner(pair, classifier, suite)
            runner.run(scripts)
            findings += runner.findings
    return Report(findings)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
