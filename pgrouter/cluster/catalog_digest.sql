-- Changes whenever the answer to catalog.sql may: every change of a row gives it another xmin. Where rows change for
-- reasons of no interest here (statistics), what matters of them is named.
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT concat_ws('.', 's', setdatabase, setrole, setconfig) FROM pg_db_role_setting
    UNION ALL SELECT reset_val FROM pg_settings WHERE name = 'search_path'
    UNION ALL SELECT concat_ws('.', 'f', oid, xmin) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat_ws('.', 'a', aggfnoid::oid, xmin) FROM pg_aggregate WHERE aggfnoid >= 16384
    UNION ALL SELECT concat_ws('.', 'r', oid, relname, relkind, relpersistence, relrowsecurity, relnamespace)
        FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
    UNION ALL SELECT concat_ws('.', 'u', a.attrelid, a.attnum, a.attname, a.atttypid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't'
          AND a.attnum > 0
    UNION ALL SELECT concat_ws('.', 'g', d.oid, d.xmin) FROM pg_attrdef d JOIN pg_attribute a
        ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE to_jsonb(a) ->> 'attgenerated' = 'v'
    UNION ALL SELECT concat_ws('.', 'i', inhrelid, inhparent) FROM pg_inherits
    UNION ALL SELECT concat_ws('.', 'w', oid, xmin) FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT concat_ws('.', 'p', oid, xmin) FROM pg_policy
    UNION ALL SELECT concat_ws('.', 't', t.oid, t.xmin) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(temp|toast)'
    UNION ALL SELECT concat_ws('.', 'k', oid, xmin) FROM pg_constraint WHERE contypid <> 0
    UNION ALL SELECT concat_ws('.', 'o', oid, xmin) FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT concat_ws('.', 'c', oid, xmin) FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT concat_ws('.', 'x', oid, xmin) FROM pg_opclass WHERE oid >= 16384
    UNION ALL SELECT concat_ws('.', 'n', oid, nspname) FROM pg_namespace
        WHERE oid >= 16384 AND nspname !~ '^pg_(temp|toast)'
) s(line)
