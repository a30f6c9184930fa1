"""A real cluster on loopback: etcd, PostgreSQL, Patroni. For `pgrouter demo`, the tests and the benchmarks.

    binaries   finds PostgreSQL's and etcd's programs on this machine
    reaper     ends all processes of a work directory when its owner is gone, however it ended
    processes  starts programs (as an ordinary user if we are root) and identifies them by pid and start time
    workdir    a directory in memory, its reserved ports, its reaper
    template   initialized data directories, created once and copied
    postgres   one PostgreSQL server: start, stop, kill, freeze, promote
    etcd       one or three etcd nodes
    streaming  a primary and its standbys without Patroni, up in half a second
    patroni    etcd and Patroni members
    router     `pgrouter run` in front of one of them
    turbo      Patroni without its lower bounds, for failovers in 5 s

Nothing here is meant for data that anybody wants to keep: fsync is off and the password is "postgres".
"""
