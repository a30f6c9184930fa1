# cython: annotation_typing=False
"""How long a text will take to parse and classify, estimated from its bytes beforehand. Pure.

PostgreSQL's parser and the walk over its tree take a few microseconds per token; for a run of operator characters
(`++++`, `/*/*/*`, a line of dashes) the time grows with the square of its length, because the lexer reads the whole
run, pushes all but one character back, and starts over. So a weight is the number of tokens plus, for each run, the
square of its length. It is an upper bound: what looks like tokens in a literal or comment counts as well, since only
the full lexer can tell where those end.

The same file runs compiled (with weight.pxd) and as plain Python.
"""

from __future__ import annotations

import cython  # type: ignore[import-untyped]

from pgrouter.routing.characters import CLASS

if not cython.compiled:  # compiled, they are constants: see the .pxd files
    from pgrouter.routing.characters import DIGIT, OPERATOR, PUNCTUATION, SPACE, WORD

# A token takes 2 to 5 microseconds, a run of 1000 characters 5 milliseconds.
RUN_PER_TOKEN = 1000
TOKENS_PER_COMMAND = 6  # each is classified by itself
SEMICOLON = ord(";")
BYTES_PER_TOKEN = 256  # bytes of literals cost as well, if little


def weigh(buf: bytes, start: int, end: int, limit: int) -> int:
    """Return the weight of the text in buf[start:end], in tokens; counting stops above `limit`."""
    table = CLASS
    weight = (end - start) // BYTES_PER_TOKEN
    run = 0
    before = SPACE
    i = start
    while i < end and weight <= limit:
        kind = table[buf[i]]
        if kind == OPERATOR:
            run += 1
            weight += 1
        else:
            if run:
                weight += run * run // RUN_PER_TOKEN
                run = 0
            if kind == DIGIT:
                kind = WORD
            if kind == PUNCTUATION or kind not in (before, SPACE):
                weight += 1
                if buf[i] == SEMICOLON:
                    weight += TOKENS_PER_COMMAND
        before = kind
        i += 1
    return weight + run * run // RUN_PER_TOKEN


def is_compiled() -> bool:
    """Whether this module runs compiled."""
    return bool(cython.compiled)
