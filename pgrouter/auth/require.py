"""What a server may ask for when the router logs in, as libpq's require_auth.

Without a rule a server gets no password in clear, unless nobody else can hear it and the server is known to be the one
that is meant: a rogue one would only have to ask.

Source: libpq, "require_auth"; fe-auth.c, check_expected_areq().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = frozenset({"password", "md5", "scram-sha-256", "none"})
UNSAFE = frozenset({"password"})  # in clear


def allowed(rule: Sequence[str], *, private: bool) -> frozenset[str]:
    """Return the methods that a server may ask for; none: it may let the router in without asking.

    `rule` is servers.require_auth: methods, or methods that are not allowed, each with `!`. `private`: a Unix socket,
    or TLS to a server whose certificate has been verified.
    """
    if not rule:
        return METHODS if private else METHODS - UNSAFE
    if rule[0].startswith("!"):
        return METHODS - {method[1:] for method in rule}
    return frozenset(rule)


def libpq_rule(rule: Sequence[str], *, private: bool) -> str:
    """Return the same for libpq, for the router's own sessions; "": anything is allowed."""
    return ",".join(rule) or ("" if private else ",".join(f"!{method}" for method in sorted(UNSAFE)))
