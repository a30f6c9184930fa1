"""TLS without sockets: both implementations of the codec, in any pieces, and what is said of a certificate."""

from __future__ import annotations

import hashlib
import random
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from support.authority import Authority

from pgrouter.config.settings import ListenTls, ServersTls
from pgrouter.errors import ConfigError
from pgrouter.net import tls
from pgrouter.net.certificate import distinguished_name, end_point
from pgrouter.net.codec import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPLEMENTATIONS = ["ssl", pytest.param("openssl", marks=pytest.mark.skipif(tls.openssl is None, reason="not built"))]
ROOM = 200_000


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two makes the codecs."""
    if request.param == "ssl":
        monkeypatch.setattr(tls, "openssl", None)
    return request.param


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


Pair = tuple[Any, Any]


@pytest.fixture
def pair(implementation: str, authority: Authority) -> Callable[..., Pair]:  # noqa: ARG001  (it is used)
    """Make two codecs: a server's and a client's."""
    cert, key = authority.issue("127.0.0.1", "db.test", file="server")

    def made(host: str = "db.test", *, server: dict[str, Any] | None = None, **client: Any) -> Pair:
        ours = ListenTls(cert=cert, key=key, **(server or {}))
        theirs = ServersTls(**{"mode": "verify-full", "ca": authority.ca} | client)
        return tls.for_clients(ours, "listen[0].tls").accept(), tls.for_servers(theirs).connect(host)

    return made


def feed(codec: Any, data: bytes) -> bytes:
    buffer = bytearray(ROOM)
    buffer[: len(data)] = data
    n = codec.open(memoryview(buffer), len(data))
    return bytes(buffer[:n])


def shake(server: Any, client: Any) -> None:
    while not (server.established and client.established):
        before = (out := client.output()), (back := server.output())
        assert before != (b"", b""), "the handshake goes on"
        assert feed(server, out) == b""
        assert feed(client, back) == b""


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("host", ["127.0.0.1", "db.test"])
def test_bytes_pass_both_ways(pair: Callable[..., Pair], host: str, version: str) -> None:
    server, client = pair(host, server={"min_version": version})
    shake(server, client)
    assert (server.alpn(), client.alpn()) == ("postgresql", "postgresql")
    for size in (1, 16_384, 16_385, 100_000):
        data = random.Random(size).randbytes(size)  # noqa: S311  (any bytes)
        assert feed(server, client.seal(data)) == data
        assert feed(client, server.output() + server.seal(data)) == data
    assert feed(server, client.finish()) == b""
    assert server.ended
    assert not client.ended
    assert client.description()[0] in ("TLSv1.2", "TLSv1.3")


def test_records_in_any_pieces(pair: Callable[..., Pair]) -> None:
    server, client = pair()
    shake(server, client)
    rng = random.Random(5)  # noqa: S311  (which pieces)
    texts = [rng.randbytes(rng.choice([1, 50, 5000, 20_000])) for _ in range(40)]
    wire = b"".join(client.seal(text) for text in texts)
    got, at = b"", 0
    while at < len(wire):
        end = at + rng.choice([1, 3, 29, 1000, 40_000])
        got += feed(server, wire[at:end])
        at = end
    assert got == b"".join(texts)


def test_the_same_binding_on_both_sides(pair: Callable[..., Pair]) -> None:
    server, client = pair()
    shake(server, client)
    assert server.binding() == client.binding()
    assert len(server.binding()) == hashlib.sha256().digest_size
    assert server.peer_names() is None


def test_names_of_a_client(pair: Callable[..., Pair], authority: Authority) -> None:
    cert, key = authority.issue("client.test", name="joe")
    server, client = pair(server={"ca": authority.ca}, cert=cert, key=key)
    shake(server, client)
    common, distinguished = server.peer_names()
    assert common == "joe"
    assert distinguished.startswith("CN=joe,OU=Testing cert #")


@pytest.mark.parametrize("host", ["127.0.0.2", "other.test", "test", "db.test.evil"])
def test_a_certificate_for_another_host(pair: Callable[..., Pair], host: str) -> None:
    server, client = pair(host)
    with pytest.raises(CodecError, match=r"certificate verify failed: .*mismatch"):
        shake(server, client)
    alert = client.output()
    with pytest.raises(CodecError):
        feed(server, alert)
    server, client = pair(host, mode="verify-ca")
    shake(server, client)


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\0" * 100])
def test_what_is_no_handshake(pair: Callable[..., Pair], junk: bytes) -> None:
    server, _ = pair()
    with pytest.raises(CodecError):
        feed(server, junk)


def test_a_changed_record(pair: Callable[..., Pair]) -> None:
    server, client = pair()
    shake(server, client)
    record = bytearray(client.seal(b"drop nothing"))
    record[-3] ^= 1
    with pytest.raises(CodecError):
        feed(server, bytes(record))


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("db.test", file="one")
    _, other = authority.issue("db.test", file="two")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    nonsense.chmod(0o600)

    def problem(**files: Path) -> str:
        with pytest.raises(ConfigError) as refused:
            tls.for_clients(ListenTls(**{"cert": cert, "key": key} | files), "listen[0].tls")
        return refused.value.problems[0]

    assert problem(cert=tmp_path / "none").startswith("listen[0].tls.cert: cannot be read")
    assert problem(key=other).startswith("listen[0].tls.cert: key values mismatch")
    assert problem(key=nonsense).startswith("listen[0].tls.cert: ")
    assert problem(ca=nonsense).startswith("listen[0].tls.ca: ")
    assert problem(ca=authority.ca, crl=nonsense).startswith("listen[0].tls.crl: ")
    key.chmod(0o644)
    assert "has group or world access" in problem()


@pytest.mark.parametrize(
    ("subject", "printed"),
    [
        ([[("commonName", "joe")]], "CN=joe"),
        ([[("countryName", "DE")], [("organizationName", "a, b")], [("commonName", "joe")]], r"CN=joe,O=a\, b,C=DE"),
        ([[("commonName", "#1")], [("userId", " x ")]], r"UID=\ x\ ,CN=\#1"),
        ([[("organizationalUnitName", "x"), ("commonName", "y")]], "OU=x+CN=y"),
    ],
)
def test_distinguished_names(subject: list, printed: str) -> None:
    assert distinguished_name(subject)[1] == printed


@pytest.mark.parametrize("size", [0, 1, 5, 40])
def test_no_certificate_has_no_end_point(size: int) -> None:
    assert end_point(b"\x30\x82" * (size // 2)) == b""


def test_the_end_point_of_a_certificate(authority: Authority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())
    assert end_point(der) == hashlib.sha256(der).digest()
