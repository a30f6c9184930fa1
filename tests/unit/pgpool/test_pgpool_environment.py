"""The environment of bitnami/pgpool and pgpool/pgpool: each variable, and the files that come of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pgrouter.auth import pool_passwd
from pgrouter.errors import ConfigError
from pgrouter.pgpool.conf import parse
from pgrouter.pgpool.container import Container
from pgrouter.pgpool.convert import convert
from pgrouter.pgpool.environment import FIXED, ROWS, Row, Written, written

NODES = {"PGPOOL_BACKEND_NODES": "0:pg-0:5432,1:pg-1"}


def from_disk(name: str) -> str:
    return Path(name).read_text("utf-8")


def bitnami(**variables: str) -> Written:
    found = written(NODES | {f"PGPOOL_{name}": value for name, value in variables.items()}, from_disk)
    assert found is not None
    return found


def value(files: Written, name: str) -> str | None:
    conf = parse(files.conf)
    return conf.get(name).text if conf.given(name) else None


def test_another_environment_is_none() -> None:
    assert written({"PATH": "/bin", "PGPOOL_ADMIN_USERNAME": "a"}, from_disk) is None


# -- bitnami/pgpool


def test_what_is_always_written() -> None:
    files = bitnami()
    for name, expected in FIXED.items():
        assert value(files, name) == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.variable)
def test_each_variable_becomes_its_parameter(row: Row) -> None:
    default = None if row.default is None else {"yes": "on", "no": "off"}.get(row.default, row.default)
    if row.parameter not in ("health_check_user", "health_check_password"):
        assert value(bitnami(), row.parameter) == default
    given, expected = ("no" if row.default == "yes" else "yes", "off" if row.default == "yes" else "on")
    given, expected = (given, expected) if row.truth else ("7", "7")
    assert value(bitnami(**{row.variable: given}), row.parameter) == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.variable)
def test_each_variable_may_be_in_a_file(row: Row, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("yes\n")
    files = bitnami(**{f"{row.variable}_FILE": str(tmp_path / "value")})
    expected = "on" if row.truth else "yes"
    assert (value(files, row.parameter) == expected) is row.in_file


def test_nodes() -> None:
    files = bitnami(BACKEND_NODES="0:a;1:b:5433,2:c:5434:0.5:/data:DISALLOW_TO_FAILOVER")
    found = [
        [value(files, f"backend_{name}{number}") for name in ("hostname", "port", "weight", "data_directory", "flag")]
        for number in range(3)
    ]
    assert found == [
        ["a", "5432", "1", None, "ALLOW_TO_FAILOVER"],
        ["b", "5433", "1", None, "ALLOW_TO_FAILOVER"],
        ["c", "5434", "0.5", "/data", "DISALLOW_TO_FAILOVER"],
    ]


def test_nodes_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("0:somewhere\n")
    files = written({"PGPOOL_BACKEND_NODES_FILE": str(tmp_path / "nodes")}, from_disk)
    assert files is not None
    assert value(files, "backend_hostname0") == "somewhere"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"BACKEND_NODES": "a:b"}, "expected id:host"),
        ({"BACKEND_NODES": "0"}, "expected id:host"),
        ({"BACKEND_NODES": ""}, "required"),
        ({"BACKEND_APPLICATION_NAMES": "one"}, r"as many names as nodes \(2\), got 1"),
        ({"POSTGRES_CUSTOM_USERS": "a,b", "POSTGRES_CUSTOM_PASSWORDS": "x"}, r"as many as users \(2\), got 1"),
        ({"SR_CHECK_PASSWORD_FILE": "/nowhere"}, "PGPOOL_SR_CHECK_PASSWORD_FILE: /nowhere cannot be read"),
        ({"USER_CONF_FILE": "/nowhere"}, "PGPOOL_USER_CONF_FILE: /nowhere cannot be read"),
    ],
)
def test_variables_that_are_wrong(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        bitnami(**variables)


def test_application_names() -> None:
    files = bitnami(BACKEND_APPLICATION_NAMES="x,y")
    assert value(files, "backend_application_name1") == "y"


def test_the_health_checks_user_is_that_of_the_other_check() -> None:
    files = bitnami(SR_CHECK_USER="sr", SR_CHECK_PASSWORD="secret")
    assert value(files, "health_check_user") == "sr"
    assert value(files, "health_check_password") == "secret"


def test_passwords(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from: a file\n")
    files = bitnami(
        POSTGRES_PASSWORD_FILE=str(tmp_path / "secret"),
        SR_CHECK_USER="sr",
        SR_CHECK_PASSWORD="AES is not a prefix here",
        POSTGRES_CUSTOM_USERS="a;b",
        POSTGRES_CUSTOM_PASSWORDS="x;y",
    )
    path = tmp_path / "pool_passwd"
    path.write_text(files.pool_passwd)
    users = pool_passwd.load(path, None)
    found = {name: users.get(name).password for name in ("postgres", "sr", "a", "b")}  # type: ignore[union-attr]
    assert found == {"postgres": "from: a file", "sr": "AES is not a prefix here", "a": "x", "b": "y"}
    assert bitnami(POSTGRES_PASSWORD="x", ENABLE_POOL_PASSWD="no").pool_passwd == ""


def test_who_may_come_in() -> None:
    assert bitnami().hba == "local all all trust\nhost all all all scram-sha-256\n"
    assert bitnami(AUTHENTICATION_METHOD="md5").hba == "local all all trust\nhost all all all md5\n"
    assert "pam" in (bitnami(ENABLE_LDAP="yes").hba or "")
    with_certificates = bitnami(ENABLE_TLS="yes", TLS_CERT_FILE="c", TLS_KEY_FILE="k", TLS_CA_FILE="ca").hba or ""
    assert with_certificates.splitlines()[1] == "hostssl all all all cert"
    without = bitnami(ENABLE_POOL_HBA="no")
    assert without.hba is None
    assert value(without, "allow_clear_text_frontend_auth") == "on"


def test_the_administrator(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("adminpassword")
    digest = hashlib.md5(b"adminpassword", usedforsecurity=False).hexdigest()
    assert bitnami(ADMIN_USERNAME="boss", ADMIN_PASSWORD="adminpassword").pcp == f"boss:{digest}\n"
    assert bitnami(ADMIN_PASSWORD_FILE=str(tmp_path / "secret")).pcp == f"admin:{digest}\n"
    assert bitnami().pcp == ""


def test_users_own_files(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("port = 7777\n")
    (tmp_path / "hba").write_text("host all all all reject\n")
    files = bitnami(USER_CONF_FILE=str(tmp_path / "conf"), USER_HBA_FILE=str(tmp_path / "hba"))
    assert value(files, "port") == "7777"
    assert files.hba == "host all all all reject\n"


def test_sockets_are_where_probes_look_for_them(tmp_path: Path) -> None:
    assert value(bitnami(), "unix_socket_directories") == "/opt/bitnami/pgpool/tmp"
    container = Container(bitnami(TMP_DIR=str(tmp_path / "sockets")), tmp_path)
    try:
        assert (tmp_path / "sockets").is_dir()
    finally:
        container.close()


@pytest.mark.parametrize("name", ["TIMEOUT", "HEALTH_CHECK_PSQL_TIMEOUT", "ENABLE_CONNECTION_CACHE", "EXTRA_FLAGS"])
def test_variables_without_effect(name: str) -> None:
    assert bitnami(**{name: "1"}).conf == bitnami().conf


# -- pgpool/pgpool


def pgpool(**variables: str) -> Written:
    found = written({"PGPOOL_PARAMS_BACKEND_HOSTNAME0": "pg", **variables}, from_disk)
    assert found is not None
    return found


def test_any_parameter_and_the_defaults() -> None:
    files = pgpool(PGPOOL_PARAMS_NUM_INIT_CHILDREN="5", PGPOOL_PARAMS_BACKEND_WEIGHT0="2")
    expected = {
        "backend_hostname0": "pg",
        "num_init_children": "5",
        "backend_weight0": "2",
        "port": "9999",
        "backend_port0": "5432",
        "backend_flag0": "ALLOW_TO_FAILOVER",
        "listen_addresses": "*",
        "sr_check_period": "0",
        "health_check_period": "0",
        "failover_on_backend_error": "off",
    }
    assert {name: value(files, name) for name in expected} == expected
    with pytest.raises(ConfigError, match="PGPOOL_PARAMS_BACKEND_HOSTNAME0: required"):
        written({"PGPOOL_PARAMS_PORT": "1"}, from_disk)


def test_pairs_of_user_and_password_are_entries() -> None:
    assert pgpool(POSTGRES_USERNAME="postgres", POSTGRES_PASSWORD="a:b", X_USERNAME="nobody").pool_passwd == (
        "postgres:TEXTa\\:b\n"
    )
    encrypted = {"APP_USERNAME": "app", "APP_PASSWORD": "AESabc", "PGPOOL_SKIP_PASSWORD_ENCRYPTION": "true"}
    assert pgpool(**encrypted).pool_passwd == "app:AESabc\n"


def test_the_methods_of_authentication() -> None:
    assert pgpool().hba == "local all all trust\nhost all all all scram-sha-256\n"
    assert pgpool(PGPOOL_PASSWORD_ENCRYPTION_METHOD="md5").hba == "local all all trust\nhost all all all md5\n"
    plain = pgpool(PGPOOL_ENABLE_POOL_PASSWD="false")
    assert plain.hba == "local all all trust\nhostssl all all all password\n"
    assert value(plain, "ssl") == "on"
    assert pgpool(PGPOOL_PARAMS_ENABLE_POOL_HBA="off").hba is None


def test_the_pcp_user() -> None:
    digest = hashlib.md5(b"secret", usedforsecurity=False).hexdigest()
    assert pgpool(PGPOOL_PCP_USER="pcp", PGPOOL_PCP_PASSWORD="secret").pcp == f"pcp:{digest}\n"


def test_a_certificate_of_our_own_making(tmp_path: Path) -> None:
    variables = {
        "PGPOOL_PARAMS_BACKEND_HOSTNAME0": "pg",
        "PGPOOL_PARAMS_SSL": "on",
        "PGPOOL_CONF_VOLUME": str(tmp_path),
        "POSTGRES_USERNAME": "postgres",
        "POSTGRES_PASSWORD": "secret",
    }
    container = Container.of(variables)
    assert container is not None
    try:
        found = convert(container.path, variables).settings(tmp_path)
        tls = found.listen[0].tls
        assert tls.cert is not None
        assert tls.key is not None
        assert tls.cert.read_text().startswith("-----BEGIN CERTIFICATE")
        assert tls.key.stat().st_mode & 0o777 == 0o600
        assert found.auth.pool_passwd_file is not None
        assert found.auth.pool_passwd_file.stat().st_mode & 0o777 == 0o600
    finally:
        container.close()
    assert not container.path.exists()


def test_mounted_files_win(tmp_path: Path) -> None:
    (tmp_path / "pgpool.conf").write_text("backend_hostname0 = 'mounted'\nssl = on\nenable_pool_hba = on\n")
    (tmp_path / "pool_hba.conf").write_text("host all all all reject\n")
    container = Container.of({"PGPOOL_PARAMS_BACKEND_HOSTNAME0": "pg", "PGPOOL_CONF_VOLUME": str(tmp_path)})
    assert container is not None
    try:
        assert "mounted" in container.path.read_text()
        assert container.path.with_name("pool_hba.conf").read_text() == "host all all all reject\n"
    finally:
        container.close()
