"""Laws of the key, against PostgreSQL's own scanner."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pglast.parser import ParseError, scan

import pgrouter
from pgrouter.routing import fingerprint

if TYPE_CHECKING:
    from types import ModuleType


def _plain() -> ModuleType:
    path = Path(pgrouter.__file__).parent / "routing" / "fingerprint.py"
    spec = importlib.util.spec_from_loader("plain_fp", SourceFileLoader("plain_fp", str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLAIN = _plain()

# Where lexers go wrong: prefixes of strings, quotes, dollars, comments, signs, newlines, numbers.
PIECES = st.sampled_from(
    [
        *"eExXbBnNuU&'\"$1 0._+-/*\n\\(),;:=@a",
        *("''", "--", "/*", "*/", "$$", "$a$", "in(", " in (", "e'", "E'", "u&'", "N'", "1e5", "1.", ".5", "0x1f"),
        *("select ", "2147483648", "99999999999", "/* pgrouter: primary */", "float(", "\t", "\r"),
        *('"a"', "é", "1,1", "'a','b'"),
    ]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
# Changes that often keep a key.
ADDED = st.sampled_from([" ", "\n", "/**/", "--\n", "1", "a", "A", "''", "'", "", "-", "$", ".", ","])
EDITS = st.lists(st.tuples(st.floats(0, 1), ADDED), min_size=1, max_size=3)


def key(sql: str) -> bytes:
    raw = sql.encode()
    return fingerprint.fingerprint(raw, 0, len(raw))


def tokens(sql: str) -> list[tuple[str, str]] | None:
    """Give PostgreSQL's tokens without what literals contain; None when it refuses the text."""
    raw = sql.encode()
    try:
        found = scan(sql)
    except ParseError:
        return None
    listed = []
    for token in found:
        if token.name in ("SQL_COMMENT", "C_COMMENT"):
            continue
        text = raw[token.start : token.end + 1].decode() if raw.isascii() else sql[token.start : token.end + 1]
        constant = token.name in ("SCONST", "ICONST", "FCONST", "BCONST", "XCONST", "USCONST")
        listed.append((token.name, "" if constant else text if text[:1] == '"' else text.lower()))
    return listed


def without_lists(listed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Fold equal constants that follow each other in IN lists, as keys do."""
    out: list[tuple[str, str]] = []
    in_list = False
    for token in listed:
        name = token[0]
        constant = name.endswith("CONST")
        if name == "ASCII_40":
            in_list = len(out) > 0 and out[-1][0] == "IN_P"
        elif not constant and name != "ASCII_44":
            in_list = False
        if constant and in_list and len(out) > 1 and out[-1][0] == "ASCII_44" and out[-2] == token:
            out.pop()
            continue
        out.append(token)
    return out


@settings(max_examples=1500, deadline=None)
@given(TEXTS, EDITS)
@example("select 'a' 'b'", [(0.6, "\n")])
@example("select a in (1,2)", [(0.9, "1")])
def test_one_key_one_list_of_tokens(text: str, edits: list[tuple[float, str]]) -> None:
    other = text
    for where, piece in edits:
        at = int(where * len(other))
        other = other[:at] + piece + other[at:]
    made = key(text)
    if made == key(other):
        one, two = tokens(text), tokens(other)
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert without_lists(one) == without_lists(two)


WORDS = ["select", "a", '"B c"', "from", "where", "(", ")", ",", "=", "<>", "::", "int", ";", "in", "$1", "*", "and"]
STRINGS = ["''", "'x'", "'it''s -- no'", "$$ ' $$", "$q$ /* $q$", "E'\\''", "E'a\\\\'"]
INTEGERS = ["0", "1", "42", "2147483647"]
OTHERS = ["1.5", ".5", "1e9", "2147483648", "3."]
GAPS = [" ", "\n", "\t \r", " /* c */ ", " -- c\n", "/* /* ' */ */\n"]


@st.composite
def spelled_twice(draw: st.DrawFn) -> tuple[str, str]:
    """Draw one list of tokens, written twice with other literals, spaces, comments and case."""
    texts = ["", ""]
    for kind in draw(st.lists(st.sampled_from([WORDS, WORDS, STRINGS, INTEGERS, OTHERS]), max_size=12)):
        word = draw(st.sampled_from(WORDS))
        for which in range(2):
            if kind is WORDS:
                piece = word if word[0] == '"' or draw(st.booleans()) else word.upper()
            else:
                piece = draw(st.sampled_from(kind))
            texts[which] += piece + draw(st.sampled_from(GAPS))
    return texts[0], texts[1]


@settings(max_examples=400, deadline=None)
@given(spelled_twice())
def test_literals_comments_case_and_space_do_not_change_the_key(pair: tuple[str, str]) -> None:
    one, other = pair
    # A newline between two strings makes one of them: then these are other tokens.
    assume(tokens(one) == tokens(other))
    assert key(one) == key(other)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=40) | TEXTS.map(str.encode))
def test_any_bytes_make_the_same_key_both_ways(raw: bytes) -> None:
    assert fingerprint.fingerprint(raw, 0, len(raw)) == PLAIN.fingerprint(raw, 0, len(raw))
    assert fingerprint.leading_hint(raw, 0, len(raw)) == PLAIN.leading_hint(raw, 0, len(raw))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=10), st.binary(max_size=30), st.binary(max_size=10))
def test_what_lies_around_does_not_matter(before: bytes, raw: bytes, after: bytes) -> None:
    whole = before + raw + after
    start, end = len(before), len(before) + len(raw)
    assert fingerprint.fingerprint(whole, start, end) == fingerprint.fingerprint(raw, 0, len(raw))
