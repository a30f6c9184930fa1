-- Relations whose content a standby does not have: unlogged, sequences, temporary, foreign.

--- setup
create table base(id int primary key, v text);
insert into base select i, 'v' || i from generate_series(1, 30) i;

--- case 13: unlogged tables
--- setup
create unlogged table fast(id int, v text);
insert into fast values (1, 'x');
create table parent(id int, v text);
insert into parent values (1, 'p');
create unlogged table child() inherits (parent);
insert into child values (2, 'c');
create table grandparent(id int);
create table middle() inherits (grandparent);
create unlogged table leaf() inherits (middle);
create view fast_view as select * from fast;
create view parent_view as select * from parent;
create view parent_only as select * from only parent;
create view mixed_view as select b.id from base b join fast_view f using (id);
create table part(id int) partition by range (id);
create table part_logged partition of part for values from (0) to (10);
create unlogged table part_unlogged partition of part for values from (10) to (20);
create function count_fast() returns bigint language sql stable as $$ select count(*) from fast $$;
create function count_fast_plpgsql() returns bigint language plpgsql stable as $$ begin return (select count(*) from fast); end $$;
create table calm_parent(id int, v text);
create table calm_child() inherits (calm_parent);
insert into calm_child values (1, 'calm');

--- primary
select * from fast;
select count(*) from fast;
select * from public.fast where id = 1;
select * from parent;
select count(*) from parent where id > 0;
select * from parent *;
select * from grandparent;
select * from fast_view;
select * from parent_view;
select * from mixed_view;
select * from part;
select * from part where id = 15;
select * from part_unlogged;
select * from child;
select count_fast();
select count_fast_plpgsql();
explain select * from fast;
explain (costs off) select * from parent;
explain select * from mixed_view;
copy fast to stdout;
copy (select * from parent) to stdout;
select 1 where exists (select from fast);
select b.id from base b left join fast f using (id);
select (select max(id) from fast);
with f as (select * from fast) select * from f;
select 'x' from base where id in (select id from child);

--- read
select * from only parent;
select * from parent_only;
select * from part_logged;
select * from only grandparent;
select * from calm_parent;
select * from calm_parent *;
select * from only calm_parent;
explain select * from only parent;
copy (select * from only parent) to stdout;

--- case 14: sequences read as tables
--- setup
create sequence serial_number;
select nextval('serial_number');
create table numbered(id bigserial primary key, g int generated always as identity, v text);
insert into numbered(v) values ('a'), ('b');
create view last_number as select last_value from serial_number;
create function last_of() returns bigint language sql stable as $$ select last_value from serial_number $$;
create function last_of_plpgsql() returns bigint language plpgsql stable as $$ begin return (select last_value from serial_number); end $$;
create view sequence_view as select schemaname, sequencename, last_value from pg_sequences;
create sequence untouched;

--- primary
select last_value from serial_number;
select * from serial_number;
select last_value, is_called from public.serial_number;
select * from last_number;
select last_of();
select last_of_plpgsql();
select last_value from numbered_id_seq;
select sequencename, last_value from pg_sequences where last_value is not null order by 1;
select * from sequence_view where last_value is not null;
select pg_sequence_last_value('serial_number');
table serial_number;
select v from numbered, serial_number where id <= last_value + 40 and last_value < 20;
copy (select * from serial_number) to stdout;

--- primary unseen: nothing was drawn from it yet, so both answer alike; the next nextval changes that
select last_value from untouched;

--- read
select * from numbered;
select seqstart, seqincrement from pg_sequence;
select seqrelid::regclass from pg_sequence order by 1;
select sequence_name, increment from information_schema.sequences order by 1;
select pg_get_serial_sequence('numbered', 'id');
select max(id) from numbered;

--- case 14: currval and lastval live in the session
--- before: select nextval('serial_number')
--- primary
--- before: select nextval('serial_number')
select currval('serial_number');
select lastval();
select id from base where id < currval('serial_number') limit 1;
select pg_catalog.currval('serial_number'::regclass);

--- case 15: temporary objects
--- primary
create temp table tt(id int);
create temporary view tv as select 1;
select 1 as x into temp into_temp;
create temp sequence ts;

--- primary
--- before: create temp table base(id int, v text); insert into base values (99, 'temporary')
select * from pg_temp.base;

--- primary
--- before: create temp table only_here(id int); create function pg_temp.f() returns int language sql as 'select 1'
select * from pg_temp.only_here;
select pg_temp.f();

--- primary
--- before: create temp table warm(id int)
select pg_my_temp_schema() <> 0;
select pg_my_temp_schema();

--- case 21: search_path that makes a schema
--- primary alone
set search_path = pg_temp; select current_schema();
set search_path = pg_temp, public; create table x(id int); drop table x;

--- case 0: foreign tables
--- setup
create extension file_fdw;
create server files foreign data wrapper file_fdw;
create foreign table server_file(line text) server files options (filename 'PG_VERSION');
create foreign table server_settings(line text) server files options (filename 'postgresql.conf', format 'text', delimiter E'\x01');
create view server_view as select * from server_settings;

--- primary
select * from server_settings;
select * from server_view;

--- primary unseen: the file happens to be the same on both servers; it is a file of the server that reads it
select * from server_file;

--- case 0: plain tables beside them
--- setup
create table toasted(id int, big text);
insert into toasted select 1, repeat('abc', 100000);
create table generated(a int, b int generated always as (a * 2) stored);
insert into generated(a) values (1), (2);
create table defaulted(id int default nextval('serial_number'), at timestamptz default clock_timestamp(), v text);
insert into defaulted(v) values ('x');
create table indexed(id int, v text);
create index on indexed(lower(v)) where id > 0;
create index on indexed using gin (to_tsvector('simple', v));
insert into indexed select i, 'Word ' || i from generate_series(1, 500) i;

--- primary
insert into defaulted(v) values ('y');

--- read
select * from base where id = 5;
select length(big), md5(big) from toasted;
select * from generated;
select v from defaulted;
select * from defaulted;
select id from indexed where lower(v) = 'word 7' and id > 0;
select id from indexed where to_tsvector('simple', v) @@ 'word & 9';
select ctid, xmin, tableoid::regclass from base where id = 1;
select * from base tablesample system (100);
select * from base tablesample bernoulli (50) repeatable (7);
