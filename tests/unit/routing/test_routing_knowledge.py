"""The tables are complete and name only what exists."""

from __future__ import annotations

from pglast import ast

from pgrouter.routing import builtins, commands, knowledge

# Never the statement of a client: made by the analyzer or wrapped around others.
_INTERNAL = {"RawStmt", "SetOperationStmt"}


def nodes() -> set[str]:
    return {name for name, node in vars(ast).items() if isinstance(node, type) and issubclass(node, ast.Node)}


def test_every_statement_of_the_parser_is_known() -> None:
    statements = {name for name in nodes() if name.endswith("Stmt")} - _INTERNAL
    known = set(commands.KINDS) | set(knowledge.PRIMARY_COMMANDS) | knowledge.DDL_NODES
    assert statements - known == set()
    assert known - statements == set()


def test_no_statement_is_in_two_tables() -> None:
    assert not set(commands.KINDS) & set(knowledge.PRIMARY_COMMANDS)
    assert not (set(commands.KINDS) | set(knowledge.PRIMARY_COMMANDS)) & knowledge.DDL_NODES


def test_nodes_of_a_read_exist() -> None:
    assert knowledge.READ_NODES - nodes() - {"List"} == set()
    assert not knowledge.READ_NODES & set(knowledge.WRITING_NODES)


def test_named_functions_exist() -> None:
    every = builtins.STEADY_FUNCTIONS | builtins.VOLATILE_FUNCTIONS
    newer = {"pg_get_aios", "pg_numa_available", "pg_get_shmem_allocations_numa", "pg_get_sequence_data"}  # 18
    older = {"pg_is_in_backup"}
    named = (
        knowledge.SAFE_VOLATILE
        | set(knowledge.SESSION_FUNCTIONS)
        | knowledge.SERVER_FUNCTIONS
        | set(knowledge.SAFE_WITH_ARGUMENTS)
    )
    assert named - every - newer - older == set()
    assert knowledge.SAFE_VOLATILE <= builtins.VOLATILE_FUNCTIONS


def test_volatile_functions_are_never_steady() -> None:
    assert not builtins.STEADY_FUNCTIONS & builtins.VOLATILE_FUNCTIONS
    assert {"nextval", "setval", "pg_notify", "lo_put"} <= builtins.VOLATILE_FUNCTIONS - knowledge.SAFE_VOLATILE
