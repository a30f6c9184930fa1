"""The columns of Pgpool-II 4.7's SHOW commands, in their order.

Source: Pgpool-II, src/utils/pool_process_reporting.c.
"""

from __future__ import annotations

_NODE = "node_id hostname port status role"

COLUMNS = {
    name: tuple(columns.split())
    for name, columns in {
        "pool_nodes": "node_id hostname port status pg_status lb_weight role pg_role select_cnt load_balance_node "
        "replication_delay replication_state replication_sync_state last_status_change",
        "pool_processes": "pool_pid start_time client_connection_count database username backend_connection_time "
        "pool_counter status",
        "pool_pools": "pool_pid start_time client_connection_count pool_id backend_id database username "
        "backend_connection_time client_connection_time client_disconnection_time client_idle_duration majorversion "
        "minorversion pool_counter pool_backendpid pool_connected status load_balance_node client_host client_port "
        "statement",
        "pool_version": "pool_version",
        "pool_status": "item value description",
        "pool_cache": "num_cache_hits num_selects cache_hit_ratio num_hash_entries used_hash_entries num_cache_entries "
        "used_cache_entries_size free_cache_entries_size fragment_cache_entries_size",
        "pool_health_check_stats": f"{_NODE} last_status_change total_count success_count fail_count skip_count "
        "retry_count average_retry_count max_retry_count max_duration min_duration average_duration last_health_check "
        "last_successful_health_check last_skip_health_check last_failed_health_check",
        "pool_backend_stats": f"{_NODE} select_cnt insert_cnt update_cnt delete_cnt ddl_cnt other_cnt panic_cnt "
        "fatal_cnt error_cnt",
    }.items()
}
