-- What the stories play with: bodies that change the session in every way, and things that run them unseen.
create schema fz;
grant all on schema fz to public;
grant all on schema public to public;

create table fz.t (id int primary key, v text, n int default 0);
create table fz.seq (id serial primary key, v text);
create sequence fz.s2;
create table fz.tenants (tenant text, v text);
alter table fz.tenants enable row level security;
create policy own on fz.tenants using (tenant = current_setting('app.tenant', true));
create type fz.mood as enum ('sad', 'glad');
create table fz.moods (m fz.mood, i int);

-- functions whose bodies can be read
create function fz.readable(i int) returns int stable language sql as $$ select i + 1 $$;
create function fz.counted() returns bigint stable language plpgsql as $$ begin return (select count(*) from fz.t); end $$;
create function fz.volatile_read(i int) returns int language plpgsql as $$ begin return i * 2; end $$;
create function fz.set_tenant(t text) returns void language plpgsql as
  $$ begin perform set_config('app.tenant', t, false); end $$;
create function fz.set_local(t text) returns text language plpgsql as
  $$ begin return set_config('app.a', t, true); end $$;
create function fz.sql_set(t text) returns text language sql as $$ select set_config('app.sql', t, false) $$;
create function fz.atomic_set(t text) returns text language sql begin atomic select set_config('app.atomic', t, false); end;
create function fz.plain_set(m text) returns void language plpgsql as $$ begin set work_mem = '3MB'; end $$;
create function fz.nested(t text) returns void language plpgsql as $$ begin perform fz.set_tenant(t); end $$;
create function fz.undone(t text) returns text language plpgsql as $$
  begin
    begin perform set_config('app.a', t, false); perform 1/0; exception when division_by_zero then null; end;
    return current_setting('app.a', true);
  end $$;
create function fz.clause(t text) returns text language plpgsql set app.a = 'clause' as
  $$ begin return current_setting('app.a'); end $$;
create function fz.default_argument(t text default set_config('app.argument', 'default', false)) returns text
  language sql as $$ select t $$;
create function fz.look(name text) returns text stable language sql as $$ select current_setting(name, true) $$;
create function fz.fails(t text) returns int language plpgsql as
  $$ begin perform set_config('app.b', t, false); return 1/0; end $$;

-- with texts that are made as they run
create function fz.computed_set(name text, t text) returns void language plpgsql as
  $$ begin execute format('set %I = %L', name, t); end $$;
create function fz.computed_config(name text, t text, l boolean) returns text language plpgsql as
  $$ begin return set_config(name, t, l); end $$;
create function fz.set_role(r text) returns void language plpgsql as
  $$ begin execute 'set role ' || quote_ident(r); end $$;
create function fz.reset_role() returns void language plpgsql as $$ begin reset role; end $$;
create function fz.lock(k int) returns void language plpgsql as $$ begin perform pg_advisory_lock(k); end $$;
create function fz.try_lock(k int) returns boolean language plpgsql as $$ begin return pg_try_advisory_lock(k); end $$;
create function fz.unlock(k int) returns boolean language plpgsql as $$ begin return pg_advisory_unlock(k); end $$;
create function fz.xact_lock(k int) returns void language plpgsql as $$ begin perform pg_advisory_xact_lock(k); end $$;
create function fz.make_temp(name text) returns void language plpgsql as
  $$ begin execute format('create temp table if not exists %I (i int, v text)', name); execute format('insert into %I values (1, %L)', name, current_user); end $$;
create function fz.temp_drop() returns bigint language plpgsql as
  $$ begin create temp table dropped on commit drop as select 1 as i; return (select count(*) from dropped); end $$;
create function fz.listen(c text) returns void language plpgsql as $$ begin execute format('listen %I', c); end $$;
create function fz.unlisten() returns void language plpgsql as $$ begin execute 'unlisten *'; end $$;
create function fz.hold() returns void language plpgsql as
  $$ begin execute 'declare held cursor with hold for select generate_series(1, 5)'; end $$;
create function fz.prepare() returns void language plpgsql as
  $$ begin execute 'prepare fp as select current_setting(''app.a'', true)'; end $$;
create function fz.next() returns bigint language sql as $$ select nextval('fz.s2') $$;
create function fz.current() returns bigint language plpgsql as $$ begin return currval('fz.s2'); end $$;
create function fz.notify(c text, p text) returns void language plpgsql as $$ begin perform pg_notify(c, p); end $$;
create function fz.make_table() returns void language plpgsql as
  $$ begin execute 'create table if not exists fz.made (a int, b text)'; end $$;
create function fz.seed(f float8) returns void language plpgsql as $$ begin perform setseed(f); end $$;

create procedure fz.login(u text) language plpgsql as $$ begin perform set_config('app.user', u, false); end $$;
create procedure fz.commits(u text) language plpgsql as
  $$ begin perform set_config('app.user', u, false); commit; perform set_config('app.a', u, true);
     insert into fz.seq (v) values (current_setting('app.a')); end $$;

-- what runs code unseen
create function fz.sets() returns trigger language plpgsql as
  $$ begin perform set_config('app.trigger', tg_op || coalesce(new.v, ''), false); return new; end $$;
create function fz.locks() returns trigger language plpgsql as
  $$ begin perform pg_advisory_lock(7); return null; end $$;
create function fz.makes() returns trigger language plpgsql as
  $$ begin create temp table if not exists audit (v text); insert into audit values (new.v); return new; end $$;
create table fz.set_by_trigger (v text);
create trigger sets before insert or update on fz.set_by_trigger for each row execute function fz.sets();
create table fz.locked_by_trigger (v text);
create trigger locks after insert on fz.locked_by_trigger for each statement execute function fz.locks();
create table fz.temp_by_trigger (v text);
create trigger makes before insert on fz.temp_by_trigger for each row execute function fz.makes();
create table fz.at_commit (v text);
create constraint trigger late after insert on fz.at_commit deferrable initially deferred
  for each row execute function fz.sets();
create table fz.parted (i int, v text) partition by list (i);
create table fz.parted_1 partition of fz.parted for values in (1);
create trigger sets before insert on fz.parted_1 for each row execute function fz.sets();
create table fz.parent (id int primary key, v text);
create table fz.child (id int references fz.parent on delete cascade, v text);
create function fz.gone() returns trigger language plpgsql as
  $$ begin perform set_config('app.gone', old.v, false); return old; end $$;
create trigger gone after delete on fz.child for each row execute function fz.gone();
create table fz.by_default (i int, v text default set_config('app.default', 'default', false));
create function fz.checks(t text) returns boolean language plpgsql as
  $$ begin perform set_config('app.check', t, false); return true; end $$;
create domain fz.checked as text check (fz.checks(value));
create table fz.with_check (v text check (fz.checks(v)));
create view fz.setting_view as select set_config('app.view', 'view', false) as v;
create view fz.instead as select 1 as i, 'x'::text as v;
create trigger sets instead of insert on fz.instead for each row execute function fz.sets();
create table fz.with_rule (v text);
create rule also as on insert to fz.with_rule do also select set_config('app.rule', new.v, false);
create table fz.with_policy (v text);
alter table fz.with_policy enable row level security;
create policy p on fz.with_policy using (set_config('app.policy', v, false) is not null) with check (true);
create function fz.same(a text, b text) returns boolean language plpgsql as
  $$ begin perform set_config('app.operator', a, false); return a = b; end $$;
create operator fz.=== (leftarg = text, rightarg = text, function = fz.same);
create type fz.pair as (a text, b text);
create function fz.to_pair(t text) returns fz.pair language plpgsql as
  $$ begin perform set_config('app.cast', t, false); return row(t, t)::fz.pair; end $$;
create cast (text as fz.pair) with function fz.to_pair(text);
create function fz.step(s int, i int) returns int language plpgsql as
  $$ begin perform set_config('app.aggregate', i::text, false); return s + i; end $$;
create aggregate fz.total(int) (sfunc = fz.step, stype = int, initcond = '0');
create function fz.pretends(t text) returns text immutable language plpgsql as
  $$ begin perform set_config('app.generated', t, false); return upper(t); end $$;
create table fz.generated (v text, u text generated always as (fz.pretends(v)) stored);
create function fz.on_ddl() returns event_trigger language plpgsql as
  $$ begin perform set_config('app.ddl', tg_tag, false); end $$;
create event trigger fz_ddl on ddl_command_end when tag in ('CREATE SEQUENCE', 'COMMENT') execute function fz.on_ddl();
grant all on all tables in schema fz to public;
grant all on all sequences in schema fz to public;
