-- What routing asks of a database's catalog: one JSON document of one moment, read by pgrouter.routing.catalog_facts.
-- The order of the columns is that of the structures there. 16384 is FirstNormalObjectId (access/transam.h): objects
-- with smaller numbers are PostgreSQL's own. Columns that only some versions have are read through to_jsonb.
SELECT json_build_object(
'schemas', (SELECT json_agg(nspname) FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'),

'search_path', (SELECT reset_val FROM pg_settings WHERE name = 'search_path'),

'paths', (
    SELECT coalesce(json_agg(json_build_array(coalesce(r.rolname, ''), s.setdatabase <> 0, substr(c, 13))), '[]')
    FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND c LIKE 'search_path=%'),

'builtin_functions', (SELECT json_object_agg(p.oid::text, p.proname) FROM pg_proc p WHERE p.oid < 16384),

'builtin_relations', (
    SELECT coalesce(json_agg(json_build_array(c.oid::bigint, n.nspname, c.relname)), '[]')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid < 16384 AND c.relkind IN ('r', 'v', 'm') AND n.nspname <> 'pg_toast'),

'builtin_types', (
    SELECT json_object_agg(t.typname, t.oid::bigint)
    FROM pg_type t WHERE t.oid < 16384 AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype <> 'c'),

'rival_functions', (
    SELECT coalesce(json_agg(json_build_array(
        p.proname, ARRAY(SELECT t::bigint FROM unnest(p.proargtypes) WITH ORDINALITY s(t, at) ORDER BY at))), '[]')
    FROM pg_proc p WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace
      AND EXISTS (SELECT FROM pg_proc u WHERE u.oid >= 16384 AND u.proname = p.proname)),

'rival_operators', (
    SELECT coalesce(json_agg(json_build_array(o.oprname, o.oprleft::bigint, o.oprright::bigint)), '[]')
    FROM pg_operator o WHERE o.oid < 16384
      AND EXISTS (SELECT FROM pg_operator u WHERE u.oid >= 16384 AND u.oprname = o.oprname)),

'implicit_casts', (
    SELECT json_agg(json_build_array(k.castsource::bigint, k.casttarget::bigint))
    FROM pg_cast k WHERE k.castcontext = 'i'),

'functions', (
    SELECT coalesce(json_agg(json_build_array(
        p.oid::bigint, n.nspname, p.proname, p.prokind, p.provolatile, l.lanname,
        p.pronargs, p.pronargdefaults, p.provariadic <> 0,
        ARRAY(SELECT t::bigint FROM unnest(p.proargtypes) WITH ORDINALITY s(t, at) ORDER BY at),
        p.prorettype::bigint,
        CASE WHEN l.lanname IN ('sql', 'plpgsql') AND to_jsonb(p) ->> 'prosqlbody' IS NULL AND p.prokind = 'f'
            AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)  -- no query can call these
            THEN coalesce(pg_get_functiondef(p.oid), '') ELSE '' END,
        array_remove(ARRAY[to_jsonb(p) ->> 'prosqlbody'], NULL),
        array_remove(ARRAY[p.proargdefaults::text], NULL),
        ARRAY(SELECT f::oid::bigint
              FROM pg_aggregate a, unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                  a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]) f
              WHERE a.aggfnoid = p.oid AND f <> 0),
        EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%'),
        EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'))), '[]')
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND n.nspname !~ '^pg_temp'),

'relations', (
    SELECT coalesce(json_agg(json_build_array(
        c.oid::bigint, n.nspname, c.relname, c.relkind, c.relpersistence,
        (SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::bigint)), '[]') FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        ARRAY(SELECT r.ev_action::text FROM pg_rewrite r
              WHERE r.ev_class = c.oid AND r.ev_type = '1' AND c.relkind = 'v')
        || ARRAY(SELECT o.polqual::text FROM pg_policy o
                 WHERE o.polrelid = c.oid AND o.polcmd IN ('r', '*') AND o.polqual IS NOT NULL AND c.relrowsecurity)
        || ARRAY(SELECT d.adbin::text FROM pg_attrdef d
                 JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                 WHERE d.adrelid = c.oid AND to_jsonb(a) ->> 'attgenerated' = 'v'),
        ARRAY(SELECT i.inhrelid::bigint FROM pg_inherits i WHERE i.inhparent = c.oid))), '[]')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'),

'types', (
    SELECT coalesce(json_agg(json_build_array(
        t.oid::bigint, n.nspname, t.typname, t.typrelid <> 0,
        ARRAY(SELECT DISTINCT x::bigint FROM (
                  SELECT t.typbasetype
                  UNION ALL SELECT t.typelem
                  UNION ALL SELECT a.atttypid FROM pg_attribute a
                      WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
                  UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid) s(x)
              WHERE x <> 0),
        ARRAY(SELECT DISTINCT f::oid::bigint FROM (
                  SELECT unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin])
                  UNION ALL SELECT unnest(ARRAY[r.rngcanonical, r.rngsubdiff]) FROM pg_range r WHERE r.rngtypid = t.oid
                  UNION ALL SELECT p.amproc FROM pg_opclass k JOIN pg_amproc p ON p.amprocfamily = k.opcfamily
                      WHERE k.opcintype = t.oid
                  UNION ALL SELECT o.oprcode FROM pg_opclass k JOIN pg_amop m ON m.amopfamily = k.opcfamily
                      JOIN pg_operator o ON o.oid = m.amopopr WHERE k.opcintype = t.oid) s(f)
              WHERE f <> 0),
        ARRAY(SELECT k.conbin::text FROM pg_constraint k WHERE k.contypid = t.oid AND k.conbin IS NOT NULL))), '[]')
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(temp|toast)'),

'operators', (
    SELECT coalesce(json_agg(json_build_array(
        o.oid::bigint, n.nspname, o.oprname, o.oprleft::bigint, o.oprright::bigint, o.oprcode::oid::bigint)), '[]')
    FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid >= 16384),

'casts', (
    SELECT coalesce(json_agg(json_build_array(
        k.castsource::bigint, k.casttarget::bigint, k.castfunc::bigint, k.castcontext)), '[]')
    FROM pg_cast k WHERE k.oid >= 16384 AND k.castfunc <> 0)
)::text
