"""SCRAM-SHA-256: its mathematics and its four messages, both sides, as pure functions on bytes.

scramp prepares passwords (SASLprep). Its exchange classes do not fit PostgreSQL: they reject the empty user name that
libpq sends, iteration counts below 4096 and passwords that SASLprep prohibits (PostgreSQL uses those unchanged), and
they repeat PBKDF2 at every login. So the messages are implemented here, and the expensive step is one function,
`derive`, whose result the secrets cache.

SCRAM-SHA-256-PLUS is the same with channel binding: both sides sign a hash of the server's certificate
(tls-server-end-point), so that nobody in between can pass the messages on. Messages, in order, by their names in the
RFC: client-first, server-first, client-final, server-final.

Source: RFC 5802 sections 3, 5, 6 and 7; RFC 7677; RFC 5929 section 4; backend/libpq/auth-scram.c; common/saslprep.c.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import secrets
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest, digest
from os import urandom

import cython
import msgspec
from scramp import ScramException
from scramp.utils import saslprep

from pgrouter.auth.text import as_bytes
from pgrouter.protocol.framing import copied

MECHANISM = b"SCRAM-SHA-256"
MECHANISM_PLUS = b"SCRAM-SHA-256-PLUS"

ITERATIONS = 4096  # PostgreSQL's default, scram_iterations
SALT_BYTES = 16  # SCRAM_DEFAULT_SALT_LEN, scram-common.h
KEY_BYTES = 32

# A quarter of a second of one core. PostgreSQL has no limit, but a server that asks for more would hold up everybody.
MAX_ITERATIONS = 1_000_000

# SCRAM_RAW_NONCE_LEN, scram-common.h: 24 characters in base64
NONCE_BYTES = 18

_COUNT = re.compile(rb"[1-9][0-9]{0,9}")

EQUALS, COMMA = b"=,"
BINDING, NAME, NONCE, SALT, COUNT, SIGNATURE = b"cnrsiv"  # attributes

# The accepted headers, and their base64 form in client-final
_BINDINGS = {b"n,,": b"biws", b"y,,": b"eSws"}

# The header of who binds to the channel; of who could, and believes that the server cannot; of who cannot
BOUND, UNBOUND, UNABLE = b"p=tls-server-end-point,,", b"y,,", b"n,,"

# Of HMAC (RFC 2104): the hash's block size, and the inner and outer padding
BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# The key of made-up salts; PostgreSQL keeps one in pg_control (mock_authentication_nonce).
_SALT_KEY = secrets.token_bytes(KEY_BYTES)


class ScramError(Exception):
    """The peer's message violates the RFC; the text says how, without any secret."""


class BindingError(ScramError):
    """Channel binding was not used though both sides have it, or for another channel: somebody may be in between."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ScramKeys(msgspec.Struct, frozen=True):
    """SCRAM keys that log in instead of a password, to servers with the same salt and iteration count."""

    salt: bytes
    iterations: int
    client_key: bytes
    server_key: bytes

    @property
    def stored_key(self) -> bytes:
        """The hash of the client key, which a server stores."""
        return sha256(self.client_key).digest()

    def __repr__(self) -> str:
        return "<ScramKeys>"


# -- cryptography


def prepare(password: str) -> bytes:
    """Return the bytes of a password to be hashed: after SASLprep, or unchanged if SASLprep prohibits it."""
    if not password.isascii():
        try:
            return as_bytes(saslprep(password) or password)
        except ScramException:
            pass
    return as_bytes(password)


def derive(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """Run PBKDF2 over a password: about a millisecond for 4096 iterations, the only expensive step of a login."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password), salt, iterations)
    return ScramKeys(salt, iterations, _hmac(salted, b"Client Key"), _hmac(salted, b"Server Key"))


def salt_for(user: str) -> bytes:
    """Return the salt of a user without a SCRAM secret, known or unknown: the same one for the process's lifetime."""
    return _hmac(_SALT_KEY, as_bytes(user))[:SALT_BYTES]


def new_nonce() -> bytes:
    """Return the random part that one side adds to the nonce."""
    return encode(urandom(NONCE_BYTES))


def encode(raw: bytes) -> bytes:
    """Return base64 without a newline."""
    return b2a_base64(raw, newline=False)


def decode(text: bytes, what: str) -> bytes:
    """Decode base64.

    Raises:
        ScramError: it is not base64; `what` names the part of the message.

    """
    try:
        return a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise ScramError(f"{what} is not valid base64.") from None


def _hmac(key: bytes, data: bytes) -> bytes:
    return digest(key, data, "sha256")


def _hmac_of_user(key: bytes, data: bytes) -> bytes:
    """HMAC with a key that is used at each login: a third of the work, since setting up the key is most of it."""
    inner, outer = _begun(key)
    inner = inner.copy()
    inner.update(data)
    outer = outer.copy()
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=256)
def _begun(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Return HMAC's two hashes, already fed with the key, which RFC 2104 (section 4) recommends to cache."""
    block = key.ljust(BLOCK_BYTES, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))


def _xor(left: bytes, right: bytes) -> bytes:
    """Combine two keys."""
    if cython.compiled:
        mixed: cython.uchar[32]
        i: cython.int
        for i in range(32):
            mixed[i] = left[i] ^ right[i]
        return mixed[:32]
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


# -- client-first


class ClientFirst:
    """The parts of an exchange's first message: what is signed later, and what must come back."""

    def __init__(self, gs2_header: bytes, bare: bytes, nonce: bytes, channel: bytes = b"") -> None:
        self.gs2_header = gs2_header
        self.bare = bare
        self.nonce = nonce
        self.channel = channel  # what the exchange is bound to; empty: nothing

    @property
    def message(self) -> bytes:
        """The whole message."""
        return self.gs2_header + self.bare


def client_first(nonce: bytes, user: bytes = b"", header: bytes = UNABLE, channel: bytes = b"") -> ClientFirst:
    """Start an exchange; PostgreSQL takes the user from the startup packet, so the name may be empty, as in libpq."""
    return ClientFirst(header, b"n=" + user + b",r=" + nonce, nonce, channel)


def read_client_first(message: bytes, mechanism: bytes = MECHANISM, binding: bytes = b"") -> ClientFirst:
    """Parse a client's first message in this mechanism. `binding` is what its connection can be bound to.

    Raises:
        ScramError: malformed, not for the mechanism, or it asks for an authorization identity or an extension.
        BindingError: the client was made to believe that there is no channel binding.

    """
    plus: cython.bint = mechanism == MECHANISM_PLUS
    header: bytes = BOUND if plus else copied(message, 0, min(3, len(message)))
    start: cython.Py_ssize_t = len(header)
    if not message.startswith(header) or (not plus and header not in _BINDINGS):
        raise ScramError(_odd_header(message, mechanism))
    if binding and header == UNBOUND:
        raise BindingError(
            "SCRAM channel binding negotiation error",
            "The client supports SCRAM channel binding but thinks the server does not.  "
            "However, this server does support channel binding.",
        )
    if message.startswith(b"m=", start):
        raise ScramError("The client requires an unsupported SCRAM extension.")
    after_name: cython.Py_ssize_t = _attribute(message, start, NAME)
    end: cython.Py_ssize_t = _attribute(message, after_name + 1, NONCE)
    nonce: bytes = copied(message, after_name + 3, end)
    if not _is_nonce(nonce):
        raise ScramError("Non-printable characters in SCRAM nonce.")
    return ClientFirst(header, copied(message, start, len(message)), nonce, binding if plus else b"")


def _odd_header(message: bytes, mechanism: bytes) -> str:
    plus = mechanism == MECHANISM_PLUS
    flag, _, rest = message.partition(b",")
    if plus and flag in (b"n", b"y"):
        return "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data."
    if flag.startswith(b"p=") and not plus:
        return (
            "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel "
            "binding data."
        )
    if flag.startswith(b"p=") and flag != b"p=tls-server-end-point":
        return "Unsupported SCRAM channel-binding type."
    if flag.startswith(b"p="):
        return "The client uses an authorization identity, which is not supported."
    if flag not in (b"n", b"y") or b"," not in rest:
        return "Unexpected channel-binding flag."
    return "The client uses an authorization identity, which is not supported."


def _is_nonce(text: bytes) -> cython.bint:
    """Whether it is printable ASCII without a comma, and not empty."""
    letter: cython.uchar
    for letter in text:
        if letter <= 0x20 or letter >= 0x7F or letter == 0x2C:
            return False
    return len(text) > 0


def _attribute(message: bytes, start: cython.Py_ssize_t, letter: cython.int) -> cython.Py_ssize_t:
    """Return the end of the attribute at `start`, whose name must be `letter`."""
    at: cython.Py_ssize_t = start + 2
    end: cython.Py_ssize_t = len(message)
    if at > end or message[start] != letter or message[start + 1] != EQUALS:
        raise ScramError(f'Expected attribute "{chr(letter)}".')
    while at < end and message[at] != COMMA:
        at += 1
    return at


# -- server-first


class ServerFirst:
    """A server's challenge."""

    def __init__(self, message: bytes, nonce: bytes, salt: bytes, iterations: cython.int) -> None:
        self.message = message
        self.nonce = nonce
        self.salt = salt
        self.iterations = iterations


def server_first(first: ClientFirst, nonce: bytes, salt: bytes, iterations: cython.int) -> ServerFirst:
    """Challenge a client: its nonce followed by ours, and how its password was hashed."""
    whole: bytes = first.nonce + nonce
    return ServerFirst(b"r=" + whole + _hashing(salt, iterations), whole, salt, iterations)


@lru_cache(maxsize=256)
def _hashing(salt: bytes, iterations: int) -> bytes:
    return b",s=%b,i=%d" % (encode(salt), iterations)


def read_server_first(message: bytes, first: ClientFirst) -> ServerFirst:
    """Parse a server's challenge.

    Raises:
        ScramError: malformed, it does not continue our nonce, or it asks for more than MAX_ITERATIONS.

    """
    after_nonce = _attribute(message, 0, NONCE)
    nonce = message[2:after_nonce]
    if not nonce.startswith(first.nonce) or len(nonce) == len(first.nonce) or not _is_nonce(nonce):
        raise ScramError("Nonce does not match.")
    after_salt = _attribute(message, after_nonce + 1, SALT)
    salt = decode(message[after_nonce + 3 : after_salt], "The salt")
    count = message[after_salt + 3 : _attribute(message, after_salt + 1, COUNT)]
    if not salt or not _COUNT.fullmatch(count):
        raise ScramError("Malformed salt or iteration count.")
    if int(count) > MAX_ITERATIONS:
        raise ScramError(f"{int(count)} iterations are more than {MAX_ITERATIONS}.")
    return ServerFirst(message, nonce, salt, int(count))


# -- client-final


def client_final(keys: ScramKeys, first: ClientFirst, challenge: ServerFirst) -> tuple[bytes, bytes]:
    """Prove knowledge of the keys; return the message and the signature that the server must answer with."""
    unproven = b"c=" + encode(first.gs2_header + first.channel) + b",r=" + challenge.nonce
    signed = _signed(first, challenge, unproven)
    proof = _xor(keys.client_key, _hmac(keys.stored_key, signed))
    return unproven + b",p=" + encode(proof), _hmac(keys.server_key, signed)


def _signed(first: ClientFirst, challenge: ServerFirst, unproven: bytes) -> bytes:
    return b",".join((first.bare, challenge.message, unproven))


class Proof:
    """A proof not yet checked: the client key that follows from it if it is right, and what was signed."""

    def __init__(self, client_key: bytes, signed: bytes) -> None:
        self.client_key = client_key
        self.signed = signed

    def holds(self, stored_key: bytes) -> cython.bint:
        """Whether the client knows the password, in constant time."""
        return compare_digest(sha256(self.client_key).digest(), stored_key)

    def __repr__(self) -> str:
        return "<Proof>"


def read_client_final(message: bytes, first: ClientFirst, challenge: ServerFirst, stored_key: bytes) -> Proof:
    """Parse a client's proof; `Proof.holds` checks it.

    Raises:
        ScramError: malformed, or for another header or nonce.
        BindingError: for another channel.

    """
    last: cython.Py_ssize_t = message.rfind(b",p=")
    if last < 0:
        raise ScramError("The proof is missing.")
    unproven: bytes = copied(message, 0, last)
    after_binding: cython.Py_ssize_t = _attribute(unproven, 0, BINDING)
    bound: bytes = copied(unproven, 2, after_binding)
    if first.gs2_header == BOUND:
        if bound != encode(BOUND + first.channel):  # not a secret
            raise BindingError("SCRAM channel binding check failed")
    elif bound != _BINDINGS[first.gs2_header]:
        raise ScramError("Unexpected SCRAM channel-binding attribute in client-final-message.")
    after_nonce: cython.Py_ssize_t = _attribute(unproven, after_binding + 1, NONCE)
    if copied(unproven, after_binding + 3, after_nonce) != challenge.nonce:  # not a secret
        raise ScramError("Nonce does not match.")
    proof: bytes = decode(copied(message, last + 3, len(message)), "The proof")
    if len(proof) != KEY_BYTES:
        raise ScramError("Malformed proof in client-final-message.")
    signed: bytes = _signed(first, challenge, unproven)
    return Proof(_xor(proof, _hmac_of_user(stored_key, signed)), signed)


# -- server-final


def server_final(proof: Proof, server_key: bytes) -> bytes:
    """Prove to a client that we know its secret, too."""
    return b"v=" + encode(_hmac_of_user(server_key, proof.signed))


def check_server_final(message: bytes, signature: bytes) -> None:
    """Check the server's proof.

    Raises:
        ScramError: it sent none, or a wrong one: it does not know the password.

    """
    if message.startswith(b"e="):
        raise ScramError(f"The server reports {message[2:66].decode('ascii', 'replace')}.")
    given = decode(message[2 : _attribute(message, 0, SIGNATURE)], "The server's signature")
    if not compare_digest(given, signature):
        raise ScramError("Incorrect server signature.")
