"""YAML to settings: what loads, and how every problem is told."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  (hypothesis reads annotations)
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrouter.config.load import load, parse
from pgrouter.config.rules import endpoint_problem
from pgrouter.config.settings import Listen
from pgrouter.config.types import Secret, duration_s
from pgrouter.errors import ConfigError

STATIC = """
listen:
  - {host: 127.0.0.1, port: 6432}
cluster:
  source: static
  members:
    - {name: pg1, host: 127.0.0.1, port: 5432}
    - {name: pg2, host: 127.0.0.1, port: 5433}
  monitor: {user: postgres, password: secret, database: postgres}
auth: {type: trust, users_file: users.txt}
pool: {mode: transaction, size: 20, max_clients: 1000}
"""
ETCD = """
cluster:
  source: etcd
  etcd: {endpoints: ["127.0.0.1:2379"], namespace: /service, scope: demo}
auth: {type: trust}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a users file in it."""
    (tmp_path / "users.txt").write_text('"joe" "pw"\n')
    return tmp_path


def problems(text: str, directory: Path) -> list[str]:
    """Give what is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parse(text, directory)
    return caught.value.problems


def test_the_smallest_static_configuration(directory: Path) -> None:
    settings = parse(STATIC, directory)
    assert settings.listen == (Listen(host="127.0.0.1", port=6432),)
    assert [(member.name, member.port) for member in settings.cluster.members] == [("pg1", 5432), ("pg2", 5433)]
    assert settings.cluster.monitor.password == "secret"
    assert settings.auth.users_file == directory / "users.txt"
    assert settings.pool.wait_timeout_s == 120


def test_the_smallest_etcd_configuration(directory: Path) -> None:
    settings = parse(ETCD, directory)
    assert settings.cluster.etcd is not None
    assert settings.cluster.etcd.endpoints == ("127.0.0.1:2379",)
    assert settings.auth.users_file is None


def test_relative_paths_are_relative_to_the_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "router.yml").write_text(STATIC)
    monkeypatch.chdir(directory.parent)
    settings = load(Path(directory.name, "router.yml"))
    assert settings.auth.users_file == directory / "users.txt"


def test_passwords_are_never_shown(directory: Path) -> None:
    settings = parse(STATIC.replace("secret", "hunter2"), directory)
    assert "hunter2" not in repr(settings)
    assert "***" in repr(settings.cluster.monitor)
    assert isinstance(settings.cluster.monitor.password, str)
    assert f"{Secret('hunter2')}" == "hunter2"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("size: 20", "size: many", "pool.size: expected int, got str"),
        ("size: 20", "size: 1.5", "pool.size: expected int, got float"),
        ("size: 20", "size: true", "pool.size: expected int, got bool"),
        ("size: 20", "size: 0", "pool.size: expected int >= 1, got 0"),
        ("size: 20", "size: null", "pool.size: expected int, got null"),
        ("size: 20", "size: 20, size: 30", "pool.size: given twice (line 11)"),
        ("size: 20", "size: 3, min_size: 4", "pool.min_size: expected at most pool.size (3), got 4"),
        ("size: 20", "szie: 20", "pool.szie: unknown key (did you mean size?)"),
        ("size: 20", "zzz: 20", "pool.zzz: unknown key"),
        ("size: 20", "wait_timeout: soon", "pool.wait_timeout: expected a duration such as"),
        ("size: 20", "wait_timeout: -1", "pool.wait_timeout: expected number >= 0.0, got -1"),
        ("size: 20", "wait_timeout: .inf", "pool.wait_timeout: expected number <= 1e9, got inf"),
        ("size: 20", "wait_timeout: .nan", "pool.wait_timeout: expected number >= 0.0, got nan"),
        ("mode: transaction", "mode: tx", "pool.mode: expected one of transaction, session, statement; got 'tx'"),
        ("pool: {", "pool: 5\nlog: {", "pool: expected a mapping, got int"),
        ("source: static", "source: consul", "cluster.source: expected one of static, etcd, patroni; got 'consul'"),
        ("source: static", "source: patroni", "cluster.patroni: required when source is patroni"),
        ("source: static", "source: etcd", "cluster.etcd: required when source is etcd"),
        ("  source: static\n", "", "cluster.source: required"),
        ("password: secret", "password: 1234", "cluster.monitor.password: expected str, got int (put it in quotes)"),
        ("password: secret", "interval: 0", "cluster.monitor.interval: expected more than 0"),
        ("port: 5433", "port: 70000", "cluster.members[1].port: expected int <= 65535, got 70000"),
        ("name: pg2, ", "", "cluster.members[1].name: required"),
        ("name: pg2", "name: ''", "cluster.members[1].name: expected str of length >= 1"),
        ("name: pg2", "name: pg1", "cluster.members: the name pg1 is given twice"),
        ("port: 5433", "port: 5432", "cluster.members: 127.0.0.1:5432 is given twice"),
        ("port: 6432}", "port: 6432, mode: both}", "listen[0].mode: expected one of split, primary, replica"),
        ("port: 6432}", "port: 6432}\n  - {port: 6432}", "listen: 127.0.0.1:6432 is given twice"),
        ("\n  - {host: 127.0.0.1, port: 6432}", " []", "listen: at least one address is required"),
        ("\n  - {host: 127.0.0.1, port: 6432}", " here", "listen: expected a list, got str"),
        ("type: trust", "type: hba", "auth.hba_file: required when type is hba"),
        ("users.txt", "nobody.txt", "auth.users_file: not found: "),
        ("users.txt", ".", "auth.users_file: not a file: "),
        ("type: trust, users_file: users.txt", "type: md5", "auth.users_file: required when type is md5"),
        ("users_file: users.txt", "users_file: [users.txt]", "auth.users_file: expected str, got array"),
        ("listen:", "Listen: []\nlisten:", "Listen: unknown key (did you mean listen?)"),
        ("listen:", "5: x\nlisten:", "5: unknown key"),
    ],
)
def test_a_problem_is_told_by_its_path(old: str, new: str, expected: str, directory: Path) -> None:
    assert old in STATIC
    found = problems(STATIC.replace(old, new, 1), directory)
    assert [problem for problem in found if problem.startswith(expected)], found


def test_a_secret_may_be_in_a_file_or_in_the_environment(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "secret").write_text("from a file\n")
    monkeypatch.setenv("PGROUTER_TEST_SECRET", "from the environment")
    for written, expected in (
        ("{file: secret}", "from a file"),
        (f"{{file: {directory}/secret}}", "from a file"),
        ("{env: PGROUTER_TEST_SECRET}", "from the environment"),
    ):
        settings = parse(STATIC.replace("password: secret", f"password: {written}"), directory)
        assert settings.cluster.monitor.password == expected
        assert expected not in repr(settings)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{file: none}", "none cannot be read: No such file or directory"),
        ("{file: .}", ". cannot be read: Is a directory"),
        ("{env: PGROUTER_NOT_SET}", "there is no environment variable PGROUTER_NOT_SET"),
        ("{env: A, file: b}", "expected a string, {file: PATH} or {env: NAME}"),
        ("{file: 5}", "expected a string, {file: PATH} or {env: NAME}"),
        ("{vault: x}", "expected a string, {file: PATH} or {env: NAME}"),
        ("{}", "expected a string, {file: PATH} or {env: NAME}"),
    ],
)
def test_a_secret_that_cannot_be_had(written: str, expected: str, directory: Path) -> None:
    found = problems(STATIC.replace("password: secret", f"password: {written}"), directory)
    assert found == [f"cluster.monitor.password: {expected}"]


@pytest.mark.parametrize(
    ("endpoint", "right"),
    [
        ("127.0.0.1:2379", True),
        ("etcd-1.example:2379", True),
        ("[::1]:2379", True),
        ("http://etcd1:2379", True),
        ("https://etcd1:2379/", True),
        ("etcd1", False),
        ("etcd1:", False),
        ("etcd1:0", False),
        ("etcd1:port", False),
        ("etcd1:99999", False),
        (":2379", False),
        ("ftp://etcd1:2379", False),
        ("http://etcd1:2379/v3", False),
        ("http://[::1:2379", False),
        ("http://root:hunter2@etcd1:2379", False),
        ("", False),
    ],
)
def test_endpoints(endpoint: str, *, right: bool, directory: Path) -> None:
    text = ETCD.replace("127.0.0.1:2379", endpoint)
    assert (endpoint_problem(endpoint) == "") is right
    if right:
        parse(text, directory)
        return
    (problem,) = problems(text, directory)
    assert problem.startswith("cluster.etcd.endpoints[0]: expected")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("tls: {key: users.txt}", "cluster.etcd.tls.cert: required with a key"),
        ("tls: {ca: ca.pem}", "cluster.etcd.tls.ca: not found: "),
        ("password: x", "cluster.etcd.username: required with a password"),
        ("endpoints: []", "cluster.etcd.endpoints: at least one endpoint is required"),
    ],
)
def test_problems_with_etcd(more: str, expected: str, directory: Path) -> None:
    text = ETCD.replace('endpoints: ["127.0.0.1:2379"], ', "" if "endpoints" in more else 'endpoints: ["a:1"], ')
    found = problems(text.replace("scope: demo", f"scope: demo, {more}"), directory)
    assert len(found) == 1
    assert found[0].startswith(expected)


PATRONI = """
cluster:
  source: patroni
  patroni: {urls: ["http://pg1:8008", "pg2:8008"]}
auth: {type: trust}
"""


def test_the_smallest_configuration_over_rest(directory: Path) -> None:
    settings = parse(PATRONI, directory)
    assert settings.cluster.patroni is not None
    assert settings.cluster.patroni.urls == ("http://pg1:8008", "pg2:8008")
    assert settings.cluster.patroni.interval_s == 1.0


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('["http://pg1:8008", "pg2:8008"]', "[]", "cluster.patroni.urls: at least one is required"),
        ("pg2:8008", "pg2", "cluster.patroni.urls[1]: expected host:port"),
        ("http://pg1:8008", "http://a:hunter2@pg1:8008", "cluster.patroni.urls[0]: expected no user or password here"),
        ("]}", "], password: x}", "cluster.patroni.username: required with a password"),
        ("]}", "], interval: 0}", "cluster.patroni.interval: expected more than 0"),
        ("]}", "], request_timeout: 0}", "cluster.patroni.request_timeout: expected more than 0"),
        ("]}", "], tls: {key: users.txt}}", "cluster.patroni.tls.cert: required with a key"),
        ("]}", "], tls: {ca: ca.pem}}", "cluster.patroni.tls.ca: not found: "),
    ],
)
def test_problems_with_patroni(old: str, new: str, expected: str, directory: Path) -> None:
    found = problems(PATRONI.replace(old, new), directory)
    assert len(found) == 1
    assert found[0].startswith(expected)
    assert "hunter2" not in found[0]


def test_several_problems_are_told_at_once(directory: Path) -> None:
    text = STATIC.replace("size: 20", "size: x").replace("port: 5433", "prot: 1").replace("type: trust", "type: ldap")
    found = problems(text, directory)
    assert [problem.split(":")[0] for problem in found] == ["cluster.members[1].prot", "auth.type", "pool.size"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "cluster: required"),
        ("# nothing\n", "cluster: required"),
        ("- a\n- b\n", "expected a mapping, got a list"),
        ("a: [b\n", "line 2, column 1: not valid YAML"),
        ("a: b\n c: d\n", "line 2, column 3: not valid YAML"),
        ("a: \x01\n", "not valid YAML: unacceptable character"),
        ("a: !!python/object:os.system {}\n", "line 1, column 4: not valid YAML: could not determine a constructor"),
        ("a: &a [*a]\n", "a: unknown key"),
        ("? [a]\n: b\n", "line 1, column 3: not valid YAML: found unhashable key"),
        ("a: 2001-99-99\n", "not valid YAML: "),
        ("[" * 5000, "not valid YAML: "),
        ("---\na: 1\n---\nb: 2\n", "line 3, column 1: not valid YAML"),
    ],
)
def test_text_that_is_no_configuration(text: str, expected: str, directory: Path) -> None:
    assert problems(text, directory)[0].startswith(expected)


def test_files_that_cannot_be_read(directory: Path) -> None:
    (directory / "latin1.yml").write_bytes(b"a: caf\xe9\n")
    for name, words in {"none.yml": "No such file", ".": "Is a directory", "latin1.yml": "not UTF-8 at byte 6"}.items():
        with pytest.raises(ConfigError, match=words):
            load(directory / name)


def test_a_section_whose_keys_are_all_commented_out(directory: Path) -> None:
    assert parse(ETCD + "pool:\n#  size: 3\nlog:\n", directory) == parse(ETCD, directory)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("15s", 15), ("10m", 600), ("10min", 600), ("1.5h", 5400), ("7d", 604800), ("3 s", 3)],
)
def test_durations(text: str, seconds: float, directory: Path) -> None:
    assert duration_s(text) == pytest.approx(seconds)
    settings = parse(f"{ETCD}pool: {{lifetime: {text}}}\n", directory)
    assert settings.pool.lifetime_s == pytest.approx(seconds)


@given(st.integers(0, 10**9) | st.decimals(0, 10**9, places=3))
def test_a_number_is_seconds(seconds: int | Decimal) -> None:
    settings = parse(f"{ETCD}pool: {{lifetime: {seconds}}}\n", Path())
    assert settings.pool.lifetime_s == float(seconds)


@given(st.text(max_size=200))
def test_any_text_ends_in_problems_only(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, Path())
    assert caught.value.problems
    assert all("\n" not in problem for problem in caught.value.problems)
