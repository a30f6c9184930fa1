-- Names that mean something else here: overloads, operators, casts, domains, attribute notation.

--- setup
create sequence s;
create table t(id int, name text, price numeric);
insert into t select i, 'n' || i, i * 2 from generate_series(1, 20) i;
create table noise(at timestamptz default clock_timestamp(), what text);
create function make_noise(w text) returns boolean language plpgsql volatile as $$ begin insert into noise(what) values (w); return true; end $$;

--- case 10: overloads of built-ins
--- setup
create type pair as (a int, b int);
create function lower(p pair) returns text language plpgsql volatile as $$ begin perform make_noise('lower'); return p.a; end $$;
create function abs(t text) returns text language plpgsql volatile as $$ begin perform make_noise('abs'); return t; end $$;
create function now(i int) returns timestamptz language plpgsql volatile as $$ begin perform make_noise('now'); return 'epoch'; end $$;
create function upper(i int) returns text language sql volatile as $$ select make_noise('upper')::text $$;
create function length(t t) returns int language sql immutable as $$ select 3 $$;
create schema shadow;
create function shadow.nextval(t text) returns int language sql immutable as $$ select 7 $$;
create function shadow.now() returns text language sql volatile as $$ select make_noise('shadow')::text $$;
create function shadow.count_all() returns bigint language sql stable as $$ select count(*) from public.t $$;

--- primary
select lower(row(1, 2)::pair);
select abs('x'::text);
select now(5);
select upper(5);
select upper(id) from t limit 1;
select shadow.now();
select public.abs('y'::text);
select public.now(1);

--- read
select lower('ABC'), upper('abc'), abs(-4), length('abc');
select lower(name), upper(name) from t where id = 3;
select abs(price) from t where id = 3;
select shadow.nextval('s');
select shadow.nextval('anything') + id from t limit 2;
select shadow.count_all();
select length(t) from t limit 1;
select pg_catalog.lower('X');

--- read varies: the time
select now();
select now() > 'epoch';

--- case 7: attribute notation
--- setup
create table a(id int, v text);
insert into a values (1, 'one'), (2, 'two');
create function log_row(r a) returns int language plpgsql volatile as $$ begin perform make_noise(r.v); return r.id; end $$;
create function full_name(r a) returns text language sql stable as $$ select r.id || ' ' || r.v $$;
create function noisy_pair(p pair) returns int language sql volatile as $$ select make_noise('pair')::int $$;
create function sum_pair(p pair) returns int language sql immutable as $$ select p.a + p.b $$;
create table holder(id int, p pair);
insert into holder values (1, row(1, 2));

--- primary
select a.log_row from a;
select (a).log_row from a;
select x.log_row from a x;
select id from a where a.log_row > 0;
select id from a order by a.log_row;
select (p).noisy_pair from holder;
select (h.p).noisy_pair from holder h;
select (row(1, 2)::pair).noisy_pair;
select count(*) from a group by a.log_row;
select log_row(a) from a;
select log_row(a.*) from a;

--- read
select a.full_name from a;
select (a).full_name from a;
select full_name(a) from a;
select (p).sum_pair, (p).a from holder;
select a.v, a.id from a;
select (a).v from a;
select a from a;
select a.* from a;
select (h.p).a from holder h where (h.p).b = 2;

--- case 8: operators
--- setup
create function op_noise(l text, r int) returns text language plpgsql volatile as $$ begin perform make_noise('op'); return l; end $$;
create operator || (leftarg = text, rightarg = int, function = op_noise);
create function op_hash(l int, r int) returns boolean language plpgsql volatile as $$ begin return make_noise('hash'); end $$;
create operator ### (leftarg = int, rightarg = int, function = op_hash);
create function op_plus(l int, r int) returns int language sql immutable as $$ select l * 10 + r $$;
create operator #+# (leftarg = int, rightarg = int, function = op_plus);
create function op_not(r text) returns boolean language plpgsql stable as $$ begin return make_noise('prefix'); end $$;
create operator !!! (rightarg = text, function = op_not);
create type money2 as (v int);
create function money_eq(l money2, r money2) returns boolean language plpgsql volatile as $$ begin return make_noise('eq'); end $$;
create operator = (leftarg = money2, rightarg = money2, function = money_eq);
create function money_like(l money2, r text) returns boolean language plpgsql volatile as $$ begin return make_noise('like'); end $$;
create operator ~~ (leftarg = money2, rightarg = text, function = money_like);
create table priced(m money2);
insert into priced values (row(1)), (row(2));
create schema ops;
create operator ops.+ (leftarg = int, rightarg = int, function = op_hash);

--- primary
select '7'::text || 1;
select '7' || 1;
select name || id from t;
select 1 ### 2;
select id from t where id ### 3;
select !!! 'x'::text;
select 1 operator(public.###) 2;
select 1 operator(ops.+) 2;
select m from priced where m = row(1)::money2;
select m from priced where m in (row(1)::money2, row(2)::money2);
select case m when row(1)::money2 then 1 else 2 end from priced;
select nullif(m, row(1)::money2) from priced;
select m from priced where m like 'x';
select m = any(array[row(1)::money2]) from priced;
select id from t where (id ### 1) is true;

--- read
select 1 #+# 2;
select id #+# 1 from t where id < 3;
select 1 operator(public.#+#) 2;
select 1 operator(pg_catalog.+) 2;
select 'a' || 'b', name || 'x' from t where id = 1;
select id from t where id in (1, 2, 3) and name like 'n%';
select case id when 1 then 'one' else 'many' end from t;
select nullif(id, 3) from t;
select id from t where price between 4 and 10;
select array[1, 2] || 3;

--- case 9: casts, domains, input functions, column definition lists
--- setup
create domain noisy as int check (make_noise('domain' || value::text));
create domain positive as int check (value > 0);
create domain email as text check (value ~ '^[^@]+@[^@]+$');
create type source_type as (x int);
create function cast_noise(s source_type) returns int language plpgsql volatile as $$ begin perform make_noise('cast'); return s.x; end $$;
create cast (source_type as int) with function cast_noise(source_type) as implicit;
create type calm_type as (x int);
create function cast_calm(s calm_type) returns int language sql immutable as $$ select s.x $$;
create cast (calm_type as int) with function cast_calm(calm_type) as implicit;
create table sources(s source_type, c calm_type);
insert into sources values (row(1), row(2));
create table account(id positive, mail email);
insert into account values (1, 'a@b');
create type noisy_holder as (a noisy, b int);
create function rec() returns setof record language sql stable as $$ select 1, 2 $$;

--- primary
select 1::noisy;
select noisy '5';
select cast(3 as noisy);
select id::noisy from t limit 2;
select '{"a": 1}'::jsonb is not null from json_to_record('{"a": 1}') as x(a noisy);
select * from json_populate_record(null::noisy_holder, '{"a": 1}');
select * from rec() as r(a noisy, b int);
select row(1, 2)::noisy_holder;
select '{1,2}'::noisy[];
select '(1,2)'::noisy_holder;
select s::int from sources;
select s + 1 from sources;
select abs(s) from sources;
select id from t, sources where id = s;
select id from t, sources where price > s::int;
select (array[1]::noisy[])[1];

--- read
select 5::positive;
select positive '5';
select 'x@y'::email;
select * from account;
select mail from account where id = 1::positive;
select c::int, c + 1 from sources;
select * from json_to_record('{"a": 1, "b": "x"}') as x(a positive, b text);
select * from rec() as r(a int, b int);
select row(1, 2)::pair, '(3,4)'::pair;
select '{1,2}'::positive[];

--- case 22: ways to write a name
--- setup
create function "NextVal"(t text) returns int language sql immutable as $$ select 1 $$;
create table "Order"(id int, "select" text);
insert into "Order" values (1, 'x');

--- primary
select U&"\006Eextval"('s');
select "nextval"('s');
select pg_catalog /* a comment */ . nextval('s');
select oracle_shadowing.pg_catalog.nextval('s');
select NextVal('s');
select pg_catalog
. -- here
nextval('s');
select U&"n!0065xtval" uescape '!' ('s');
select "pg_catalog"."nextval"('s');
select"nextval"('s');
select/**/nextval/**/('s');

--- read
select "NextVal"('s');
select 'nextval(''s'')';
select $$nextval('s')$$;
select $x$ select nextval('s') $x$ as "nextval";
select id as nextval from t limit 1;
select "select" from "Order";
select U&'\006Eextval';
select 1 /* nextval('s') */;
select 1 -- nextval('s')
;

--- case 24: comments and strings
--- primary
/* /* */ select 1; */ delete from t;
select '\'; delete from t; --';
select 1; delete from t where false or id = 1;
-- select
delete from t where id = 1;
select E'\'' ; delete from t where id = 2 --';
select $a$ $b$ $a$; insert into t values (1);
/* hint */ update t set id = id;

--- read
/* delete from t */ select count(*) from t;
-- insert into t values (1)
select 1;
select '\';
select E'\';\'delete from t';
/* /* nested */ delete from t; */ select 1;
select 'it''s; delete from t';
select 1; select 2;
