-- Writes by their form, as applications send them.

--- setup
create table users(id serial primary key, email text unique, name text, created_at timestamptz default now());
create table posts(id serial primary key, user_id int references users, title text, body text, views int default 0);
insert into users(email, name) select 'u' || i || '@example.org', 'User ' || i from generate_series(1, 10) i;
insert into posts(user_id, title, body) select i % 10 + 1, 'Title ' || i, 'Body ' || i from generate_series(1, 40) i;

--- case 0: DML
--- primary
insert into users(email, name) values ('x@example.org', 'X') returning id;
insert into users(email) values ('u1@example.org') on conflict (email) do nothing;
insert into users(email) values ('u1@example.org') on conflict (email) do update set name = excluded.name returning *;
insert into posts(user_id, title) select id, 'new' from users;
insert into users default values;
update posts set views = views + 1 where id = 1;
update posts set views = 0 from users where users.id = user_id and users.name = 'User 1';
delete from posts where id = 3 returning *;
delete from posts using users where users.id = user_id and users.name = 'User 2';
truncate posts;
truncate table posts restart identity cascade;
with moved as (delete from posts where id < 5 returning *) insert into posts select * from moved;
with new_user as (insert into users(email) values ('n@example.org') returning id) select * from new_user;
with q as (select id from posts order by id limit 1 for update skip locked) update posts p set views = 9 from q where q.id = p.id returning p.id;
select * into copied from posts;
select id, title into table copied from posts where id < 3;
(select 1 as x into copied);
merge into posts p using users u on p.user_id = u.id when matched then update set views = 1;
update posts set title = (select name from users where users.id = user_id);

--- case 0: DDL
--- primary
create table made(id int);
create table if not exists users(id int);
create table made as select * from posts;
create unlogged table made(id int);
create index on posts(title);
create unique index if not exists users_email on users(lower(email));
create view made as select * from posts;
create or replace view made as select 1 as x;
create materialized view made as select * from posts;
create function made() returns int language sql as 'select 1';
create type mood as enum ('ok', 'sad');
create domain made as int;
create sequence made;
create schema made;
create role made;
create extension hstore;
create trigger tr before insert on posts for each row execute function suppress_redundant_updates_trigger();
create rule r as on insert to posts do nothing;
create policy p on posts using (true);
create statistics st on user_id, views from posts;
alter table posts add column extra int;
alter table posts rename to articles;
alter table posts alter column views set default 5;
alter sequence posts_id_seq restart with 100;
drop table posts;
drop table if exists posts cascade;
comment on table posts is 'x';
grant select on posts to public;
revoke all on posts from public;
analyze posts;
reindex table posts;
cluster posts using posts_pkey;
security label on table posts is 'x';
import foreign schema public from server none into public;
alter default privileges grant select on tables to public;
reassign owned by postgres to postgres;

--- primary alone
vacuum posts;
vacuum analyze;
create database made;
drop database if exists no_such_database;
create index concurrently posts_views on posts(views);
begin; update posts set views = 1 where id = 1; commit;
begin; insert into posts(title) values ('x'); select count(*) from posts; rollback;
select 1; update posts set views = 1 where id = 2;

--- case 0: everyday reads of the same tables
--- read
select * from users where id = 1;
select u.name, count(p.id) from users u left join posts p on p.user_id = u.id group by u.id order by 2 desc, 1;
select id, title from posts where title ilike '%title 1%' order by id desc limit 10 offset 2;
select exists (select 1 from users where email = 'u1@example.org');
select 1;
select;
select count(*) as "__count" from posts where user_id in (select id from users where name like 'User%');
values (1, 'a'), (2, 'b');
table users;
(select id from users) union (select id from posts) order by 1;
select id from users except select user_id from posts;
select distinct on (user_id) user_id, title from posts order by user_id, id desc;
