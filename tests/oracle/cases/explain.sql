-- EXPLAIN and COPY: when they execute, and what planning alone does.

--- setup
create sequence s;
create table t(id int primary key, v text);
insert into t select i, 'v' || i from generate_series(1, 100) i;
create table log(what text);
analyze t;
create function writes(x int) returns int language plpgsql volatile as $$ begin insert into log values ('x'); return x; end $$;
create function lying_immutable(x int) returns int language plpgsql immutable as $$ begin return nextval('s')::int + x; end $$;
create function lying_stable(x int) returns int language plpgsql stable as $$ begin return nextval('s')::int + x; end $$;
create function calm(x int) returns int language sql immutable as $$ select x + 1 $$;

--- case 3: planning evaluates functions
--- primary
explain select lying_immutable(1);
explain select * from t where id = lying_immutable(1);
explain select * from t where id < lying_stable(1);
explain (format json) select * from t where id < lying_stable(1);
explain verbose select lying_immutable(2) from t;
explain (costs off) select * from t where id = lying_immutable(3) limit 1;

--- primary unseen: planning does not run a volatile function, but no router should count on it
explain select nextval('s');
explain select writes(1);
explain select * from t where writes(id) = 1;

--- primary unseen: EXPLAIN alone of a locking read or of a write is accepted by a standby
explain select * from t for update;
explain delete from t where id = 1;
explain insert into t values (1000, 'x');
explain update t set v = 'x';

--- read
explain select * from t;
explain select * from t where id = calm(4);
explain (verbose, costs off) select v from t where id in (1, 2, 3);
explain (format json) select count(*) from t;
explain (format yaml, settings) select 1;
explain (wal false, costs off) select 1 where false;
explain select * from t a join t b using (id) where a.id < 10;

--- case 4: ANALYZE in its spellings
--- primary
explain analyze select nextval('s');
explain analyse select nextval('s');
explain (analyze) select writes(1);
explain (analyze true) delete from t where id = 1;
explain (analyze on, costs off) insert into t values (1000, 'x');
explain (analyze 1) update t set v = v where id = 1;
explain (analyze false, analyze) select nextval('s');
explain (analyze false, analyze true) select writes(2);
explain (analyze "true") select nextval('s');
explain analyze verbose delete from t;
explain analyze create table made as select 1 as x;
explain (analyze, timing off, summary off) with d as (delete from t returning id) select * from d;
explain analyze select * from t for update;

--- primary unseen: by the last of two options it does not execute
explain (analyze true, analyze false) delete from t;
explain (analyze, analyze off) select nextval('s');

--- read
explain (analyze, costs off, timing off, summary off, buffers off) select * from t where id = 1;
explain (analyze false) select * from t;

--- read varies: its times and buffers
explain analyze select * from t;
explain (analyze, buffers) select count(*) from t;
explain (analyze, format json) select v from t where id < 5;

--- case 16: COPY
--- primary
copy t from stdin;
copy t(id) from '/nowhere/at/all';
copy (insert into log values ('copy') returning what) to stdout;
copy (select nextval('s')) to stdout;
copy (select writes(1)) to stdout;
copy (delete from t returning id) to stdout;
copy t (id, v) from stdin with (format csv);

--- primary unseen: the file is written by the server that runs it
copy t to '/dev/null';
copy (select 1) to '/dev/null' with (format csv);
copy t to program 'cat > /dev/null';
copy (select 1) to program 'cat > /dev/null';

--- read
copy t to stdout;
copy t (v) to stdout with (format csv, header);
copy (select id, v from t where id < 10 order by id) to stdout;
copy (select calm(id) from t) to stdout (delimiter ';');
copy (values (1, 'a'), (2, 'b')) to stdout;
copy binary t to stdout;
copy (with x as (select * from t) select count(*) from x) to stdout;
