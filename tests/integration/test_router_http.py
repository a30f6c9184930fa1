"""The HTTP port of real routers in front of real servers."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.authority import Authority
from support.front import running
from support.router import Router, static_cluster

from bench.programs import find
from pgrouter.demo.processes import until
from pgrouter.demo.streaming import StreamingCluster
from pgrouter.http.haproxy import HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.pg

TOKEN = "open sesame"
MONITORING = Path(__file__).parents[2] / "configs" / "monitoring"


@pytest.fixture(scope="module")
def cluster() -> Iterator[StreamingCluster]:
    """A primary and a standby."""
    with StreamingCluster(2) as cluster:
        yield cluster


def get(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, Any]:
    """Return status and body; JSON is decoded."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            status, body, kind = answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        status, body, kind = error.code, error.read(), error.headers["Content-Type"]
    return status, json.loads(body) if kind == "application/json" else body.decode()


def url(router: Router, path: str) -> str:
    """Return the address of a path."""
    return f"http://127.0.0.1:{router.http_port}{path}"


def status(router: Router, path: str) -> int:
    """Return the status of a path."""
    return get(url(router, path))[0]


def test_health_follows_the_cluster() -> None:
    with (
        StreamingCluster(2) as cluster,
        running({"cluster": static_cluster(cluster.servers), "http": {"port": 0}}) as router,
    ):
        for path in ("/live", "/ready", "/primary", "/replica", "/read-only"):
            assert status(router, path) == 200, path
        _, found = get(url(router, "/cluster"))
        assert {one["name"]: one["role"] for one in found["members"]} == {
            cluster.servers[0].name: "leader",
            cluster.servers[1].name: "replica",
        }
        assert found["primary"] == cluster.servers[0].name
        cluster.servers[1].stop()
        until(lambda: status(router, "/replica") == 503, 20, "no replica")
        assert status(router, "/read-only") == 200
        cluster.servers[0].stop()
        until(lambda: status(router, "/ready") == 503, 20, "nothing to serve")
        assert status(router, "/live") == 200
        assert get(url(router, "/primary"))[1]["reason"]


def test_https_with_a_token_and_client_certificates(cluster: StreamingCluster, tmp_path: Path) -> None:
    authority, foreign = Authority(tmp_path), Authority(tmp_path, "foreign")
    cert, key = map(str, authority.issue("127.0.0.1", "localhost"))
    tls = {"cert": cert, "key": key}
    settings = {"cluster": static_cluster(cluster.servers), "http": {"port": 0, "token": TOKEN, "tls": tls}}
    with running(settings) as router:
        port = router.http_port
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        assert get(f"https://localhost:{port}/live", trusting)[0] == 200
        assert get(f"https://localhost:{port}/cluster", trusting)[0] == 401
        assert get(f"https://localhost:{port}/cluster", trusting, Authorization=f"Bearer {TOKEN}")[0] == 200
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            get(f"http://localhost:{port}/live")
        with pytest.raises(urllib.error.URLError):
            get(f"https://localhost:{port}/live", ssl.create_default_context(cafile=str(foreign.ca)))
        router.settings["http"]["tls"] = tls | {"mode": "verify-ca", "ca": str(authority.ca)}
        router.write_settings()
        router.process.reload()
        until(lambda: get(f"https://localhost:{port}/live", trusting)[0] == 403, 10, "a certificate is needed")
        shown = map(str, authority.issue("monitor", file="monitor"))
        trusting.load_cert_chain(*shown)
        assert get(f"https://localhost:{port}/live", trusting)[0] == 200


def scraped(router: Router) -> dict[tuple[str, frozenset[str]], float]:
    """Return the metrics by name and labels' values."""
    families = text_string_to_metric_families(get(url(router, "/metrics"))[1])
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.values())): sample.value for sample in samples}


def test_metrics_count_what_clients_do(cluster: StreamingCluster) -> None:
    settings = {
        "cluster": static_cluster(cluster.servers),
        "http": {"port": 0, "names": ["pgbouncer", "cnpg", "pgpool"]},
        "pool": {"size": 1},
    }
    with running(settings) as router:

        def value(name: str, *labels: str) -> float:
            return scraped(router)[name, frozenset(labels)]

        pool = ("postgres", "postgres")
        with router.connect() as one, router.connect() as other:
            for _ in range(10):
                one.execute("select 1")
            with pytest.raises(psycopg.errors.UndefinedTable):
                one.execute("select * from there_is_none")
            one.execute("begin")
            one.execute("create table t (a int)")
            with ThreadPoolExecutor(1) as threads:
                waits = threads.submit(other.execute, "create table u (a int)")
                until(lambda: value("pgrouter_pool_waiting_clients", *pool, "write") == 1, 10, "it waits")
                assert value("pgbouncer_pools_client_waiting_connections", *pool) == 1
                one.execute("rollback")
                waits.result(10)
            other.execute("drop table u")
            other.execute("create temporary table v (a int)")
            assert value("pgrouter_pool_wait_seconds_count", *pool) >= 1
            assert value("pgrouter_pinned_clients", "temporary object") == 1
            assert value("pgrouter_logins_total") == 2
            assert value("pgrouter_errors_total", "server", "42P01") == 1
            assert value("pgrouter_pool_queries_total", *pool) >= 12
            assert value("pgrouter_member_up", cluster.servers[0].name) == 1
            assert value("pgrouter_member_role", cluster.servers[1].name, "replica") == 1
        with pytest.raises(psycopg.OperationalError):
            router.connect(user="postgres", password="wrong")
        assert value("pgrouter_errors_total", "login", "28P01") == 1
        check_format(get(url(router, "/metrics"))[1])


def check_format(text: str) -> None:
    """Have promtool look at metrics, if it can be had."""
    promtool = find("promtool", "prometheus", "--version")
    if isinstance(promtool, str):
        pytest.skip(promtool)
    done = subprocess.run(
        [promtool.path, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("pgrouter_")]
    assert "error while parsing" not in done.stderr
    assert not ours


def test_a_reload_opens_and_closes_the_port(cluster: StreamingCluster) -> None:
    with running({"cluster": static_cluster(cluster.servers)}) as router:
        assert not router.log_contains("http: listens")
        router.settings["http"] = {"port": 0}
        router.write_settings()
        router.process.reload()
        until(lambda: router.log_contains("http: listens"), 10, "the port opens")
        assert status(router, "/live") == 200
        port = router.http_port
        router.settings["http"] = {"port": router.port}
        router.write_settings()
        router.process.reload()
        until(lambda: router.log_contains("cannot listen|was not reloaded"), 10, "a port that is taken")
        assert status(router, "/live") == 200
        del router.settings["http"]
        router.write_settings()
        router.process.reload()
        until(lambda: _refuses(port), 10, "the port closes")


def _refuses(port: int) -> bool:
    try:
        get(f"http://127.0.0.1:{port}/live")
    except urllib.error.URLError:
        return True
    except ConnectionError:  # accepted, and closed with the port
        return False
    return False


# -- Prometheus itself


def test_prometheus_takes_the_metrics_the_alerts_and_the_dashboard(cluster: StreamingCluster, tmp_path: Path) -> None:
    prometheus = find("prometheus", "prometheus", "--version")
    if isinstance(prometheus, str):
        pytest.skip(prometheus)
    settings = {
        "cluster": static_cluster(cluster.servers),
        "http": {"port": 0, "names": ["pgbouncer", "cnpg", "pgpool"]},
    }
    with running(settings) as router, router.connect() as client:
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{router.http_port}"]}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(MONITORING / "alerts.yml", tmp_path)
        port = free_port()
        arguments = [
            "--config.file=prometheus.yml",
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.path=data",
        ]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen([prometheus.path, *arguments], cwd=tmp_path, stdout=log, stderr=log)
        try:

            def asked(path: str, **query: str) -> Any:
                return get(f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}")[1]["data"]

            def is_up() -> bool:
                try:
                    ready, _ = get(f"http://127.0.0.1:{port}/-/ready")
                    return ready == 200 and bool(asked("query", query='up{job="pgrouter"} == 1')["result"])
                except urllib.error.URLError:
                    return False

            until(is_up, 20, f"Prometheus has scraped the router, see {tmp_path / 'log'}")
            (target,) = asked("targets")["activeTargets"]
            assert target["lastError"] == ""
            client.execute("select 1")
            until(lambda: bool(asked("query", query="pgrouter_pool_queries_total > 0")["result"]), 10, "queries")
            for title, expression in dashboard():

                def shows(expression: str = expression) -> bool:
                    return bool(asked("query", query=expression)["result"])

                if title in QUIET:
                    shows()  # it is an expression
                else:
                    until(shows, 10, title)
            until(lambda: not unhealthy(asked("rules")), 10, "all rules are evaluated")
            assert not asked("alerts")["alerts"]
            cluster.servers[1].stop()
            until(lambda: "PgrouterMemberDown" in alerts(asked("alerts")), 20, "an alert")
        finally:
            process.terminate()
            process.wait(20)
            if not cluster.servers[1].alive:
                cluster.servers[1].start()


QUIET = {"Waiting clients", "Waiting time, 99 of 100", "Clients that keep their server", "Logins", "Errors by SQLSTATE"}


def dashboard() -> Iterator[tuple[str, str]]:
    """Yield the title and each expression of the dashboard's panels, as Grafana fills them in."""
    for panel in json.loads((MONITORING / "grafana" / "pgrouter.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = (
                target["expr"].replace("$job", "pgrouter").replace("$instance", ".*").replace("$database", ".*")
            )
            yield panel["title"], expression.replace("$__rate_interval", "10s").replace("$__range", "10s")


def unhealthy(rules: Any) -> list[str]:
    return [rule["name"] for group in rules["groups"] for rule in group["rules"] if rule["health"] != "ok"]


def alerts(found: Any) -> set[str]:
    return {alert["labels"]["alertname"] for alert in found["alerts"]}


HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend statistics
    mode http
    bind 127.0.0.1:{statistics}
    stats enable
    stats uri /statistics
listen primary
    bind 127.0.0.1:{port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    server router 127.0.0.1:{router} check port {http} inter 200ms fall 2 rise 1
"""


def test_haproxy_checks_routers_as_it_checks_patroni(tmp_path: Path) -> None:
    haproxy = find("haproxy", "haproxy", "-v")
    if isinstance(haproxy, str):
        pytest.skip(haproxy)
    with (
        StreamingCluster(1) as cluster,
        running({"cluster": static_cluster(cluster.servers), "http": {"port": 0}}) as router,
    ):
        port, statistics = free_port(), free_port()
        config = HAPROXY.format(port=port, statistics=statistics, router=router.port, http=router.http_port)
        (tmp_path / "haproxy.cfg").write_text(config)
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                [haproxy.path, "-db", "-f", tmp_path / "haproxy.cfg"],
                env=os.environ | haproxy.env, stdout=log, stderr=log,
            )  # fmt: skip
        try:

            def is_up() -> bool:
                try:
                    text = get(f"http://127.0.0.1:{statistics}/statistics;csv")[1]
                except urllib.error.URLError:
                    return False
                rows = list(csv.DictReader(text.removeprefix("# ").splitlines()))
                theirs, ours = set(rows[0]), set(HEADER.split(","))
                assert ours <= theirs  # the columns are HAProxy's
                return next(row for row in rows if row["svname"] == "router")["status"] == "UP"

            until(is_up, 20, f"HAProxy has found the router, see {tmp_path / 'log'}")
            with psycopg.connect(router.dsn().replace(f"port={router.port}", f"port={port}")) as client:
                assert client.execute("select 1").fetchone() == (1,)
            cluster.servers[0].stop()
            until(lambda: not is_up(), 20, "HAProxy has seen that nobody takes writes")
        finally:
            process.terminate()
            process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
