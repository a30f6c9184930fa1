"""Patroni with two servers and three etcds, behind PgBouncer, whose port the router takes."""

from __future__ import annotations

from deployments.steps import Deployment, not_ours, works

PSQL = "psql -h localhost -U postgres -d postgres -p"
CONTAINERS = "shows containers; docker/compose.004-pgbouncer.yml has them, with the router"
CROWD = (
    "ulimit -n 4096; echo 'SELECT count(*) FROM test_repl' > crowd.sql; "
    "pgbench -h localhost -p 6432 -U postgres -d postgres -n -c 1000 -j 2 -t 2 -f crowd.sql"
)
SERVERS = "SELECT count(*) <= 25 FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid() AND query LIKE '%test_repl%';"
HEALTH = [f"https://localhost:{port}/health" for port in (2379, 23791, 23792)]
CURL = "curl -fsS --max-time 5 --cacert tls/ca.crt"
SHOWN = "--cert tls/client.crt --key tls/client.key"

PGBOUNCER = Deployment(
    name="004-pgbouncer",
    title="004: Patroni with two servers and three etcds, behind PgBouncer before",
    nodes={"postgresql-patroni-1": 5432, "postgresql-patroni-2": 5433},
    rest=(8008, 8009),
    etcd=(2379, 23791, 23792),
    routers=("pgbouncer",),
    database="postgres",
    owner="postgres",
    prepare=(),
    aliases={f"docker-postgresql-patroni-{n}": f"postgresql-patroni-{n}" for n in (1, 2)},
    steps=(
        not_ours(
            "etcd Cluster Formation",
            "docker exec docker-etcd-1 etcdctl endpoint health "
            "--endpoints=http://etcd-1:2379,http://etcd-2:2379,http://etcd-3:2379",
            "etcd's own program",
        ),
        *(works("SSL/TLS Security: all etcd communication encrypted", f"{CURL} {SHOWN} {url}", "true") for url in HEALTH),
        *(works("SSL/TLS Security: all etcd communication encrypted", f"! {CURL} {url} 2>&1", "") for url in HEALTH),
        works(
            "SSL/TLS Security: all etcd communication encrypted",
            "psql -h localhost -p 6432 -U postgres -d pgbouncer -Atc 'SHOW CLUSTER;'",
            "postgresql-patroni-1.*leader|leader.*postgresql-patroni-1|postgresql-patroni-1.*primary",
        ),
        works("Streaming Replication", "SELECT application_name, client_addr, state, sync_state FROM pg_stat_replication;",
              r"postgresql-patroni-2[\s\S]*streaming", on="5432"),
        works("Streaming Replication", "SELECT application_name, client_addr, state, sync_state FROM pg_stat_replication;",
              r"postgresql-patroni-2[\s\S]*streaming", on="6432"),
        works("Patroni APIs Responding", "curl -s http://localhost:8008/patroni", "primary|master"),
        works("Patroni APIs Responding", "curl -s http://localhost:8009/patroni", "replica"),
        works("PgBouncer Started", "pg_isready -h localhost -p 6432", "accepting connections"),
        not_ours("Docker Health Checks", "pg_isready -h localhost -U postgres", "a container's own check"),
        works("Test data replication", f'{PSQL} 5432 -c "CREATE TABLE test_repl (id serial, data text);"', "CREATE TABLE"),
        works("Test data replication", f"{PSQL} 5432 -c \"INSERT INTO test_repl (data) VALUES ('test data');\"", "INSERT"),
        works("Test data replication", f'{PSQL} 5433 -c "SELECT * FROM test_repl;"', "test data"),
        works("Test data replication", f'{PSQL} 6432 -c "SELECT * FROM test_repl;"', "test data"),
        works("Test connection pooling", f"{PSQL} 6432 -Atc 'SELECT 1'", "^1$"),
        works("Test connection pooling", 'psql -h localhost -p 6432 -U postgres -d pgbouncer -c "SHOW POOLS;"', "postgres"),
        works("PgBouncer: 1000 clients on 25 connections", CROWD, "number of failed transactions: 0"),
        works("PgBouncer: 1000 clients on 25 connections", SERVERS, r"\bt\b", on="5432"),
        works("PgBouncer: 1000 clients on 25 connections", SERVERS, r"\bt\b", on="5433"),
        works(
            "Test manual switchover",
            "docker exec docker-postgresql-patroni-1 patronictl -c /etc/patroni/patroni.yml switchover "
            "--leader postgresql-patroni-1 --candidate postgresql-patroni-2 --force",
            "Successfully switched over",
        ),
        works("Test manual switchover", f"{PSQL} 6432 -c \"INSERT INTO test_repl (data) VALUES ('2');\"", "INSERT 0 1"),
        works("Test manual switchover", "curl -s http://localhost:8008/patroni", "replica"),
        works("Quorum", "docker stop docker-etcd-3"),
        works("Quorum", f"{PSQL} 6432 -c \"INSERT INTO test_repl (data) VALUES ('3');\"", "INSERT 0 1"),
        works("Quorum", f"{PSQL} 6432 -Atc 'SELECT count(*) FROM test_repl'", "^3$"),
        works("Test automatic failover", "curl -s http://localhost:8008/cluster", "streaming"),
        works("Test automatic failover", "docker stop docker-postgresql-patroni-2"),
        works("Test automatic failover", "curl -s http://localhost:8008/patroni", "primary|master"),
        works("Test automatic failover", f"{PSQL} 6432 -c \"INSERT INTO test_repl (data) VALUES ('4');\"", "INSERT 0 1"),
        works("Test automatic failover", "docker start docker-postgresql-patroni-2"),
        works("Test automatic failover", "curl -s http://localhost:8009/patroni", "replica"),
        not_ours(
            "Quick Status Checks",
            'docker ps --filter "name=etcd" --filter "name=patroni" --filter "name=pgbouncer"',
            CONTAINERS,
        ),
        not_ours("Quick Status Checks", "docker exec docker-etcd-1 etcdctl endpoint health", "etcd's own program"),
        works("Quick Status Checks", "curl -s http://localhost:8008/patroni", "running"),
        works(
            "Quick Status Checks",
            "docker exec docker-postgresql-patroni-1 psql -h localhost -U postgres -c "
            '"SELECT application_name, state, sync_state FROM pg_stat_replication;"',
            r"\(1 row\)",
        ),
        works("Quick Status Checks", "curl -s http://localhost:8009/patroni", "running"),
        works("SSL/TLS Security", f"PGSSLMODE=require {PSQL} 6432 -Atc 'SELECT 1'", "^1$"),
    ),
)
