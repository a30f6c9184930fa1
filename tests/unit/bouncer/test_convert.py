"""An ini, with what the environment adds, as settings of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pgrouter.bouncer import convert
from pgrouter.bouncer.document import table
from pgrouter.bouncer.parameters import NEVER_S
from pgrouter.cli.main import main
from pgrouter.config.decode import decode
from pgrouter.config.load import load
from pgrouter.config.settings import Settings
from pgrouter.errors import ConfigError

if TYPE_CHECKING:
    from pgrouter.config.converted import Converted

DIRECTORY = Path("/")


def converted(main: str = "", databases: str = "* = host=pg", more: str = "", **environment: str) -> Converted:
    text = f"[databases]\n{databases}\n{more}\n[pgbouncer]\nauth_type = trust\n{main}\n"
    ini = convert.load(Path("pgbouncer.ini"), lambda _: text)
    return convert.converted(ini, environment, read=lambda path: path.read_text(), resolve=NAMES.get)  # type: ignore[arg-type]


NAMES: Any = type("Names", (dict,), {"get": lambda self, name: dict.get(self, name, [])})({
    "headless": ["10.0.0.1", "10.0.0.2"], "one": ["10.0.0.9"],
})  # fmt: skip


def settings(main: str = "", databases: str = "* = host=pg", more: str = "", **environment: str) -> Settings:
    return converted(main, databases, more, **environment).settings(DIRECTORY)


def value(of: Any, path: str) -> object:
    for part in path.split("."):
        of = of[int(part)] if part.isdigit() else getattr(of, part)
    return of


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        ("", "pool.mode", "session"),
        ("", "pool.max_clients", 100),
        ("", "listen.0.unix", Path("/tmp")),  # noqa: S108
        ("listen_addr = *", "listen.0.host", "*"),
        ("listen_addr = localhost\nlisten_port = 5432", "listen.0.port", 5432),
        ("unix_socket_mode = 0700", "listen.0.unix_mode", "0700"),
        ("default_pool_size = 25", "pool.size", 25),
        ("min_pool_size = 30", "pool.min_size", 20),
        ("query_wait_timeout = 0", "pool.wait_timeout_s", NEVER_S),
        ("query_wait_timeout = 7", "pool.no_leader_timeout_s", 7.0),
        ("server_idle_timeout = 0", "pool.idle_timeout_s", NEVER_S),
        ("server_lifetime = 0", "pool.lifetime_s", 1.0),
        ("max_prepared_statements = 0", "pool.prepared_statements", 0),
        ("admin_users = a, b", "admin.admin_users", ("a", "b")),
        ("auth_type = plain\nauth_query = select 1\nauth_user = x", "auth.type", "password"),
        ("auth_user = x\nauth_dbname = auth", "auth.query_database", "auth"),
        ("tcp_keepalive = 0", "tcp.keepalive", False),
        ("tcp_keepidle = 5", "tcp.keepidle_s", 5.0),
        ("tcp_user_timeout = 2500", "tcp.user_timeout_s", 2.5),
        ("log_connections = 0\nlog_disconnections = 0", "log.connections", False),
        ("verbose = 1", "log.level", "debug"),
        ("", "servers.require_auth", ("none", "password", "md5", "scram-sha-256")),
        ("server_tls_sslmode = disable", "servers.tls.mode", "disable"),
        ("server_tls_protocols = tlsv1.3", "servers.tls.min_version", "TLSv1.3"),
        ("server_tls_ciphers = HIGH", "servers.tls.ciphers", "HIGH"),
        ("server_tls_ciphers = fast", "servers.tls.ciphers", ""),
    ],
)
def test_settings_of_the_main_section(line: str, path: str, expected: object) -> None:
    assert value(settings(line), path) == expected


@pytest.mark.parametrize(
    ("databases", "more", "database", "field", "expected"),
    [
        ("a = host=pg pool_size=3", "", "a", "size", 3),
        ("a = host=pg pool_size=3", "", "b", "size", 20),
        ("a = host=pg pool_size=3\n* = host=pg pool_size=4", "", "b", "size", 4),
        ("a = host=pg\n* = host=pg pool_size=4", "", "a", "size", 20),
        ("a = host=pg reserve_pool=3", "", "a", "reserve_size", 3),
        ("a = host=pg pool_size=3", "[users]\nu = pool_size=5", "a", "size", 5),
        ("a = host=pg pool_mode=session", "[users]\nu = pool_mode=statement", "a", "mode", "statement"),
        ("a = host=pg max_db_connections=3", "", "a", "max_db_connections", 3),
        ("a = host=pg query_wait_timeout=0", "", "a", "wait_timeout_s", NEVER_S),
        ("a = host=pg", "[users]\nu = query_timeout=3 max_user_connections=-1", "a", "query_timeout_s", 3.0),
        ("a = host=pg pool_size=2 min_pool_size=9", "", "a", "min_size", 2),
    ],
)
def test_limits(databases: str, more: str, database: str, field: str, expected: object) -> None:
    assert getattr(settings("", databases, more).pool.of(database, "u"), field) == expected


def test_databases() -> None:
    found = settings(
        "", "a = host=pg dbname=b user=c password='d e' timezone=UTC connect_query='set x.y to 5; SET z = ''q'''"
    )
    (entry,) = found.databases
    assert (entry.name, entry.database, entry.user, entry.password) == ("a", "b", "c", "d e")
    assert entry.settings == {"TimeZone": "UTC", "x.y": "5", "z": "q"}


@pytest.mark.parametrize(
    ("main", "databases", "problem"),
    [
        ("auth_type = pam", "* = host=pg", "auth_type = pam"),
        ("disable_pqexec = 1", "* = host=pg", "disable_pqexec"),
        ("", "a = host=pg connect_query='select 1'", "databases/a: connect_query: select 1: only SET is possible"),
        ("", "a = host=pg connect_query='set role x'", "only SET is possible"),
        ("", "a = host=p1\nb = host=p2", "different servers: a = p1; b = p2"),
        ("", "a = host=p1\nb = host=p1 port=1", "different servers: a = p1; b = p1:1"),
        ("", "a = host=pg auth_user=x\nb = host=pg auth_user=y", "auth_user is x, y: there can be one"),
        ("unix_socket_dir =", "* = host=pg", "nowhere to listen"),
    ],
)
def test_what_is_not_possible(main: str, databases: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        converted(main, databases)
    assert problem in str(raised.value)


def test_without_databases_there_is_the_console() -> None:
    assert settings("", "").databases == ()
    assert "databases: there are none: every name is refused" in converted("", "").report


MEMBERS = [
    ("* = host=pg", {}, ["pg"]),
    ("* = host=p1,p2 port=6000", {}, ["p1:6000", "p2:6000"]),
    ("a = host=p1\nb = host=p2,p1\nc = host=p2", {}, ["p1", "p2"]),
    ("a = dbname=x", {}, ["/tmp"]),  # noqa: S108
    ("a = host=p1\nb = host=p2", {"PGROUTER_REPLICAS": "p2, p3:6000"}, ["p1", "p2", "p3:6000"]),
    ("* = host=db-rw", {"PGROUTER_REPLICAS": "headless"}, ["db-rw", "10.0.0.1", "10.0.0.2"]),
    ("* = host=db-rw", {"PGROUTER_REPLICAS": "one,[::1]:7,::2"}, ["db-rw", "one", "::1:7", "::2"]),
]


@pytest.mark.parametrize(("databases", "environment", "names"), MEMBERS)
def test_members(databases: str, environment: dict[str, str], names: list[str]) -> None:
    assert [member.name for member in settings("", databases, **environment).cluster.members] == names


def test_who_says_who_the_members_are() -> None:
    cluster = settings(PGROUTER_CLUSTER="patroni+https://a:8008,b:8008").cluster
    assert cluster.source == "patroni"
    assert cluster.patroni is not None
    assert cluster.patroni.urls == ("https://a:8008", "https://b:8008")
    cluster = settings(PGROUTER_CLUSTER="etcd://a:2379,b:2379/service/demo").cluster
    assert cluster.etcd is not None
    assert (cluster.etcd.endpoints, cluster.etcd.namespace, cluster.etcd.scope) == (
        ("http://a:2379", "http://b:2379"), "/service", "demo",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["zookeeper://a/b", "etcd://a:2379", "patroni+ftp://a:1", "patroni", "patroni://"])
def test_who_cannot_say_it(text: str) -> None:
    with pytest.raises(ConfigError, match="PGROUTER_CLUSTER: expected"):
        converted(PGROUTER_CLUSTER=text)


def test_the_monitor() -> None:
    assert settings().cluster.monitor.user == "postgres"
    assert settings("auth_user = asker").cluster.monitor.user == "asker"
    forced = settings("", "a = host=pg user=b password=c").cluster.monitor
    assert (forced.user, forced.password) == ("b", "c")
    told = settings("auth_user = x", PGROUTER_MONITOR_USER="m", PGROUTER_MONITOR_PASSWORD="n").cluster.monitor
    assert (told.user, told.password) == ("m", "n")


def test_the_report_names_what_is_not_used() -> None:
    report = converted(
        "server_round_robin = 1\nserver_reset_query = DISCARD ALL\nso_reuseport = 1", more="[peers]\n1=host=a"
    ).report
    named = {line.split(":")[0].split(" ")[0] for line in report}
    assert {"server_round_robin", "so_reuseport", "peers"} <= named
    assert "server_reset_query" not in named  # it is the default


def test_a_file_of_ours_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "more.yml").write_text("routing: {read_consistency: eventual}\npool: {size: 7}\n")
    found = settings("default_pool_size = 3", PGROUTER_CONFIG=str(tmp_path / "more.yml"))
    assert (found.routing.read_consistency, found.pool.size, found.pool.mode) == ("eventual", 7, "session")
    with pytest.raises(ConfigError, match=r"PGROUTER_CONFIG: .* cannot be read"):
        converted(PGROUTER_CONFIG=str(tmp_path / "nothing.yml"))


def test_the_command_writes_yaml_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "userlist.txt").write_text('"joe" "secret"\n')
    ini, written = tmp_path / "pgbouncer.ini", tmp_path / "router.yml"
    ini.write_text(
        f"[databases]\na = host=pg dbname=b pool_size=3\n[users]\njoe = pool_mode=session\n[pgbouncer]\n"
        f"listen_addr = *\nauth_file = {tmp_path}/userlist.txt\npool_mode = transaction\nserver_round_robin = 1\n"
    )
    assert main(["convert", str(ini), "-o", str(written)]) == 0
    assert "# - server_round_robin = 1: not used" in written.read_text()
    assert "server_round_robin" in capsys.readouterr().err
    assert written.stat().st_mode & 0o777 == 0o600
    found = load(written)
    assert found.pool.of("a", "u").size == 3
    assert found == convert.convert(ini, {}).settings(tmp_path)
    assert main(["check", "-c", str(written)]) == 0
    ini.write_text("[pgbouncer]\nnonsense = 1\n")
    assert main(["convert", str(ini)]) == 1
    assert "unknown parameter: pgbouncer/nonsense" in capsys.readouterr().err


def test_secrets_of_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "u").write_text('"asker" "of asker"\n')
    found = settings(f"auth_file = {tmp_path}/u\nauth_user = asker")
    assert found.auth.query_password == "of asker"


def test_the_documentation_has_every_setting() -> None:
    text = (Path(__file__).parents[3] / "docs" / "from-pgbouncer.md").read_text()
    assert text.endswith(f"\n\n{table()}")


SEED_004 = """
[databases]
* = host=postgresql-patroni-1 port=5432
[pgbouncer]
listen_addr = *
listen_port = 6432
auth_type = scram-sha-256
auth_file = users.txt
admin_users = postgres
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 25
max_db_connections = 100
"""


def test_a_deployments_pgbouncer_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that configs/deployments/004-pgbouncer.yml stands for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users.txt").write_text('"postgres" "postgres"\n')
    ini = convert.load(Path("pgbouncer.ini"), lambda _: SEED_004)
    cluster = "etcd+https://etcd-1:2379,etcd-2:2379,etcd-3:2379/service/lakehouse"
    found = convert.converted(ini, {"PGROUTER_CLUSTER": cluster}).settings(tmp_path)
    text = (Path(__file__).parents[3] / "configs" / "deployments" / "004-pgbouncer.yml").read_text()
    written, _ = decode(Settings, yaml.safe_load(text), tmp_path)
    assert written is not None
    assert found.listen[0] == written.listen[0]
    assert found.auth == written.auth
    assert found.admin.admin_users == written.admin.admin_users
    assert (found.pool.mode, found.pool.size, found.pool.max_clients) == ("transaction", 25, 1000)
    assert found.pool.max_db_connections == 100
    assert found.cluster.etcd is not None
    assert written.cluster.etcd is not None
    assert (found.cluster.etcd.endpoints, found.cluster.etcd.scope) == (
        written.cluster.etcd.endpoints, written.cluster.etcd.scope,
    )  # fmt: skip
