"""The room that knows who leads.

```
source (etcd watch | static list) ──► Snapshot ─┐
probes (one task per member) ───────► Probe ────┴─► merge() ──► ClusterView ──► Monitor.on_view
```

| module         | what it holds                                                               | IO  |
| -------------- | --------------------------------------------------------------------------- | --- |
| `patroni_keys` | Patroni's keys -> `Snapshot`: what the DCS says                             | no  |
| `word`         | `Word` and `Probe`: what a server says of itself                            | no  |
| `merge`        | both together -> `ClusterView`; the invariant of at most one writable member | no  |
| `readable`     | which members may be read from: a part of merge                             | no  |
| `refusal`      | what a failed login says of its server                                      | no  |
| `describe`     | two views -> the words of their difference                                  | no  |
| `static`       | source: configured members, elected by their own words                      | no  |
| `etcd`         | source: Patroni's keys, watched in one daemon thread                        | yes |
| `probe`        | one kept connection and one query per member                                | yes |
| `tls`          | the one builder of TLS contexts                                              | no  |
| `names`        | host names of members, looked up again                                      | yes |
| `alarms`       | who says that it is primary and does not lead                               | no  |
| `monitor`      | runs them, publishes and logs each change                                   | yes |
"""
