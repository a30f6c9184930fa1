"""A primary and two replicas behind Pgpool-II, whose port the router takes."""

from __future__ import annotations

from deployments.steps import Deployment, not_ours, works

CONTAINERS = "starts containers; docker/compose.003-pgpool.yml is that file with the router in it"
LOGS = "reads a container's log"
SERVER = "done to a server; the router sees what comes of it"
FILE = "edits a file of a server's"
URL = "postgresql://postgres:password@localhost"
EXEC = "docker exec edufarm-postgres-primary "
POOL = 'docker exec edufarm-pgpool psql -U postgres -d edufarm -c "'
LAG = (
    'psql -U postgres -c "SELECT client_addr, state, sent_lsn, write_lsn, flush_lsn, replay_lsn, sync_state, '
    'pg_wal_lsn_diff(sent_lsn, replay_lsn) AS lag_bytes FROM pg_stat_replication;"'
)
SLOW = (
    "SELECT query, calls, total_exec_time, mean_exec_time, max_exec_time FROM pg_stat_statements "
    "ORDER BY mean_exec_time DESC LIMIT 20;"
)
MEMBERS = (
    "for i in 1 2 3 4 5 6 7 8 9; do psql -h localhost -p 5430 -U postgres -d edufarm -Atc "
    "\"SELECT current_setting('demo.member') FROM test_table LIMIT 1\"; done | sort -u | wc -l"
)
NAMES = MEMBERS.replace("wc -l", "tr '\\n' ' '")

PGPOOL = Deployment(
    name="003-pgpool",
    title="003: a primary and two replicas, behind Pgpool-II before",
    nodes={"edufarm-postgres-primary": 5432, "edufarm-postgres-replica1": 5433, "edufarm-postgres-replica2": 5434},
    members=("postgres-primary", "postgres-replica1", "postgres-replica2"),
    later={"new-replica": 5435},
    routers=("edufarm-pgpool",),
    database="edufarm",
    owner="postgres",
    prepare=(
        "create table test_table (id serial primary key, data text)",
        "create table table_name (column_name int)",
    ),
    steps=(
        not_ours("Quick Start", "docker-compose -f docker-compose.postgres-ha.yml up -d", CONTAINERS),
        not_ours("Quick Start", "sleep 60", "the router is ready in seconds and says so"),
        not_ours("Quick Start", "docker-compose -f docker-compose.postgres-ha.yml ps", CONTAINERS),
        works("Check Replication Status", EXEC + 'psql -U postgres -c "SELECT * FROM pg_stat_replication;"', r"\(2 rows\)"),
        works("Test Read/Write Split", POOL + "INSERT INTO test_table (data) VALUES ('test');\"", "INSERT 0 1"),
        works("Test Read/Write Split", POOL + 'SELECT * FROM test_table;"', "test"),
        works("Check Pgpool Status", POOL + 'SHOW POOL_NODES;"', "standby"),
        works("For Application", "psql -h localhost -p 5430 -U postgres -d edufarm -Atc 'SELECT 1'", "^1$"),
        works("Direct Connections", f"psql {URL}:5432/edufarm -Atc 'SELECT pg_is_in_recovery()'", "^f$"),
        works("Direct Connections", f"psql {URL}:5433/edufarm -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Direct Connections", f"psql {URL}:5434/edufarm -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Direct Connections", f"psql {URL}:5430/edufarm -Atc 'SELECT count(*) FROM test_table'", r"^\d+$"),
        not_ours("Direct Connections", "postgresql://postgres:password@pgpool:5432/edufarm", "a name in Docker's network"),
        works(
            "Automatic Load Balancing",
            f"psql {URL}:5430/edufarm -Atc \"INSERT INTO test_table (data) VALUES ('w') "
            "RETURNING current_setting('demo.member')\"",
            "^edufarm-postgres-primary",
        ),
        works("Automatic Load Balancing", MEMBERS, "^3$"),
        works(
            "Connection Pooling",
            "for i in 1 2 3 4 5 6 7 8; do psql -h localhost -p 5430 -U postgres -d edufarm -Atc "
            "'INSERT INTO test_table (data) VALUES (pg_backend_pid()::text) RETURNING data' -q; done | sort -u | wc -l",
            "^1$",
        ),
        not_ours("Configuration", "wal_level = replica; max_wal_senders = 10; hot_standby = on", FILE),
        not_ours("Prometheus Metrics", "http://localhost:9187/metrics", "the exporter's own page"),
        not_ours("Grafana Dashboard", "Dashboard ID: 9628", "Grafana's own page"),
        works("Replication Lag", EXEC + LAG, r"streaming[\s\S]*\(2 rows\)"),
        works("Replication Lag", LAG.replace("psql", "psql -h localhost -p 5430"), r"streaming[\s\S]*\(2 rows\)"),
        works("Backup Primary", EXEC + "pg_dump -U postgres edufarm > backup.sql"),
        works("Backup Primary", "pg_dump -h localhost -p 5430 -U postgres edufarm > backup.sql"),
        works("Restore from Backup", "docker exec -i edufarm-postgres-primary psql -U postgres edufarm < backup.sql"),
        works("Restore from Backup", "createdb -h localhost -p 5430 -U postgres restored"),
        works("Restore from Backup", "psql -h localhost -p 5430 -U postgres restored < backup.sql", "COPY"),
        not_ours("Backup Primary", "pg_basebackup -U postgres -D /backup -Ft -z -P", "a physical backup is one server's"),
        not_ours("Restore from Backup", "replace the data directory with the backup", SERVER),
        not_ours("Shared Buffers", "shared_buffers = 256MB", FILE),
        not_ours("Connection Pooling", "PGPOOL_NUM_INIT_CHILDREN=32", "pool.size and pool.max_clients here"),
        works("Query Optimization", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements;", on="5430"),
        works("Query Optimization", SLOW, r"rows?\)", on="5430"),
        works("Query Optimization", "CREATE INDEX CONCURRENTLY idx_name ON table_name(column_name);", on="5430"),
        not_ours("Replicas not syncing", "docker logs edufarm-postgres-primary", LOGS),
        not_ours("Replicas not syncing", "docker logs edufarm-postgres-replica1", LOGS),
        works("Replicas not syncing", EXEC + 'psql -U postgres -c "SELECT * FROM pg_replication_slots;"', r"rows?\)"),
        works("Replicas not syncing", "docker restart edufarm-postgres-replica1"),
        works("Replicas not syncing", MEMBERS, "^3$"),
        not_ours("Pgpool shows replica as down", "docker logs edufarm-pgpool", LOGS),
        works("Pgpool shows replica as down", POOL + 'SHOW POOL_NODES;"', r"up +\| up [\s\S]*standby"),
        works(
            "Pgpool shows replica as down",
            "docker exec edufarm-pgpool pcp_attach_node -h localhost -p 9898 -U admin -n 1",
            "Command Successful",
        ),
        not_ours("High replication lag", "docker exec edufarm-postgres-replica1 ping postgres-primary", "the network's"),
        works("High replication lag", EXEC + 'psql -U postgres -c "SELECT pg_current_wal_lsn();"', "/"),
        not_ours("High replication lag", "wal_keep_size = 2048", FILE),
        not_ours("Connection refused", "docker-compose -f docker-compose.postgres-ha.yml ps", CONTAINERS),
        works("Connection refused", "psql -h localhost -p 5432 -U postgres -d edufarm -c 'SELECT 1'", "1 row"),
        works("Connection refused", "psql -h localhost -p 5430 -U postgres -d edufarm -c 'SELECT 1'", "1 row"),
        not_ours("Connection refused", EXEC + "cat /etc/postgresql/pg_hba.conf", FILE),
        not_ours("Change Default Passwords", "docker-compose -f docker-compose.postgres-ha.yml down -v", CONTAINERS),
        not_ours("SSL/TLS Encryption", "openssl req -new -x509 -days 365 -nodes -text -out server.crt -keyout server.key", FILE),
        not_ours("SSL/TLS Encryption", f'psql "{URL}:5432/edufarm?sslmode=require"', "a server's own certificate"),
        works("SSL/TLS Encryption", f"psql '{URL}:5430/edufarm?sslmode=require' -c 'SELECT 1'"),
        not_ours("Restrict Connections", "host all all 10.0.0.0/8 md5", FILE),
        works("Promote Replica to Primary", "docker stop edufarm-postgres-primary"),
        works("Promote Replica to Primary", "docker exec edufarm-postgres-replica1 pg_ctl promote", "promoted"),
        works("Promote Replica to Primary", POOL + "INSERT INTO test_table (data) VALUES ('after');\"", "INSERT 0 1"),
        not_ours("Promote Replica to Primary", "# 2. Update PGPOOL_BACKEND_NODES", "the router finds the new primary by itself"),
        works("Promote Replica to Primary", "docker restart edufarm-pgpool"),
        works("Promote Replica to Primary", POOL + 'SELECT * FROM test_table;"', "after"),
        works(
            "Add New Replica",
            "docker exec new-replica pg_basebackup -h postgres-primary -U replicator -D /var/lib/postgresql/data",
            "new-replica",
        ),
        works("Add New Replica", "docker kill --signal=HUP edufarm-pgpool", "reloaded"),
        works("Add New Replica", NAMES, "new-replica"),
        works("Add New Replica", POOL + "INSERT INTO test_table (data) VALUES ('late');\"", "INSERT 0 1"),
        works("Add New Replica", "psql -h localhost -p 5435 -U postgres -d edufarm -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
    ),
)
