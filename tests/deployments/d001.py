"""Patroni with two servers and three etcds, behind HAProxy, whose two ports the router takes."""

from __future__ import annotations

from deployments.steps import Deployment, not_ours, works

CONTAINERS = "done to containers; docker/compose.001-haproxy.yml has them, with the router"
PSQL = "psql -h localhost -U minesweeper_user -d minesweeper -p"
EXEC = "docker exec minesweeper-postgres1 psql -U postgres -c "
LAG = (
    "SELECT application_name, client_addr, state, sync_state, "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS lag_bytes FROM pg_stat_replication;"
)
SWITCHOVER = (
    "curl -fs -X POST http://localhost:8008/switchover -H 'Content-Type: application/json' "
    """-d '{"leader": "postgres1", "candidate": "postgres2"}'"""
)
DURING = (
    "(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
    f"{PSQL} 5000 -qc \"INSERT INTO games (note) VALUES ('switch')\" || exit 1; sleep 0.2; done) & "
    f"sleep 0.5; {SWITCHOVER}; wait $!"
)

HAPROXY = Deployment(
    name="001-haproxy",
    title="001: Patroni with two servers and three etcds, behind HAProxy before",
    nodes={"postgres1": 5432, "postgres2": 5433},
    rest=(8008, 8009),
    etcd=(2379, 2389, 2399),
    routers=("minesweeper-haproxy",),
    database="minesweeper",
    owner="minesweeper_user",
    prepare=("create table games (id serial primary key, note text)",),
    aliases={"minesweeper-postgres1": "postgres1", "minesweeper-postgres2": "postgres2"},
    steps=(
        not_ours("Local Testing", "cp .env.postgres-ha.example .env.postgres-ha", "passwords are in users.txt here"),
        not_ours("Local Testing", "npm run docker:ha", CONTAINERS),
        not_ours("Local Testing", "npm run docker:ha:status", CONTAINERS),
        not_ours("Local Testing", "npm run docker:ha:logs", CONTAINERS),
        works("Local Testing", f"{PSQL} 5000 -Atc 'SELECT 1'", "^1$"),
        works("Local Testing", f"{PSQL} 5001 -Atc 'SELECT 1'", "^1$"),
        works("Local Testing", "curl -fs http://localhost:7000", "<h2>Members</h2>"),
        not_ours("Local Testing", "curl -s http://localhost:8080/cluster", "Patroni's API; it is on 8008 and 8009"),
        not_ours("Production Deployment", "docker-compose -f deploy/docker-compose.db-server1.yml up -d", CONTAINERS),
        not_ours("Production Deployment", "docker-compose -f deploy/docker-compose.db-server2.yml up -d", CONTAINERS),
        not_ours("Production Deployment", "docker-compose -f deploy/docker-compose.coordinator.yml up -d", CONTAINERS),
        works("App Server Configuration", f"{PSQL} 5000 -c \"INSERT INTO games (note) VALUES ('a')\"", "INSERT 0 1"),
        works("Normal Operation", f"{PSQL} 5001 -Atc 'SELECT count(*) FROM games'", "^1$"),
        works(
            "Load Balancing",
            f"{PSQL} 5001 -Atc \"SELECT current_setting('demo.member') FROM games LIMIT 1\"",
            "^postgres2$",
        ),
        works("Replication Lag", f'{EXEC}"SELECT * FROM pg_stat_replication;"', r"\(1 row\)"),
        works("Replication Lag", LAG, r"postgres2[\s\S]*\(1 row\)", on="5000"),
        works("Cluster Status", "curl -fs http://localhost:8008/cluster", "postgres2"),
        works("Planned Switchover", DURING, "Successfully switched over"),
        works("Planned Switchover", f"{PSQL} 5000 -Atc \"SELECT count(*) FROM games WHERE note = 'switch'\"", "^20$"),
        works(
            "Planned Switchover",
            f"{PSQL} 5000 -Atc \"UPDATE games SET note = note WHERE note = 'a' "
            "RETURNING current_setting('demo.member')\"",
            "^postgres2",
        ),
        works("After Recovery", "curl -fs http://localhost:8009/cluster", "streaming"),
        works("Simulate Failure", "docker stop minesweeper-postgres2"),
        works("Simulate Failure", f"{PSQL} 5000 -c \"INSERT INTO games (note) VALUES ('after')\"", "INSERT 0 1"),
        works("Simulate Failure", "curl -fs http://localhost:8008/cluster", "postgres1.*leader|leader.*postgres1"),
        works("Simulate Failure", "docker start minesweeper-postgres2"),
        works("After Recovery", f"{PSQL} 5001 -Atc \"SELECT count(*) FROM games WHERE note = 'after'\"", "^1$"),
        *(
            not_ours("Firewall Configuration", f"sudo ufw allow {port}/tcp", "the machine's")
            for port in (5432, 8008, 2379, 2380, 5000, 5001, 7000)
        ),
        not_ours("NPM Scripts", "npm run docker:ha:stop", CONTAINERS),
        works("Cluster Won't Start", "curl -fs http://localhost:2379/health", "true"),
        not_ours("Cluster Won't Start", "docker-compose -f docker-compose.postgres-ha.yml logs", CONTAINERS),
        works(
            "Replication Not Working",
            'docker exec minesweeper-postgres2 psql -U postgres -c "SELECT * FROM pg_stat_wal_receiver;"',
            "streaming",
        ),
        works("HAProxy Can't Connect", "curl -fs http://localhost:8008/primary", "running"),
        works("HAProxy Can't Connect", "curl -fs http://localhost:8009/replica", "running"),
        not_ours("HAProxy Can't Connect", "docker logs minesweeper-haproxy", CONTAINERS),
    ),
)
