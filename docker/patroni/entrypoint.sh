#!/bin/sh
# Writes patroni.yml from the environment and becomes Patroni.
set -eu
etcd_tls=""
if [ -n "${ETCD_CA:-}" ]; then
    etcd_tls="protocol: https, cacert: $ETCD_CA, cert: $ETCD_CERT, key: $ETCD_KEY"
fi
cat > /tmp/patroni.yml <<YML
scope: $SCOPE
name: $NAME
restapi: {listen: 0.0.0.0:8008, connect_address: "$NAME:8008"}
etcd3: {hosts: "$ETCD_HOSTS"${etcd_tls:+, $etcd_tls}}
bootstrap:
  dcs:
    ttl: 30
    loop_wait: 10
    retry_timeout: 10
    maximum_lag_on_failover: 1048576
    postgresql: {use_pg_rewind: true, use_slots: true}
  initdb: [{encoding: UTF8}, data-checksums]
  post_bootstrap: /tmp/post_bootstrap.sh
postgresql:
  listen: 0.0.0.0:5432
  connect_address: $NAME:5432
  data_dir: /var/lib/postgresql/data/patroni
  bin_dir: /usr/lib/postgresql/16/bin
  authentication:
    superuser: {username: postgres, password: "$POSTGRES_SUPERUSER_PASSWORD"}
    replication: {username: replicator, password: "$REPLICATION_PASSWORD"}
  parameters: {password_encryption: scram-sha-256}
  pg_hba:
    - local all all trust
    - host replication replicator all scram-sha-256
    - host all all all scram-sha-256
YML
cat > /tmp/post_bootstrap.sh <<SH
#!/bin/sh
psql "\$1" -v ON_ERROR_STOP=1 <<SQL
create role pgrouter login password '$PGROUTER_PASSWORD' in role pg_monitor;
${POSTGRES_USER:+create role $POSTGRES_USER login password '$POSTGRES_PASSWORD';}
${POSTGRES_DB:+create database $POSTGRES_DB ${POSTGRES_USER:+owner $POSTGRES_USER};}
SQL
SH
chmod +x /tmp/post_bootstrap.sh
exec patroni /tmp/patroni.yml
