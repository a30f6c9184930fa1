"""Which databases are paused, and which let nobody in: what an operator has said on the console. No IO.

It is a state of the router and not of its pools: a pool that is created meanwhile is paused, too.

Source: PgBouncer admin.c (PAUSE, RESUME, KILL, DISABLE, ENABLE), in whose words the errors are.
"""

from __future__ import annotations

from pgrouter.errors import RouterError

NOT_NOW = "55000"  # object_not_in_prerequisite_state


class Pauses:
    """All databases, or single ones by the names that clients connect to."""

    def __init__(self) -> None:
        self.everything = False
        self.databases: set[str] = set()
        self.killed: set[str] = set()  # those of them that KILL of all databases has paused: RESUME of all ends it
        self.disabled: set[str] = set()
        self.closing = False  # the router is about to stop

    def refusal(self, name: str) -> RouterError | None:
        """Return why a new client is not let in to the database that it names; None: it is."""
        if self.closing:
            return RouterError("pgrouter is shutting down", sqlstate="57P03", severity="FATAL")
        if name in self.disabled:
            return RouterError(f'database "{name}" is disabled', sqlstate="08P01", severity="FATAL")  # as in PgBouncer
        return None

    def covers(self, database: str) -> bool:
        """Whether a database is paused."""
        return self.everything or database in self.databases

    def check(self) -> None:
        """Refuse to pause or kill while everything is paused.

        Raises:
            RouterError: 55000.

        """
        if self.everything:
            raise RouterError("already paused", hint="RESUME", sqlstate=NOT_NOW)

    def pause(self, database: str | None) -> None:
        """Pause a database, or all (None).

        Raises:
            RouterError: 55000, everything is paused already.

        """
        self.check()
        if database is None:
            self.everything = True
        else:
            self.databases.add(database)

    def kill(self, databases: set[str]) -> None:
        """Pause all the databases there are, one by one: so RESUME of one of them lets it go on."""
        self.check()
        self.killed |= databases - self.databases
        self.databases |= databases

    def resume(self, database: str | None) -> None:
        """End the pause of a database; None: that of all. What was paused by its name stays so.

        Raises:
            RouterError: 55000, there is none.

        """
        if database is not None:
            if database not in self.databases:
                raise RouterError(f"database {database} is not paused", sqlstate=NOT_NOW)
            self.databases.discard(database)
            self.killed.discard(database)
        elif self.everything:
            self.everything = False
        elif self.killed:
            self.databases -= self.killed
            self.killed = set()
        else:
            raise RouterError("pooler is not paused", sqlstate=NOT_NOW)
