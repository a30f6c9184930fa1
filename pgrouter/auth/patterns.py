"""Names given as regular expressions (`/...` in pg_hba.conf and pg_ident.conf).

PostgreSQL's regular expressions are close to those of the regex package, except that its `$` also matches before a
final newline: so names are matched without newlines. A client chooses what is matched, so matching has a time limit:
what takes longer refuses the login, whatever the line would have said.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

from pgrouter.errors import InvalidAuthorization

LIMIT_S = 0.003  # of CPU time


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regular expression."""

    text: str
    compiled: regex.Pattern[str]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Compile one. Raises ValueError: it is none; the text says why."""
        try:
            return cls(text, regex.compile(text, regex.DOTALL))
        except regex.error as error:
            raise ValueError(f'invalid regular expression "{text}": {error}') from None

    def search(self, name: str) -> regex.Match[str] | None:
        """Return the match in a name, None if there is none.

        Raises:
            InvalidAuthorization: 28000, it takes too long to find out.

        """
        try:
            return self.compiled.search(name.replace("\n", "\0"), timeout=LIMIT_S)
        except TimeoutError:
            raise InvalidAuthorization(
                "connection rejected", detail=f'The regular expression "{self.text}" takes too long for this name.'
            ) from None

    @property
    def has_group(self) -> bool:
        """Whether it has a subexpression."""
        return self.compiled.groups > 0
