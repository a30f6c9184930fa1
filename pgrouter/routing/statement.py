"""What the router knows about a statement: where it may run, why, and what it leaves in the session.

A `Statement` is made once by `classify` and then shared by every statement with the same key (see `fingerprint`), so it
holds nothing that depends on a literal, unless `literal_sensitive` says that the whole text was the key. The one
exception is `position`, which belongs to the text that was classified first.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import cache

from msgspec import Struct
from msgspec.structs import force_setattr

from pgrouter.routing.flags import DRAWS, READS, STATELESS, WRITES
from pgrouter.routing.verdict import Verdict


class Target(IntEnum):
    """Where a statement may run, considered alone and outside a transaction."""

    PRIMARY = 0
    REPLICA = 1
    SESSION = 2  # concerns the session's state: the linked server, else the primary
    ERROR = 3  # does not parse: the server's own error must come back


class Effect(IntFlag):
    """Session state that a statement may leave behind on its server, or take away."""

    NONE = 0
    SETTINGS = 1  # SET, RESET, set_config: `Statement.settings` has the setting if it is a plain one
    TEMP = 2  # a temporary object, or a search_path that would create the temporary schema
    LISTEN = 4
    HOLD_CURSOR = 8  # DECLARE ... WITH HOLD outlives its transaction
    SQL_PREPARE = 16  # PREPARE name AS
    ADVISORY_LOCK = 32  # held by the session, not by the transaction
    DISCARD = 64  # DISCARD ALL removes everything
    DEALLOCATE = 128
    OTHER_STATE = 256  # LOAD, setseed, a SET that cannot be followed, code that may do anything: no query reports it
    DDL = 512  # catalog facts may be out of date afterwards
    CODE = 1024  # runs code that may leave anything that the server can be queried for: all but OTHER_STATE
    UNLISTEN = 2048
    INSTEAD = 8192  # EXPLAIN ROUTE, SHOW pgrouter.lsn, SHOW POOL_NODES: the server gets a substitute
    REDEFINES = 4096  # DDL that may change what a known name does
    SEQUENCES = 32768  # asks for values the session has drawn from sequences: currval, lastval
    DATABASE = 131072  # drops or copies a database, which must have no sessions
    RELEASES = 16384  # may remove session state: unlocks, closes
    NAMES = 65536  # refers to prepared statements by name, or to all of them
    CUSTOM = 262144  # runs code that sets a custom setting for its transaction: '' remains where NULL was
    DRAWS = 524288  # for code only: draws values from sequences; for statements see `Statement.draws`
    DEFAULTS = 1048576  # changes the defaults of new sessions
    MAKES = 2097152  # creates code that may leave what no query reports
    MAYBE_CODE = 4194304  # writes to a relation about which it is unknown (yet) what code that runs


class Tx(IntEnum):
    """What a statement does to the transaction; for several statements in one string, the state afterwards."""

    NONE = 0
    BEGIN = 1
    BEGIN_READ_ONLY = 2  # may run on a replica with its whole transaction
    COMMIT = 3
    ROLLBACK = 4
    INSIDE = 5  # SAVEPOINT, RELEASE, ROLLBACK TO, ... AND CHAIN: still in a transaction
    SET_READ_ONLY = 6  # SET TRANSACTION READ ONLY
    SET_READ_WRITE = 7  # SET TRANSACTION READ WRITE, or an isolation level that a standby refuses
    BEGIN_PRIMARY = 8  # READ WRITE or SERIALIZABLE: a standby refuses it whatever the session's defaults are
    SET_OTHER = 9  # SET TRANSACTION ISOLATION LEVEL (except SERIALIZABLE), DEFERRABLE


class Reason:
    """Why a statement goes where it goes: stable strings, used as counter labels."""

    READ = "read"
    EMPTY = "empty"
    EXPLAIN = "explain route"
    POSITION = "position of writes"
    POOL = "pgpool's commands"
    OWN_WRITE = "newer than the replicas"  # a read whose session must see a write that no replica has yet
    WRITE = "write"
    DDL = "ddl"
    UTILITY = "utility command"
    WRITING_CTE = "data-modifying CTE"
    INTO = "select into"
    ROW_LOCK = "row lock"
    COPY = "copy into or outside the database"
    CODE = "code block or procedure"
    NOTIFY = "listen or notify"
    WRITING_FUNCTION = "writing function"
    SESSION_FUNCTION = "function of the session"
    SERVER_FUNCTION = "function about the server"
    SQL_IN_STRING = "function runs SQL from a string"
    UNKNOWN_FUNCTION = "unknown function"
    UNKNOWN_OPERATOR = "unknown operator"
    UNKNOWN_TYPE = "unknown type"
    UNKNOWN_NODE = "unknown syntax"
    CATALOG = "catalog"
    UNKNOWN_RELATION = "unknown relation"
    SERVER_RELATION = "relation about the server"
    SEQUENCE = "sequence"
    TEMPORARY = "temporary object"
    SERVER_SETTING = "setting of the server"
    SETTING = "setting"
    TRANSACTION = "transaction control"
    CURSOR = "cursor"
    PREPARED = "prepared statement"
    DISCARD = "discard"
    SESSION_STATE = "session state"
    SYNTAX = "does not parse"
    TOO_LONG = "too long to parse"
    TOO_DEEP = "too deeply nested"
    LEXING = "unusual string rules"
    HINT = "hint"
    LEARNED = "refused by a replica before"
    FUNCTION_CALL = "function call message"
    OPEN_BATCH = "executed before the end of its batch"
    UNKNOWN_STATEMENT = "unknown prepared statement"


class Setting(Struct, frozen=True, gc=False):
    """A SET or RESET as `set_config(name, value, is_local)` would take it; `value` None is RESET (name "all": all).

    "" also stands for a value that only the server knows: a parameter, an expression.
    """

    name: str
    value: str | None
    is_local: bool = False


NO_ROLE = Setting("role", None)  # setting the session user resets the role

_REPLICA, _SESSION, _NO_TX, _BEGIN_READ_ONLY = Target.REPLICA, Target.SESSION, Tx.NONE, Tx.BEGIN_READ_ONLY
_STATELESS = frozenset({Reason.TRANSACTION, Reason.SETTING, Reason.EXPLAIN, Reason.POSITION, Reason.POOL})
_NOT_IN_WAL = int(Effect.SETTINGS | Effect.INSTEAD)
_verdict = cache(Verdict)  # shared: there are few combinations


class Statement(Struct, frozen=True, gc=False):  # gc: a cache of many of them must not slow down collections
    """A classified statement; if a string has several, the whole string."""

    target: Target
    reason: str
    cause: str = ""  # what in the SQL is the reason: a function's name, a clause
    position: int = -1  # byte offset of the cause in the text that was classified; -1: the whole statement
    effects: int = 0  # Effect flags
    tx: Tx = Tx.NONE
    tag: str = ""  # command tag, for logs: SELECT, INSERT, CREATE TABLE
    literal_sensitive: bool = False  # another literal may change the class, so the whole text is the key
    overridable: bool = False  # on the primary out of caution or by meaning, not by writing syntax: a hint may move it
    custom: tuple[str, ...] = ()  # custom settings that it mentions, as strings or in code that it contains
    through: str = ""  # what leads to CODE or OTHER_STATE: "set_config through set_tenant"
    draws: bool = False  # it, or code that it runs, may draw values from sequences
    functions: tuple[str, ...] = ()  # names as written, folded by the parser: "f" or "schema.f"
    relations: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    parts: tuple[Statement, ...] = ()  # the statements of a string with several
    prepared: str = ""  # the prepared statement that a PREPARE, EXECUTE or DEALLOCATE names; never that of a part
    verdict: Verdict = _verdict(WRITES | STATELESS, "")  # derived from the other fields, for the data path

    def __post_init__(self) -> None:
        reads = self.target is _REPLICA or (self.target is _SESSION and self.tx is _BEGIN_READ_ONLY)
        quiet = not self.effects and self.tx is _NO_TX
        # A string with several statements has the first one's reason and the effects of all
        harmless = self.target is _SESSION and self.reason in _STATELESS and not self.effects & ~_NOT_IN_WAL
        writes = not (reads or harmless)
        flags = READS * reads | WRITES * writes | DRAWS * self.draws | STATELESS * quiet
        force_setattr(self, "verdict", _verdict(flags, self.reason))
