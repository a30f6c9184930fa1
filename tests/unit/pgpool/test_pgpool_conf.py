"""pgpool.conf: its grammar, every parameter's fate, and the settings that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgrouter.auth.users import UserStore
from pgrouter.config.rules import broken_rules
from pgrouter.errors import ConfigError
from pgrouter.pgpool.conf import Value, parse, quoted, read, unquoted
from pgrouter.pgpool.convert import Files, convert, converted, weights
from pgrouter.pgpool.parameters import GROUPS, Fate
from pgrouter.pgpool.report import PARAMETERS, parameter_of

if TYPE_CHECKING:
    from pgrouter.config.settings import Settings

SMALL = "backend_hostname0 = 'a'\nsr_check_user = 'monitor'\n"


def settings(text: str, directory: Path) -> Settings:
    path = directory / "pgpool.conf"
    path.write_text(SMALL + text)
    return convert(path, {}).settings(directory)


# -- the grammar


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x = 1", "1"),
        ("x=on", "on"),
        ("  x  5min # comment", "5min"),
        ("x = 10 MB", "10 MB"),
        ("x = ''", ""),
        ("x = 'it''s' # not '", "it's"),
        (r"x = 'a\'b\\c\tD\101'", "a'b\\c\tDA"),
        ("x = '# no comment'", "# no comment"),
        ("x = /var/dir-1.2:3", "/var/dir-1.2:3"),
        ("X = -1", "-1"),
        ("x = '*'", "*"),
    ],
)
def test_a_line(line: str, value: str) -> None:
    assert parse(line).get("x").text == value


@pytest.mark.parametrize("line", ["x", "x =", "= 1", "x = 'open", "x = 'a' b", "x y z", "1x = 2"])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(ConfigError, match=r"pgpool\.conf:1: syntax error"):
        parse(line)


def test_what_is_quoted_is_read_back() -> None:
    for text in ("", "plain", "it's", "back\\slash", "two\nlines", "''"):
        assert unquoted(quoted(text)) == text


def test_the_last_value_counts_and_comments_do_not() -> None:
    assert parse("port = 1\n#port = 2\nport = 3\n").get("port").number() == 3


def test_files_include_others_by_their_own_directory(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "pgpool.conf").write_text("port = 1\ninclude 'more/a.conf'\n")
    (tmp_path / "more" / "a.conf").write_text("port = 2\ninclude = 'b.conf'\n")
    (tmp_path / "more" / "b.conf").write_text("black_function_list = 'nextval'\n")
    conf = read(tmp_path / "pgpool.conf")
    assert conf.get("port").text == "2"
    assert conf.get("write_function_list").text == "nextval"


def test_files_that_include_each_other_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "pgpool.conf"
    path.write_text("include 'pgpool.conf'")
    with pytest.raises(ConfigError, match="more than 10 times"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "pgpool.conf")


def test_units() -> None:
    assert Value("5min").seconds() == 300
    assert Value("10000").seconds("ms") == 10
    assert Value("2 d").seconds() == 172800
    assert Value("10MB").size() == 10 * 1024**2
    for text in ("5 minutes", "x", "", "5kB"):
        with pytest.raises(ValueError, match="expected a number with a unit"):
            Value(text).seconds()


def test_lists() -> None:
    assert Value(r"a, b\,c ,,d").items() == ("a", "b,c", "d")


# -- every parameter


def test_nodes_and_per_node_parameters_are_known() -> None:
    for name in ("backend_hostname12", "health_check_period0", "connect_timeout1", "heartbeat_port0", "port"):
        assert parameter_of(name) is not None, name
    for name in ("bogus", "backend_hostname", "port3", "12"):
        assert parameter_of(name) is None, name


@pytest.mark.parametrize("name", [name for name, each in PARAMETERS.items() if each.fate is Fate.LOST])
def test_what_is_lost_is_said_loudly(name: str) -> None:
    found = converted(parse(f"{SMALL}{name} = 'something'"), Files(), UserStore.empty()).report
    assert found[0].startswith(f"ATTENTION: {name}: "), found
    for value in PARAMETERS[name].harmless:
        conf = parse(f"{SMALL}{name} = {quoted(value)}")
        assert converted(conf, Files(), UserStore.empty()).report == ()


VALUES = {
    "unix_socket_permissions": "0777",
    "backend_portN": "5432",
    "log_min_messages": "warning",
    "disable_load_balance_on_write": "transaction",
    "backend_clustering_mode": "streaming_replication",
    "ssl_cert": "server.crt",
}


@pytest.mark.parametrize("name", [name for name, each in PARAMETERS.items() if each.fate is not Fate.LOST])
def test_what_holds_is_not_mentioned_and_the_rest_is_with_its_reason(name: str) -> None:
    given = parse(f"{SMALL}{name.removesuffix('N') + '0' if name.endswith('N') else name} = {VALUES.get(name, '1')}\n")
    if name == "ssl":
        given.values["ssl_cert"] = Value("server.crt")
    found = "\n".join(converted(given, Files(hba=None), UserStore.empty()).report)
    if PARAMETERS[name].fate is Fate.HONOURED:
        assert found == ""
    else:
        assert PARAMETERS[name].words in found


def test_names_that_nobody_knows_are_listed() -> None:
    report = converted(parse(SMALL + "bogus = 1"), Files(), UserStore.empty()).report
    assert report == ("bogus: unknown to Pgpool-II 4.8, too: ignored, as there",)


@pytest.mark.parametrize(
    "line",
    [
        "backend_clustering_mode = 'native_replication'",
        "backend_clustering_mode = snapshot_isolation",
        "replication_mode = on",
        "master_slave_sub_mode = 'slony'",
    ],
)
def test_replication_by_pgpool_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="replicate by themselves"):
        converted(parse(SMALL + line), Files(), UserStore.empty())


def test_the_page_has_every_parameter_with_its_fate() -> None:
    page = (Path(__file__).parents[3] / "docs" / "from-pgpool.md").read_text().replace("\\", "")
    for group in GROUPS:
        names = ", ".join(f"`{name}`" for name in group.names.split())
        assert f"| {names} | {group.fate.value}: {group.words} |" in page


# -- what comes of it


def test_the_smallest_file(tmp_path: Path) -> None:
    found = settings("", tmp_path)
    assert [(each.host, str(each.unix or ""), each.port) for each in found.listen] == [
        ("localhost", "", 9999),
        ("127.0.0.1", "/tmp", 9999),  # noqa: S108  (its default)
    ]
    assert [(each.name, each.host, each.port) for each in found.cluster.members] == [("backend0", "a", 5432)]
    assert (found.pool.size, found.pool.max_member_connections, found.pool.max_clients) == (32, 128, 96)
    assert found.auth.query_user == "monitor"
    assert found.reads.primary == "always"
    assert not broken_rules(found)


@pytest.mark.parametrize(
    ("line", "path", "value"),
    [
        ("port = 5432", "listen.0.port", 5432),
        ("listen_addresses = '*'", "listen.0.host", "*"),
        ("unix_socket_directories = '/a, /b'", "listen.2.unix.name", "b"),
        ("load_balance_mode = off", "listen.0.mode", "primary"),
        ("num_init_children = 10\nreserved_connections = 2", "pool.max_clients", 8),
        ("num_init_children = 10\nmax_pool = 2", "pool.max_member_connections", 20),
        ("client_idle_limit = 5min", "pool.client_idle_timeout_s", 300),
        ("connection_life_time = 60", "pool.idle_timeout_s", 60),
        ("connect_timeout = 5000", "pool.connect_timeout_s", 5),
        ("authentication_timeout = 30s", "pool.login_timeout_s", 30),
        ("search_primary_node_timeout = 5min", "pool.no_leader_timeout_s", 300),
        ("search_primary_node_timeout = 0", "pool.no_leader_timeout_s", 30),
        ("sr_check_password = 'secret'", "cluster.monitor.password", "secret"),
        ("sr_check_password = 'TEXTsecret'", "cluster.monitor.password", "secret"),
        ("sr_check_database = 'app'", "cluster.monitor.database", "app"),
        ("health_check_timeout = 2", "cluster.monitor.timeout_s", 2),
        ("health_check_timeout = 30", "cluster.monitor.timeout_s", 3),
        ("delay_threshold = 10MB", "reads.max_lag_bytes", 10 * 1024**2),
        ("delay_threshold_by_time = 5s", "reads.max_lag_s", 5),
        ("delay_threshold_by_time = 100", "reads.max_lag_s", 2),
        ("disable_load_balance_on_write = off", "routing.read_consistency", "eventual"),
        ("disable_load_balance_on_write = 'always'", "routing.read_consistency", "session"),
        ("disable_load_balance_on_write = dml_adaptive_global", "routing.read_consistency", "strict"),
        ("write_function_list = 'nextval,setval'", "routing.write_functions", ("nextval", "setval")),
        ("white_function_list = 'App.look'", "routing.read_only_functions", ("app.look",)),
        ("log_connections = on", "log.connections", True),
        ("log_min_messages = debug3", "log.level", "debug"),
        ("enable_pool_hba = off", "auth.type", "scram-sha-256"),
    ],
)
def test_each_parameter_becomes_a_setting(line: str, path: str, value: object, tmp_path: Path) -> None:
    found: object = settings(line, tmp_path)
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part)  # type: ignore[index]
    assert found == value


def test_reads_that_are_redirected_to_the_primary(tmp_path: Path) -> None:
    lists = "user_redirect_preference_list = 'joe:primary,ann:2'\n"
    lists += "database_redirect_preference_list = 'app:primary(1.0),report:standby,x.*:primary,half:primary(0.5)'\n"
    found = [(each.database, each.user, each.route) for each in settings(lists, tmp_path).pool.overrides]
    report = converted(parse(SMALL + lists), Files(), UserStore.empty()).report
    assert report[0].startswith("ATTENTION: user_redirect_preference_list, database_redirect_preference_list: ")
    assert found == [("*", "joe", "primary"), ("app", "*", "primary"), ("report", "*", "auto")]


def test_the_password_of_the_monitor_from_pool_passwd(tmp_path: Path) -> None:
    (tmp_path / "pool_passwd").write_text("monitor:TEXTsecret\n")
    found = settings("", tmp_path)
    assert found.cluster.monitor.password == "secret"
    assert found.auth.pool_passwd_file == tmp_path / "pool_passwd"
    assert found.auth.type == "scram-sha-256"


def test_md5_entries_are_asked_for_by_md5(tmp_path: Path) -> None:
    (tmp_path / "pool_passwd").write_text(f"app:md5{'0' * 32}\n")
    assert settings("", tmp_path).auth.type == "md5"


def test_pool_hba_conf(tmp_path: Path) -> None:
    (tmp_path / "pool_hba.conf").write_text("host all all 0.0.0.0/0 scram-sha-256\n")
    found = settings("enable_pool_hba = on", tmp_path)
    assert (found.auth.type, found.auth.hba_file) == ("hba", tmp_path / "pool_hba.conf")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "backend_hostname0: required"),
        ("backend_hostname0 = a", "pool_passwd: there are no passwords"),
        (SMALL + "port = many", r'pgpool\.conf:3: port: expected a whole number, got "many"'),
        (SMALL + "enable_pool_hba = maybe", "expected on or off"),
        (SMALL + "ssl = on", "ssl_cert: required with ssl = on"),
        (SMALL + "backend_weight0 = -1", "not negative"),
        (SMALL + "backend_weight0 = nan", "not negative"),
        (SMALL + "client_idle_limit = 5kB", "expected a number with a unit"),
        (SMALL + "disable_load_balance_on_write = perhaps", "expected one of off, transaction"),
        (SMALL + "log_min_messages = loud", "expected one of debug5"),
        (SMALL + "write_function_list = 'get_.*'", "is a pattern"),
        (SMALL + "sr_check_password = 'AESabc='", "leave this one empty"),
    ],
)
def test_values_that_are_wrong(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        converted(parse(text), Files(), UserStore.empty())


def test_weights_keep_their_proportions() -> None:
    assert list(weights([1, 0, 3])) == [1, 0, 3]
    assert list(weights([0.5, 0.25])) == [100, 50]
    assert list(weights([1000, 1])) == [100, 1]
    assert list(weights([0, 0])) == [0, 0]
