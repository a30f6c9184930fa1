"""Certificates for tests: authorities, servers' and clients' certificates, lists of revoked ones."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


class Authority:
    """An authority of its own, whose files are below a directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.ca = directory / f"{name}.crt"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, *identities: str, name: str = "", file: str = "") -> tuple[Path, Path]:
        """Write a certificate for host names or addresses and a common name; return the files of it and of its key."""
        issued = self._ca.issue_cert(*identities, common_name=name or None)
        base = file or name or identities[0]
        cert, key = self._directory / f"{base}.crt", self._directory / f"{base}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(0o600)
        return cert, key

    def revoke(self, *certificates: Path) -> Path:
        """Write a list of revoked certificates; return its file."""
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()).subject
        now = dt.datetime.now(dt.UTC)
        revoked = (
            x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(now - DAY).next_update(now + DAY)
        )
        for file in certificates:
            number = x509.load_pem_x509_certificate(file.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - DAY).build()
            revoked = revoked.add_revoked_certificate(entry)
        path = self._directory / "revoked.crl"
        path.write_bytes(revoked.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path
