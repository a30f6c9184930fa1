-- What functions do when they are called: volatility is not enough, and a label may lie.

--- setup
create table log(id serial primary key, what text, at timestamptz default now());
create table item(id int primary key, name text, price numeric, tags text[]);
insert into item select i, 'item ' || i, i * 1.5, array['a', 'b' || i % 3] from generate_series(1, 50) i;
create sequence ticket;
create function next_ticket() returns bigint language sql volatile as $$ select nextval('ticket') $$;
create function log_it(t text) returns int language plpgsql volatile as $$ begin insert into log(what) values (t); return 1; end $$;
create function log_it_sql(t text) returns int language sql as $$ insert into log(what) values (t) returning id $$;
create function harmless_volatile(i int) returns int language sql as $$ select i + 1 $$;
create procedure log_proc(t text) language plpgsql as $$ begin insert into log(what) values (t); end $$;
create aggregate noisy_sum(int) (sfunc = int4pl, stype = int, initcond = '0');

create function log_sfunc(s int, v int) returns int language plpgsql volatile as $$ begin insert into log(what) values ('agg'); return s + v; end $$;
create aggregate log_sum(int) (sfunc = log_sfunc, stype = int, initcond = '0');

create function log_rows() returns setof item language plpgsql volatile as $$ begin insert into log(what) values ('rows'); return query select * from item; end $$;
create function plain_add(a int, b int) returns int language sql immutable as $$ select a + b $$;
create function price_of(i int) returns numeric language sql stable as $$ select price from item where id = i $$;
create function name_of(i int) returns text language plpgsql stable as $$ declare r text; begin select name into r from item where id = i; return coalesce(r, '?'); end $$;
create function discount(p numeric, percent numeric default 10) returns numeric language plpgsql immutable as $$ begin return round(p * (100 - percent) / 100, 2); end $$;
create function cheap_items(max numeric) returns setof item language sql stable as $$ select * from item where price <= max $$;
create function item_table(a int) returns table(id int, label text) language plpgsql stable as $$ begin return query select i.id, upper(i.name) from item i where i.id <= a; end $$;
create function total(variadic v int[]) returns bigint language sql immutable as $$ select sum(x) from unnest(v) x $$;
create function pair_of(a int, out b int, out c text) language sql stable as $$ select a, name from item where id = a $$;
create function clean(t text) returns text language sql immutable strict parallel safe as $$ select lower(trim(t)) $$;
create aggregate my_max(int) (sfunc = int4larger, stype = int);

--- case 1: transaction ids are STABLE in pg_proc
--- setup
create view my_locks as select pg_current_xact_id()::text as me, count(*) from item;
create function my_xid() returns text language sql stable as $$ select pg_current_xact_id()::text $$;

--- primary
select txid_current();
select pg_current_xact_id();
select pg_catalog.txid_current() from item;
select id from item where pg_current_xact_id() is not null;
select * from my_locks;
select my_xid();
select * from item order by txid_current(), id;

--- case 5: an argument's default writes
--- setup
create function stamp(i int default nextval('ticket')) returns int language sql immutable as $$ select i $$;
create function stamp2(a int, b int default log_it('default'), c int default 3) returns int language sql immutable as $$ select a + b + c $$;
create function safe_default(a int, b int default 2) returns int language sql immutable as $$ select a + b $$;

--- primary
select stamp();
select stamp2(1);
select stamp2(1, c => 5);
select stamp2(a => 1);
select * from stamp();
select id, stamp() from item limit 1;

--- read
select stamp(5);
select stamp2(1, 2);
select stamp2(1, b => 2);
select stamp2(a => 1, b => 2, c => 3);
select safe_default(1), safe_default(1, 5);

--- case 6: labels that lie
--- setup
create function lying_next() returns bigint language plpgsql stable as $$ begin return nextval('ticket'); end $$;
create function lying_next_immutable() returns bigint language plpgsql immutable as $$ begin return nextval('ticket'); end $$;
create function lying_log(t text) returns int language plpgsql stable as $$ begin return log_it(t); end $$;
create function lying_sql() returns int language sql stable as $$ select log_it('stable sql') $$;
create function lying_deep() returns int language plpgsql immutable as $$ begin return lying_log('deep'); end $$;
create function lying_dynamic(s text) returns int language plpgsql stable as $$ declare r int; begin execute 'select ' || s into r; return r; end $$;
create function lying_perform() returns void language plpgsql stable as $$ begin perform setval('ticket', 7); end $$;
create view lying_view as select id, lying_log(name) as logged from item where id < 3;
create function dynamic_harmless(t text) returns bigint language plpgsql stable as $$ declare r bigint; begin execute format('select count(*) from %I', t) into r; return r; end $$;

--- primary
select lying_next();
select lying_next_immutable();
select lying_log('x');
select lying_sql();
select lying_deep();
select lying_dynamic('nextval(''ticket'')::int');
select lying_dynamic('log_it(chr(97))');
select lying_perform();
select * from lying_view;
select id from item where id < 3 and lying_log(name) = 1;

--- case 18: a function that catches the refusal
--- setup
create function quiet_write() returns text language plpgsql volatile as $$ begin insert into log(what) values ('quiet'); return 'written'; exception when read_only_sql_transaction then return 'refused'; end $$;
create function quiet_same() returns text language plpgsql volatile as $$ begin insert into log(what) values ('same'); return 'ok'; exception when others then return 'ok'; end $$;
create function quiet_stable() returns bigint language plpgsql stable as $$ begin return nextval('ticket'); exception when others then return -1; end $$;

--- primary
select quiet_write();
select quiet_same();
select quiet_stable();
select * from quiet_same() q;

--- case 25: BEGIN ATOMIC has no prosrc
--- setup
create function atomic_next() returns bigint language sql volatile begin atomic select nextval('ticket'); end;
create function atomic_log(t text) returns int language sql begin atomic insert into log(what) values (t) returning id; end;
create function atomic_return() returns bigint language sql return nextval('ticket');
create function atomic_read(i int) returns numeric language sql stable begin atomic select price from item where id = i; end;
create function atomic_plus(a int, b int) returns int language sql immutable return a + b;

--- primary
select atomic_next();
select atomic_log('a');
select atomic_return();
select atomic_return() from item limit 1;
select * from atomic_next();

--- read
select atomic_read(3);
select atomic_plus(1, 2);
select id, atomic_read(id) from item where id < 4;

--- case 26: DO and CALL
--- primary
do $$ begin insert into log(what) values ('do'); end $$;
do $$ begin execute 'ins' || 'ert into log(what) values (''x'')'; end $$;
call log_proc('x');

--- primary unseen: the standby runs a block that only reads, but no router can know that
do $$ begin perform 1; end $$;
do language plpgsql $$ begin perform count(*) from item; end $$;

--- case 2: SQL handed over as a string
--- setup
create view counted as select nextval('ticket') as n;
create schema noisy;
create view noisy.v as select nextval('public.ticket') as n;

--- primary
select query_to_xml('select nextval(''ticket'')', true, false, '');
select table_to_xml('counted', true, false, '');
select schema_to_xml('noisy', true, false, '');
select database_to_xml(true, false, '');
select * from ts_stat('select to_tsvector(nextval(''ticket'')::text)');
select ts_rewrite('a & b'::tsquery, 'select ''a''::tsquery, ''c''::tsquery where nextval(''ticket'') > 0');
select cursor_to_xml('c', 1, false, false, '') is null from (select query_to_xml('select log_it(''x'')', true, true, '')) q;

--- read
select ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery);
select xmlelement(name item, xmlattributes(id as id), name) from item where id = 1;
select xmlagg(xmlelement(name i, id)) from item where id < 5;
select xpath('/a/b/text()', '<a><b>1</b></a>'::xml);

--- case 0: volatile functions, labels that tell the truth
--- primary
select next_ticket();
select log_it('x');
select log_it_sql('x');
select log_it(name) from item where id < 3;
select count(*) from item where log_it(name) = 1;
select * from log_rows();
select log_sum(id) from item;
select log_sum(id) over (order by id) from item limit 2;
select noisy_sum(log_it('x'));
select (select log_it('sub'));
select case when id > 0 then log_it('case') end from item limit 1;
select id from item group by id having log_it('having') = 1 limit 1;
select * from item i cross join lateral log_it(i.name) l where i.id < 3;
with x as (select log_it('cte') as v) select * from x;
select coalesce(null, log_it('coalesce'));
select array(select log_it('array'));
values (log_it('values'));
select 1 limit log_it('limit');
select 1 from item order by log_it(name) limit 1;
select nextval('ticket');
select setval('ticket', 10);
select nextval('ticket'::regclass) from generate_series(1, 3);
select public.next_ticket();
select lastval() from (select nextval('ticket')) q;

--- read
select plain_add(1, 2);
select price_of(3);
select name_of(4), name_of(999);
select discount(100), discount(100, 20), discount(p => 100, percent => 5);
select * from cheap_items(10);
select * from item_table(3);
select label from item_table(5) where id > 2 order by 1;
select total(1, 2, 3), total(variadic array[4, 5]);
select * from pair_of(2);
select (pair_of(2)).c;
select clean('  ABC '), clean(null);
select my_max(id) from item;
select noisy_sum(id) from item;
select noisy_sum(id) over (partition by id % 2 order by id) from item;
select i.name, p.b from item i, lateral pair_of(i.id) p where i.id < 4;
select id from item where plain_add(id, 1) = 5;
select id, price_of(id) from item order by price_of(id) desc limit 3;
select public.plain_add(3, 4);
select dynamic_harmless('item');
select id from item where clean(name) like 'item 1%';
select sum(discount(price)) from item;
