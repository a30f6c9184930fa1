-- Changes whenever an answer to catalog.sql may: every change of a row gives it another xmin.
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT 'f' || oid || '.' || xmin FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT 'a' || aggfnoid::oid || '.' || xmin FROM pg_aggregate WHERE aggfnoid >= 16384
    UNION ALL SELECT 'r' || oid || relname || relkind || relpersistence || relrowsecurity || relnamespace
        FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
    UNION ALL SELECT 'i' || inhrelid || '.' || inhparent FROM pg_inherits
    UNION ALL SELECT 'w' || oid || '.' || xmin FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT 'p' || oid || '.' || xmin FROM pg_policy
    UNION ALL SELECT 't' || t.oid || '.' || t.xmin FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(temp|toast)'
    UNION ALL SELECT 'k' || oid || '.' || xmin FROM pg_constraint WHERE contypid <> 0
    UNION ALL SELECT 'o' || oid || '.' || xmin FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT 'c' || oid || '.' || xmin FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT 'x' || oid || '.' || xmin FROM pg_opclass WHERE oid >= 16384
    UNION ALL SELECT 'n' || oid || nspname FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(temp|toast)'
    UNION ALL SELECT 'u' || attrelid || '.' || attnum || '.' || atttypid FROM pg_attribute
        WHERE attrelid >= 16384 AND atttypid >= 16384 AND attnum > 0
) s(line)
