"""What clients notice when a Patroni cluster loses its leader, through pgrouter and its rivals: `make bench-failover`.

Programs of their own: clients (they write and read through one address and write down all they hear), follow (does for
PgBouncer what confd does). rivals starts what is compared, and does by hand what an operator would have to; stage is
the cluster, everything in front of it, and all their clients at work; events is what happens to the leader. figures is
pure: what the clients' lines come to. report makes JSON and tables of it, timeline the picture.
"""
