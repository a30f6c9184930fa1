"""A client's authentication by the line of the rules that is about it, as a generator (see `auth.conversation`).

Source: backend/libpq/auth.c, ClientAuthentication(), CheckCertAuth(), auth_peer(), auth_failed().
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from pgrouter.auth.account import Account
from pgrouter.auth.client import ClientIdentity, Exchange, client_login
from pgrouter.auth.hba import Rules
from pgrouter.auth.hba_options import VERIFY_FULL
from pgrouter.auth.ident import UserMaps
from pgrouter.auth.oauth import TokenError, bearer_login
from pgrouter.auth.secret import Md5Secret, PlainSecret
from pgrouter.errors import AuthenticationFailed, InvalidAuthorization

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgrouter.auth.hba import Arrival, Rule
    from pgrouter.auth.oauth import TokenVerifier

log = logging.getLogger("pgrouter.auth")


class Admission(msgspec.Struct, frozen=True):
    """How a client has to authenticate, and what that is checked against."""

    rule: Rule
    arrival: Arrival
    account: Account
    maps: UserMaps
    tokens: TokenVerifier | None = None


def trusted(arrival: Arrival) -> Admission:
    """Return that a client is asked for nothing."""
    return Admission(_TRUST, arrival, Account(None), UserMaps())


def authenticate(admission: Admission) -> Exchange:
    """Check whether a client is the user that it says it is, and return its identity.

    It raises:
        AuthenticationFailed: 28P01, wrong password or unknown user.
        InvalidAuthorization: 28000, no certificate, one for somebody else, or a role that must not log in.
        ProtocolViolation: 08P01, the client sent something that the exchange does not allow at that point.

    """
    rule, user = admission.rule, admission.arrival.user
    if rule.options.client_cert and admission.arrival.certificate is None:
        raise InvalidAuthorization("connection requires a valid client certificate")
    identity = yield from METHODS[rule.method](admission)
    if rule.options.client_cert == VERIFY_FULL and rule.method != "cert" and not _is_in_certificate(admission):
        log.info('certificate validation (clientcert=verify-full) failed for user "%s": CN mismatch', user)
        raise AuthenticationFailed(f'password authentication failed for user "{user}"')
    if not admission.account.can_login:
        raise InvalidAuthorization(f'role "{user}" is not permitted to log in')
    return identity


def _without_asking(admission: Admission) -> Exchange:
    """Let the client in; what is stored of its password, if that suffices, logs in to servers."""
    secret = admission.account.secret
    usable = isinstance(secret, Md5Secret) or (isinstance(secret, PlainSecret) and secret.password)
    return ClientIdentity(admission.arrival.user, secret if usable else None)
    yield b""  # makes it a generator, which yields nothing


def _cert(admission: Admission) -> Exchange:
    if not _is_in_certificate(admission):
        raise InvalidAuthorization(f'certificate authentication failed for user "{admission.arrival.user}"')
    return (yield from _without_asking(admission))


def _peer(admission: Admission) -> Exchange:
    user, system_user = admission.arrival.user, admission.arrival.system_user
    if not system_user or not _may_be(admission, system_user):
        raise InvalidAuthorization(f'Peer authentication failed for user "{user}"')
    return (yield from _without_asking(admission))


def _password(admission: Admission) -> Exchange:
    method, user, account = admission.rule.method, admission.arrival.user, admission.account
    return (yield from client_login(method, user, account.secret, account.why, admission.arrival.binding))


def _oauth(admission: Admission) -> Exchange:
    user, options = admission.arrival.user, admission.rule.options
    try:
        if admission.tokens is None:
            raise TokenError("there are no keys")  # noqa: TRY301  (it fails like any other)
        subject = yield from bearer_login(admission.tokens, options.issuer, options.scope)
    except TokenError as error:
        log.info('login of user "%s" failed: %s', user, error)
        raise _no_bearer(user) from None
    if not _may_be(admission, subject):
        raise _no_bearer(user)
    return (yield from _without_asking(admission))


def _no_bearer(user: str) -> InvalidAuthorization:
    return InvalidAuthorization(f'OAuth bearer authentication failed for user "{user}"')


def _is_in_certificate(admission: Admission) -> bool:
    """Whether the client's certificate is the user's."""
    certificate = admission.arrival.certificate
    by_cn = admission.rule.options.client_name == "CN"
    name = (certificate.common_name if by_cn else certificate.distinguished_name) if certificate else ""
    if not name:
        log.info('user "%s": client certificate contains no user name', admission.arrival.user)
        return False
    return _may_be(admission, name)


def _may_be(admission: Admission, name: str) -> bool:
    """Whether somebody of another system may log in as the user."""
    arrival, map_name = admission.arrival, admission.rule.options.map
    allowed = admission.maps.allow(map_name, name, arrival.user, arrival.roles)
    if not allowed:
        what = f'no match in usermap "{map_name}"' if map_name else "the names differ"
        log.info('user name "%s" authenticated as "%s": %s', arrival.user, name, what)
    return bool(allowed)


_TRUST = Rules.always("trust").rules[0]

METHODS: MappingProxyType[str, Callable[[Admission], Exchange]] = MappingProxyType(
    {
        "trust": _without_asking,
        "cert": _cert,
        "peer": _peer,
        "password": _password,
        "md5": _password,
        "scram-sha-256": _password,
        "oauth": _oauth,
    }
)
"""The methods of `auth.hba_options.SUPPORTED`, except reject, which is decided before."""
