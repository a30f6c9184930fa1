"""A primary, two backups and three read-only replicas; the application had an address per server."""

from __future__ import annotations

from deployments.steps import Deployment, not_ours, works

CONTAINERS = "shows containers; docker/compose.000-tiers.yml has them, with the router"
PAGE = "another program's page"
NODES = {"pg-primary": 5432, "pg-backup1": 5433, "pg-backup2": 5434, "pg-ro1": 5440, "pg-ro2": 5441, "pg-ro3": 5442}
PSQL = "psql -h localhost -U appuser -d appdb -p"
EXEC = "docker exec pg-primary psql -U appuser -d appdb -c "
MEMBERS = (
    "for i in 1 2 3 4 5 6 7 8 9; do {psql} -Atc "
    "\"SELECT current_setting('demo.member') FROM test_replication LIMIT 1\"; done | sort -u | tr '\\n' ' '"
)
REPLICATION = "SELECT client_addr, state, replay_lag, backend_start FROM pg_stat_replication;"
SLOTS = "SELECT slot_name, slot_type, active, restart_lsn FROM pg_replication_slots;"
BLOCKS = "SELECT sum(heap_blks_read) as total_read FROM pg_statio_user_tables;"
INSERT = "INSERT INTO test_replication (message) VALUES ('test');"
COUNT = "SELECT COUNT(*) FROM test_replication;"
EXPORTER = (
    "DATA_SOURCE_URI='localhost:6432/appdb?sslmode=disable' DATA_SOURCE_USER=appuser DATA_SOURCE_PASS=$PGPASSWORD "
    "prometheus-postgres-exporter --web.listen-address=:9187 2>exporter.log & "
    "curl -s --retry 20 --retry-delay 1 --retry-connrefused http://localhost:9187/metrics > metrics.txt; kill $!; "
    "grep -E '^pg_up |^pg_stat_database_xact_commit.*appdb|^pg_settings_max_connections' metrics.txt; cat exporter.log"
)

TIERS = Deployment(
    name="000-tiers",
    title="000: a primary, two backups and three read-only replicas",
    nodes=NODES,
    routers=("pgrouter",),
    database="appdb",
    owner="appuser",
    slots=("backup1_slot", "backup2_slot", "ro1_slot", "ro2_slot", "ro3_slot"),
    prepare=(
        "create table test_replication (id serial primary key, message text)",
        "insert into test_replication (message) values ('first')",
    ),
    steps=(
        works("Replication Slots", SLOTS, r"backup1_slot[\s\S]*ro3_slot[\s\S]*\(5 rows\)", on="pg-primary"),
        works("Connect to Cluster: Primary", f"{PSQL} 5432 -Atc 'SELECT pg_is_in_recovery()'", "^f$"),
        works("Connect to Cluster: Backup Nodes", f"{PSQL} 5433 -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Connect to Cluster: Backup Nodes", f"{PSQL} 5434 -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Connect to Cluster: Read-Only", f"{PSQL} 5440 -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Connect to Cluster: Read-Only", f"{PSQL} 5441 -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Connect to Cluster: Read-Only", f"{PSQL} 5442 -Atc 'SELECT pg_is_in_recovery()'", "^t$"),
        works("Connect to Cluster: through the router", f"{PSQL} 6432 -Atc 'SELECT 1'", "^1$"),
        works("Connect to Cluster: Primary", f'{PSQL} 5000 -c "{INSERT}"', "INSERT 0 1"),
        works("Connect to Cluster: Read-Only", f'{PSQL} 5001 -Atc "{COUNT}"', r"^\d+$"),
        works(
            "Connect to Cluster: Read-Only",
            "psql 'host=localhost port=5001 user=appuser dbname=appdb target_session_attrs=read-only' -Atc 'SELECT 1'",
            "^1$",
        ),
        works("RO Scale-Out Tier", MEMBERS.format(psql=f"{PSQL} 6432"), "^pg-ro1 pg-ro2 pg-ro3 $"),
        works("RO Scale-Out Tier", MEMBERS.format(psql=f"{PSQL} 5001"), "^pg-ro1 pg-ro2 pg-ro3 $"),
        not_ours("Dashboards", "http://localhost:3000", PAGE),
        not_ours("Dashboards", "http://localhost:9090", PAGE),
        works("Useful Queries", REPLICATION, r"streaming[\s\S]*\(5 rows\)|\(5 rows\)", on="pg-primary"),
        works("Useful Queries", REPLICATION, r"\(5 rows\)", on="6432"),
        works("Useful Queries", SLOTS, r"backup1_slot[\s\S]*\(5 rows\)", on="6432"),
        works("Useful Queries", BLOCKS, r"\(1 row\)", on="6432"),
        not_ours("Testing Commands", "docker compose ps", CONTAINERS),
        not_ours("Testing Commands", "docker logs -f pg-validator", CONTAINERS),
        works("Testing Commands", f'{EXEC}"{INSERT}"', "INSERT 0 1"),
        works("Testing Commands", f'{PSQL} 6432 -c "{INSERT}"', "INSERT 0 1"),
        works("Testing Commands", f'docker exec pg-ro1 psql -U appuser -d appdb -c "{COUNT}"', r"\s4$|\s4\s"),
        works("Testing Commands", f'{PSQL} 6432 -Atc "{COUNT}"', "^4$"),
        not_ours("Testing Commands", "http://localhost:9090/targets", PAGE),
        works("Monitoring: postgres-exporter", EXPORTER, r"max_connections[\s\S]*xact_commit[\s\S]*pg_up 1"),
        works("Nodes Not Replicating", "SELECT * FROM pg_replication_slots;", r"\(5 rows\)", on="6432"),
        not_ours("Nodes Not Replicating", "docker logs pg-primary", CONTAINERS),
        not_ours("Backup Node Not Starting", "docker logs pg-backup1", CONTAINERS),
        works(
            "High Replication Lag",
            "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn();",
            r"/[\s\S]*\(1 row\)",
            on="pg-ro1",
        ),
        works("High Replication Lag", "SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn();", r"/", on="5001"),
        works("Test Workload: reader", "docker stop pg-ro1"),
        works("Test Workload: reader", MEMBERS.format(psql=f"{PSQL} 6432"), "^pg-ro2 pg-ro3 $"),
        works("Test Workload: reader", "docker stop pg-ro2"),
        works("Test Workload: reader", "docker stop pg-ro3"),
        works("HA Tier", MEMBERS.format(psql=f"{PSQL} 6432"), "^pg-backup1 pg-backup2 $"),
        works("Test Workload: reader", "docker start pg-ro1"),
        works("Test Workload: reader", MEMBERS.format(psql=f"{PSQL} 6432"), "^pg-ro1 $"),
        works("Test Workload: validator", f'{PSQL} 6432 -Atc "{COUNT}"', "^4$"),
        works("Production Hardening", f"PGSSLMODE=require {PSQL} 6432 -Atc 'SELECT 1'", "^1$"),
        works("Monitoring & Alerting", "curl -sf http://localhost:9127/metrics", "pgrouter_member_up"),
        not_ours("Failover Automation", "Deploy Pacemaker on host OS", "the router follows whoever is promoted"),
    ),
)
