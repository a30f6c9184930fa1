"""What a login needs of an X.509 certificate: names as PostgreSQL prints them, and the hash that binds SCRAM to it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Attribute types in OpenSSL's long form (which ssl uses) and its short form (which RFC 2253 prints)
SHORT_NAMES = {
    "commonName": "CN",
    "surname": "SN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "title": "title",
    "givenName": "GN",
    "initials": "initials",
    "userId": "UID",
    "domainComponent": "DC",
}
SPECIAL = frozenset(',+"\\<>;')

# The hash of each signature algorithm, by its object identifier (DER); SHA-256 in place of SHA-1 and MD5 (RFC 5929)
HASHES = {
    bytes.fromhex("2a864886f70d01010b"): "sha256",  # sha256WithRSAEncryption
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
    bytes.fromhex("2a864886f70d01010e"): "sha224",
    bytes.fromhex("2a864886f70d010105"): "sha256",  # sha1WithRSAEncryption
    bytes.fromhex("2a864886f70d010104"): "sha256",  # md5WithRSAEncryption
    bytes.fromhex("2a8648ce3d0401"): "sha256",  # ecdsa-with-SHA1
    bytes.fromhex("2a8648ce3d040301"): "sha224",
    bytes.fromhex("2a8648ce3d040302"): "sha256",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}
RSA_PSS = bytes.fromhex("2a864886f70d01010a")
PSS_HASHES = {  # in its parameters
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
SEQUENCE, OBJECT_IDENTIFIER = 0x30, 0x06


def distinguished_name(subject: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, str]:
    """Return the common name ("": none) and the distinguished name (RFC 2253) of a subject as `ssl` describes it."""
    common = [value for rdn in subject for name, value in rdn if name == "commonName"]
    parts = ("+".join(f"{SHORT_NAMES.get(name, name)}={_escaped(value)}" for name, value in rdn) for rdn in subject)
    return common[-1] if common else "", ",".join(reversed(list(parts)))


def _escaped(value: str) -> str:
    text = "".join(f"\\{c}" if c in SPECIAL else f"\\{ord(c):02X}" if c < " " else c for c in value)
    if text.startswith(("#", " ")):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") and len(text) > 1 and text[-2] != "\\" else text


def end_point(der: bytes) -> bytes:
    """Return the hash of a certificate for the channel binding tls-server-end-point; b"": its algorithm has none.

    Source: RFC 5929, section 4.1; PostgreSQL's be_tls_get_certificate_hash().
    """
    try:
        name = _signature_hash(der)
    except IndexError:
        return b""
    return hashlib.new(name, der).digest() if name else b""


def _signature_hash(der: bytes) -> str:
    """Return the hash of a certificate's signature: SEQUENCE { what is signed, SEQUENCE { algorithm, ... }, ... }."""
    _, at, _ = _element(der, 0)
    _, _, at = _element(der, at)
    kind, begin, end = _element(der, at)
    if kind != SEQUENCE:
        return ""
    kind, at, stop = _element(der, begin)
    if kind != OBJECT_IDENTIFIER:
        return ""
    algorithm = der[at:stop]
    if algorithm == RSA_PSS:
        return next((name for known, name in PSS_HASHES.items() if known in der[stop:end]), "sha256")
    return HASHES.get(algorithm, "")


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return type, begin and end of the content of the DER element at `at`."""
    kind, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    return kind, at, at + length
