-- One row about a role: whether it exists and may log in, whether its password has expired, the roles that it is or is a
-- member of. Everybody may read this; names are looked up in pg_catalog (libpq/login.py).
with recursive mine(oid) as (
    select r.oid from pg_catalog.pg_roles r where r.rolname = $1
    union
    select m.roleid from pg_catalog.pg_auth_members m join mine on m.member = mine.oid
)
select
    r.oid is not null,
    coalesce(r.rolcanlogin, true),
    coalesce(r.rolvaliduntil < pg_catalog.clock_timestamp(), false),
    (select coalesce(pg_catalog.json_agg(g.rolname), '[]') from mine join pg_catalog.pg_roles g on g.oid = mine.oid)
from (select) one left join pg_catalog.pg_roles r on r.rolname = $1
