-- What is in the tables when a story begins.
delete from fz.t; delete from fz.seq; delete from fz.tenants; delete from fz.moods; delete from fz.set_by_trigger;
delete from fz.locked_by_trigger; delete from fz.temp_by_trigger; delete from fz.at_commit; delete from fz.parted;
delete from fz.child; delete from fz.parent; delete from fz.by_default; delete from fz.with_check;
delete from fz.with_rule; delete from fz.with_policy; delete from fz.generated;
insert into fz.t select i, 'v' || i, i from generate_series(1, 4) i;
insert into fz.tenants values ('A', 'a1'), ('A', 'a2'), ('B', 'b1');
insert into fz.moods values ('sad', 1), ('glad', 2);
insert into fz.parent values (1, 'p1'), (2, 'p2'); insert into fz.child values (1, 'c1'), (2, 'c2');
insert into fz.with_policy values ('p1'), ('p2');
select setval('fz.seq_id_seq', 1, false), setval('fz.s2', 1, false);
