"""Every parameter of pgpool.conf, 4.3 to 4.8, and what becomes of it here.

A name that ends with N stands for N = 0, 1, ...; docs/from-pgpool.md has this table for people, and a test compares.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Fate(Enum):
    """What becomes of a parameter."""

    HONOURED = "honoured"
    MAPPED = "mapped"  # to something that is not quite the same
    MOOT = "means nothing here"
    LOST = "not supported"  # and somebody may rely on it


class Group(NamedTuple):
    """Parameters of one fate, with one reason."""

    fate: Fate
    names: str
    words: str  # our setting, or why not


GROUPS = (
    Group(
        Fate.HONOURED,
        "listen_addresses port unix_socket_directories unix_socket_permissions",
        "listen",
    ),
    Group(
        Fate.HONOURED,
        "pcp_listen_addresses pcp_port pcp_socket_dir",
        "pcp",
    ),
    Group(
        Fate.HONOURED,
        "backend_hostnameN backend_portN",
        "cluster.members",
    ),
    Group(
        Fate.HONOURED,
        "backend_weightN",
        "reads.members[].weight, with reads.balance: weighted",
    ),
    Group(
        Fate.HONOURED,
        "enable_pool_hba pool_passwd allow_clear_text_frontend_auth",
        "auth",
    ),
    Group(
        Fate.HONOURED,
        "authentication_timeout",
        "pool.login_timeout",
    ),
    Group(
        Fate.HONOURED,
        "ssl ssl_cert ssl_key ssl_crl_file ssl_ciphers",
        "listen[].tls; servers.tls.mode: prefer",
    ),
    Group(
        Fate.MAPPED,
        "ssl_ca_cert",
        "clients' certificates are checked by it; for servers' set servers.tls.mode: verify-ca and servers.tls.ca",
    ),
    Group(
        Fate.HONOURED,
        "client_idle_limit",
        "pool.client_idle_timeout",
    ),
    Group(
        Fate.HONOURED,
        "connect_timeout",
        "pool.connect_timeout",
    ),
    Group(
        Fate.HONOURED,
        "load_balance_mode",
        "off: listen[].mode: primary",
    ),
    Group(
        Fate.HONOURED,
        "sr_check_user sr_check_password sr_check_database",
        "cluster.monitor",
    ),
    Group(
        Fate.HONOURED,
        "delay_threshold",
        "reads.max_lag_bytes",
    ),
    Group(
        Fate.HONOURED,
        "delay_threshold_by_time",
        "reads.max_lag",
    ),
    Group(
        Fate.HONOURED,
        "log_connections log_disconnections",
        "log.connections",
    ),
    Group(
        Fate.HONOURED,
        "log_min_messages",
        "log.level",
    ),
    Group(
        Fate.HONOURED,
        "pid_file_name",
        "the file that `pgrouter-pgpool stop` and `reload` read",
    ),
    Group(
        Fate.HONOURED,
        "ignore_leading_white_space",
        "always: statements are parsed",
    ),
    Group(
        Fate.MAPPED,
        "num_init_children max_pool listen_backlog_multiplier reserved_connections",
        "servers: pool.size and pool.max_member_connections; more clients than that wait for a server, and "
        "those above pool.max_clients get 53300 instead of hanging",
    ),
    Group(
        Fate.MAPPED,
        "connection_life_time",
        "pool.idle_timeout",
    ),
    Group(
        Fate.MAPPED,
        "health_check_user health_check_password health_check_database",
        "cluster.monitor has one role: these count if sr_check_user is not set",
    ),
    Group(
        Fate.MAPPED,
        "health_check_timeout",
        "cluster.monitor.timeout, 3 s at most, as the next probe soon follows",
    ),
    Group(
        Fate.MAPPED,
        "sr_check_period health_check_period health_check_max_retries health_check_retry_delay",
        "members are probed every second, and more often when something is wrong; none is given up for good",
    ),
    Group(
        Fate.MAPPED,
        "search_primary_node_timeout",
        "pool.no_leader_timeout: how long writes wait for a primary; 0 stands for its default here, 30 s",
    ),
    Group(
        Fate.MAPPED,
        "disable_load_balance_on_write",
        "routing.read_consistency: off is eventual, dml_adaptive_global strict; all others become session: a "
        "session sees its own writes on replicas, too, so reads can be balanced after them",
    ),
    Group(
        Fate.MAPPED,
        "read_only_function_list write_function_list",
        "routing.read_only_functions and write_functions: names; patterns are not supported. Functions that "
        "are not listed are judged by the catalog and by their bodies",
    ),
    Group(
        Fate.MAPPED,
        "statement_level_load_balance",
        "always on: each read outside a transaction goes to the next member; a transaction stays on one",
    ),
    Group(
        Fate.MAPPED,
        "allow_sql_comments",
        "comments never matter, except /*NO LOAD BALANCE*/ and /* pgrouter: primary */, which go to the primary",
    ),
    Group(
        Fate.MAPPED,
        "prefer_lower_delay_standby",
        "other replicas are always preferred to the primary",
    ),
    Group(
        Fate.MAPPED,
        "reset_query_list",
        "what a session leaves on a server is found and undone after each transaction; other commands are not run",
    ),
    Group(
        Fate.MAPPED,
        "failover_on_backend_error failover_on_backend_shutdown auto_failback auto_failback_interval",
        "a member that fails gets nothing, and is used again as soon as it answers; no statement marks one down",
    ),
    Group(
        Fate.MAPPED,
        "backend_flagN",
        "no member is marked down for good, so DISALLOW_TO_FAILOVER says nothing; the primary is the one that says so",
    ),
    Group(
        Fate.MAPPED,
        "backend_application_nameN",
        "members are called backend0, backend1, ... here",
    ),
    Group(
        Fate.MAPPED,
        "backend_clustering_mode",
        "streaming_replication, and raw; others are refused",
    ),
    Group(
        Fate.MAPPED,
        "check_temp_table check_unlogged_table relcache_expire relcache_size enable_shared_relcache "
        "relcache_query_target",
        "the catalog is followed (routing.catalog_interval): temporary and unlogged tables are always known",
    ),
    Group(
        Fate.MAPPED,
        "detach_false_primary",
        "always: a second primary gets nothing, and the log has an ALARM",
    ),
    Group(
        Fate.MOOT,
        "serialize_accept process_management_mode process_management_strategy min_spare_children "
        "max_spare_children child_life_time child_max_connections",
        "there is one process, and none is forked",
    ),
    Group(
        Fate.MOOT,
        "unix_socket_group pcp_socket_group",
        "give the socket's directory to that group",
    ),
    Group(
        Fate.MOOT,
        "connection_cache",
        "server connections are always pooled",
    ),
    Group(
        Fate.MOOT,
        "backend_data_directoryN work_dir",
        "no file of theirs is read or written",
    ),
    Group(
        Fate.MOOT,
        "log_destination log_line_prefix log_hostname log_error_verbosity log_pcp_processes syslog_facility "
        "syslog_ident logging_collector log_directory log_filename log_file_mode log_truncate_on_rotation "
        "log_rotation_age log_rotation_size client_min_messages log_standby_delay log_statement "
        "log_client_messages log_backend_messages log_pcp_commands",
        "the log goes to stderr, without statements, for journald or the container",
    ),
    Group(
        Fate.MOOT,
        "ssl_prefer_server_ciphers ssl_ecdh_curve ssl_dh_params_file",
        "OpenSSL's own defaults hold",
    ),
    Group(
        Fate.MOOT,
        "health_check_test",
        "for Pgpool-II's own tests",
    ),
    Group(
        Fate.MOOT,
        "failover_when_quorum_exists failover_require_consensus allow_multiple_failover_requests_from_node "
        "enable_consensus_with_half_votes trusted_servers trusted_server_command hostnameN wd_portN "
        "pgpool_portN wd_priority wd_authkey wd_ipc_socket_dir if_cmd_path arping_path ping_path "
        "clear_memqcache_on_escalation wd_remove_shutdown_nodes wd_lost_node_removal_timeout "
        "wd_no_show_node_removal_timeout wd_monitoring_interfaces_list wd_lifecheck_method wd_interval "
        "heartbeat_hostnameN heartbeat_portN heartbeat_deviceN wd_heartbeat_keepalive wd_heartbeat_deadtime "
        "wd_life_point wd_lifecheck_query wd_lifecheck_dbname wd_lifecheck_user wd_lifecheck_password "
        "wd_listen_addresses other_pgpool_hostnameN other_pgpool_portN other_wd_portN wd_hostname wd_port "
        "heartbeat_destinationN heartbeat_destination_portN wd_heartbeat_port arping_cmd if_up_cmd "
        "if_down_cmd",
        "routers share nothing and need no watchdog: start several, each decides by the members' own reports",
    ),
    Group(
        Fate.MOOT,
        "recovery_user recovery_password recovery_database recovery_timeout client_idle_limit_in_recovery "
        "recovery_1st_stage_command recovery_2nd_stage_command",
        "pcp_recovery_node does nothing: build the replica with pg_basebackup; it is used once it streams",
    ),
    Group(
        Fate.MOOT,
        "replicate_select insert_lock lobj_lock_table replication_stop_on_mismatch "
        "failover_if_affected_tuples_mismatch",
        "servers replicate by themselves",
    ),
    Group(
        Fate.MOOT,
        "memqcache_method memqcache_memcached_host memqcache_memcached_port memqcache_total_size "
        "memqcache_max_num_cache memqcache_expire memqcache_auto_cache_invalidation memqcache_maxcache "
        "memqcache_cache_block_size memqcache_oiddir cache_safe_memqcache_table_list "
        "cache_unsafe_memqcache_table_list white_memqcache_table_list black_memqcache_table_list",
        "see memory_cache_enabled",
    ),
    Group(
        Fate.MOOT,
        "track_table_mutation_ttl_factor track_table_mutation_max_staleness "
        "track_table_mutation_cold_start_duration track_table_mutation_table_buckets "
        "track_table_mutation_table_size",
        "writes are followed by WAL position instead (docs/freshness.md)",
    ),
    Group(
        Fate.LOST,
        "delegate_ip",
        "the virtual address is NOT brought up here: clients that connect to it will not get through. Use "
        "keepalived, vip-manager or a load balancer, or list all routers in the clients' connection strings",
    ),
    Group(
        Fate.LOST,
        "failover_command follow_primary_command",
        "NOT run: nobody promotes a replica when the primary is gone, unless Patroni, repmgr or you do; the "
        "router follows whoever is promoted",
    ),
    Group(
        Fate.LOST,
        "failback_command wd_escalation_command wd_de_escalation_command",
        "NOT run: there is no such event here",
    ),
    Group(
        Fate.LOST,
        "memory_cache_enabled",
        "results are NOT cached: every SELECT goes to a server",
    ),
    Group(
        Fate.LOST,
        "use_watchdog",
        "there is NO watchdog: routers do not elect one of them, all serve at the same time",
    ),
    Group(
        Fate.LOST,
        "primary_routing_query_pattern_list",
        "patterns do NOT decide where a statement goes: write functions can be listed in "
        "routing.write_functions, and /*NO LOAD BALANCE*/ before a statement sends it to the primary",
    ),
    Group(
        Fate.MAPPED,
        "user_redirect_preference_list database_redirect_preference_list",
        "name:primary becomes pool.overrides[].route; replicas are not chosen by name, so other entries are balanced "
        "as all reads are: look at them",
    ),
    Group(
        Fate.LOST,
        "app_name_redirect_preference_list",
        "NOT applied: reads of all applications are balanced alike. A listener of mode primary or replica, or "
        "SET pgrouter.route, does it for those that use it",
    ),
    Group(
        Fate.LOST,
        "dml_adaptive_object_relationship_list",
        "NOT needed for a session's own writes, which it always sees; ignored",
    ),
    Group(
        Fate.LOST,
        "log_per_node_statement notice_per_node_statement",
        "NOT written: EXPLAIN ROUTE says where a statement goes, SHOW ROUTES counts",
    ),
    Group(
        Fate.LOST,
        "ssl_ca_cert_dir ssl_passphrase_command",
        "NOT used: certificates of authorities are in one file (ssl_ca_cert), and the key must not be encrypted",
    ),
    Group(
        Fate.LOST,
        "replication_delay_source_cmd replication_delay_source_timeout",
        "NOT run: lag is measured by the members' own WAL positions",
    ),
)
