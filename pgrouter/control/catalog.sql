-- What routing asks of a database's catalog: one JSON document of one moment, read by pgrouter.routing.catalog_facts.
-- The order of the columns is that of the structures there. 16384 is FirstNormalObjectId (access/transam.h): objects
-- with smaller numbers are PostgreSQL's own. Columns that only some versions have are read through to_jsonb.
-- Every name and operator is qualified (IN, LIKE, BETWEEN and USING cannot be, so they are not used): whatever users
-- create, none of it runs as the router's role.
-- pgrouter.default_... is what sessions begin with; this one begins with something else (see cluster.login).
SELECT pg_catalog.json_build_object(
'schemas', (SELECT pg_catalog.json_agg(nspname) FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.!~) '^pg_(temp|toast)'),

'search_path', (
    SELECT coalesce(pg_catalog.current_setting('pgrouter.default_search_path', true), reset_val)
    FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'),

'paths', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(coalesce(r.rolname, ''), s.setdatabase OPERATOR(pg_catalog.<>) 0, pg_catalog.substr(c, 13))), '[]')
    FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.setrole, pg_catalog.unnest(s.setconfig) c
    WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0 OR s.setdatabase OPERATOR(pg_catalog.=)
        (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
      AND c OPERATOR(pg_catalog.~~) 'search_path=%'),

'idle_timeout', coalesce(pg_catalog.current_setting('pgrouter.default_idle_session_timeout', true), '0'),

'idle_timeouts', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(coalesce(r.rolname, ''), s.setdatabase OPERATOR(pg_catalog.<>) 0, pg_catalog.substr(c, 22))), '[]')
    FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.setrole, pg_catalog.unnest(s.setconfig) c
    WHERE (s.setdatabase OPERATOR(pg_catalog.=) 0 OR s.setdatabase OPERATOR(pg_catalog.=)
        (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
      AND c OPERATOR(pg_catalog.~~) 'idle_session_timeout=%'),

'builtin_functions', (SELECT pg_catalog.json_object_agg(p.oid::pg_catalog.text, p.proname) FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.<) 16384),

'builtin_relations', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::bigint, n.nspname, c.relname)), '[]')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.<) 16384 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v,m}') AND n.nspname OPERATOR(pg_catalog.<>) 'pg_toast'),

'builtin_types', (
    SELECT pg_catalog.json_object_agg(t.typname, t.oid::bigint)
    FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.<) 16384 AND t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace AND t.typtype OPERATOR(pg_catalog.<>) 'c'),

'rival_functions', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        p.proname, ARRAY(SELECT t::bigint FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY s(t, at) ORDER BY at))), '[]')
    FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.<) 16384 AND p.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
      AND EXISTS (SELECT FROM pg_catalog.pg_proc u WHERE u.oid OPERATOR(pg_catalog.>=) 16384 AND u.proname OPERATOR(pg_catalog.=) p.proname)),

'rival_operators', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(o.oprname, o.oprleft::bigint, o.oprright::bigint)), '[]')
    FROM pg_catalog.pg_operator o WHERE o.oid OPERATOR(pg_catalog.<) 16384
      AND EXISTS (SELECT FROM pg_catalog.pg_operator u WHERE u.oid OPERATOR(pg_catalog.>=) 16384 AND u.oprname OPERATOR(pg_catalog.=) o.oprname)),

'implicit_casts', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(k.castsource::bigint, k.casttarget::bigint))
    FROM pg_catalog.pg_cast k WHERE k.castcontext OPERATOR(pg_catalog.=) 'i'),

'functions', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        p.oid::bigint, n.nspname, p.proname, p.prokind, p.provolatile, l.lanname,
        p.pronargs, p.pronargdefaults, p.provariadic OPERATOR(pg_catalog.<>) 0,
        ARRAY(SELECT t::bigint FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY s(t, at) ORDER BY at),
        p.prorettype::bigint,
        CASE WHEN l.lanname OPERATOR(pg_catalog.=) ANY ('{sql,plpgsql}') AND pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody' IS NULL AND p.prokind OPERATOR(pg_catalog.=) ANY ('{f,p}')
            THEN coalesce(pg_catalog.pg_get_functiondef(p.oid), '') ELSE '' END,
        pg_catalog.array_remove(ARRAY[pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody'], NULL),
        pg_catalog.array_remove(ARRAY[p.proargdefaults::pg_catalog.text], NULL),
        ARRAY(SELECT f::pg_catalog.oid::bigint
              FROM pg_catalog.pg_aggregate a, pg_catalog.unnest(ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
                  a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]) f
              WHERE a.aggfnoid OPERATOR(pg_catalog.=) p.oid AND f OPERATOR(pg_catalog.<>) 0),
        EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) c WHERE c OPERATOR(pg_catalog.~~) 'search_path=%'),
        coalesce((SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
                  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
                    AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                    AND d.deptype OPERATOR(pg_catalog.=) 'e' LIMIT 1), ''),
        ARRAY(SELECT pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) FROM pg_catalog.unnest(p.proconfig) c
              WHERE pg_catalog.strpos(pg_catalog.split_part(c, '=', 1), '.') OPERATOR(pg_catalog.>) 0))), '[]')
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND n.nspname OPERATOR(pg_catalog.!~) '^pg_temp'),

'relations', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        c.oid::bigint, n.nspname, c.relname, c.relkind, c.relpersistence,
        (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.atttypid::bigint)), '[]') FROM pg_catalog.pg_attribute a
         WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped),
        ARRAY(SELECT r.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite r
              WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid AND r.ev_type OPERATOR(pg_catalog.=) '1' AND c.relkind OPERATOR(pg_catalog.=) 'v')
        OPERATOR(pg_catalog.||) ARRAY(SELECT o.polqual::pg_catalog.text FROM pg_catalog.pg_policy o
                 WHERE o.polrelid OPERATOR(pg_catalog.=) c.oid AND o.polcmd OPERATOR(pg_catalog.=) ANY ('{r,*}') AND o.polqual IS NOT NULL AND c.relrowsecurity)
        OPERATOR(pg_catalog.||) ARRAY(SELECT d.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef d
                 JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum
                 WHERE d.adrelid OPERATOR(pg_catalog.=) c.oid AND pg_catalog.to_jsonb(a) OPERATOR(pg_catalog.->>) 'attgenerated' OPERATOR(pg_catalog.=) 'v'),
        ARRAY(SELECT i.inhrelid::bigint FROM pg_catalog.pg_inherits i WHERE i.inhparent OPERATOR(pg_catalog.=) c.oid))), '[]')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.oid OPERATOR(pg_catalog.>=) 16384 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}') AND c.relpersistence OPERATOR(pg_catalog.<>) 't'),

'types', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        t.oid::bigint, n.nspname, t.typname, t.typrelid OPERATOR(pg_catalog.<>) 0,
        ARRAY(SELECT DISTINCT x::bigint FROM (
                  SELECT t.typbasetype
                  UNION ALL SELECT t.typelem
                  UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND t.typrelid OPERATOR(pg_catalog.<>) 0 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
                  UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid) s(x)
              WHERE x OPERATOR(pg_catalog.<>) 0),
        ARRAY(SELECT DISTINCT f::pg_catalog.oid::bigint FROM (
                  SELECT pg_catalog.unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin])
                  UNION ALL SELECT pg_catalog.unnest(ARRAY[r.rngcanonical, r.rngsubdiff]) FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid
                  UNION ALL SELECT p.amproc FROM pg_catalog.pg_opclass k JOIN pg_catalog.pg_amproc p ON p.amprocfamily OPERATOR(pg_catalog.=) k.opcfamily
                      WHERE k.opcintype OPERATOR(pg_catalog.=) t.oid
                  UNION ALL SELECT o.oprcode FROM pg_catalog.pg_opclass k JOIN pg_catalog.pg_amop m ON m.amopfamily OPERATOR(pg_catalog.=) k.opcfamily
                      JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) m.amopopr WHERE k.opcintype OPERATOR(pg_catalog.=) t.oid) s(f)
              WHERE f OPERATOR(pg_catalog.<>) 0),
        ARRAY(SELECT k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k WHERE k.contypid OPERATOR(pg_catalog.=) t.oid AND k.conbin IS NOT NULL))), '[]')
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
    WHERE t.oid OPERATOR(pg_catalog.>=) 16384 AND n.nspname OPERATOR(pg_catalog.!~) '^pg_(temp|toast)'),

'operators', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        o.oid::bigint, n.nspname, o.oprname, o.oprleft::bigint, o.oprright::bigint, o.oprcode::pg_catalog.oid::bigint)), '[]')
    FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace WHERE o.oid OPERATOR(pg_catalog.>=) 16384),

'casts', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        k.castsource::bigint, k.casttarget::bigint, k.castfunc::bigint, k.castcontext)), '[]')
    FROM pg_catalog.pg_cast k WHERE k.oid OPERATOR(pg_catalog.>=) 16384 AND k.castfunc OPERATOR(pg_catalog.<>) 0),

-- What an INSERT evaluates besides: defaults, also those that identity columns have
'inserted', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(relation::bigint, tree)), '[]') FROM (
        SELECT d.adrelid, d.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef d
            JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum
            WHERE a.attgenerated OPERATOR(pg_catalog.=) ''
        UNION ALL SELECT a.attrelid, '{NEXTVALUEEXPR}' FROM pg_catalog.pg_attribute a
            WHERE a.attidentity OPERATOR(pg_catalog.<>) ''
    ) s(relation, tree) WHERE relation OPERATOR(pg_catalog.>=) 16384),

-- What any write to a relation evaluates, but for triggers: generated columns, checks, expressions of indexes, policies,
-- conditions of triggers; and what a materialized view is made of again from
'written', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(relation::bigint, tree)), '[]') FROM (
        SELECT d.adrelid, d.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef d
            JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum
            WHERE a.attgenerated OPERATOR(pg_catalog.<>) ''
        UNION ALL SELECT k.conrelid, k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k
            WHERE k.conrelid OPERATOR(pg_catalog.<>) 0 AND k.conbin IS NOT NULL
        UNION ALL SELECT i.indrelid, x FROM pg_catalog.pg_index i,
            pg_catalog.unnest(ARRAY[i.indexprs::pg_catalog.text, i.indpred::pg_catalog.text]) x
            WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        UNION ALL SELECT o.polrelid, x FROM pg_catalog.pg_policy o,
            pg_catalog.unnest(ARRAY[o.polqual::pg_catalog.text, o.polwithcheck::pg_catalog.text]) x
        UNION ALL SELECT g.tgrelid, g.tgqual::pg_catalog.text FROM pg_catalog.pg_trigger g WHERE g.tgqual IS NOT NULL
        UNION ALL SELECT r.ev_class, r.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite r
            JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.ev_class WHERE c.relkind OPERATOR(pg_catalog.=) 'm'
    ) s(relation, tree) WHERE relation OPERATOR(pg_catalog.>=) 16384 AND tree IS NOT NULL),

'rules', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(
        r.ev_class::bigint, pg_catalog.concat(r.ev_action::pg_catalog.text, ' ', r.ev_qual::pg_catalog.text))), '[]')
    FROM pg_catalog.pg_rewrite r WHERE r.oid OPERATOR(pg_catalog.>=) 16384 AND r.ev_type OPERATOR(pg_catalog.<>) '1'),

-- Also disabled ones: session_replication_role enables some
'triggers', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(relation::bigint, function::bigint)), '[]') FROM (
        SELECT DISTINCT g.tgrelid, g.tgfoid FROM pg_catalog.pg_trigger g WHERE g.tgfoid OPERATOR(pg_catalog.>=) 16384
    ) s(relation, function)),

-- By which a write to one relation becomes a write to another: CASCADE, SET NULL, SET DEFAULT
'foreign_keys', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(k.confrelid::bigint, k.conrelid::bigint)), '[]')
    FROM pg_catalog.pg_constraint k
    WHERE k.contype OPERATOR(pg_catalog.=) 'f'
      AND (k.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}') OR k.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'))),

'event_triggers', (SELECT coalesce(pg_catalog.json_agg(DISTINCT e.evtfoid::bigint), '[]') FROM pg_catalog.pg_event_trigger e)
)::pg_catalog.text
