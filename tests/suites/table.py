"""What is run: a table, one entry for each suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DATABASE = "suite"
PYTEST = (
    "-m", "pytest", "-v", "--no-header", "--tb=short", "--timeout=60", "--timeout-method=signal",
    "-o", "cache_dir={scratch}/cache", "-o", "junit_family=xunit2", "--junitxml={results}",
)  # fmt: skip
PYTEST_PACKAGES = ("pytest", "pytest-timeout")
CONNECTION = {
    "PGHOST": "127.0.0.1", "PGPORT": "{port}", "PGUSER": "postgres", "PGPASSWORD": "postgres", "PGDATABASE": DATABASE,
}  # fmt: skip
# Those that ask the database; the others test Django's own machinery.
DJANGO_APPS = """
    aggregation aggregation_regress annotations async backends basic bulk_create composite_pk constraints
    custom_columns custom_lookups custom_managers custom_pk dates datetimes db_functions db_typecasts db_utils
    defer defer_regress delete delete_regress distinct_on_fields empty_models expressions expressions_case
    expressions_window extra_regress field_defaults filtered_relation fixtures force_insert_update
    foreign_object from_db_value generic_relations get_earliest_or_latest get_object_or_404 get_or_create
    indexes inspectdb introspection known_related_objects lookup m2m_and_m2o m2m_intermediary m2m_multiple
    m2m_recursive m2m_regress m2m_signals m2m_through m2o_recursive many_to_many many_to_one migrate_signals
    migrations migrations2 model_fields model_inheritance model_inheritance_regress multiple_database
    mutually_referential nested_foreign_keys null_fk null_fk_ordering null_queries one_to_one or_lookups ordering
    postgres_tests prefetch_related queries queryset_pickle raw_query reserved_names reverse_lookup save_delete_hooks
    schema select_for_update select_related select_related_onetoone select_related_regress servers
    string_lookup swappable_models test_runner timezones transaction_hooks transactions unmanaged_models
    update update_only_fields
""".split()  # noqa: SIM905 a list of a hundred words


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite: where it comes from and how it is started.

    In commands and the environment `{port}` is the port to connect to, `{results}` the file that gets the results, and
    `{scratch}` a directory of its own.
    """

    name: str
    project: str  # at PyPI; psycopg's tests are not there, see sources
    version: str
    packages: tuple[str, ...]  # what its environment needs, `{version}` being that of the source
    command: tuple[str, ...]  # after python
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""  # where it is started, in the source
    shadows: str = ""  # a directory of the source that would be imported in place of what is installed
    prepare: tuple[str, ...] = ()  # SQL that it wants done in its database, by a superuser, directly


def sqlalchemy(name: str, url: str, *paths: str) -> Suite:
    """Give SQLAlchemy's tests with a driver."""
    return Suite(
        name, "sqlalchemy", "2.1.9",
        (*PYTEST_PACKAGES, "sqlalchemy[asyncio]=={version}", "psycopg[binary]==3.3.9", "asyncpg==0.32.0"),
        # Ten thousand pairs of ranges are not ten thousand things that a router could do
        (*PYTEST, "--backend-only", "-k", "not RangeRoundTrip",
         "--dburi", f"{url}://postgres:postgres@127.0.0.1:{{port}}/{DATABASE}", *paths),
        prepare=(
            "CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2", "CREATE EXTENSION hstore",
            "CREATE EXTENSION citext",
            f"ALTER DATABASE {DATABASE} SET default_text_search_config = 'pg_catalog.english'",
        ),
    )  # fmt: skip


SUITES = (
    Suite(
        "psycopg", "psycopg", "3.3.4",
        (*PYTEST_PACKAGES, "psycopg[binary]=={version}", "psycopg-pool", "anyio", "dnspython", "numpy", "pproxy"),
        # Warnings of what a failed test leaves behind would be errors of those after it; the slow ones try the client
        (*PYTEST, "-p", "no:unraisableexception", "-m", "not slow",
         "--test-dsn", f"host=127.0.0.1 port={{port}} user=postgres password=postgres dbname={DATABASE}",
         "--ignore=tests/test_typing.py", "--ignore=tests/test_dns.py", "--ignore=tests/test_dns_srv.py", "tests"),
        shadows="psycopg",
    ),
    Suite(
        "asyncpg", "asyncpg", "0.32.0", (*PYTEST_PACKAGES, "asyncpg=={version}", "uvloop", "distro"),
        (*PYTEST, "--ignore=tests/test__environment.py", "--ignore=tests/test__sourcecode.py", "tests"), CONNECTION,
        shadows="asyncpg",
    ),
    sqlalchemy("sqlalchemy", "postgresql+psycopg", "test/dialect/postgresql", "test/dialect/test_suite.py",
               "test/engine", "test/sql", "test/orm", "test/ext"),
    sqlalchemy("sqlalchemy-asyncpg", "postgresql+asyncpg", "test/dialect/postgresql", "test/dialect/test_suite.py",
               "test/engine", "test/ext/asyncio"),
    Suite(
        "django", "django", "5.2.19", ("django=={version}", "psycopg[binary,pool]==3.3.9", "tblib", "jinja2", "PyYAML"),
        ("runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", *DJANGO_APPS),
        CONNECTION | {"PYTHONPATH": str(HERE), "SUITE_RESULTS": "{results}"}, folder="tests",
    ),
    Suite(
        "pg8000", "pg8000", "1.31.6", (*PYTEST_PACKAGES, "pg8000=={version}", "pytest-benchmark", "pytz"),
        (*PYTEST, "--ignore=test/dbapi/auth", "--ignore=test/legacy/auth", "--ignore=test/native/auth",
         "--ignore=test/test_readme.py", "--ignore-glob=*/test_benchmarks.py", "test"), CONNECTION,
    ),
)  # fmt: skip
