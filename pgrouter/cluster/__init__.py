"""Finds out who leads: members, roles, and who may be written to and read from.

```
source (etcd | patroni | static) ──► Snapshot ─┐
probes (one per member) ───────────► Probe ────┴─► merge() ──► ClusterView ──► ClusterSubscriber
```

| module              | what it holds                                                                | IO  |
| ------------------- | ---------------------------------------------------------------------------- | --- |
| `patroni_keys`      | Patroni's keys -> `Snapshot`: what the DCS says                              | no  |
| `patroni_rest`      | the answers of Patroni's REST API -> the same                                | no  |
| `patroni_consensus` | which of several Patronis counts if they do not agree                        | no  |
| `etcd_keys`         | the keys of one cluster, from etcd's messages                                | no  |
| `health`            | `ServerReport` and `Probe`: what a server reports about itself               | no  |
| `refusal`           | what a failed login says about its server                                    | no  |
| `case`              | the inputs of a merge, and the decision about writes                         | no  |
| `merge`             | both together -> `ClusterView`; the invariant of at most one writable member | no  |
| `readable`          | which members may be read from: part of merge                                | no  |
| `switchover`        | when writes are held for an announced leader change                          | no  |
| `stall`             | what follows when the router's own process was stopped                       | no  |
| `freshness`         | how far the replicas have replayed, as times of the router's clock           | no  |
| `view_diff`         | two views -> a description of their difference                               | no  |
| `alarms`            | servers that report to be primary without leading                            | no  |
| `mistake`           | why no member was ever found, if the configuration may be wrong              | no  |
| `pace`              | how often a member is probed                                                 | no  |
| `static`            | source: configured members, the leader elected by their own reports          | no  |
| `etcd`              | source: Patroni's keys, watched in one daemon thread                         | yes |
| `patroni`           | source: Patroni's REST API, polled on every member                           | yes |
| `source`            | the interface of the three, and which of them the settings ask for           | no  |
| `probe`             | one kept connection and one query per member                                 | yes |
| `member_watch`      | one member: its prober, and what open connections prove when that fails      | yes |
| `names`             | host names of members, looked up periodically                                | yes |
| `http`              | one GET over HTTP or HTTPS                                                   | yes |
| `tls`               | the one builder of TLS contexts                                              | no  |
| `monitor`           | runs all of them, publishes and logs each change                             | yes |
"""
