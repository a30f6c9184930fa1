"""What a failed login says of its server, in libpq's words and any language of the server's."""

from __future__ import annotations

import pytest

from pgrouter.cluster.refusal import Refusal, plain, refusal

BEGIN = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FATAL:  sorry, too many clients already", Refusal.FULL),
        ("FATAL:  remaining connection slots are reserved for non-replication superuser connections", Refusal.FULL),
        ("ВАЖНО:  извините, уже слишком много клиентов", Refusal.FULL),
        ('FATAL:  too many connections for role "pgrouter"', Refusal.LIMIT),
        ('FATAL:  too many connections for database "postgres"', Refusal.LIMIT),
        ("FATAL:  the database system is starting up", Refusal.TRANSITION),
        ("FATAL:  the database system is shutting down", Refusal.TRANSITION),
        ("FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent ...", Refusal.TRANSITION),
        ('FATAL:  password authentication failed for user "pgrouter"', Refusal.LOGIN),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "pgrouter", database "postgres"', Refusal.LOGIN),
        ('FATAL:  database "x" does not exist', Refusal.LOGIN),
        ("fe_sendauth: no password supplied", Refusal.LOGIN),
        ("Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?", Refusal.NONE),
        ("server closed the connection unexpectedly\n\tThis probably means ...", Refusal.NONE),
        ("timeout expired", Refusal.NONE),
        ("No route to host", Refusal.NONE),
    ],
)
def test_refusals(text: str, found: Refusal) -> None:
    assert refusal(BEGIN + text) is found
    both = 'connection to server at "::1", port 5432 failed: Connection refused\n\tIs the server running?\n' + BEGIN
    assert refusal(both + text) is found


ADVICE = "\n\tIs the server running on that host and accepting TCP/IP connections?"
LOCALLY = "\n\tIs the server running locally and accepting connections on that socket?"
PROBABLY = "\n\tThis probably means the server terminated abnormally\n\tbefore or while processing the request."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BEGIN}Connection refused{ADVICE}", "127.0.0.1:5432: Connection refused"),
        (f"{BEGIN}server closed it{PROBABLY}", "127.0.0.1:5432: server closed it"),
        (BEGIN.replace('"127.0.0.1"', '"pg0.test" (10.0.0.9)') + "FATAL:  no", "pg0.test (10.0.0.9):5432: FATAL:  no"),
        (f'connection to server on socket "/run/.s.PGSQL.1" failed: No file{LOCALLY}', "/run/.s.PGSQL.1: No file"),
        ("no connection to the server", "no connection to the server"),
    ],
)
def test_messages_are_about_a_server_that_is_known(text: str, said: str) -> None:
    assert plain(text) == said
