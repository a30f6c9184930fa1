"""The addresses of pg_hba.conf: `all`, `samehost`, `samenet`, CIDR, an address with a mask, a host name.

Source: backend/libpq/hba.c, parse_hba_line(), check_ip(), check_hostname(); the numbers are read by getaddrinfo(), as
there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.auth.tokens import Field

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


class Kind(Enum):
    """How an address is compared."""

    ALL = auto()
    SAMEHOST = auto()
    SAMENET = auto()
    MASK = auto()
    NAME = auto()


WORDS = {"all": Kind.ALL, "samehost": Kind.SAMEHOST, "samenet": Kind.SAMENET}


@dataclass(frozen=True, slots=True)
class Network:
    """Where a connection may come from."""

    kind: Kind
    version: int = 0  # of MASK: 4 or 6
    address: int = 0  # only what the mask leaves of it
    mask: int = 0
    name: str = ""  # of NAME: a host, or with a dot in front all hosts of a domain

    @property
    def is_own(self) -> bool:
        """Whether it depends on this machine's own addresses."""
        return self.kind in (Kind.SAMEHOST, Kind.SAMENET)

    def contains(self, address: Address, host_name: str | None, interfaces: tuple[Interface, ...]) -> bool | None:
        """Whether an address is in it; None: that depends on its host name, which is not known."""
        if self.kind is Kind.NAME:
            return None if host_name is None else self._names(host_name)
        if self.kind is Kind.MASK:
            return address.version == self.version and int(address) & self.mask == self.address
        if self.kind is Kind.SAMEHOST:
            return any(address == each.ip for each in interfaces)
        return self.kind is Kind.ALL or any(address in each.network for each in interfaces)

    def _names(self, host_name: str) -> bool:
        wanted, name = self.name.lower(), host_name.lower()
        return name.endswith(wanted) if wanted.startswith(".") else name == wanted


def parse_network(field: Field, netmask: Callable[[], Field]) -> Network:
    """Read an address; `netmask` gives the next field, where the mask is if the address has none.

    Raises:
        ValueError: it is none; the text says why, in PostgreSQL's words.

    """
    if len(field) != 1:
        raise ValueError(f"{'multiple' if field else 'no'} values specified for host address")
    token = field[0]
    if not token.quoted and token.text in WORDS:
        return Network(WORDS[token.text])
    text, slash, bits = token.text.partition("/")
    address = _number(text)
    if address is None:
        if slash:
            raise ValueError(f'specifying both host name and CIDR mask is invalid: "{token.text}"')
        return Network(Kind.NAME, name=text)
    if slash:
        if not (bits.isascii() and bits.isdigit() and int(bits) <= address.max_prefixlen):
            raise ValueError(f'invalid CIDR mask in address "{token.text}"')
        every = (1 << address.max_prefixlen) - 1
        return _masked(address, every ^ (every >> int(bits)))
    return _masked(address, _mask(netmask(), address))


def _mask(field: Field, address: Address) -> int:
    if len(field) != 1:
        raise ValueError(f"{'multiple' if field else 'no'} values specified for netmask")
    mask = _number(field[0].text)
    if mask is None:
        raise ValueError(f'invalid IP mask "{field[0].text}"')
    if mask.version != address.version:
        raise ValueError("IP address and mask do not match")
    return int(mask)


def _masked(address: Address, mask: int) -> Network:
    return Network(Kind.MASK, address.version, int(address) & mask, mask)


def _number(text: str) -> Address | None:
    """Return a numeric address as getaddrinfo() reads it; None: it is a name."""
    try:
        found = socket.getaddrinfo(text, None, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return ip_address(str(found[0][4][0]).partition("%")[0])
