-- What belongs to the session: settings, locks, cursors, prepared statements, transactions.

--- setup
create table t(id int primary key, v text);
insert into t select i, 'v' || i from generate_series(1, 20) i;
create sequence s;
create function set_path() returns text language sql volatile as $$ select set_config('search_path', 'public', false) $$;
create function lock_it(k int) returns boolean language plpgsql stable as $$ begin perform pg_advisory_lock(k); return true; end $$;
create view locking as select pg_try_advisory_lock(42) as got;

--- case 16: advisory locks
--- primary
select pg_advisory_lock(1);
select pg_advisory_lock(1, 2);
select pg_try_advisory_lock(3);
select pg_try_advisory_lock_shared(3);
select pg_advisory_xact_lock(4);
select pg_try_advisory_xact_lock_shared(5);
select id from t where pg_try_advisory_lock(id);
select lock_it(7);
select * from locking;
with l as (select pg_advisory_lock(8)) select * from l;
select case when pg_try_advisory_lock(9) then 1 end;
select pg_catalog.pg_advisory_lock_shared(10);

--- primary
--- before: select pg_advisory_lock(77)
select pg_advisory_unlock(77);
select pg_advisory_unlock_all();
select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();

--- case 16: set_config
--- primary
select set_config('search_path', 'pg_catalog', false);
select set_config('work_mem', '1MB', true);
select set_path();
select set_config(name, '8MB', false) from pg_settings where name = 'work_mem';

--- primary
--- before: set work_mem = '3MB'
show work_mem;

--- primary unseen: a setting of the session that no view shows
select set_config('my.user', '5', false);
select id, set_config('my.id', id::text, true) from t;
set my.value = 'x';

--- primary unseen: random() of this session follows from it
select setseed(0.5);
select setseed(0.5), random();

--- case 20: transactions that a standby refuses
--- primary alone
begin read write; select 1; commit;
begin isolation level serializable; select 1; commit;
begin transaction isolation level serializable, read only, deferrable; select 1; commit;
start transaction read write; select count(*) from t; rollback;
begin; set transaction read write; select 1; rollback;
begin; set transaction isolation level serializable; select 1; rollback;
set default_transaction_isolation = 'serializable'; select 1;
set session characteristics as transaction isolation level serializable; select count(*) from t;
show transaction_read_only;
select current_setting('transaction_read_only');
begin; insert into t values (1000, 'x'); rollback;
begin; select nextval('s'); rollback;

--- case 16: settings and session objects
--- primary
set work_mem = '2MB';
set search_path to pg_catalog;
set local statement_timeout = 0;
prepare p as select 1;
declare c cursor for select 1;
declare c scroll cursor for select * from t;

--- primary alone
declare c cursor with hold for select * from t;
listen news;
notify news, 'x';
begin; lock table t in access exclusive mode; commit;

--- primary unseen: nothing to see on this server, and the session's state is on the other one
unlisten *;
load 'plpgsql';
discard plans;
discard all;
deallocate all;
reset all;
reset work_mem;
checkpoint;
close all;

--- primary unseen: accepted by a standby as a lock up to ROW EXCLUSIVE
begin; lock table t in row exclusive mode; commit;
begin; lock table t in access share mode; commit;

--- primary
select pg_notify('news', 'x');
select pg_notify('news', v) from t;

--- primary unseen: the snapshot is known to one server only, and its name is always another
select pg_export_snapshot();
select pg_export_snapshot() from t where id = 1;

--- primary
--- before: prepare p as select 1
execute p;
deallocate p;
select name, statement from pg_prepared_statements;
select name from pg_prepared_statement();

--- primary alone
--- before: begin; declare c cursor for select * from t
fetch 2 from c;
fetch all from c;
move 1 in c;
select name from pg_cursors where name = 'c';

--- primary alone
--- before: listen oracle_channel
select pg_listening_channels();

--- case 0: reads of a session
--- read
select current_schema, current_schemas(true);
select current_database(), current_catalog;
select current_user, session_user, user, current_role;
select id from t where v = 'v3';
select coalesce(current_setting('my.unknown', true), 'none');
select current_setting('server_version_num');
select current_setting('work_mem');
select current_setting('TimeZone');
select version();
select pg_client_encoding();
select pg_typeof(id) from t limit 1;

--- read varies: the time, and random
select current_timestamp, current_date, localtime;
select clock_timestamp(), statement_timestamp(), transaction_timestamp();
select random();
select id from t order by random() limit 3;
select gen_random_uuid();
select * from t where v <> timeofday();
select pg_sleep(0.001), random() < 2;
select id, gen_random_uuid() from t;
