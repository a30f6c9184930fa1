"""Objects of a database's owner, with the names used in the router's own queries; their callers are logged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgrouter.cluster.probe import QUERY as PROBE
from pgrouter.control.catalog_reader import DIGEST
from pgrouter.control.catalog_reader import QUERY as CATALOG

if TYPE_CHECKING:
    from pathlib import Path

QUESTIONS = f"{CATALOG}\n{DIGEST}\n{PROBE.decode()}"
FUNCTIONS = sorted({*re.findall(r"pg_catalog\.(\w+)\(", QUESTIONS), "set_config", "current_setting"})
OPERATORS = sorted({*re.findall(r"OPERATOR\(pg_catalog\.([^\s)]+)\)", QUESTIONS)})
RELATIONS = sorted(set(re.findall(r"(?:FROM|JOIN|,) pg_catalog\.(\w+)(?!\w|\()", QUESTIONS)))
TYPES = ("text", "oid", "regtype", "regclass", "regnamespace", "int8", "bit")

# One spy for each signature of the built-in function; only types that plpgsql cannot take are replaced.
PLANT = """
create function public.spy(what text) returns bool language plpgsql as $$ begin
    raise log 'SPY % %', current_user, what; return true; end $$;
do $do$
declare each record;
begin
    for each in
        select proname, case when proretset then 'setof record' when prorettype = 2249 then 'record'
                             else prorettype::regtype::text end as result,
               coalesce((select string_agg(case when t::regtype::text in ('"any"', 'internal') then 'anyelement'
                                                else t::regtype::text end, ', ' order by at)
                         from unnest(proargtypes) with ordinality s(t, at)), '') as args
        from pg_catalog.pg_proc
        where pronamespace = 'pg_catalog'::regnamespace and proname = any ({functions}) and prokind in ('f', 'a')
    loop
        begin
            execute format('create function public.%I(%s) returns %s language plpgsql as $f$ begin '
                || 'raise log ''SPY %% %s'', current_user; return%s; end $f$', each.proname, each.args, each.result,
                each.proname, case when each.result like 'setof%' then '' else ' null' end);
        exception when others then
            if sqlstate not in ('42723', '42P13') then raise; end if;  -- exists, or is too polymorphic
        end;
    end loop;
    for each in
        select oid, oprname, oprleft::regtype::text as l, oprright::regtype::text as r,
               oprresult::regtype::text as result
        from pg_catalog.pg_operator where oprname = any ({operators}) and oprleft <> 0
    loop
        execute format('create function public.spy_%s(%s, %s) returns %s language plpgsql as $f$ '
            || 'begin raise log ''SPY %% an operator'', current_user; return null; end $f$',
            each.oid, each.l, each.r, case when each.result = 'boolean' or each.result !~ '^any' then each.result
                                 else each.l end);
        execute format('create operator public.%s (leftarg = %s, rightarg = %s, function = public.spy_%s)',
            each.oprname, each.l, each.r, each.oid);
    end loop;
    for each in
        select c.relname, string_agg(format('c.%I', a.attname), ', ' order by a.attnum) as columns
        from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'pg_catalog'::regnamespace and c.relname = any ({relations})
            and a.attnum > 0 and a.atttypid <> 'anyarray'::regtype
        group by c.relname
    loop
        execute format('create view public.%I as select %s from pg_catalog.%I c where public.spy(%L)',
            each.relname, each.columns, each.relname, each.relname);
    end loop;
end $do$
"""


def planting() -> str:
    """Return the statements that create all spies in `public`, to be run by the owner of the database."""
    plant = PLANT
    for kind, names in (("functions", FUNCTIONS), ("operators", OPERATORS), ("relations", RELATIONS)):
        plant = plant.replace(f"{{{kind}}}", f"'{{{','.join(names)}}}'")
    domains = [f'create domain public."{name}" as pg_catalog."{name}" check (public.spy(\'{name}\'))' for name in TYPES]
    return ";".join([plant, *domains, "grant select on all tables in schema public to public"])


def seen(log: Path, user: str) -> list[str]:
    """Return the spies run by a user, according to a server's log."""
    return re.findall(rf"SPY {user} (.*)", log.read_text(errors="replace"))
