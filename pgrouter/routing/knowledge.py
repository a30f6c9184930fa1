"""What is known about PostgreSQL's statements, functions, views and settings without the catalog.

Tables only; `classify` and `tree` read them. What is in none of them is never a read.

Sources: PostgreSQL's gram.y and pg_proc.dat; statements that were run on a primary and on its standby.
"""
# ruff: noqa: SIM905 (lists of words are more readable as text)

from __future__ import annotations

from pgrouter.routing.statement import Effect, Reason

# -- statements -----------------------------------------------------------------------------------------------------

# Statements that always need the primary: node -> (command tag, reason, effects). Statements that are not here have
# a function of their own in `commands`.
PRIMARY_COMMANDS: dict[str, tuple[str, str, int]] = {
    "InsertStmt": ("INSERT", Reason.WRITE, 0),
    "UpdateStmt": ("UPDATE", Reason.WRITE, 0),
    "DeleteStmt": ("DELETE", Reason.WRITE, 0),
    "MergeStmt": ("MERGE", Reason.WRITE, 0),
    "TruncateStmt": ("TRUNCATE TABLE", Reason.WRITE, 0),
    "RefreshMatViewStmt": ("REFRESH MATERIALIZED VIEW", Reason.WRITE, 0),
    "CallStmt": ("CALL", Reason.CODE, 0),
    "ListenStmt": ("LISTEN", Reason.NOTIFY, Effect.LISTEN),
    "NotifyStmt": ("NOTIFY", Reason.NOTIFY, 0),
    "LockStmt": ("LOCK TABLE", Reason.UTILITY, 0),
    "LoadStmt": ("LOAD", Reason.UTILITY, Effect.OTHER_STATE),
    "CheckPointStmt": ("CHECKPOINT", Reason.UTILITY, 0),
    "AlterSystemStmt": ("ALTER SYSTEM", Reason.UTILITY, 0),
    "VacuumStmt": ("VACUUM", Reason.UTILITY, 0),
    "ClusterStmt": ("CLUSTER", Reason.UTILITY, 0),
    "ReindexStmt": ("REINDEX", Reason.UTILITY, 0),
    "SecLabelStmt": ("SECURITY LABEL", Reason.UTILITY, 0),
    "CommentStmt": ("COMMENT", Reason.UTILITY, 0),
    "PLAssignStmt": ("", Reason.UTILITY, Effect.OTHER_STATE),
    "ReturnStmt": ("", Reason.UTILITY, 0),  # RETURN expression: the body of a function in SQL
    "CreateTableAsStmt": ("CREATE TABLE AS", Reason.DDL, Effect.DDL),
    "CreateStmt": ("CREATE TABLE", Reason.DDL, Effect.DDL),
    "IndexStmt": ("CREATE INDEX", Reason.DDL, Effect.DDL),
    "ViewStmt": ("CREATE VIEW", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "CreateSeqStmt": ("CREATE SEQUENCE", Reason.DDL, Effect.DDL),
    "CreateTrigStmt": ("CREATE TRIGGER", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "CreateRoleStmt": ("CREATE ROLE", Reason.DDL, Effect.DDL),
    "CreatedbStmt": ("CREATE DATABASE", Reason.DDL, Effect.DDL | Effect.DATABASE),
    "DropdbStmt": ("DROP DATABASE", Reason.DDL, Effect.DDL | Effect.DATABASE),
    "CreateExtensionStmt": ("CREATE EXTENSION", Reason.DDL, Effect.DDL | Effect.REDEFINES | Effect.CODE),  # runs SQL
    "AlterExtensionStmt": ("ALTER EXTENSION", Reason.DDL, Effect.DDL | Effect.REDEFINES | Effect.CODE),
    "DropStmt": ("DROP", Reason.DDL, Effect.DDL),
    "AlterTableStmt": ("ALTER TABLE", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "RenameStmt": ("ALTER", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "DefineStmt": ("CREATE", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "RuleStmt": ("CREATE RULE", Reason.DDL, Effect.DDL | Effect.REDEFINES),
    "GrantStmt": ("GRANT", Reason.DDL, Effect.DDL),
    "GrantRoleStmt": ("GRANT ROLE", Reason.DDL, Effect.DDL),
    "AlterRoleSetStmt": ("ALTER ROLE SET", Reason.DDL, Effect.DDL | Effect.REDEFINES | Effect.DEFAULTS),
    "AlterDatabaseSetStmt": ("ALTER DATABASE SET", Reason.DDL, Effect.DDL | Effect.REDEFINES | Effect.DEFAULTS),
}

# Other DDL: the command tag follows from the node's name.
DDL_NODES: frozenset[str] = frozenset(
    """
AlterCollationStmt AlterDatabaseRefreshCollStmt AlterDatabaseStmt AlterDefaultPrivilegesStmt
AlterDomainStmt AlterEnumStmt AlterEventTrigStmt AlterExtensionContentsStmt AlterFdwStmt
AlterForeignServerStmt AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt AlterOpFamilyStmt
AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt AlterPublicationStmt AlterRoleStmt AlterSeqStmt
AlterStatsStmt AlterSubscriptionStmt AlterTSConfigurationStmt AlterTSDictionaryStmt AlterTableMoveAllStmt
AlterTableSpaceOptionsStmt AlterTypeStmt AlterUserMappingStmt CompositeTypeStmt CreateAmStmt CreateCastStmt
CreateConversionStmt CreateDomainStmt CreateEnumStmt CreateEventTrigStmt CreateFdwStmt
CreateForeignServerStmt CreateForeignTableStmt CreateOpClassStmt CreateOpFamilyStmt CreatePLangStmt CreatePolicyStmt
CreatePublicationStmt CreateRangeStmt CreateSchemaStmt CreateStatsStmt CreateSubscriptionStmt CreateTableSpaceStmt
CreateTransformStmt CreateUserMappingStmt DropOwnedStmt DropRoleStmt DropSubscriptionStmt DropTableSpaceStmt
DropUserMappingStmt ImportForeignSchemaStmt ReassignOwnedStmt ReplicaIdentityStmt
""".split()
)

# DDL whose expressions are stored, not evaluated
DEFINING: frozenset[str] = frozenset(
    """
ViewStmt CreateFunctionStmt CreateStmt CreatePolicyStmt AlterPolicyStmt RuleStmt CreateTrigStmt CreateDomainStmt
CreateForeignTableStmt
""".split()
)
# What runs event triggers, apart from DDL
WITH_EVENTS: frozenset[str] = frozenset({"RefreshMatViewStmt", "SecLabelStmt", "CommentStmt", "ReindexStmt"})
# May evaluate everything that belongs to a relation: defaults and checks on a rewrite, index expressions
REWRITING: frozenset[str] = frozenset(
    {"AlterTableStmt", "IndexStmt", "RefreshMatViewStmt", "VacuumStmt", "ClusterStmt", "ReindexStmt"}
)

# Nodes that may occur in a read: any other node sends the statement to the primary.
READ_NODES: frozenset[str] = frozenset(
    """
SelectStmt ResTarget ColumnRef String Integer Float Boolean BitString A_Const A_Star A_Expr A_Indirection A_Indices
A_ArrayExpr BoolExpr NullTest BooleanTest CaseExpr CaseWhen CoalesceExpr MinMaxExpr SubLink FuncCall NamedArgExpr
RowExpr TypeCast TypeName CollateClause SQLValueFunction XmlExpr XmlSerialize GroupingFunc GroupingSet ParamRef RangeVar
RangeSubselect RangeFunction RangeTableSample RangeTableFunc RangeTableFuncCol JoinExpr Alias SortBy WindowDef
CommonTableExpr CTESearchClause CTECycleClause List DefElem ColumnDef JsonAggConstructor JsonArgument JsonArrayAgg
JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate JsonKeyValue
JsonObjectAgg JsonObjectConstructor JsonOutput JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable
JsonTableColumn JsonTablePathSpec JsonValueExpr LockingClause SetToDefault
""".split()
)

WRITING_NODES: dict[str, str] = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
}

SAMPLE_METHODS: frozenset[str] = frozenset({"bernoulli", "system"})

# -- functions ------------------------------------------------------------------------------------------------------

# Volatile, yet safe on a replica.
SAFE_VOLATILE: frozenset[str] = frozenset(
    """
clock_timestamp timeofday random random_normal gen_random_uuid uuidv4 uuidv7 pg_sleep pg_sleep_for pg_sleep_until
amvalidate lo_get current_query pg_partition_tree pg_partition_ancestors pg_get_wal_resource_managers
pg_get_wait_events array_sample array_shuffle
""".split()
)

# They read or change state of the session: only the session's own server is right.
SESSION_FUNCTIONS: dict[str, int] = {
    "currval": Effect.SEQUENCES,
    "lastval": Effect.SEQUENCES,
    "setseed": Effect.OTHER_STATE,
    "set_config": 0,  # its effect depends on its third argument
    "pg_advisory_lock": Effect.ADVISORY_LOCK,
    "pg_advisory_lock_shared": Effect.ADVISORY_LOCK,
    "pg_try_advisory_lock": Effect.ADVISORY_LOCK,
    "pg_try_advisory_lock_shared": Effect.ADVISORY_LOCK,
    "pg_advisory_unlock": Effect.RELEASES,
    "pg_advisory_unlock_shared": Effect.RELEASES,
    "pg_advisory_unlock_all": Effect.RELEASES,
    "pg_advisory_xact_lock": 0,
    "pg_advisory_xact_lock_shared": 0,
    "pg_try_advisory_xact_lock": 0,
    "pg_try_advisory_xact_lock_shared": 0,
    "pg_my_temp_schema": 0,
    "pg_is_other_temp_schema": 0,
    "pg_prepared_statement": Effect.NAMES,
    "pg_cursor": 0,
    "pg_listening_channels": 0,
    "pg_replication_origin_session_setup": Effect.OTHER_STATE,
    "pg_replication_origin_session_reset": 0,
    "pg_replication_origin_session_is_setup": 0,
    "pg_replication_origin_session_progress": 0,
    "pg_stat_clear_snapshot": 0,
    "pg_stat_force_next_flush": 0,
    "txid_current": 0,  # STABLE in pg_proc, but refused by a standby
    "pg_current_xact_id": 0,
    "txid_current_if_assigned": 0,
    "pg_current_xact_id_if_assigned": 0,
    "txid_current_snapshot": 0,
    "pg_current_snapshot": 0,
    "pg_export_snapshot": 0,
}

# They leave what no query reports; setseed and the like are above
LASTING_FUNCTIONS: frozenset[str] = frozenset(
    """
pg_backup_start pg_start_backup pg_create_logical_replication_slot pg_create_physical_replication_slot
pg_copy_logical_replication_slot pg_copy_physical_replication_slot
""".split()
)
# Replication slots: position and name of the argument that makes them temporary
SLOT_FUNCTIONS: dict[str, int] = {
    "pg_create_logical_replication_slot": 2,
    "pg_create_physical_replication_slot": 2,
    "pg_copy_logical_replication_slot": 2,
    "pg_copy_physical_replication_slot": 2,
}

# They set the values that currval and lastval return in the session
NEXT_VALUES = frozenset({"nextval", "setval", "pg_catalog.nextval", "pg_catalog.setval"})

# They report or change something about the server they run on, not the database. Some prefixes are in SERVER_PREFIXES.
SERVER_FUNCTIONS: frozenset[str] = frozenset(
    """
inet_client_addr inet_client_port inet_server_addr inet_server_port pg_available_wal_summaries pg_backend_pid
pg_backup_start pg_backup_stop pg_blocking_pids pg_cancel_backend pg_collation_actual_version pg_conf_load_time
pg_config pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
pg_database_collation_actual_version pg_database_size pg_get_backend_memory_contexts pg_get_multixact_members
pg_get_replication_slots pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_wal_replay_pause_state
pg_get_wal_summarizer_state pg_get_aios pg_hba_file_rules pg_ident_file_mappings pg_indexes_size pg_is_in_backup
pg_is_in_recovery pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
pg_log_backend_memory_contexts pg_log_standby_snapshot pg_notification_queue_usage pg_numa_available
pg_postmaster_start_time pg_prepared_xact pg_promote pg_relation_size pg_reload_conf
pg_replication_origin_oid pg_rotate_logfile
pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_get_sequence_data pg_show_all_file_settings
pg_show_all_settings pg_show_replication_origin_status pg_stat_file pg_switch_wal pg_table_size pg_tablespace_databases
pg_tablespace_location pg_tablespace_size pg_terminate_backend pg_total_relation_size pg_wal_replay_pause
pg_wal_replay_resume pg_wal_summary_contents pg_walfile_name pg_walfile_name_offset pg_xact_commit_timestamp
pg_xact_commit_timestamp_origin pg_xact_status txid_status
""".split()
)
SERVER_PREFIXES = ("pg_stat_get_", "pg_stat_reset", "pg_control_", "pg_ls_", "pg_read_")

# They run SQL that is passed as a string, or read whatever a view does.
SQL_IN_STRING: frozenset[str] = frozenset(
    """
cursor_to_xml cursor_to_xmlschema database_to_xml database_to_xml_and_xmlschema database_to_xmlschema query_to_xml
query_to_xml_and_xmlschema query_to_xmlschema schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema
table_to_xml table_to_xml_and_xmlschema table_to_xmlschema ts_stat ts_rewrite
pg_input_is_valid pg_input_error_info jsonb_populate_record_valid
""".split()
)
# Those of them that run any SQL they are passed: the others read a named relation, or make a value of some type
ANY_SQL_IN_STRING: frozenset[str] = frozenset(
    "query_to_xml query_to_xml_and_xmlschema query_to_xmlschema ts_stat ts_rewrite".split()
)
# From extensions, written in C: the catalog does not show what they do.
EXTENSION_SQL_IN_STRING: frozenset[str] = frozenset(
    "crosstab crosstab2 crosstab3 crosstab4 crosstabN connectby xpath_table".split()
)
RUNS_SQL = "runs SQL from a string"  # the catalog's reason for them
EXTENSION_SAFE_VOLATILE: frozenset[str] = frozenset(
    """
uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 gen_random_uuid gen_random_bytes gen_salt pgp_sym_encrypt
pgp_sym_encrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea normal_rand
""".split()
)
SAFE_WITH_ARGUMENTS: dict[str, int] = {"ts_rewrite": 3}  # (query, text) runs SQL, (query, query, query) does not

# -- relations and settings -----------------------------------------------------------------------------------------

SERVER_RELATIONS: frozenset[str] = frozenset(
    """
pg_aios pg_backend_memory_contexts pg_config pg_cursors pg_file_settings pg_hba_file_rules pg_ident_file_mappings
pg_locks pg_prepared_statements pg_prepared_xacts pg_replication_origin_status pg_replication_slots pg_settings
pg_shmem_allocations pg_shmem_allocations_numa
""".split()
)
# Relations that show the session's own state
SESSION_RELATIONS: dict[str, int] = {"pg_prepared_statements": Effect.NAMES}
SERVER_RELATION_PREFIXES = ("pg_stat_", "pg_statio_")
# Not in the WAL: a standby has other values
SYSTEM_COLUMNS: frozenset[str] = frozenset({"cmin", "cmax"})
SEQUENCE_RELATIONS: frozenset[str] = frozenset({"pg_sequences"})

# Settings of a transaction: setting them with SET is SET TRANSACTION.
TRANSACTION_SETTINGS: frozenset[str] = frozenset(
    {"transaction_read_only", "transaction_isolation", "transaction_deferrable"}
)
# Their values are lists of names: each is quoted on its own (GUC_LIST_QUOTE in guc_tables.c).
NAME_LIST_SETTINGS: frozenset[str] = frozenset(
    {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}
)
