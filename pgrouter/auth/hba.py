"""Who may come in from where, and how they prove who they are, in the format of pg_hba.conf.

Text in, frozen rules out; `Rules.match` decides for one `Arrival`, by the first line that matches. What is expensive to
find out (the host name of an address, the roles of a user) is asked for only when a line depends on it: the answer is
then `Missing`, and the same question is put again with an arrival that knows it.

Source: client-auth chapter, "The pg_hba.conf File"; backend/libpq/hba.c, parse_hba_line(), check_hba().
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pgrouter.auth.addresses import Interface, Kind, Network, parse_network
from pgrouter.auth.hba_options import NO_OPTIONS, VERIFY_FULL, Options, check_method, parse_options
from pgrouter.auth.names import Name, any_of, database_name, user_name
from pgrouter.auth.tokens import Disk, Field, Files, Line, LineReader, Token
from pgrouter.errors import ConfigError, InvalidAuthorization

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
LOCAL = "[local]"  # what PostgreSQL calls the address of a Unix socket


class Certificate(NamedTuple):
    """The names in a client's certificate, which has been verified."""

    common_name: str
    distinguished_name: str  # RFC 2253


class Arrival(msgspec.Struct, frozen=True):
    """What is known of a connection when it asks to be let in."""

    user: str
    database: str
    address: str = ""  # "": a Unix socket
    encrypted: bool = False
    certificate: Certificate | None = None
    binding: bytes = b""  # what SCRAM-SHA-256-PLUS binds to: tls-server-end-point; empty: there is no TLS
    system_user: str | None = None  # the peer's, over a Unix socket; None: not looked up
    host_name: str | None = None  # of the address, confirmed by a look-up in both directions; None: not looked up
    roles: AbstractSet[str] | None = None  # the user's own and those that it is a member of; None: not looked up

    @property
    def ip(self) -> IPv4Address | IPv6Address:
        """The address as a number, if it is not a Unix socket's."""
        bare = self.address.partition("%")[0]
        if ":" not in bare:
            return IPv4Address(bare)
        address = IPv6Address(bare)
        return address.ipv4_mapped or address

    @property
    def described(self) -> str:
        """The connection in PostgreSQL's words."""
        encryption = "SSL encryption" if self.encrypted else "no encryption"
        host = self.address or LOCAL
        return f'host "{host}", user "{self.user}", database "{self.database}", {encryption}'


class Missing(Enum):
    """What has to be found out before a line can be decided."""

    HOST_NAME = auto()
    ROLES = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """One line; `place` is its FILE:LINE."""

    type: str
    databases: tuple[Name, ...]
    users: tuple[Name, ...]
    network: Network | None  # None: of a local line
    method: str
    options: Options = NO_OPTIONS
    place: str = ""
    text: str = ""

    def matches(self, arrival: Arrival, interfaces: tuple[Interface, ...]) -> bool | Missing:
        """Whether it is about such a connection."""
        if not self._has_type_of(arrival):
            return False
        databases = any_of(
            [each.matches_database(arrival.database, arrival.user, arrival.roles) for each in self.databases]
        )
        users = any_of([each.matches_user(arrival.user, arrival.roles) for each in self.users])
        if databases is False or users is False:
            return False
        if self.network is not None:
            near = self.network.contains(arrival.ip, arrival.host_name, interfaces)
            if near is not True:
                return Missing.HOST_NAME if near is None else False
        return Missing.ROLES if databases is None or users is None else True

    def _has_type_of(self, arrival: Arrival) -> bool:
        if not arrival.address or self.type == "local":
            return not arrival.address and self.type == "local"
        if self.type == "hostgssenc":  # GSSAPI encryption is never there
            return False
        return self.type in ("host", "hostnogssenc") or arrival.encrypted == (self.type == "hostssl")


class Verdict(NamedTuple):
    """The line that decides, None if none matches; or what is missing to tell."""

    rule: Rule | None
    missing: Missing | None
    reason: str  # for the log


@dataclass(frozen=True, slots=True)
class Rules:
    """All lines of a file, in their order."""

    rules: tuple[Rule, ...] = ()
    everybody: bool = False  # one for Unix sockets and one for addresses, which are about everybody

    @classmethod
    def load(cls, path: Path, files: Files | None = None) -> Rules:
        """Read a file.

        Raises:
            ConfigError: `FILE:LINE: what is wrong` for every line that cannot be used.

        """
        reader = LineReader(files or Disk())
        rules = []
        for line in reader.read(path):
            try:
                rules.append(_rule(line))
            except ValueError as error:
                reader.problems.append(f"{line.place}: {error}")
        if not rules and not reader.problems:
            reader.problems.append(f"{path}: it has no line: nobody could log in")
        if reader.problems:
            raise ConfigError(reader.problems)
        return cls(tuple(rules))

    @classmethod
    def always(cls, method: str) -> Rules:
        """Return the rules of an auth.type: everybody from everywhere by this method."""
        every = (database_name(Token("all")),)
        options = Options(client_cert=VERIFY_FULL) if method == "cert" else NO_OPTIONS
        rule = Rule("local", every, every, None, method, options, place=f"auth.type {method}")
        return cls((rule, replace(rule, type="host", network=Network(Kind.ALL))), everybody=True)

    @property
    def needs_interfaces(self) -> bool:
        """Whether a line depends on this machine's own addresses."""
        return any(rule.network is not None and rule.network.is_own for rule in self.rules)

    @property
    def needs_roles(self) -> bool:
        """Whether a line depends on the roles that a user is a member of."""
        return any(name.needs_roles for rule in self.rules for name in rule.databases + rule.users)

    def match(self, arrival: Arrival, interfaces: tuple[Interface, ...] = ()) -> Verdict:
        """Return the first line that matches. Raises InvalidAuthorization as `Pattern.search` does."""
        if self.everybody:
            rule = self.rules[1 if arrival.address else 0]
            return Verdict(rule, None, rule.place)
        for rule in self.rules:
            answer = rule.matches(arrival, interfaces)
            if isinstance(answer, Missing):
                return Verdict(None, answer, f"{rule.place} depends on it")
            if answer:
                return Verdict(rule, None, f'{rule.place}: "{rule.text}"' if rule.text else rule.place)
        return Verdict(None, None, "no line matches")


def refusal(rule: Rule | None, arrival: Arrival) -> InvalidAuthorization:
    """Return PostgreSQL's error for a connection that matches no line, or one that rejects it."""
    if rule is None:
        return InvalidAuthorization(f"no pg_hba.conf entry for {arrival.described}")
    return InvalidAuthorization(f"pg_hba.conf rejects connection for {arrival.described}")


# -- one line


def _rule(line: Line) -> Rule:
    fields = list(line.fields)

    def next_field(what: str) -> Field:
        if not fields:
            raise ValueError(f"end-of-line before {what}")
        return fields.pop(0)

    kind = _only(next_field("connection type"), "connection type")
    if kind not in TYPES:
        raise ValueError(f'invalid connection type "{kind}"')
    databases = tuple(database_name(token) for token in next_field("database specification"))
    users = tuple(user_name(token) for token in next_field("role specification"))
    network = None
    if kind != "local":
        address = next_field("IP address specification")
        network = parse_network(address, lambda: next_field("netmask specification"))
    method = _only(next_field("authentication method"), "authentication type")
    if method == "ident" and kind == "local":
        method = "peer"
    check_method(kind, method)
    options = parse_options(kind, method, [token for field in fields for token in field])
    return Rule(kind, databases, users, network, method, options, line.place, line.text)


def _only(field: Field, what: str) -> str:
    if len(field) != 1:
        raise ValueError(f"{'multiple' if field else 'no'} values specified for {what}")
    return field[0].text
