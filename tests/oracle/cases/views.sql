-- Views, rules, row security, materialized views, partitions.

--- setup
create sequence n;
create table log(what text);
create table doc(id int primary key, owner text, body text, secret boolean default false);
insert into doc select i, case when i % 2 = 0 then 'alice' else 'bob' end, 'body ' || i, i % 5 = 0 from generate_series(1, 40) i;
create function note(t text) returns boolean language plpgsql volatile as $$ begin insert into log values (t); return true; end $$;
create function lying_note(t text) returns boolean language plpgsql stable as $$ begin perform note(t); return true; end $$;
create role oracle_reader login;
create role oracle_owner login;
grant all on all tables in schema public to oracle_reader, oracle_owner;
grant all on all sequences in schema public to oracle_reader, oracle_owner;
grant create, usage on schema public to oracle_owner;

--- case 11: views
--- setup
create view writes as select id, nextval('n') as number from doc;
create view nested as select id from writes;
create view nested2 as select count(*) as c from nested;
create view barrier with (security_barrier) as select id from doc where note('barrier');
create view cte_inside as with w as materialized (select note('cte') as v) select v from w;
create view for_update_inside as select id from doc where id = 1 for update;
create view volatile_column as select id, note('column') as noted from doc where id < 4 offset 0;
create view union_view as select id from doc union all select nextval('n')::int;
create view lateral_view as select d.id, l.v from doc d cross join lateral (select note(d.body) as v) l where d.id < 3;
create view lying as select id from doc where lying_note(body) and id < 3;
create schema hidden;
create view hidden.v as select nextval('public.n');
create view plain as select id, owner, body from doc;
create view plain_nested as select owner, count(*) as docs from plain group by owner;
create view plain_barrier with (security_barrier) as select id, body from doc where not secret;
create view plain_joined as select a.id, b.owner from plain a join doc b using (id);
create view plain_cte as with w as (select owner from doc) select distinct owner from w;
create recursive view countdown(i) as values (5) union all select i - 1 from countdown where i > 0;
create view plain_checked as select * from doc where id < 100 with check option;
create view plain_invoker with (security_invoker) as select id from doc;

--- primary
select * from writes;
select id from writes;
select * from nested;
select * from nested2;
select * from barrier;
select * from cte_inside;
select * from for_update_inside;
select id from volatile_column;
select count(*) from union_view;
select * from lateral_view;
select * from lying;
select * from hidden.v;
table hidden.v;
select (select count(*) from nested);
select d.id from doc d where exists (select from barrier b where b.id = d.id);
with x as (select * from nested) select * from x;
select * from doc join nested using (id);
copy (select * from nested) to stdout;
explain analyze select * from nested;

--- read
select id, owner from plain order by id limit 5;
select * from plain_nested order by owner;
select * from plain_barrier where id < 20;
select * from plain_joined;
select * from plain_cte;
select * from countdown;
select * from plain_checked where id = 4;
select * from plain_invoker;
table plain;
copy (select * from plain) to stdout;
select p.owner from plain p left join plain_nested n on n.owner = p.owner where n.docs > 3;

--- case 11: rules and triggers behind views
--- setup
create view ruled as select id, body from doc;
create rule ruled_insert as on insert to ruled do instead insert into log values ('rule');
create rule ruled_delete as on delete to ruled do instead nothing;
create table gone(id int);
create function instead() returns trigger language plpgsql as $$ begin return new; end $$;
create view triggered as select id, body from doc;
create trigger triggered_insert instead of insert on triggered for each row execute function instead();

--- primary
insert into ruled values (1, 'x');
insert into triggered values (1, 'x');
update plain set body = 'x' where id = 1;

--- read
select * from ruled where id < 5;
select * from triggered where id < 5;

--- case 23: DELETE that does nothing, MERGE, FOR UPDATE, unreferenced CTEs
--- primary unseen: accepted by a standby, a write by its form
delete from ruled;
delete from ruled where id = 1;

--- primary unseen: DO NOTHING writes nothing, but the standby is no place for a MERGE
merge into doc using (select 1 as i) s on doc.id = s.i when matched then do nothing;

--- primary
merge into doc using (select 1 as i) s on doc.id = s.i when matched then delete;
select id from doc for update;
select id from doc where id = 1 for share;
select id from doc for no key update skip locked;
select id from doc for key share nowait;
select d.id from doc d join plain p using (id) for update of d;
with d as (delete from doc returning id) select * from d;
with i as (insert into log values ('x') returning what) select * from i;
with u as (update doc set body = body returning id) select count(*) from u;
with unreferenced as (insert into log values ('y')) select 1;
select * from (select id from doc for update) q;

--- read
select id from doc where id < 3 for read only;
with never as (select note('never')) select 1;

--- case 12: row security
--- setup
create table guarded(id int, owner text, body text);
insert into guarded select i, case when i % 2 = 0 then 'oracle_reader' else 'bob' end, 'g' || i from generate_series(1, 10) i;
alter table guarded enable row level security;
create policy noisy_policy on guarded using (note('policy'));
grant all on guarded to oracle_reader, oracle_owner;
create table tenant(id int, owner text, body text);
insert into tenant select i, case when i % 2 = 0 then 'oracle_reader' else 'bob' end, 't' || i from generate_series(1, 10) i;
alter table tenant enable row level security;
create policy own_rows on tenant using (owner = current_user);
grant all on tenant, log to oracle_reader, oracle_owner;
create view guarded_view as select * from guarded;
create view guarded_invoker with (security_invoker) as select * from guarded;
grant select on guarded_view, guarded_invoker, plain to oracle_reader;
create table write_policy(id int);
insert into write_policy values (1);
alter table write_policy enable row level security;
create policy reading on write_policy for select using (id > 0);
create policy writing on write_policy for insert with check (note('insert policy'));
grant all on write_policy to oracle_reader;

--- primary as oracle_reader
select * from guarded;
select count(*) from guarded where id > 3;
select d.id from doc d join guarded g using (id);
select * from guarded_invoker;
copy guarded to stdout;

--- read as oracle_reader
select * from tenant;
select count(*) from tenant where body like 't%';
select t.id from tenant t join doc d using (id) order by 1;
select * from guarded_view order by id;
select * from write_policy;
select id from plain where id < 4;

--- read
select * from guarded;
select * from tenant;

--- case 11: materialized views and partitions
--- setup
create materialized view summary as select owner, count(*) as docs, nextval('n') as made from doc group by owner;
create materialized view summary_plain as select owner, count(*) as docs from doc group by owner;
create unique index on summary_plain(owner);
create table event(id int, at date, kind text) partition by range (at);
create table event_2024 partition of event for values from ('2024-01-01') to ('2025-01-01');
create table event_2025 partition of event for values from ('2025-01-01') to ('2026-01-01');
create table event_rest partition of event default;
insert into event select i, date '2024-06-01' + i * 30, 'k' || i % 3 from generate_series(1, 24) i;
create table event_log(id int, at date, kind text) partition by list (kind);
create table event_log_a partition of event_log for values in ('a');
insert into event_log values (1, '2024-01-01', 'a');

--- primary
refresh materialized view summary_plain;
refresh materialized view concurrently summary_plain;
truncate event_2024;
alter table event detach partition event_2025;

--- read
select owner, docs from summary order by owner;
select * from summary;
select * from summary_plain;
select count(*) from event;
select * from event where at between '2024-07-01' and '2024-12-31';
select kind, count(*) from event_2025 group by kind;
select * from only event;
select tableoid::regclass, count(*) from event group by 1 order by 1;
select * from event_log where kind = 'a';
explain select * from event where at = '2024-07-01';
