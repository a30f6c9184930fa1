#!/bin/sh
# A standby: clones $PRIMARY_HOST at first, then runs PostgreSQL; with $SLOT it keeps its place in the primary's WAL.
set -eu
export PGPASSWORD=$REPLICATION_PASSWORD
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    until pg_isready -q -h "$PRIMARY_HOST" -U replicator; do sleep 1; done
    mkdir -p "$PGDATA" && chown postgres:postgres "$PGDATA" && chmod 700 "$PGDATA"
    gosu postgres pg_basebackup -h "$PRIMARY_HOST" -U replicator -D "$PGDATA" -R -X stream ${SLOT:+-S "$SLOT"}
fi
exec docker-entrypoint.sh postgres -c "cluster_name=$(hostname)"
