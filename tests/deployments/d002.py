"""A primary and two standbys, promoted by hand; three exporters and a web page beside them."""

from __future__ import annotations

from deployments.steps import Deployment, not_ours, works

CONTAINERS = "done to containers; docker/compose.002-manual.yml has them, with the router"
PAGE = "another program's page"
URL = "postgres://testadmin:securepwd123@localhost"
ROUTER = f"psql {URL}:6432/testdb "
EXEC = "docker exec -e PGPASSWORD=securepwd123 {} psql -U testadmin -d testdb -c "
PRIMARY, REPLICA1, REPLICA2 = (EXEC.format(f"postgres-{name}") for name in ("primary", "replica-1", "replica-2"))
SENT = '"SELECT client_addr, usename, state, sync_state, write_lag, replay_lag FROM pg_stat_replication;"'
RECEIVED = '"SELECT pg_is_in_recovery(), pg_last_wal_receive_lsn();"'
SIZE = (
    "\"SELECT datname, pg_size_pretty(pg_database_size(datname)) AS size FROM pg_database WHERE datname='testdb';\""
)
ROWS = '"SELECT schemaname, relname, n_live_tup FROM pg_stat_user_tables ORDER BY n_live_tup DESC;"'
INDEXES = (
    '"SELECT schemaname, relname, indexrelname, idx_scan FROM pg_stat_user_indexes ORDER BY idx_scan ASC;"'
)
FENCED = (
    f"for i in 1 2 3 4 5; do {ROUTER} -Atc \"INSERT INTO messages (t) VALUES ('fence') "
    "RETURNING current_setting('demo.member')\" -q; done | sort -u"
)

MANUAL = Deployment(
    name="002-manual",
    title="002: a primary and two standbys, promoted by hand",
    nodes={"postgres-primary": 5432, "postgres-replica-1": 5433, "postgres-replica-2": 5434},
    routers=("pgrouter",),
    database="testdb",
    owner="testadmin",
    superuser=True,
    prepare=(
        "create table users (id serial primary key)",
        "create table nodes (id serial primary key)",
        "create table messages (id serial primary key, t text)",
    ),
    steps=(
        not_ours("Start the HA Cluster", "docker-compose down -v", CONTAINERS),
        not_ours("Start the HA Cluster", "docker-compose up -d", CONTAINERS),
        not_ours("Start the HA Cluster", "docker-compose logs -f", CONTAINERS),
        not_ours("Verify All Services Are Running", "docker-compose ps", CONTAINERS),
        not_ours("Access the Services", "http://localhost:5000", "the Flask page; it asks the servers, or the router"),
        not_ours("Access the Services", "http://localhost:9090/targets", PAGE),
        works("Verify Replication Status", PRIMARY + SENT, r"streaming[\s\S]*\(2 rows\)"),
        works("Verify Replication Status", REPLICA1 + RECEIVED, r" t +\|"),
        works("Verify Replication Status", REPLICA2 + RECEIVED, r" t +\|"),
        works("Verify Replication Status", ROUTER + "-c " + SENT, r"\(2 rows\)"),
        works("Write Operations", f"psql {URL}:5432/testdb -c \"INSERT INTO messages (t) VALUES ('a')\"", "INSERT 0 1"),
        works("Write Operations", ROUTER + "-c \"INSERT INTO messages (t) VALUES ('b')\"", "INSERT 0 1"),
        not_ours("Write Operations", "postgres://testadmin:securepwd123@postgres-primary:5432/testdb", "Docker's name"),
        works("Read Operations", f"psql {URL}:5432/testdb -Atc 'SELECT count(*) FROM messages'", "^2$"),
        works("Read Operations", f"psql {URL}:5433/testdb -Atc 'SELECT count(*) FROM messages'", "^2$"),
        works("Read Operations", f"psql {URL}:5434/testdb -Atc 'SELECT count(*) FROM messages'", "^2$"),
        works("Read Operations", ROUTER + "-Atc 'SELECT count(*) FROM messages'", "^2$"),
        not_ours("Simulate Primary Failure", "docker-compose logs postgres-replica-1", CONTAINERS),
        not_ours("Simulate Primary Failure", "docker-compose logs postgres-replica-2", CONTAINERS),
        works("Simulate Primary Failure", "docker-compose stop postgres-primary"),
        works("Simulate Primary Failure", ROUTER + "-Atc 'SELECT count(*) FROM messages'", "^2$"),
        works("Promote Replica-1 to Primary", REPLICA1 + '"SELECT pg_promote();"', r"\bt\b"),
        works("Verify Promotion", REPLICA1 + '"SELECT pg_is_in_recovery();"', r"\bf\b"),
        works("Verify Promotion", ROUTER + "-c \"INSERT INTO messages (t) VALUES ('c')\"", "INSERT 0 1"),
        works("Verify Promotion", ROUTER + "-Atc 'SELECT count(*) FROM messages'", "^3$"),
        works("Restart Original Primary", "docker-compose start postgres-primary"),
        works("Restart Original Primary", "sleep 2; " + FENCED, "^postgres-replica-1\n$"),
        works("Restart Original Primary", "docker-compose stop postgres-primary"),
        not_ours(
            "Reconfigure Original Primary as New Replica",
            "docker volume rm postgresql-postgres_primary_data",
            "done with the next step: a new clone",
        ),
        works("Reconfigure Original Primary as New Replica", "docker-compose up -d postgres-primary"),
        works("Reconfigure Original Primary as New Replica", PRIMARY + RECEIVED, r" t +\|"),
        works(
            "Reconfigure Original Primary as New Replica",
            f"for i in 1 2 3 4 5 6; do {ROUTER} -Atc \"SELECT current_setting('demo.member') FROM messages LIMIT 1\"; "
            "done | sort -u",
            "^postgres-primary$",
        ),
        not_ours("Monitoring with Prometheus", "pg_replication_lag_bytes", "a query to Prometheus"),
        not_ours("Monitoring with Prometheus", "pg_stat_activity_count", "a query to Prometheus"),
        *(
            not_ours("Monitoring with Prometheus", query, "a query to Prometheus")
            for query in (
                "rate(pg_stat_database_xact_commit[1m]) + rate(pg_stat_database_xact_rollback[1m])",
                "rate(pg_stat_database_heap_blks_hit[5m]) / (rate(pg_stat_database_heap_blks_hit[5m]) + rate(pg_stat_database_heap_blks_read[5m]))",
                "pg_database_size_bytes",
                "pg_stat_user_tables_n_live_tup",
            )
        ),
        works("Monitoring with Prometheus", "curl -sf http://localhost:9127/metrics", "pgrouter_member_up"),
        works("Production Considerations: Encryption", "PGSSLMODE=require " + ROUTER + "-c 'SELECT 1'"),
        not_ours("Replica Won't Connect to Primary", "docker-compose logs postgres-replica-1", CONTAINERS),
        works("Replication Lag High", ROUTER + '-c "SELECT client_addr, replay_lag FROM pg_stat_replication;"', "row"),
        not_ours("Connection Refused", "docker exec postgres-primary ping postgres-replica-1", "the network's"),
        not_ours("Connection Refused", "docker exec postgres-primary ping postgres-replica-2", "the network's"),
        not_ours("Connection Refused", "docker port postgres-primary", CONTAINERS),
        not_ours("Connection Refused", "docker port postgres-replica-1", CONTAINERS),
        not_ours("Connection Refused", "docker port postgres-replica-2", CONTAINERS),
        not_ours("Prometheus Not Scraping Metrics", "docker-compose logs prometheus", CONTAINERS),
        not_ours("Prometheus Not Scraping Metrics", "docker-compose ps | grep exporter", CONTAINERS),
        *(
            not_ours("Prometheus Not Scraping Metrics", f"curl http://localhost:{port}/metrics", "the exporter's own page")
            for port in (9187, 9188, 9189)
        ),
        not_ours("Flask Dashboard Shows NULL", "curl http://localhost:5000", "the Flask page"),
        not_ours("Flask Dashboard Shows NULL", "docker-compose logs webserver", CONTAINERS),
        not_ours("Restart All Services", "docker-compose restart", CONTAINERS),
        *(
            not_ours("View Real-Time Logs", f"docker-compose logs -f {name}", CONTAINERS)
            for name in ("postgres-primary", "postgres-replica-1", "postgres-replica-2", "webserver", "prometheus")
        ),
        works("Check Database Size", ROUTER + "-c " + SIZE, "testdb"),
        not_ours(
            "List All Tables and Row Counts",
            "SELECT schemaname, tablename, n_live_tup FROM pg_stat_user_tables ORDER BY n_live_tup DESC;",
            "PostgreSQL has no column tablename there; the next step is what was meant",
        ),
        works("List All Tables and Row Counts", ROUTER + "-c " + ROWS, "messages"),
        works("Manual Backup", f"pg_dump {URL}:6432/testdb > backup.sql && grep -c 'CREATE TABLE' backup.sql", "^3$"),
        works("Monitor Query Performance", ROUTER + '-c "ALTER SYSTEM SET log_min_duration_statement = 1000;"', "ALTER"),
        works("Monitor Query Performance", ROUTER + '-c "SELECT pg_reload_conf();"', r"\bt\b"),
        not_ours(
            "Check Index Usage",
            "SELECT schemaname, tablename, indexname, idx_scan FROM pg_stat_user_indexes ORDER BY idx_scan ASC;",
            "PostgreSQL has no such columns there; the next step is what was meant",
        ),
        works("Check Index Usage", ROUTER + "-c " + INDEXES, "messages_pkey"),
        works("Analyze Query Plans", ROUTER + '-c "EXPLAIN ANALYZE SELECT * FROM users LIMIT 10;"', "Execution Time"),
    ),
)
