"""Finds out who leads: members, roles, and who may be written to and read from.

```
source (etcd watch | static list) ──► Snapshot ─┐
probes (one task per member) ───────► Probe ────┴─► merge() ──► ClusterView ──► ClusterSubscriber
```

| module         | what it holds                                                               | IO  |
| -------------- | --------------------------------------------------------------------------- | --- |
| `patroni_keys` | Patroni's keys -> `Snapshot`: what the DCS says                             | no  |
| `health`       | `ServerReport` and `Probe`: what a server reports about itself              | no  |
| `merge`        | both together -> `ClusterView`; the invariant of at most one writable member | no  |
| `readable`     | which members may be read from: part of merge                               | no  |
| `refusal`      | what a failed login says about its server                                   | no  |
| `stall`        | what follows when the router's own process was stopped                      | no  |
| `pace`         | how often a member is probed                                                | no  |
| `view_diff`    | two views -> a description of their difference                              | no  |
| `static`       | source: configured members, the leader elected by their own reports         | no  |
| `case`         | the inputs of a merge, and the decision about writes: part of merge         | no  |
| `etcd_keys`    | the keys of one cluster, from etcd's messages                               | no  |
| `etcd`         | source: Patroni's keys, watched in one daemon thread                        | yes |
| `probe`        | one kept connection and one query per member                                | yes |
| `tls`          | the one builder of TLS contexts                                              | no  |
| `names`        | host names of members, looked up periodically                               | yes |
| `alarms`       | servers that report to be primary without leading                           | no  |
| `member_watch` | one member: its prober, and what open connections prove when that fails     | yes |
| `monitor`      | runs all of them, publishes and logs each change                            | yes |
"""
