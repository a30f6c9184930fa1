"""What functions of well-known extensions leave in a session: being C, they cannot be analyzed. Tables only.

A VOLATILE C function of an extension that is not listed may leave anything. `routing.stateless_functions` and
`routing.stateful_functions` add to these tables.

Sources: the extensions' documentation and code.
"""
# ruff: noqa: SIM905 (lists of words are more readable as text)

from __future__ import annotations

from pgrouter.routing.statement import Effect

ANYTHING = int(Effect.CODE | Effect.OTHER_STATE | Effect.DRAWS)

# Extensions that leave nothing, except for the functions in LEAVING
STATELESS: frozenset[str] = frozenset(
    """
address_standardizer address_standardizer_data_us adminpack amcheck autoinc bloom btree_gin btree_gist citext cube
dblink dict_int dict_xsyn earthdistance file_fdw fuzzystrmatch h3 h3_postgis hll hstore http hypopg insert_username
intagg intarray ip4r isn lo ltree moddatetime mysql_fdw ogr_fdw old_snapshot oracle_fdw pageinspect periods pg_bigm
pg_buffercache pg_cron pg_freespacemap pg_hint_plan pg_ivm pg_logicalinspect pg_net pg_partman pg_prewarm pg_qualstats
pg_repack pg_rational pg_similarity pg_stat_kcache pg_stat_statements pg_surgery pg_trgm pg_uuidv7 pg_visibility
pg_wait_sampling pg_walinspect pgaudit pgcrypto pgjwt pgmq pgroonga pgrouting pgrowlocks pgstattuple
plpgsql_check pointcloud postgis postgis_raster postgis_sfcgal postgis_tiger_geocoder postgis_topology postgres_fdw
prefix rdkit refint rum seg semver sslinfo system_stats tablefunc tcn tds_fdw timescaledb timescaledb_toolkit
tsm_system_rows tsm_system_time unaccent unit uri uuid-ossp vector vchord vectorscale wal2json xml2
""".split()
)
# Functions that leave something, even if their extension is listed above; "*": all of its functions
LEAVING: dict[str, dict[str, int]] = {
    "dblink": dict.fromkeys(("dblink_connect", "dblink_connect_u"), int(Effect.OTHER_STATE)),
    "hypopg": {"*": int(Effect.OTHER_STATE)},  # its hypothetical indexes belong to the session
    "http": dict.fromkeys(("http_set_curlopt", "http_reset_curlopt"), int(Effect.OTHER_STATE)),
    "isn": {"isn_weak": int(Effect.OTHER_STATE)},
    "orafce": {"*": ANYTHING},  # dbms_output, dbms_alert, plvsubst ... keep their state in the session
    "pg_trgm": {"set_limit": int(Effect.CODE)},
    "pg_variables": {"*": ANYTHING},
    "pgtap": {"*": ANYTHING},  # temporary tables, and SQL from strings
    "plv8": {"*": ANYTHING},
    "set_user": {"*": ANYTHING},
    "tablefunc": dict.fromkeys(
        ("crosstab", "crosstab2", "crosstab3", "crosstab4", "crosstabN", "connectby"), ANYTHING
    ),  # run SQL from a string
    "xml2": {"xpath_table": ANYTHING},
}


# By function name alone: an extension created a moment ago is in no catalog yet
BY_NAME = {name: effects for functions in LEAVING.values() for name, effects in functions.items() if name != "*"}


def left_by(extension: str, function: str) -> int | None:
    """Return what a function of an extension may leave in the session, as effects; None if unknown."""
    leaving = LEAVING.get(extension, {})
    if function in leaving or "*" in leaving:
        return leaving.get(function, leaving.get("*"))
    return 0 if extension in STATELESS else None
