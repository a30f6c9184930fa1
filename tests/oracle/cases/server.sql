-- What tells of the server it runs on, or acts on it.

--- setup
create table t(id int primary key, v text);
insert into t select i, 'v' || i from generate_series(1, 20) i;
create sequence s;
create view activity as select pid, state from pg_stat_activity;
create view table_counts as select relname, seq_scan from pg_stat_user_tables;
create function am_i_standby() returns boolean language sql stable as $$ select pg_is_in_recovery() $$;
create function where_am_i() returns text language plpgsql stable as $$ begin return pg_current_wal_lsn()::text; end $$;
create function reset_stats() returns void language sql stable as $$ select pg_stat_reset() $$;

--- case 16: answers of this server
--- primary
select pg_is_in_recovery();
select am_i_standby();
select not pg_is_in_recovery() as writable;
select inet_server_port();
select where_am_i();
select pg_current_wal_lsn();
select pg_current_wal_insert_lsn(), pg_walfile_name(pg_current_wal_lsn());
select pg_last_wal_replay_lsn();
select pg_last_wal_receive_lsn();
select pg_last_xact_replay_timestamp();
select pg_is_wal_replay_paused();
select setting from pg_settings where name = 'port';
select current_setting('port');
select current_setting('cluster_name');
select current_setting('data_directory');
show port;
show data_directory;
show transaction_read_only;
show in_hot_standby;
select count(*) from pg_stat_replication;
select * from pg_stat_wal_receiver;
select application_name, state from pg_stat_replication;
select system_identifier, pg_control_last_modified > 'epoch' from pg_control_system() where not pg_is_in_recovery();
select pg_postmaster_start_time();
select pg_read_file('postgresql.conf');
select count(*) from pg_ls_dir('.') as f where f = 'standby.signal';
select pg_stat_file('standby.signal', true);
select name, setting from pg_file_settings where name = 'port';
select sourcefile from pg_settings where name = 'port';

--- primary unseen: counters of one server
select * from activity where false;
select count(*) from pg_stat_activity where datname = 'none';
select * from table_counts where relname = 'none';
select sum(n_tup_ins) from pg_stat_user_tables where relname = 'none';
select pg_stat_get_numscans(0);
select * from pg_stat_bgwriter where false;
select * from pg_statio_user_tables where relname = 'none';
select count(*) from pg_replication_slots;
select pg_blocking_pids(0);
select * from pg_prepared_xacts;
select count(*) from pg_locks where relation = 0;
select * from pg_hba_file_rules where false;
select pg_conf_load_time() > 'epoch';
select pg_backend_pid() > 0;
select * from pg_backend_memory_contexts where name = 'none';
select * from pg_shmem_allocations where name = 'none';
select pg_xact_status('3'::xid8) is null;

--- case 16: acts on this server
--- primary unseen: it is this server that is reset, flushed or written to
select pg_stat_reset();
select pg_stat_reset_shared('bgwriter');
select pg_stat_reset_single_table_counters('t'::regclass);
select reset_stats();
select pg_stat_clear_snapshot();
select pg_log_backend_memory_contexts(pg_backend_pid());

--- primary unrun: it would change the servers under test
select pg_reload_conf();
select pg_rotate_logfile();
select pg_terminate_backend(pid) from pg_stat_activity;
select pg_cancel_backend(1);
alter system set work_mem = '5MB';
alter system reset all;
select pg_create_physical_replication_slot('x');
select pg_drop_replication_slot('x');

--- primary
select pg_switch_wal();
select pg_create_restore_point('x');
select pg_create_logical_replication_slot('oracle_slot', 'pgoutput', true);
select pg_logical_emit_message(true, 'p', 'x');

--- case 17: fail on a primary, do harm on a standby
--- primary unrun: the standby would end being one, or stop following
select pg_promote();
select pg_promote(false);
select pg_wal_replay_pause();
select pg_wal_replay_resume();
select case when pg_is_in_recovery() then pg_promote() end;

--- case 16: large objects and files
--- setup
select lo_create(4711);
select lo_put(4711, 0, 'large object');
create extension adminpack;

--- primary
select lo_create(0);
select lo_creat(-1);
select lo_from_bytea(0, 'x');
select lo_unlink(4711);
select lo_put(4711, 0, 'y');
select lo_import('/etc/hostname');
select lo_truncate(lo_open(4711, 131072), 0);
select lowrite(lo_open(4711, 131072), 'x');

--- primary unseen: opened for writing, though nothing is written yet
select lo_open(4711, 131072);

--- primary unseen: the backup is of the server that runs it
select pg_backup_start('x', true);

--- primary unseen: a file of the server that runs it
select lo_export(4711, '/dev/null');
select pg_file_write('oracle.txt', 'x', false);
select pg_file_unlink('no-such-file');

--- read
select lo_get(4711);
select lo_get(4711, 0, 5);
select loid, pageno, length(data) from pg_largeobject;
select oid, lomowner::regrole from pg_largeobject_metadata;

--- case 13: extensions that look at pages, indexes
--- setup
create extension pageinspect;
create extension pgstattuple;
create extension pg_prewarm;
create extension tablefunc;
create extension bloom;
create extension amcheck;
create index t_bloom on t using bloom (id);
create index t_brin on t using brin (id);

--- primary
select brin_summarize_new_values('t_brin');
select brin_desummarize_range('t_brin', 0);
select bt_index_parent_check('t_pkey');
select * from crosstab('select nextval(''s'')::text, ''a''::text, 1') as c(r text, a int);

--- case 0: catalog queries that are the same on both
--- read
select relname, relkind from pg_class where relname = 't';
select count(*) from pg_attribute where attrelid = 't'::regclass and attnum > 0;
select table_name, column_name, data_type from information_schema.columns where table_schema = 'public' and table_name = 't';
select tablename, indexname, indexdef from pg_indexes where schemaname = 'public' order by 2;
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'v') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2;
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid) from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where a.attrelid = 'public.t'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum;
select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = 't'::regclass;
select pg_get_viewdef('activity'::regclass);
select pg_get_functiondef('am_i_standby()'::regprocedure);
select pg_get_indexdef(indexrelid) from pg_index where indrelid = 't'::regclass order by 1;
select t.typname, e.enumlabel from pg_type t join pg_enum e on e.enumtypid = t.oid;
select extname, extversion from pg_extension order by 1;
select rolname, rolsuper from pg_roles where rolname = 'postgres';
select has_table_privilege('postgres', 't', 'select'), has_schema_privilege('public', 'usage');
select obj_description('t'::regclass), col_description('t'::regclass, 1);
select to_regclass('public.t'), to_regclass('public.none');
select table_name from information_schema.tables where table_schema = 'public' order by 1;
select constraint_name, constraint_type from information_schema.table_constraints where table_name = 't';
select viewname, definition from pg_views where schemaname = 'public';
select tablename, attname, n_distinct from pg_stats where tablename = 't';
select datname, pg_encoding_to_char(encoding) from pg_database where datname = current_database();
select collname from pg_collation where collname = 'C';
select 't'::regclass::oid > 0, 'int4'::regtype, 'now'::regproc;
select proname, provolatile from pg_proc where proname = 'am_i_standby';
select exists (select from pg_tables where schemaname = 'public' and tablename = 't');
select pg_table_is_visible('t'::regclass);
select kcu.column_name from information_schema.table_constraints tc join information_schema.key_column_usage kcu using (constraint_name, table_name) where tc.constraint_type = 'PRIMARY KEY' and table_name = 't';
