#!/bin/sh
# Runs once in a new primary (docker-entrypoint-initdb.d): the roles of replication and of the router, access for both,
# and a slot for each standby that $SLOTS names.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<SQL
create role replicator login replication password '$REPLICATION_PASSWORD';
create role pgrouter login password '$PGROUTER_PASSWORD' in role pg_monitor;
SQL
for slot in ${SLOTS:-}; do
    psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        -c "select pg_create_physical_replication_slot('$slot')"
done
echo "host replication replicator all scram-sha-256" >> "$PGDATA/pg_hba.conf"
