-- What applications really send, and what must go to replicas.

--- setup
create type status as enum ('draft', 'sent', 'paid', 'void');
create type address as (street text, city text, zip text);
create table customer(id serial primary key, name text not null, email varchar(200), home address, data jsonb default '{}', tags text[] default '{}', created timestamptz default '2024-01-01', active boolean default true);
create table invoice(id serial primary key, customer_id int references customer, status status default 'draft', total numeric(10,2), lines jsonb, period daterange, issued date, search tsvector generated always as (to_tsvector('english', coalesce(lines ->> 'text', ''))) stored);
create table tree(id int primary key, parent int, name text);
create table booking(id int, room int, during tsrange);
create table price_history(at timestamp, symbol text, price float8);
insert into customer(name, email, home, data, tags) select 'Customer ' || i, 'c' || i || '@example.org', row('Street ' || i, 'City ' || i % 3, lpad(i::text, 5, '0'))::address, jsonb_build_object('level', i % 4, 'prefs', jsonb_build_object('lang', (array['en', 'de'])[i % 2 + 1])), array['t' || i % 2, 't' || i % 3] from generate_series(1, 60) i;
insert into invoice(customer_id, status, total, lines, period, issued) select i % 60 + 1, (array['draft', 'sent', 'paid', 'void'])[i % 4 + 1]::status, i * 3.25, jsonb_build_object('text', 'quick brown foxes ' || i, 'n', i, 'items', jsonb_build_array(i, i + 1)), daterange(date '2024-01-01' + i, date '2024-02-01' + i), date '2024-01-01' + i from generate_series(1, 200) i;
insert into tree select i, nullif(i / 2, 0), 'node ' || i from generate_series(1, 31) i;
insert into booking select i, i % 4, tsrange(timestamp '2024-01-01' + i * interval '1 hour', timestamp '2024-01-01' + (i + 2) * interval '1 hour') from generate_series(1, 40) i;
insert into price_history select timestamp '2024-01-01' + i * interval '1 minute', (array['AA', 'BB'])[i % 2 + 1], i * 1.1 from generate_series(1, 100) i;
create view open_invoice as select i.*, c.name as customer from invoice i join customer c on c.id = i.customer_id where i.status in ('draft', 'sent');
create view revenue as select date_trunc('month', issued)::date as month, sum(total) filter (where status = 'paid') as paid, count(*) as invoices from invoice group by 1;
create function net(total numeric) returns numeric language sql immutable as $$ select round(total / 1.19, 2) $$;
create function customer_total(c int) returns numeric language sql stable as $$ select coalesce(sum(total), 0) from invoice where customer_id = c $$;
create function level_of(c customer) returns int language sql stable as $$ select (c.data ->> 'level')::int $$;
create function search_customers(q text) returns setof customer language plpgsql stable as $$ begin return query select * from customer where name ilike '%' || q || '%' order by id limit 5; end $$;
create function status_label(s status) returns text language plpgsql immutable as $$ begin return case s when 'draft' then 'Draft' when 'paid' then 'Paid' else initcap(s::text) end; end $$;
create aggregate product(float8) (sfunc = float8mul, stype = float8, initcond = '1');

--- case 0: what an ORM sends
--- read
select "customer"."id", "customer"."name", "customer"."email" from "customer" where "customer"."id" = 7 limit 21;
select count(*) as "__count" from "customer" where "customer"."active";
select (1) as "a" from "customer" where "customer"."email" = 'c5@example.org' limit 1;
select "invoice"."id", "invoice"."total" from "invoice" inner join "customer" on ("invoice"."customer_id" = "customer"."id") where ("customer"."name" like 'Customer 1%' and "invoice"."status" in ('paid', 'sent')) order by "invoice"."issued" desc, "invoice"."id" asc limit 25 offset 5;
SELECT anon_1.customer_id, anon_1.cnt FROM (SELECT invoice.customer_id AS customer_id, count(*) AS cnt FROM invoice GROUP BY invoice.customer_id HAVING count(*) > 3) AS anon_1 ORDER BY anon_1.cnt DESC, anon_1.customer_id;
select this_.id as y0_, this_.name as y1_ from customer this_ where this_.id in (1, 2, 3) and lower(this_.name) like 'customer%';
select c.id, i.id from customer c left outer join invoice i on c.id = i.customer_id where i.id is null;
select c.*, (select max(issued) from invoice i where i.customer_id = c.id) as last from customer c order by last desc nulls last, id limit 3;
select id from customer where (id, name) > (5, 'x') order by id, name limit 3;
select * from customer where id = any('{1,2,3}'::int[]);
select * from customer where not exists (select 1 from invoice where customer_id = customer.id and status = 'void');
select coalesce(sum(total), 0)::float8 from invoice where issued >= '2024-02-01' and issued < '2024-03-01';
select case when total > 300 then 'big' when total > 100 then 'middle' else 'small' end as size, count(*) from invoice group by 1 order by 1;
select distinct status from invoice order by status;
select min(id), max(id) from invoice where customer_id between 3 and 9;
select id from customer where email is not null and name !~ '9$' order by id fetch first 5 rows only;
select id from invoice order by id desc fetch first 3 rows with ties;

--- case 0: aggregates and windows
--- read
select status, count(*), sum(total), avg(total), min(issued), max(issued) from invoice group by status order by status;
select customer_id, status, sum(total) from invoice where customer_id < 4 group by grouping sets ((customer_id), (status), ());
select customer_id, status, sum(total), grouping(customer_id) from invoice where customer_id < 4 group by rollup (customer_id, status);
select status, count(*) from invoice group by cube (status);
select id, row_number() over w, rank() over w, lag(total) over w, sum(total) over w from invoice where customer_id < 4 window w as (partition by customer_id order by issued, id);
select id, avg(total) over (order by id rows between 2 preceding and current row) from invoice limit 10;
select id, first_value(total) over (partition by status order by id), ntile(4) over (order by id) from invoice where id < 30;
select percentile_cont(0.5) within group (order by total), mode() within group (order by status) from invoice;
select string_agg(name, ', ' order by id) from customer where id < 5;
select array_agg(distinct status order by status) from invoice;
select count(*) filter (where status = 'paid'), bool_and(total > 0), every(id > 0) from invoice;
select corr(id, total), stddev(total), variance(total) from invoice;
select product(price) from price_history where price < 5;
select width_bucket(total, 0, 700, 7) as bucket, count(*) from invoice group by 1 order by 1;
select symbol, date_trunc('hour', at) as h, (array_agg(price order by at))[1] as open, max(price) as high from price_history group by 1, 2 order by 1, 2;
select date_bin('15 minutes', at, timestamp '2024-01-01'), avg(price) from price_history group by 1 order by 1;

--- case 0: CTEs
--- read
with recursive down as (select id, parent, name, 1 as depth from tree where parent is null union all select t.id, t.parent, t.name, d.depth + 1 from tree t join down d on t.parent = d.id) select * from down order by id;
with recursive up(id, parent) as (select id, parent from tree where id = 30 union select t.id, t.parent from tree t, up where up.parent = t.id) select array_agg(id) from up;
with recursive s(n) as (values (1) union all select n + 1 from s where n < 20) select sum(n) from s;
with recursive g as (select 1 as id, null::int as parent union all select t.id, t.parent from tree t join g on t.parent = g.id) search depth first by id set ord select id from g order by ord;
with recursive g(id, parent) as (select id, parent from tree where id = 1 union all select t.id, t.parent from tree t join g on t.parent = g.id) cycle id set looped using path select id, looped from g;
with paid as materialized (select * from invoice where status = 'paid'), big as not materialized (select * from paid where total > 100) select count(*) from big;
with a as (select 1 as x), b as (select x + 1 as x from a) select * from a union all select * from b;
select * from (with q as (select id from tree where id < 4) select * from q) sub join lateral (select name from tree t where t.id = sub.id) l on true;

--- case 0: JSON, arrays, ranges, enums, composites, text search
--- read
select data ->> 'level', data -> 'prefs' ->> 'lang', data #>> '{prefs,lang}' from customer where id < 4;
select id from customer where data @> '{"level": 2}' and data ? 'prefs';
select id from customer where data @? '$.prefs.lang ? (@ == "de")' limit 5;
select jsonb_path_query(lines, '$.items[*]') from invoice where id = 3;
select i.id, e.value from invoice i, jsonb_array_elements(i.lines -> 'items') e where i.id < 3;
select key, count(*) from customer, jsonb_object_keys(data) key group by key;
select jsonb_agg(jsonb_build_object('id', id, 'name', name) order by id) from customer where id < 4;
select json_build_object('rows', (select coalesce(json_agg(row_to_json(c)), '[]') from (select id, name from customer where id < 3) c));
select to_jsonb(c) - 'data' from customer c where id = 1;
select jsonb_set(data, '{level}', '9'), data || '{"x": 1}', data - 'level' from customer where id = 1;
select * from jsonb_to_recordset('[{"a": 1, "b": "x"}, {"a": 2}]') as x(a int, b text);
select jsonb_pretty('{"a": [1, 2]}'), json_typeof('1'), jsonb_strip_nulls('{"a": null}');
select id from customer where tags && array['t1'] and 't0' = any(tags);
select unnest(tags), count(*) from customer group by 1 order by 1;
select id, tags[1], array_length(tags, 1), cardinality(tags), tags @> '{t1}' from customer where id < 3;
select array(select id from customer where id < 4), array_to_string(array[1, 2], ','), string_to_array('a,b', ',');
select a, ord from unnest(array['x', 'y']) with ordinality as u(a, ord);
select * from unnest(array[1, 2], array['a', 'b']) as u(n, t);
select id from invoice where period @> date '2024-02-10' order by id limit 5;
select id from booking where during && tsrange('2024-01-01 03:00', '2024-01-01 05:00');
select lower(period), upper(period), isempty(period) from invoice where id = 1;
select range_agg(during) from booking where room = 1;
select int4range(1, 10) * int4range(5, 20), numrange(1.0, 2.0) -|- numrange(2.0, 3.0);
select status, status > 'draft', status::text from invoice where id < 5;
select enum_range(null::status), 'paid'::status < 'void'::status;
select (home).city, count(*) from customer group by 1 order by 1;
select home, (home).* from customer where (home).zip = '00007';
select id from invoice where search @@ to_tsquery('english', 'fox & brown') order by id limit 5;
select id, ts_rank(search, q) from invoice, websearch_to_tsquery('english', 'quick fox') q where search @@ q order by 2 desc, 1 limit 3;
select ts_headline('english', lines ->> 'text', plainto_tsquery('fox')) from invoice where id = 1;
select to_tsvector('simple', 'a b c') @@ 'a & b'::tsquery, phraseto_tsquery('quick fox');
select similar_to from (select 'abc' similar to 'a%' as similar_to) q;
select regexp_replace('foo 12', '\d+', 'x'), regexp_matches('a1b2', '\d', 'g'), substring('abc' from 'b.'), split_part('a-b', '-', 2);
select format('%s %I %L', 'a', 'b c', 'd'), concat_ws('-', 1, 2), overlay('abcd' placing 'x' from 2), position('b' in 'abc');
select extract(year from issued), to_char(issued, 'YYYY-MM'), issued + interval '1 day', age(issued, '2023-01-01') from invoice where id = 1;
select timestamp '2024-01-01' at time zone 'UTC', make_date(2024, 2, 29), date '2024-03-01' - date '2024-02-01';
select generate_series, generate_series::date from generate_series(timestamp '2024-01-01', '2024-01-03', '1 day');
select encode(sha256('x'), 'hex'), md5('x'), decode('ff', 'hex'), 'x'::bytea, crc.c from (select hashtext('x') as c) crc;
select '192.168.1.5'::inet << '192.168.0.0/16'::cidr, point(1, 2) <-> point(4, 6), '1 day'::interval * 2, b'101' & b'001', '12.5'::money;
select greatest(1, 2), least(1, 2), 5 % 3, 2 ^ 3, |/ 16, round(2.567, 1), trunc(2.9), ceil(2.1), 7 / 2, div(7, 2), power(2, 8);
select null is distinct from 1, true and not false, 1 between symmetric 3 and 0, (1, 2) = (1, 2), 'a' collate "C" < 'b';
select cast('5' as int), '5'::int, int '5', '{"a": 1}'::json, 'infinity'::timestamp, pg_typeof(1.5);
select uuid '00000000-0000-0000-0000-000000000001', macaddr '08:00:2b:01:02:03', xml '<a/>', int8 '5', float8 'NaN';

--- case 0: user-defined functions and views
--- read
select id, net(total) from invoice where net(total) > 500;
select id, customer_total(id) from customer order by customer_total(id) desc, id limit 5;
select c.level_of, level_of(c), count(*) from customer c group by 1, 2 order by 1;
select id, name from search_customers('Customer 1');
select status_label(status), count(*) from invoice group by 1 order by 1;
select * from open_invoice where total > 600;
select customer, sum(total) from open_invoice group by customer having sum(total) > 500 order by 1;
select * from revenue order by month;
select r.month, r.paid, lag(r.paid) over (order by r.month) from revenue r;
select public.net(119), net(total => 238);

--- case 0: parameters, cursors and odd spellings
--- read
select id,name from customer where id=3;
SELECT ID, NAME FROM CUSTOMER WHERE ID = 3;
select
  id
from customer
where id = 3;
select * from customer c(x, y) where x = 3;
select id as "Total Count" from customer limit 1;
select id "n" from customer where name = $$Customer 3$$ or name = E'Customer\x204' or name = U&'Customer\0020\0035';
select 1 as select, 2 as "from", 3 as update, 4 as delete, 5 as insert;
select 'insert into x', 'DELETE FROM y', 'nextval';
select * from (values (1, 'insert'), (2, 'update')) as commands(id, word) where word = 'update';
select * from customer natural join (select id from tree) t limit 2;
select * from tree t1 full join tree t2 on t1.id = t2.parent where t1.id is null or t2.id is null;
select * from customer tablesample bernoulli (100) repeatable (1) limit 2;
select * from rows from (generate_series(1, 3), generate_series(1, 2)) as r(a, b);
select nested.* from (select * from (select id from customer where id < 3) a) nested;
select ((((1))));
select not exists (select from customer where false);
select 'a'
'b' as glued;
