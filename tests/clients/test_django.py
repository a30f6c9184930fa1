"""Django's ORM without a project: migrations, queries, atomic blocks, locks, cursors WITH HOLD, lasting connections."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

django = pytest.importorskip("django")

from django.apps import AppConfig  # noqa: E402
from django.conf import settings  # noqa: E402

DATABASE: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "postgres",
    "USER": "postgres",
    "PASSWORD": "postgres",
    "HOST": "127.0.0.1",
}


class Shop(AppConfig):
    path = "."
    default_auto_field = "django.db.models.AutoField"


settings.configure(
    INSTALLED_APPS=[Shop("shop", sys.modules[__name__])], DATABASES={"default": DATABASE}, LOGGING_CONFIG=None
)
django.setup()

from django.contrib.postgres.fields import ArrayField  # noqa: E402
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently  # noqa: E402
from django.core.signals import request_finished, request_started  # noqa: E402
from django.db import (  # noqa: E402
    DatabaseError,
    DataError,
    IntegrityError,
    NotSupportedError,
    connection,
    connections,
    migrations,
    models,
    transaction,
)
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django.db.migrations.state import ProjectState  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.router import Router

    from pgrouter.demo.streaming import StreamingCluster

pytestmark = pytest.mark.pg

TABLES = "shop_book, shop_author, shop_pen, django_migrations"


class Author(models.Model):  # noqa: DJ008
    name = models.CharField(max_length=20, unique=True)
    tags = ArrayField(models.TextField(), default=list)
    details = models.JSONField(default=dict)

    class Meta:
        app_label = "shop"


class Book(models.Model):  # noqa: DJ008
    title = models.TextField()
    pages = models.IntegerField(default=100)
    printed = models.DateTimeField(null=True)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")

    class Meta:
        app_label = "shop"
        constraints = (models.CheckConstraint(condition=models.Q(pages__gt=0), name="shop_book_pages"),)


def forget_connection() -> None:
    connections.close_all()
    del connections["default"]  # with what it has cached of its settings


@pytest.fixture(scope="module")
def _tables(_front: Router, _streaming_cluster: StreamingCluster) -> Iterator[None]:
    drop = f"set lock_timeout = '3s'; drop table if exists {TABLES} cascade"
    _streaming_cluster.primary.sql(drop)
    connections.settings["default"]["PORT"] = str(_front.port)
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)
    forget_connection()
    yield
    _streaming_cluster.primary.sql(drop)


@pytest.fixture
def shop(_tables: None, _front: Router, streaming: StreamingCluster) -> Iterator[StreamingCluster]:
    """Give the cluster; Django's connection leads to the router, both tables are empty on every member."""
    streaming.primary.sql("set lock_timeout = '3s'; truncate shop_author, shop_book restart identity")
    streaming.wait_caught_up()
    connections.settings["default"] |= {"PORT": str(_front.port), "OPTIONS": {}, "TIME_ZONE": None, "CONN_MAX_AGE": 0}
    yield streaming
    forget_connection()


@pytest.fixture(params=["default", "prepared"])
def binding(request: pytest.FixtureRequest, shop: StreamingCluster) -> StreamingCluster:
    """Give the cluster, with Django's default (values in the text) and with prepared statements."""
    if request.param == "prepared":
        options = {"server_side_binding": True, "prepare_threshold": 2}
        connections["default"].settings_dict["OPTIONS"] = options
    return shop


def fill() -> None:
    with transaction.atomic():
        for name, count in (("Ada", 3), ("Bob", 1)):
            author = Author.objects.create(name=name, tags=[name, "ü"], details={"n": count})
            for i in range(count):
                author.books.create(title=f"{name} {i}", pages=10 * (i + 1))


def names() -> list[str]:
    with transaction.atomic():
        return list(Author.objects.order_by("name").values_list("name", flat=True))


def test_objects_are_created_found_changed_and_deleted(binding: StreamingCluster) -> None:
    fill()
    binding.wait_caught_up()
    for _ in range(6):  # round both replicas
        ada = Author.objects.get(name="Ada")
        assert (ada.tags, ada.details) == (["Ada", "ü"], {"n": 3})
        assert [b.title for b in ada.books.order_by("id")] == ["Ada 0", "Ada 1", "Ada 2"]
        assert Book.objects.filter(author__name__startswith="B", pages__in=[10, 20]).count() == 1
        assert Author.objects.filter(details__n=1, tags__contains=["ü"]).get().name == "Bob"
        assert [a.name for a in Author.objects.prefetch_related("books").order_by("-name")] == ["Bob", "Ada"]
    assert Book.objects.filter(pages__gte=20).update(pages=models.F("pages") + 1) == 2
    ada.name = "Eve"
    ada.save()
    with transaction.atomic():
        assert sorted(Book.objects.values_list("pages", flat=True)) == [10, 10, 21, 31]
        assert Author.objects.get(pk=ada.pk).name == "Eve"
        assert ada.delete() == (4, {"shop.Book": 3, "shop.Author": 1})
    assert names() == ["Bob"]


def test_aggregates(binding: StreamingCluster) -> None:
    fill()
    binding.wait_caught_up()
    for _ in range(4):
        total = Book.objects.aggregate(n=models.Count("id"), sum=models.Sum("pages"), most=models.Max("pages"))
        assert total == {"n": 4, "sum": 70, "most": 30}
        per_author = Author.objects.annotate(pages=models.Sum("books__pages")).order_by("name")
        assert list(per_author.values_list("name", "pages")) == [("Ada", 60), ("Bob", 10)]
        assert Book.objects.filter(title="none").exists() is False


def test_get_or_create_and_update_or_create(binding: StreamingCluster) -> None:
    author, made = Author.objects.get_or_create(name="Ada")
    assert (author.pk, made) == (1, True)
    binding.wait_caught_up()
    assert Author.objects.get_or_create(name="Ada") == (author, False)
    assert Author.objects.update_or_create(name="Ada", defaults={"details": {"v": 2}}) == (author, False)
    with transaction.atomic():
        assert Author.objects.get().details == {"v": 2}


def test_bulk_create_brings_back_keys_and_can_upsert(binding: StreamingCluster) -> None:
    made = Author.objects.bulk_create([Author(name=f"n{i}") for i in range(1000)], batch_size=300)
    assert [a.pk for a in made] == list(range(1, 1001))
    Author.objects.bulk_create(
        [Author(name="n7", tags=["again"]), Author(name="new")],
        update_conflicts=True, unique_fields=["name"], update_fields=["tags"],
    )  # fmt: skip
    Author.objects.bulk_create([Author(name="n8", tags=["never"])], ignore_conflicts=True)
    binding.wait_caught_up()
    assert Author.objects.count() == 1001
    assert [Author.objects.get(name=name).tags for name in ("n7", "n8")] == [["again"], []]
    for author in made:
        author.details = {"k": author.pk}
    assert Author.objects.bulk_update(made[:200], ["details"]) == 200
    with transaction.atomic():
        assert Author.objects.get(name="n99").details == {"k": 100}


def test_atomic_blocks_nest_and_roll_back(binding: StreamingCluster) -> None:
    with transaction.atomic():
        Author.objects.create(name="kept")
        with pytest.raises(IntegrityError), transaction.atomic():
            Author.objects.create(name="kept")
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
            Author.objects.create(name="lost")
            raise ZeroDivisionError
        with transaction.atomic():
            Author.objects.create(name="kept, too")
        assert list(Author.objects.order_by("name").values_list("name", flat=True)) == ["kept", "kept, too"]
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        Author.objects.create(name="lost")
        raise ZeroDivisionError
    with transaction.atomic():
        Author.objects.create(name="lost")
        transaction.set_rollback(True)
    assert names() == ["kept", "kept, too"]
    assert binding.primary.sql("select name from shop_author order by 1") == [("kept",), ("kept, too",)]


def test_on_commit_runs_when_others_can_see_it(shop: StreamingCluster) -> None:
    seen: list[Any] = []
    with transaction.atomic():
        Author.objects.create(name="Ada")
        transaction.on_commit(lambda: seen.append(shop.primary.sql("select name from shop_author")))
        assert seen == []
    assert seen == [[("Ada",)]]


def test_errors_keep_their_class_and_name_their_constraint(binding: StreamingCluster) -> None:
    fill()
    for error, text, wrong in (
        (IntegrityError, "shop_author_name", lambda: Author.objects.create(name="Ada")),
        (IntegrityError, "shop_book_pages", lambda: Book.objects.create(title="x", pages=0, author_id=1)),
        (IntegrityError, "foreign key", lambda: Book.objects.create(title="x", author_id=77)),
        (IntegrityError, "null value", lambda: Book.objects.create(title=None, author_id=1)),
        (DataError, "too long", lambda: Author.objects.create(name="x" * 21)),
        (DatabaseError, "nowhere", lambda: list(Author.objects.raw("select 1 as id from nowhere"))),
    ):
        with pytest.raises(error, match=text):
            wrong()
        assert list(Author.objects.raw("select 5 as id"))[0].pk == 5  # noqa: RUF015
    assert binding.primary.sql("select count(*) from shop_book") == [(4,)]


def test_a_foreign_key_that_is_checked_at_the_commit(shop: StreamingCluster) -> None:
    with pytest.raises(IntegrityError, match="foreign key"), transaction.atomic():  # noqa: PT012
        Book.objects.create(title="orphan", author_id=77)
        assert Book.objects.count() == 1
    with transaction.atomic():
        Book.objects.create(title="in time", author_id=77)
        Author.objects.create(id=77, name="late")
        connection.check_constraints()
    assert shop.primary.sql("select title from shop_book") == [("in time",)]


def test_select_for_update_locks_until_the_block_ends(binding: StreamingCluster) -> None:
    fill()
    seen: dict[str, Any] = {}

    def other() -> None:
        try:
            with transaction.atomic():
                query = Author.objects.order_by("name")
                seen["free"] = [a.name for a in query.select_for_update(skip_locked=True)]
            with pytest.raises(DatabaseError, match="could not obtain lock"), transaction.atomic():
                list(query.select_for_update(nowait=True))
        finally:
            connections.close_all()

    with transaction.atomic():
        assert Author.objects.select_for_update().get(name="Ada").pk == 1
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert seen == {"free": ["Bob"]}
    with pytest.raises(transaction.TransactionManagementError):
        list(Author.objects.select_for_update())
    assert binding.primary.sql("select count(*) from pg_locks where relation = 'shop_author'::regclass") == [(0,)]


def cursors_with_hold() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_cursors where is_holdable")
        return cursor.fetchone()[0]


def test_iterator_reads_from_a_cursor_with_hold(binding: StreamingCluster) -> None:
    Author.objects.bulk_create([Author(name=f"n{i:04}") for i in range(500)])
    binding.wait_caught_up()
    query = Author.objects.order_by("name")
    expected = [f"n{i:04}" for i in range(500)]
    for _ in range(3):
        assert [a.name for a in query.iterator(chunk_size=50)] == expected
    half = query.iterator(chunk_size=50)
    assert [next(half).name for _ in range(120)] == expected[:120]
    Author.objects.filter(name="n0499").delete()  # the cursor was materialized before
    assert cursors_with_hold() == 1
    assert [a.name for a in half] == expected[120:]
    assert cursors_with_hold() == 0
    with transaction.atomic():
        assert [a.name for a in query.iterator(chunk_size=50)] == expected[:-1]
    given_up = query.iterator(chunk_size=50)
    assert next(given_up).name == "n0000"
    given_up.close()
    assert names() == expected[:-1]


def test_a_server_is_given_back_with_its_last_cursor_with_hold(shop: StreamingCluster, front: Router) -> None:
    Author.objects.create(name="Ada")
    shop.wait_caught_up()
    assert [a.name for a in Author.objects.iterator()] == ["Ada"]  # DECLARE ... WITH HOLD, FETCH FORWARD, CLOSE
    assert cursors_with_hold() == 0
    (ours,) = [row for row in front.admin("SHOW CLIENTS") if row["database"] == "postgres"]
    assert (ours["pin"], ours["link"]) == ("", "")


def test_a_migration_is_applied_recorded_and_taken_back(shop: StreamingCluster) -> None:
    migration = migrations.Migration("0001_pens", "shop")
    key = models.AutoField(primary_key=True)
    migration.operations = [
        migrations.CreateModel("Pen", [("id", key), ("ink", models.TextField(null=True))]),
        migrations.AddField("Pen", "width", models.FloatField(default=0.5)),
        migrations.RunPython(lambda apps, _: apps.get_model("shop", "Pen").objects.create(ink="blue"), lambda *_: None),
        migrations.RenameField("Pen", "ink", "colour"),
        migrations.AlterField("Pen", "width", models.DecimalField(max_digits=5, decimal_places=2, default=1)),
        migrations.AddIndex("Pen", models.Index(fields=["colour"], name="shop_pen_colour")),
        migrations.AddConstraint("Pen", models.UniqueConstraint(fields=["colour", "width"], name="shop_pen_unique")),
    ]
    recorder = MigrationRecorder(connection)
    with connection.schema_editor(atomic=True) as editor:
        state = migration.apply(ProjectState(), editor)
    recorder.record_applied("shop", "0001_pens")
    assert shop.primary.sql("select colour, width::text from shop_pen") == [("blue", "0.50")]
    with transaction.atomic():
        assert list(recorder.applied_migrations()) == [("shop", "0001_pens")]

    later = migrations.Migration("0002_index", "shop")
    later.atomic = False
    later.operations = [AddIndexConcurrently("Pen", models.Index(fields=["width"], name="shop_pen_width"))]
    with connection.schema_editor(atomic=False) as editor:
        last = later.apply(state.clone(), editor)
    indexes = "select indexname from pg_indexes where tablename = 'shop_pen' order by 1"
    assert [row[0] for row in shop.primary.sql(indexes)] == [
        "shop_pen_colour", "shop_pen_pkey", "shop_pen_unique", "shop_pen_width",
    ]  # fmt: skip
    with pytest.raises(NotSupportedError), connection.schema_editor(atomic=True) as editor:
        RemoveIndexConcurrently("Pen", "shop_pen_width").database_forwards("shop", editor, last, state)

    with connection.schema_editor(atomic=True) as editor:
        migration.unapply(ProjectState(), editor)
    recorder.record_unapplied("shop", "0001_pens")
    assert shop.primary.sql("select to_regclass('shop_pen')") == [(None,)]


def test_a_migration_that_fails_leaves_nothing(shop: StreamingCluster) -> None:
    migration = migrations.Migration("0001_pens", "shop")
    migration.operations = [
        migrations.CreateModel("Pen", [("id", models.AutoField(primary_key=True))]),
        migrations.RunSQL("select * from nowhere"),
    ]
    with pytest.raises(DatabaseError, match="nowhere"), connection.schema_editor(atomic=True) as editor:
        migration.apply(ProjectState(), editor)
    assert shop.primary.sql("select to_regclass('shop_pen')") == [(None,)]


def test_introspection_sees_what_is_there(shop: StreamingCluster) -> None:
    shop.wait_caught_up()
    with connection.cursor() as cursor:
        eye = connection.introspection
        assert {"shop_author", "shop_book"} <= set(eye.table_names(cursor))
        columns = [c.name for c in eye.get_table_description(cursor, "shop_book")]
        assert columns == ["id", "title", "pages", "printed", "author_id"]
        assert eye.get_relations(cursor, "shop_book") == {"author_id": ("id", "shop_author")}
        assert eye.get_constraints(cursor, "shop_book")["shop_book_pages"]["check"]
        assert eye.get_sequences(cursor, "shop_book")[0]["name"] == "shop_book_id_seq"


@pytest.mark.usefixtures("shop")
def test_a_connection_outlives_requests_as_its_age_allows(front: Router) -> None:
    def served() -> tuple[Any, str]:
        request_started.send(sender=None)
        try:
            with connection.cursor() as cursor:
                cursor.execute("select current_setting('TimeZone')")
                return connection.connection, cursor.fetchone()[0]
        finally:
            request_finished.send(sender=None)

    connection.settings_dict["TIME_ZONE"] = "Asia/Tokyo"
    assert served()[0] is not served()[0]
    connection.settings_dict |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    first = served()
    for _ in range(20):
        assert served() == first
    (ours,) = [row for row in front.admin("SHOW CLIENTS") if row["database"] == "postgres"]
    assert (ours["pin"], ours["link"]) == ("", "")
    assert first[1] == "Asia/Tokyo"  # as Django has set it at first, on whatever server
    front.admin(f"KILL_CLIENT {ours['ptr']}")
    again = served()
    assert again[0] is not first[0]
    assert again[1] == "Asia/Tokyo"


def test_threads_each_with_a_connection_count_right(binding: StreamingCluster) -> None:
    Author.objects.create(name="Ada", details={"n": 0})
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                with transaction.atomic():
                    ada = Author.objects.select_for_update().get(name="Ada")
                    ada.details = {"n": ada.details["n"] + 1}
                    ada.save(update_fields=["details"])
                Author.objects.filter(name="Ada").first()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert binding.primary.sql("select details ->> 'n' from shop_author") == [("60",)]
