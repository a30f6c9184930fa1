-- Counts the changes of rows in catalogs that say what a statement means, as far as their backends have reported them:
-- within a second, or ten where a session has just reported and is idle since. ANALYZE and VACUUM change none of these.
SELECT pg_catalog.string_agg(pg_catalog.concat_ws('.',
    pg_catalog.pg_stat_get_tuples_inserted(catalog), pg_catalog.pg_stat_get_tuples_updated(catalog),
    pg_catalog.pg_stat_get_tuples_deleted(catalog)), ',')
FROM pg_catalog.unnest('{1249,1259,1255,1247,3501,2615,2618,2606,2604,2617,2605,3256,2600,2616,2611}'::pg_catalog.oid[])
    AS catalog -- pg_attribute, class, proc, type, enum, namespace, rewrite, constraint, attrdef, operator, cast, policy,
               -- aggregate, opclass, inherits
