"""SQLAlchemy 2 with its defaults, over psycopg, pg8000 and asyncpg: connecting, ORM, reflection, cursors, isolation."""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING, Any

import pytest

from pgrouter.demo.processes import until

sa = pytest.importorskip("sqlalchemy")

from sqlalchemy import ForeignKey, exc, func, select, text  # noqa: E402
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert  # noqa: E402
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine  # noqa: E402
from sqlalchemy.orm import (  # noqa: E402
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine
    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

DROP = "set lock_timeout = '3s'; drop table if exists sa_book, sa_author cascade; drop type if exists sa_mood"


class Base(DeclarativeBase):
    pass


class Mood(enum.Enum):
    calm = "calm"
    bright = "bright"


class Author(Base):
    __tablename__ = "sa_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    mood: Mapped[Mood] = mapped_column(sa.Enum(Mood, name="sa_mood"), default=Mood.calm)
    tags: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), default=list)
    details: Mapped[Any] = mapped_column(JSONB, default=dict)
    books: Mapped[list[Book]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "sa_book"
    __table_args__ = (sa.Index("sa_book_title", "title"), sa.CheckConstraint("pages > 0", name="sa_book_pages"))
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    pages: Mapped[int] = mapped_column(server_default="100")
    author_id: Mapped[int] = mapped_column(ForeignKey("sa_author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def url(port: int, dialect: str) -> Any:
    return sa.URL.create(f"postgresql+{dialect}", "postgres", "postgres", "127.0.0.1", port, "postgres")


@pytest.fixture(scope="module")
def _tables(_front: Router, _streaming_cluster: StreamingCluster) -> Iterator[None]:
    _streaming_cluster.primary.sql(DROP)
    maker = sa.create_engine(url(_front.port, "psycopg"))
    Base.metadata.create_all(maker)  # asks what there is, all in a transaction
    Base.metadata.create_all(maker)
    maker.dispose()
    yield
    _streaming_cluster.primary.sql(DROP)


@pytest.fixture
def tables(_tables: None, _front: Router, streaming: StreamingCluster) -> Router:
    """Give the router; both tables are there and empty, on every member."""
    streaming.primary.sql("set lock_timeout = '3s'; truncate sa_author, sa_book restart identity")
    streaming.wait_caught_up()
    return _front


@pytest.fixture(params=["psycopg", "pg8000"])
def engine(request: pytest.FixtureRequest, tables: Router) -> Iterator[Any]:
    made = sa.create_engine(url(tables.port, request.param))
    yield made
    made.dispose()


def replica_transactions(router: Router) -> int:
    return sum(row["xact_count"] for row in router.admin("SHOW CLUSTER") if row["readable"])


def fill(engine: Any, streaming: StreamingCluster) -> None:
    with Session(engine) as session, session.begin():
        ada = Author(name="Ada", mood=Mood.bright, tags=["x", "ü"], details={"deep": [1, {"n": None}]})
        ada.books = [Book(title=f"Ada {i}") for i in range(3)]
        session.add_all([ada, Author(name="Bob", books=[Book(title="Bob 0", pages=7)])])
    streaming.wait_caught_up()


def pins(router: Router) -> set[str]:
    return {row["pin"] for row in router.admin("SHOW CLIENTS") if row["database"] == "postgres"}


def test_it_learns_of_the_server_what_a_direct_connection_tells(engine: Any, streaming: StreamingCluster) -> None:
    direct = sa.create_engine(url(streaming.primary.port, engine.dialect.driver))
    with engine.connect(), direct.connect():
        for fact in ("server_version_info", "default_schema_name", "default_isolation_level", "_backslash_escapes"):
            assert getattr(engine.dialect, fact) == getattr(direct.dialect, fact), fact
    direct.dispose()


def test_a_flush_brings_back_keys_and_defaults(engine: Any) -> None:
    with Session(engine) as session:
        authors = [Author(name=f"a{i}", books=[Book(title=f"t{i}"), Book(title=f"u{i}")]) for i in range(50)]
        session.add_all(authors)
        session.flush()  # insertmanyvalues: many rows in one INSERT ... RETURNING
        assert [a.id for a in authors] == list(range(1, 51))
        assert sorted(b.id for a in authors for b in a.books) == list(range(1, 101))
        assert {b.pages for a in authors for b in a.books} == {100}
        session.commit()
        assert session.scalar(select(func.count()).select_from(Book)) == 100


def test_enum_array_and_jsonb_columns_come_back(engine: Any, streaming: StreamingCluster) -> None:
    fill(engine, streaming)
    with Session(engine) as session:
        ada = session.scalars(select(Author).where(Author.mood == Mood.bright)).one()
        assert (ada.name, ada.mood, ada.tags) == ("Ada", Mood.bright, ["x", "ü"])
        assert ada.details == {"deep": [1, {"n": None}]}
        assert session.scalar(select(Author.name).where(Author.tags.contains(["ü"]))) == "Ada"
        assert session.scalar(select(Author.name).where(Author.details.has_key("deep"))) == "Ada"
        assert session.scalar(select(Author.details["deep"][0].as_integer()).where(Author.name == "Ada")) == 1
        assert session.scalars(select(Author.name).where(Author.details == {})).all() == ["Bob"]


def test_relationships_load(engine: Any, streaming: StreamingCluster) -> None:
    fill(engine, streaming)
    for load in (lazyload, joinedload, selectinload, subqueryload):
        with Session(engine) as session:
            query = select(Author).order_by(Author.name).options(load(Author.books))
            authors = session.scalars(query).unique().all()
            titles = {a.name: sorted(b.title for b in a.books) for a in authors}
            assert titles == {"Ada": ["Ada 0", "Ada 1", "Ada 2"], "Bob": ["Bob 0"]}
            assert authors[1].books[0].author is authors[1]


def test_updates_deletes_and_upserts(engine: Any, streaming: StreamingCluster) -> None:
    fill(engine, streaming)
    with Session(engine) as session:
        bob = session.scalars(select(Author).filter_by(name="Bob")).one()
        bob.tags = [*bob.tags, "new"]
        session.delete(bob.books[0])
        session.commit()
        assert (bob.tags, bob.books) == (["new"], [])
        changed = session.execute(sa.update(Book).where(Book.title != "Ada 0").values(pages=Book.pages + 1))
        assert changed.rowcount == 2
        gone = session.scalars(sa.delete(Book).where(Book.pages == 100).returning(Book.title)).all()
        assert gone == ["Ada 0"]
        upsert = insert(Author).values(name="Bob", mood=Mood.bright, tags=[], details={})
        upsert = upsert.on_conflict_do_update(index_elements=["name"], set_={"mood": upsert.excluded.mood})
        assert session.scalars(upsert.returning(Author.id)).one() == bob.id
        session.commit()
        assert session.get(Author, bob.id).mood == Mood.bright


def test_rollbacks_and_savepoints(engine: Any) -> None:
    with Session(engine) as session:
        session.add(Author(name="kept"))
        session.flush()
        with pytest.raises(exc.IntegrityError), session.begin_nested():
            session.execute(sa.insert(Author).values(name="kept"))
        with pytest.raises(ZeroDivisionError), session.begin_nested():  # noqa: PT012
            session.add(Author(name="lost"))
            session.flush()
            raise ZeroDivisionError
        session.commit()
        session.add(Author(name="lost, too"))
        session.flush()
        session.rollback()
        assert session.scalars(select(Author.name)).all() == ["kept"]


def test_tables_and_their_types_are_dropped_and_made_again(engine: Any, streaming: StreamingCluster) -> None:
    there = "select count(*) from pg_class where relname like 'sa\\_%' and relkind in ('r', 'i')"
    before = streaming.primary.sql(there)
    Base.metadata.drop_all(engine)
    assert streaming.primary.sql(there) == [(0,)]
    Base.metadata.create_all(engine)
    assert streaming.primary.sql(there) == before
    assert before > [(4,)]


def test_an_error_names_its_constraint_and_the_session_goes_on(engine: Any) -> None:
    with Session(engine) as session:
        with pytest.raises(exc.DatabaseError, match="sa_book_pages"):
            session.execute(sa.insert(Book).values(title="thin", pages=0, author_id=1))
        session.rollback()
        with pytest.raises(exc.DatabaseError, match="sa_book_author_id_fkey"):
            session.execute(sa.insert(Book).values(title="orphan", author_id=1))
        session.rollback()
        with pytest.raises(exc.ProgrammingError, match="nowhere"):
            session.execute(text("select * from nowhere"))
        session.rollback()
        assert session.scalar(text("select 5")) == 5


def test_reflection_sees_what_a_direct_connection_sees(engine: Any, streaming: StreamingCluster) -> None:
    def reflected(of: Any) -> dict[str, Any]:
        with of.connect() as connection:
            eye = sa.inspect(connection)
            tables = {
                table: [
                    [str(c) for c in eye.get_columns(table)],
                    eye.get_pk_constraint(table),
                    eye.get_foreign_keys(table),
                    eye.get_indexes(table),
                    eye.get_unique_constraints(table),
                    eye.get_check_constraints(table),
                ]
                for table in ("sa_author", "sa_book")
            }
            enums = [found for found in eye.get_enums() if found["name"] == "sa_mood"]
            metadata = sa.MetaData()
            metadata.reflect(connection, only=["sa_author", "sa_book"])
            return {"tables": tables, "enums": enums, "names": sorted(metadata.tables), "has": eye.has_table("sa_book")}

    direct = sa.create_engine(url(streaming.primary.port, engine.dialect.driver))
    seen = reflected(engine)
    assert seen == reflected(direct)
    assert seen["names"] == ["sa_author", "sa_book"]
    assert seen["enums"][0]["labels"] == ["calm", "bright"]
    direct.dispose()


def test_rows_are_streamed_from_a_cursor_on_the_server(engine: Any) -> None:
    series = text("select g, repeat('x', 100) from generate_series(1, :n) g")
    with engine.connect() as connection:
        result = connection.execute(series, {"n": 3000}, execution_options={"stream_results": True})
        assert sum(row[0] for row in result) == 4501500
        parts = connection.execute(series, {"n": 1000}, execution_options={"stream_results": True}).partitions(400)
        assert [len(part) for part in parts] == [400, 400, 200]
        left = connection.execute(series, {"n": 1000}, execution_options={"yield_per": 10})
        assert left.fetchone()[0] == 1
        left.close()
        assert connection.scalar(text("select 3")) == 3


def test_orm_objects_are_streamed(engine: Any) -> None:
    with Session(engine) as session:
        session.execute(sa.insert(Author), [{"name": f"n{i:04}"} for i in range(500)])
        query = select(Author).order_by(Author.name).execution_options(yield_per=50)
        assert [a.name for a in session.scalars(query)] == [f"n{i:04}" for i in range(500)]


@pytest.mark.parametrize("driver", ["psycopg", "pg8000"])
def test_pre_ping_replaces_connections_that_were_closed(tables: Router, driver: str) -> None:
    engine = sa.create_engine(url(tables.port, driver), pool_pre_ping=True, pool_size=1)
    with engine.connect() as connection:
        before = connection.connection.dbapi_connection
        assert connection.scalar(text("select 1")) == 1
    for _ in range(3):
        with engine.connect() as connection:
            assert connection.connection.dbapi_connection is before
    ours = [row for row in tables.admin("SHOW CLIENTS") if row["database"] == "postgres"]
    assert len(ours) == 1
    tables.admin(f"KILL_CLIENT {ours[0]['ptr']}")
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not before
        assert connection.scalar(text("select 2")) == 2
    engine.dispose()


def test_isolation_levels_hold_and_end_with_their_checkout(engine: Any) -> None:
    level = text("select current_setting('transaction_isolation')")
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
    for wanted in ("SERIALIZABLE", "REPEATABLE READ"):
        with engine.connect().execution_options(isolation_level=wanted) as connection:
            for turn in range(2):
                assert connection.get_isolation_level() == wanted
                assert connection.scalar(level) == wanted.lower()
                connection.execute(sa.insert(Author).values(name=f"{wanted} {turn}", tags=[], details={}))
                connection.commit()
        with engine.connect() as connection:
            assert connection.scalar(level) == "read committed"
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Author)) == 4


def test_autocommit_commits_each_statement_and_reads_from_replicas(
    engine: Any, tables: Router, streaming: StreamingCluster
) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.scalar(sa.insert(Author).values(name="kept", tags=[], details={}).returning(Author.id)) == 1
        connection.rollback()
        assert streaming.primary.sql("select name from sa_author") == [("kept",)]
        streaming.wait_caught_up()

        def read() -> bool:
            """Read ten times; whether the replicas are known to have the row."""
            before = replica_transactions(tables)
            assert [connection.scalar(select(Author.name)) for _ in range(10)] == ["kept"] * 10
            return replica_transactions(tables) >= before + 10

        until(read, 10, "all ten reads by replicas")
        connection.execute(text("vacuum sa_author"))  # no transaction is around it
        assert pins(tables) == {""}
    with engine.connect() as connection:
        connection.execute(sa.insert(Author).values(name="lost", tags=[], details={}))
        connection.rollback()
        assert connection.scalars(select(Author.name)).all() == ["kept"]


def test_a_serializable_conflict_is_told_and_can_be_tried_again(engine: Any) -> None:
    serializable = engine.execution_options(isolation_level="SERIALIZABLE")
    with Session(serializable) as one, Session(serializable) as other:
        for session, name in ((one, "one"), (other, "other")):
            assert session.scalar(select(func.count()).select_from(Author)) == 0
            session.add(Author(name=name))
            session.flush()
        one.commit()
        with pytest.raises(exc.DatabaseError, match="could not serialize"):
            other.commit()
        other.rollback()
        other.add(Author(name="other"))
        other.commit()
        assert other.scalars(select(Author.name).order_by(Author.name)).all() == ["one", "other"]


def test_locks_of_with_for_update_hold_until_the_commit(engine: Any, streaming: StreamingCluster) -> None:
    fill(engine, streaming)
    with Session(engine) as one, Session(engine) as other:
        locked = one.scalars(select(Author).filter_by(name="Ada").with_for_update()).one()
        query = select(Author.name).order_by(Author.name).with_for_update(skip_locked=True)
        assert other.scalars(query).all() == ["Bob"]
        other.rollback()
        locked.details = {"v": 2}
        one.commit()
        assert other.scalars(query).all() == ["Ada", "Bob"]


def with_async_engine(router: Router, work: Callable[[AsyncEngine], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        engine = create_async_engine(url(router.port, "asyncpg"), **more)
        try:
            await work(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


def test_asyncpg_does_the_same_work(tables: Router) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        session_of = async_sessionmaker(engine, expire_on_commit=False)
        async with session_of() as session:
            ada = Author(name="Ada", mood=Mood.bright, tags=["x", "ü"], details={"deep": [1, None]})
            ada.books = [Book(title=f"Ada {i}") for i in range(30)]
            session.add(ada)
            await session.commit()
            assert sorted(b.id for b in ada.books) == list(range(1, 31))
            with pytest.raises(exc.IntegrityError):
                async with session.begin_nested():
                    await session.execute(sa.insert(Author).values(name="Ada"))
            found = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()
            assert (found.mood, found.tags, found.details) == (Mood.bright, ["x", "ü"], {"deep": [1, None]})
            assert len(found.books) == 30
            await session.execute(sa.update(Book).where(Book.id > 10).values(pages=7))
            await session.rollback()
            assert await session.scalar(select(func.sum(Book.pages))) == 3000
            await session.delete(found)
            await session.commit()
            assert await session.scalar(select(func.count()).select_from(Book)) == 0
        async with engine.connect() as connection:
            names = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
            assert {"sa_author", "sa_book"} <= set(names)

    with_async_engine(tables, work)


def test_asyncpg_streams_rows(tables: Router) -> None:
    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            series = text("select g from generate_series(1, :n) g")
            result = await connection.stream(series, {"n": 3000})
            assert sum([row[0] async for row in result]) == 4501500
            assert await connection.scalar(text("select 3")) == 3

    with_async_engine(tables, work)


def test_asyncpg_statements_keep_working_over_both_replicas(tables: Router) -> None:
    statements = [text(f"select {i} + cast(:n as int)") for i in range(20)]

    async def work(engine: AsyncEngine) -> None:
        async def one(number: int) -> list[int]:
            async with engine.connect() as connection:
                return [await connection.scalar(statement, {"n": number}) for statement in statements]

        for _ in range(3):
            answers = await asyncio.gather(*(one(number) for number in range(12)))
            assert answers == [[i + number for i in range(20)] for number in range(12)]
        assert await asyncio.to_thread(pins, tables) == {""}

    with_async_engine(tables, work, isolation_level="AUTOCOMMIT", pool_pre_ping=True)


def test_asyncpg_serializable_and_autocommit(tables: Router) -> None:
    async def work(engine: AsyncEngine) -> None:
        level = text("select current_setting('transaction_isolation')")
        for wanted in ("SERIALIZABLE", "REPEATABLE READ"):
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level=wanted)
                assert await connection.scalar(level) == wanted.lower()
        async with engine.connect() as connection:
            assert await connection.scalar(level) == "read committed"
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("vacuum sa_book"))

    with_async_engine(tables, work)
