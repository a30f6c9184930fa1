"""The methods of pg_hba.conf and their options: which exist, which the router has, and where they may stand.

Source: backend/libpq/hba.c, parse_hba_line(), parse_hba_auth_opt(); client-auth chapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgrouter.auth.tokens import Token

SUPPORTED = ("trust", "reject", "password", "md5", "scram-sha-256", "cert", "peer", "oauth")
UNSUPPORTED = ("ident", "gss", "sspi", "pam", "bsd", "ldap", "radius")
VERIFY_CA, VERIFY_FULL = "verify-ca", "verify-full"

# Options, and the methods that have them; clientcert belongs to hostssl lines of any method
OPTIONS = {
    "map": ("peer", "cert", "oauth"),
    "issuer": ("oauth",),
    "scope": ("oauth",),
    "clientcert": SUPPORTED,
    "clientname": SUPPORTED,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a line says besides its method."""

    map: str = ""  # of pg_ident.conf; "": the names must be the same
    client_cert: str = ""  # "", verify-ca (there must be a certificate), verify-full (with the user's name)
    client_name: str = "CN"  # or DN: which name of the certificate
    issuer: str = ""  # of tokens
    scope: str = ""  # that a token must have; several with blanks


NO_OPTIONS = Options()


def check_method(kind: str, method: str) -> None:
    """Raise ValueError if lines of this connection type cannot have this method."""
    if method not in SUPPORTED:
        if method not in UNSUPPORTED:
            raise ValueError(f'invalid authentication method "{method}"')
        if kind != "hostgssenc":  # such a line never matches: its method does not matter
            raise ValueError(f'authentication method "{method}" is not supported; there are {", ".join(SUPPORTED)}')
    if method == "peer" and kind != "local":
        raise ValueError("peer authentication is only supported on local sockets")
    if method == "cert" and kind != "hostssl":
        raise ValueError("cert authentication is only supported on hostssl connections")


def parse_options(kind: str, method: str, tokens: list[Token]) -> Options:
    """Read the options of a line. Raises ValueError: one that is unknown, or not possible there."""
    given: dict[str, str] = {}
    for token in tokens:
        name, equals, value = token.text.partition("=")
        if not equals:
            raise ValueError(f"authentication option not in name=value format: {token.text}")
        if kind == "hostgssenc" and method in UNSUPPORTED:
            continue
        _check_option(kind, method, name, value)
        given[name] = value
    client_cert = given.get("clientcert", "")
    if method == "cert":
        if client_cert == VERIFY_CA:
            raise ValueError('clientcert only accepts "verify-full" when using "cert" authentication')
        client_cert = VERIFY_FULL
    if method == "oauth":
        for name in ("issuer", "scope"):
            if not given.get(name):
                raise ValueError(f'authentication method "oauth" requires argument "{name}" to be set')
    issuer, scope = given.get("issuer", ""), given.get("scope", "")
    return Options(given.get("map", ""), client_cert, given.get("clientname", "CN"), issuer, scope)


def _check_option(kind: str, method: str, name: str, value: str) -> None:
    if name not in OPTIONS:
        raise ValueError(f'unrecognized authentication option name: "{name}"')
    if method not in OPTIONS[name]:
        methods = ", ".join(OPTIONS[name])
        raise ValueError(f'authentication option "{name}" is only valid for authentication methods {methods}')
    if name in ("clientcert", "clientname") and kind != "hostssl":
        raise ValueError(f'{name} can only be configured for "hostssl" rows')
    if name == "clientcert" and value not in (VERIFY_CA, VERIFY_FULL):
        raise ValueError(f'invalid value for clientcert: "{value}"')
    if name == "clientname" and value not in ("CN", "DN"):
        raise ValueError(f'invalid value for clientname: "{value}"')
