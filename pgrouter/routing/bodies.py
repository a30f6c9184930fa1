"""The body of a function in SQL or PL/pgSQL -> the queries in it, and the variables that they may name.

The input is the function's definition, as pg_get_functiondef() writes it. PL/pgSQL that libpg_query cannot parse (it
does not know types of other schemas in a DECLARE) is split into words by PostgreSQL's lexer instead, and every word may
be the name of anything. That errs on the safe side: it reports too much rather than too little.

Code that builds SQL at run time, writes, or opens a cursor (which the caller's transaction has afterwards) needs the
primary regardless of the details. It is analyzed all the same for what it may do to the session: SQL that is built at
run time, as far as `dynamic` can follow it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgrouter.routing import dynamic, parse
from pgrouter.routing.nodes import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrouter.routing.nodes import Node

Variables = dict[str, set[int | None]]
"""Name -> types (None: not known); a row `r` has also `r.`, and a `r.column` for each column that is known."""

Rows = Mapping[str, Mapping[str, int]]
"""Columns of tables, with their types, as `Catalog.columns` has them."""

_ANY_WORD = re.compile(r'"(?:[^"]|"")+"|[^\W\d][\w$]*')
MOST_INPUTS = 100  # FUNC_MAX_ARGS, pg_config_manual.h
_EXPRESSION, _ASSIGNMENTS = 2, (3, 4, 5)  # RawParseMode, parser.h

_HARMLESS = frozenset(
    """
PLpgSQL_stmt_block PLpgSQL_stmt_assign PLpgSQL_stmt_if PLpgSQL_if_elsif PLpgSQL_stmt_case PLpgSQL_case_when
PLpgSQL_stmt_loop PLpgSQL_stmt_while PLpgSQL_stmt_fori PLpgSQL_stmt_fors PLpgSQL_stmt_forc PLpgSQL_stmt_foreach_a
PLpgSQL_stmt_exit PLpgSQL_stmt_return PLpgSQL_stmt_return_next PLpgSQL_stmt_return_query PLpgSQL_stmt_raise
PLpgSQL_raise_option PLpgSQL_stmt_assert PLpgSQL_stmt_execsql PLpgSQL_stmt_getdiag PLpgSQL_diag_item
PLpgSQL_stmt_fetch PLpgSQL_stmt_close PLpgSQL_stmt_perform PLpgSQL_exception_block PLpgSQL_exception
PLpgSQL_condition PLpgSQL_expr PLpgSQL_var PLpgSQL_rec PLpgSQL_row PLpgSQL_recfield PLpgSQL_type PLpgSQL_variable
""".split()  # noqa: SIM905  (a list of words stays readable as text)
)
# Tokens that begin a command that writes, or SQL that cannot be seen here.
_TELLTALE = frozenset(
    """
INSERT UPDATE DELETE_P MERGE EXECUTE CALL COPY TRUNCATE CREATE ALTER DROP NOTIFY LISTEN UNLISTEN LOAD DISCARD
CHECKPOINT LOCK_P UIDENT REFRESH IMPORT_P GRANT DO COMMIT ROLLBACK
""".split()  # noqa: SIM905
)
_UNREAD = frozenset({"EXECUTE", "UIDENT", "DO", "LOAD"})
_BEFORE_STATEMENT = frozenset({";", "begin", "then", "else", "loop", ">>"})
_CONSTANTS = frozenset({"SCONST", "ICONST", "FCONST", "USCONST", "BCONST", "XCONST", "PARAM"})


@dataclass(slots=True)
class Body:
    """What a body contains: queries, or words if it was not parsed; `why`: it needs the primary whatever they are."""

    queries: list[Node] = field(default_factory=list)
    variables: Variables = field(default_factory=dict)
    words: frozenset[str] = frozenset()  # identifiers as the parser folds them, and operators
    why: str = ""
    source: str = ""
    unread: bool = False  # part of it could not be analyzed and may do anything to the session
    settings: set[str] = field(default_factory=set)  # custom settings, of a body that was split into words


def words_of(definition: str) -> set[str]:
    """Return every word in a definition, also in strings and comments: types appear where only PL/pgSQL looks."""
    return {word[1:-1] if word[0] == '"' else word.lower() for word in _ANY_WORD.findall(definition)}


def read(definition: str, language: str, types: Mapping[str, int], rows: Rows) -> Body:
    """Read a CREATE FUNCTION statement; `types`: OIDs of built-in types by name."""
    try:
        function = parse.statements(definition)[0]["CreateFunctionStmt"]
    except (parse.ParseError, LookupError, RecursionError):
        return Body(why="does not parse", unread=True)
    return read_function(function, language, types, rows)


def language_of(function: Node) -> str:
    """Return the language of a CREATE FUNCTION statement or of a DO block, as the lexer folds it."""
    for option in function.get("options", function.get("args", ())):
        if option["DefElem"]["defname"] == "language":
            return "".join(names([option["DefElem"].get("arg", {})])).lower()
    return "sql" if "sql_body" in function else "plpgsql" if "funcname" not in function else ""


def read_block(block: Node, types: Mapping[str, int], rows: Rows) -> Body:
    """Read a DO statement."""
    source = "".join(
        "".join(names([option["DefElem"].get("arg", {})]))
        for option in block.get("args", ())
        if option["DefElem"]["defname"] == "as"
    )
    if language_of(block) != "plpgsql":
        return Body(why=f"written in {language_of(block)}", unread=True)
    return _read({}, "plpgsql", source, types, rows)


def read_function(function: Node, language: str, types: Mapping[str, int], rows: Rows) -> Body:
    """Read a CREATE FUNCTION statement that was parsed."""
    options = {option["DefElem"]["defname"]: option["DefElem"].get("arg", {}) for option in function.get("options", ())}
    source = "".join(names(options.get("as", {}).get("List", {}).get("items", [])))
    return _read(function, language, source, types, rows)


def _read(function: Node, language: str, source: str, types: Mapping[str, int], rows: Rows) -> Body:
    body = Body(variables=_parameters(function, types, rows), source=source)
    try:
        if language == "sql":
            _queries(source, body)
        else:
            _plpgsql(_definition(function, source), body, types)
    except (parse.ParseError, RecursionError):
        if language == "sql":
            body.why, body.unread = "does not parse", True
        else:
            _cut(source, body)
    return body


def _queries(text: str, body: Body) -> None:
    for statement in parse.statements(text):
        kind = next(iter(statement))
        if kind != "SelectStmt":
            body.why = body.why or f"contains {kind.removesuffix('Stmt').upper()}"
        body.queries.append(statement)


# -- variables ------------------------------------------------------------------------------------------------------


def _parameters(function: Node, types: Mapping[str, int], rows: Rows) -> Variables:
    found: Variables = {}
    inputs = 0
    for node in function.get("parameters", ()):
        parameter = node["FunctionParameter"]
        called = [parameter["name"]] if "name" in parameter else []
        if parameter["mode"] not in ("FUNC_PARAM_OUT", "FUNC_PARAM_TABLE"):
            inputs += 1
            called.append(f"${inputs}")
        written = parameter.get("argType", {})
        path = names(written.get("names", []))
        builtin = path[-1] if path[0] == "pg_catalog" or len(path) == 1 else ""
        kind = types.get(("_" if written.get("arrayBounds") else "") + builtin)
        for name in called:
            _declare(found, name, kind, rows.get(".".join(path), {}))
    return found


def _declare(variables: Variables, name: str, kind: int | None, columns: Mapping[str, int]) -> None:
    variables.setdefault(name, set()).add(kind)
    if kind is None:
        variables[f"{name}."] = {None}
        for column, its_kind in columns.items():
            variables.setdefault(f"{name}.{column}", set()).add(its_kind)


def _plpgsql_variable(kind: str, content: Node, body: Body, types: Mapping[str, int]) -> None:
    name = content.get("refname", "")
    if kind in ("PLpgSQL_rec", "PLpgSQL_row"):
        _declare(body.variables, name, None, {})
    elif kind == "PLpgSQL_var":
        written = content.get("datatype", {}).get("PLpgSQL_type", {}).get("typname", "")
        _declare(body.variables, name, types.get(written), {})


# -- PL/pgSQL -------------------------------------------------------------------------------------------------------


def _plpgsql(definition: str, body: Body, types: Mapping[str, int]) -> None:
    executed: list[Node] = []
    for parsed in parse.plpgsql_functions(definition):
        for kind, content in _nodes([parsed.get("datums", []), parsed.get("action", {})]):
            if kind in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors") or "dynquery" in content:
                body.why = body.why or "contains EXECUTE"
                executed.append(content.get("dynquery", content.get("query", {})).get("PLpgSQL_expr", {}))
            elif kind not in _HARMLESS:
                body.why = body.why or f"contains {kind.removeprefix('PLpgSQL_stmt_').upper()}"
            _plpgsql_variable(kind, content, body, types)
            if kind == "PLpgSQL_expr":
                for query in _sql(content.get("query", ""), content.get("parseMode", 0)):
                    _queries(query, body)
    for expression in executed:
        _executed(expression.get("query", ""), body, types)


def _executed(expression: str, body: Body, types: Mapping[str, int]) -> None:
    """Analyze what EXECUTE runs, if the text shows enough of it."""
    text = dynamic.text(expression, body.variables, types)
    try:
        body.queries += parse.statements(text) if text is not None else ()
    except parse.ParseError:
        text = None
    body.unread = body.unread or text is None


def _nodes(root: Any) -> Iterator[tuple[str, Node]]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack += node
            continue
        for key, value in node.items():
            if isinstance(value, (dict, list)):
                if key.startswith("PLpgSQL_"):
                    yield key, value
                stack.append(value)


def _sql(text: str, mode: int) -> Iterator[str]:
    """Yield the statements that are equivalent to a PL/pgSQL expression."""
    if mode == _EXPRESSION:
        yield f"SELECT {text}"
    elif mode in _ASSIGNMENTS:
        target, value = _assignment(text)
        yield f"SELECT {target}"  # a subscript may contain expressions
        yield f"SELECT {value}"
    else:
        yield text


def _assignment(text: str) -> tuple[str, str]:
    depth = 0
    for token in parse.scan(text):
        depth += {"ASCII_91": 1, "ASCII_40": 1, "ASCII_93": -1, "ASCII_41": -1}.get(token.name, 0)
        if not depth and token.name in ("COLON_EQUALS", "ASCII_61"):
            return text[: token.start], text[token.end + 1 :]
    raise parse.ParseError("no assignment", 0)


def _definition(function: Node, source: str) -> str:
    """Rewrite the function with types libpg_query knows: others it finds in public only, as rows.

    Raises:
        ParseError: it has more input parameters than PostgreSQL takes; libpg_query would write behind its array.

    """
    parameters = [node["FunctionParameter"] for node in function.get("parameters", ())]
    if sum(one["mode"] not in ("FUNC_PARAM_OUT", "FUNC_PARAM_TABLE") for one in parameters) > MOST_INPUTS:
        raise parse.ParseError(f"functions cannot have more than {MOST_INPUTS} arguments", 0)
    takes = ", ".join(_parameter(one) for one in parameters if one["mode"] != "FUNC_PARAM_TABLE")
    columns = ", ".join(_parameter(one) for one in parameters if one["mode"] == "FUNC_PARAM_TABLE")
    result = function.get("returnType", {"names": [{"String": {"sval": "void"}}]})  # procedures and blocks have none
    gives = f"TABLE ({columns})" if columns else ("SETOF " if result.get("setof") else "") + _type(result)
    return f"CREATE FUNCTION f({takes}) RETURNS {gives} LANGUAGE plpgsql AS {_literal(source)}"


def _parameter(parameter: Node) -> str:
    mode = {"FUNC_PARAM_OUT": "OUT ", "FUNC_PARAM_INOUT": "INOUT "}.get(parameter["mode"], "")
    name = _identifier(parameter["name"]) + " " if "name" in parameter else ""
    return mode + name + _type(parameter.get("argType", {}))


def _type(written: Node) -> str:
    path = names(written.get("names", []))
    array = "[]" if written.get("arrayBounds") else ""
    if len(path) > 1 and path[0] != "pg_catalog":
        return "text[]" if array else "a_row"
    return f"pg_catalog.{_identifier(path[-1])}{array}"


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- bodies that do not parse ---------------------------------------------------------------------------------------


def _cut(source: str, body: Body) -> None:
    """Collect the words of a body, and why it needs the primary whatever they mean."""
    try:
        tokens = parse.scan(source)
    except (parse.ParseError, ValueError):
        body.why, body.unread = "does not parse", True
        return
    names_of = [token.name for token in tokens]
    written = [source[token.start : token.end + 1] for token in tokens]
    words = [_word(text, name) for text, name in zip(written, names_of, strict=True)]
    for at, (name, word) in enumerate(zip(names_of, words, strict=True)):
        if name in _TELLTALE or word in ("current_setting", "open"):
            body.why = body.why or f"contains {name.removesuffix('_P') if name in _TELLTALE else word}"
        if name in _UNREAD or word == "setseed" or (word == "set_config" and names_of[at + 2 : at + 3] != ["SCONST"]):
            body.unread = True  # state that no query reports, or a name that is computed
        if name == "SCONST" and "." in written[at]:
            body.settings.add(written[at].strip("'").lower())
        if name == "SET" and (at == 0 or words[at - 1] in _BEFORE_STATEMENT):
            body.settings |= _set_names(words[at + 1 : at + 5])
            body.words |= {"set_config"}
    body.words |= frozenset(words) - {""}


def _set_names(words: list[str]) -> set[str]:
    """Return the custom setting that a SET names, if it names one."""
    name = words[1:] if words[:1] in (["local"], ["session"]) else words
    return {f"{name[0]}.{name[2]}"} if name[1:2] == ["."] and len(name) > 2 else set()


def _word(text: str, name: str) -> str:
    """Return a token as the parser would look it up, an operator as written; "" for constants."""
    if name == "IDENT":
        return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
    if name in _CONSTANTS:
        return ""
    return "<>" if text == "!=" else text.lower()  # keywords may also be names
