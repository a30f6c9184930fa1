"""pg_ident.conf: maps and who may be whom by them, as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgrouter.auth.ident import UserMaps
from pgrouter.errors import ConfigError

IDENT = Path("/etc/pg_ident.conf")

MAPS = r"""
# map   system         user
m       bryanh         bryanh
m       ann            ann
m       robert         bob
m       bryanh         guest1
mail    /^(.*)@mydomain\.com$    \1
mail    /^(.*)@otherdomain\.com$ guest
mail    "/^(.*),x$"    "\1"
group   root           +staff
every   root           all
quoted  root           "all"
reg     root           "/^app_.*$"
both    /^(.*)$        pre\1post
"""


class Text:
    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, path: Path) -> str:
        assert path == IDENT
        return self.text

    def listed(self, directory: Path) -> list[Path]:
        raise FileNotFoundError(2, f"No such file or directory: {directory}")


def maps(text: str) -> UserMaps:
    return UserMaps.load(IDENT, Text(text))


@pytest.mark.parametrize(
    ("name", "system_user", "user", "expected"),
    [
        ("", "joe", "joe", True),
        ("", "joe", "jim", False),
        ("m", "bryanh", "bryanh", True),
        ("m", "bryanh", "guest1", True),
        ("m", "robert", "bob", True),
        ("m", "robert", "robert", False),
        ("m", "bob", "bob", False),
        ("none", "bob", "bob", False),
        ("mail", "joe@mydomain.com", "joe", True),
        ("mail", "joe@mydomain.com", "jim", False),
        ("mail", "joe@mydomainxcom", "joe", False),
        ("mail", "joe@mydomain.com\n", "joe", False),
        ("mail", "joe@otherdomain.com", "guest", True),
        ("mail", "joe,x", "joe", True),
        # What a system user is called is no keyword and no group
        ("mail", "all@mydomain.com", "joe", False),
        ("mail", "all@mydomain.com", "all", True),
        ("mail", "+staff@mydomain.com", "joe", False),
        ("group", "root", "joe", None),
        ("every", "root", "anybody", True),
        ("quoted", "root", "anybody", False),
        ("reg", "root", "app_1", True),
        ("reg", "root", "1_app", False),
        ("both", "x", "prexpost", True),
    ],
)
def test_who_may_be_whom(name: str, system_user: str, user: str, *, expected: bool | None) -> None:
    assert maps(MAPS).allow(name, system_user, user, None) is expected


def test_groups_once_the_roles_are_known() -> None:
    assert maps(MAPS).allow("group", "root", "joe", {"joe", "staff"}) is True
    assert maps(MAPS).allow("group", "root", "joe", {"joe"}) is False


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m", "missing entry at end of line"),
        ("m root", "missing entry at end of line"),
        ("m a,b c", "multiple values in ident field"),
        ("m a b c", "expected three fields"),
        ("m /( b", 'invalid regular expression "("'),
        ("m a /(", 'invalid regular expression "("'),
        (r"m /^a$ \1", 'regular expression "^a$" has no subexpressions as requested by backreference in "\\1"'),
    ],
)
def test_a_line_that_cannot_be_used_is_told_by_its_place(line: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        maps(f"\n{line}\n")
    assert caught.value.problems[0].startswith(f"{IDENT}:2: {expected}")
