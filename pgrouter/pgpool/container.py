"""The files that a container's environment stands for, in a directory of our own while the router runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pgrouter.errors import ConfigError
from pgrouter.pgpool.environment import Written, written

if TYPE_CHECKING:
    from collections.abc import Mapping

VOLUME = "/config"  # where pgpool/pgpool looks for files that win
VALID = timedelta(days=3650)


class Container:
    """A directory with pgpool.conf and the others; only its owner can read them."""

    def __init__(self, files: Written, volume: Path) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pgrouter-pgpool-"))
        if files.sockets:
            with contextlib.suppress(OSError):  # the listener then says what is wrong
                Path(files.sockets).mkdir(parents=True, exist_ok=True)
        conf = "" if files.sockets else _text(volume / "pgpool.conf")  # a mounted one wins
        if not conf:
            conf = files.conf
        if files.needs_certificate and conf is files.conf:
            conf += self._certificate(volume)
        self._write("pgpool.conf", conf)
        self._write("pool_hba.conf", _text(volume / "pool_hba.conf") or files.hba or "")
        self._write("pool_passwd", files.pool_passwd)
        self._write("pcp.conf", files.pcp)
        self.path = self._directory / "pgpool.conf"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Container | None:
        """Return the files of an environment; None: it is not that of a container.

        Raises:
            ConfigError: with every variable that is wrong.

        """
        files = written(environment, lambda name: Path(name).read_text("utf-8"))
        return None if files is None else cls(files, Path(environment.get("PGPOOL_CONF_VOLUME", VOLUME)))

    def _write(self, name: str, text: str) -> None:
        if text:
            path = self._directory / name
            path.touch(0o600)
            path.write_text(text, "utf-8", "surrogateescape")

    def _certificate(self, volume: Path) -> str:
        """Return the lines that name a mounted certificate, or one of our own making."""
        cert, key = volume / "tls" / "tls.crt", volume / "tls" / "tls.key"
        if not (cert.is_file() and key.is_file()):
            cert, key = self._directory / "tls.crt", self._directory / "tls.key"
            self._make(cert, key)
        return f"ssl_cert = '{cert}'\nssl_key = '{key}'\n"

    def _make(self, cert: Path, key: Path) -> None:
        try:
            from cryptography import x509  # noqa: PLC0415  (an extra)
            from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
            from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        except ImportError:
            raise ConfigError(
                ["ssl is on without a certificate; to make one: pip install 'pgrouter[pgpool]'"]
            ) from None
        secret = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, os.uname().nodename[:64])])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(secret.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + VALID)
            .sign(secret, hashes.SHA256())
        )
        encoding = serialization.Encoding.PEM
        private = secret.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self._write(cert.name, made.public_bytes(encoding).decode())
        self._write(key.name, private.decode())

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _text(path: Path) -> str:
    return path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
