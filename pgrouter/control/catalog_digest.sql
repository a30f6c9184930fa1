-- Changes whenever the answer to catalog.sql may: every change of a row gives it another xmin. Where rows change for
-- reasons of no interest here (statistics), what matters of them is named. Names are qualified as in catalog.sql. A
-- configuration that was loaded again may have brought another search_path.
SELECT pg_catalog.md5(pg_catalog.string_agg(line, ',' ORDER BY line)) FROM (
    SELECT pg_catalog.concat_ws('.', 's', setdatabase, setrole, setconfig) FROM pg_catalog.pg_db_role_setting
    UNION ALL SELECT pg_catalog.pg_conf_load_time()::pg_catalog.text
    UNION ALL SELECT pg_catalog.concat_ws('.', 'f', oid, xmin) FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'a', aggfnoid::pg_catalog.oid, xmin) FROM pg_catalog.pg_aggregate WHERE aggfnoid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'r', oid, relname, relkind, relpersistence, relrowsecurity, relnamespace)
        FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.>=) 16384 AND relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}') AND relpersistence OPERATOR(pg_catalog.<>) 't'
    UNION ALL SELECT pg_catalog.concat_ws('.', 'u', a.attrelid, a.attnum, a.attname, a.atttypid, a.attidentity)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
        WHERE c.oid OPERATOR(pg_catalog.>=) 16384 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S,c}') AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
          AND a.attnum OPERATOR(pg_catalog.>) 0
    UNION ALL SELECT pg_catalog.concat_ws('.', 'g', oid, xmin) FROM pg_catalog.pg_attrdef
    UNION ALL SELECT pg_catalog.concat_ws('.', 'i', inhrelid, inhparent) FROM pg_catalog.pg_inherits
    UNION ALL SELECT pg_catalog.concat_ws('.', 'w', oid, xmin) FROM pg_catalog.pg_rewrite WHERE oid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'p', oid, xmin) FROM pg_catalog.pg_policy
    UNION ALL SELECT pg_catalog.concat_ws('.', 't', t.oid, t.xmin) FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
        WHERE t.oid OPERATOR(pg_catalog.>=) 16384 AND n.nspname OPERATOR(pg_catalog.!~) '^pg_(temp|toast)'
    UNION ALL SELECT pg_catalog.concat_ws('.', 'k', oid, xmin) FROM pg_catalog.pg_constraint
        WHERE oid OPERATOR(pg_catalog.>=) 16384
          AND (contypid OPERATOR(pg_catalog.<>) 0 OR conbin IS NOT NULL OR contype OPERATOR(pg_catalog.=) 'f')
    UNION ALL SELECT pg_catalog.concat_ws('.', 'e', indexrelid, xmin) FROM pg_catalog.pg_index
        WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    UNION ALL SELECT pg_catalog.concat_ws('.', 'b', oid, tgrelid, tgfoid, tgname) FROM pg_catalog.pg_trigger
        WHERE tgfoid OPERATOR(pg_catalog.>=) 16384 OR tgqual IS NOT NULL
    UNION ALL SELECT pg_catalog.concat_ws('.', 'v', oid, xmin) FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT pg_catalog.concat_ws('.', 'm', oid, extname) FROM pg_catalog.pg_extension
    UNION ALL SELECT pg_catalog.concat_ws('.', 'o', oid, xmin) FROM pg_catalog.pg_operator WHERE oid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'c', oid, xmin) FROM pg_catalog.pg_cast WHERE oid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'x', oid, xmin) FROM pg_catalog.pg_opclass WHERE oid OPERATOR(pg_catalog.>=) 16384
    UNION ALL SELECT pg_catalog.concat_ws('.', 'n', oid, nspname) FROM pg_catalog.pg_namespace
        WHERE oid OPERATOR(pg_catalog.>=) 16384 AND nspname OPERATOR(pg_catalog.!~) '^pg_(temp|toast)'
) s(line)
