"""Signed tokens: identities of persons, tickets that resume a session, grants to join a chat session, statements of
mastership.

Signed with Ed25519 by the few servers that hold the signing key, checked by everybody with the public one,
without asking anybody. The claim ``purpose`` keeps the kinds apart: a ticket is never taken for an identity.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from stayline.domain.errors import refuse
from stayline.link.messages.envelope import Identity

SIGNING_KEY = "token-signing.pem"
VERIFY_KEY = "token-verify.pem"
MAX_TOKEN_CHARS = 4_096
_ALGORITHM = "Ed25519"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Resumes an agent session on any proxy. ``epoch`` is that of issue, ``expires`` Unix seconds. ``media`` are those
    logged in for, ``restore`` those whose interactions are owned again after a lost link (None: all). ``workspace`` is
    the installation that it was given to: its ticket is worth nothing once another one has taken the session over."""

    session: str
    agent: str
    tenant: str
    place: str
    epoch: int
    expires: float
    media: list[str] = []
    restore: list[str] | None = None
    workspace: str = ""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Lets the owner of an interaction join its chat session. ``version`` is the interaction's."""

    interaction: str
    chat_session: str
    agent: str
    version: int
    expires: float


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Which ``site`` is master under ``epoch``, signed by the Interaction Server that leads there. Proxies carry it, so
    that Workspaces learn of a switch-over while no Configuration Server answers. Times are Unix seconds."""

    site: str
    epoch: int
    issued: float
    expires: float


_Kind = TypeVar("_Kind", Identity, Ticket, Grant, Statement)
_PURPOSE: dict[type[msgspec.Struct], str] = {
    Identity: "identity",
    Ticket: "ticket",
    Grant: "grant",
    Statement: "mastership",
}


class TokenSigner:
    """Signs with the private key in ``pem``."""

    def __init__(self, pem: bytes) -> None:
        self._key = OKPKey.import_key(pem)

    @classmethod
    def load(cls, keys: str | Path) -> "TokenSigner":
        """From ``token-signing.pem`` in the folder ``keys``."""
        return cls((Path(keys) / SIGNING_KEY).read_bytes())

    def sign_identity(self, identity: Identity) -> str:
        """The token a person shows in a hello."""
        return self._sign(identity)

    def sign_ticket(self, ticket: Ticket) -> str:
        """The ticket of a session."""
        return self._sign(ticket)

    def sign_grant(self, grant: Grant) -> str:
        """The grant in an owned interaction."""
        return self._sign(grant)

    def sign_statement(self, statement: Statement) -> str:
        """What proxies carry in hellos and polls."""
        return self._sign(statement)

    def _sign(self, value: Identity | Ticket | Grant | Statement) -> str:
        claims = msgspec.to_builtins(value)
        claims["purpose"] = _PURPOSE[type(value)]
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])


class TokenVerifier:
    """Checks tokens with the public key in ``pem``."""

    def __init__(self, pem: bytes) -> None:
        self._key = OKPKey.import_key(pem)

    @classmethod
    def load(cls, keys: str | Path) -> "TokenVerifier":
        """From ``token-verify.pem`` in the folder ``keys``."""
        return cls((Path(keys) / VERIFY_KEY).read_bytes())

    def identity(self, token: str, now: float) -> Identity:
        """The person named by ``token``. ``now``: Unix seconds.

        Raises RefusedError ``token.expired`` or ``token.invalid``.
        """
        return self._verify(token, now, Identity)

    def ticket(self, token: str, now: float) -> Ticket:
        """The session named by ``token``; errors as :meth:`identity`."""
        return self._verify(token, now, Ticket)

    def grant(self, token: str, now: float) -> Grant:
        """What ``token`` grants; errors as :meth:`identity`."""
        return self._verify(token, now, Grant)

    def statement(self, token: str, now: float) -> Statement:
        """Who is master, as signed in ``token``; errors as :meth:`identity`."""
        return self._verify(token, now, Statement)

    def _verify(self, token: str, now: float, kind: type[_Kind]) -> _Kind:
        what = _PURPOSE[kind]
        if len(token) > MAX_TOKEN_CHARS:
            raise refuse("token.invalid", f"The {what} token is longer than {MAX_TOKEN_CHARS} characters.")
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, RecursionError) as error:
            reason = f"The {what} token was not signed by this centre."
            raise refuse("token.invalid", reason, field="token", fix="Log in again.") from error
        purpose = claims.pop("purpose", "")
        if purpose != what:
            raise refuse("token.invalid", f"A token for {purpose!r} was shown as {what}.", field="token")
        try:
            value = msgspec.convert(claims, kind)
        except msgspec.ValidationError as error:
            raise refuse(
                "token.invalid", f"The {what} token is incomplete: {error}.", field="token"
            ) from error
        if value.expires <= now:
            age = f"{now - value.expires:.0f} s ago"
            raise refuse(
                "token.expired", f"The {what} token expired {age}.", field="token", fix="Log in again."
            )
        return value


def create_signing_keys(directory: str | Path) -> None:
    """Make ``token-signing.pem`` (readable by its owner only) and ``token-verify.pem``, unless they exist."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    signing, verify = folder / SIGNING_KEY, folder / VERIFY_KEY
    if signing.exists() and verify.exists():
        return
    key = OKPKey.generate_key("Ed25519")
    descriptor = os.open(signing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.as_pem(private=True))
    verify.write_bytes(key.as_pem(private=False))
