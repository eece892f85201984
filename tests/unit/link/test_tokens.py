"""Tokens: three kinds that are never taken for one another, signed here and checked anywhere."""

import base64
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.link.messages.envelope import Identity
from stayline.link.tokens import Grant, Ticket, TokenSigner, TokenVerifier, create_signing_keys

IDENTITY = Identity(
    user="agent01", tenant="Environment", roles=["agent"], expires=1_000.0, display_name="Åsa"
)
TICKET = Ticket(session="s1", agent="agent01", tenant="Environment", place="P1", epoch=2, expires=1_000.0)
GRANT = Grant(interaction="i1", chat_session="c1", agent="agent01", version=3, expires=1_000.0)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    create_signing_keys(folder)
    return folder


def test_what_was_signed_is_read_back(keys: Path) -> None:
    signer, verifier = TokenSigner.load(keys), TokenVerifier.load(keys)
    assert verifier.identity(signer.sign_identity(IDENTITY), 999.0) == IDENTITY
    assert verifier.ticket(signer.sign_ticket(TICKET), 999.0) == TICKET
    assert verifier.grant(signer.sign_grant(GRANT), 999.0) == GRANT


def test_an_expired_token_says_since_when(keys: Path) -> None:
    token = TokenSigner.load(keys).sign_identity(IDENTITY)
    with pytest.raises(RefusedError) as caught:
        TokenVerifier.load(keys).identity(token, 1_005.0)
    assert caught.value.refusal.code == "token.expired"
    assert "5 s ago" in caught.value.refusal.reason


def test_kinds_are_not_mixed_up(keys: Path) -> None:
    signer, verifier = TokenSigner.load(keys), TokenVerifier.load(keys)
    with pytest.raises(RefusedError) as caught:
        verifier.identity(signer.sign_ticket(TICKET), 1.0)
    assert caught.value.refusal.code == "token.invalid"
    with pytest.raises(RefusedError):
        verifier.grant(signer.sign_ticket(TICKET), 1.0)


DEEP = base64.urlsafe_b64encode(b"[" * 1_400 + b"]" * 1_400).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token", ["", "abc", "a.b.c", "x" * 5_000, "é.ü.ö", f"{DEEP}.e30.AAAA", "bnVsbA.e30.AA"]
)
def test_nonsense_is_invalid(keys: Path, token: str) -> None:
    with pytest.raises(RefusedError) as caught:
        TokenVerifier.load(keys).identity(token, 1.0)
    assert caught.value.refusal.code == "token.invalid"


def test_another_centres_token_is_invalid(keys: Path, tmp_path: Path) -> None:
    create_signing_keys(tmp_path)
    token = TokenSigner.load(tmp_path).sign_identity(IDENTITY)
    with pytest.raises(RefusedError) as caught:
        TokenVerifier.load(keys).identity(token, 1.0)
    assert caught.value.refusal.code == "token.invalid"


def test_a_changed_token_is_invalid(keys: Path) -> None:
    header, claims, signature = TokenSigner.load(keys).sign_identity(IDENTITY).split(".")
    other = TokenSigner.load(keys).sign_identity(Identity(user="x", tenant="", roles=[], expires=9e9))
    with pytest.raises(RefusedError) as caught:
        TokenVerifier.load(keys).identity(f"{header}.{other.split('.')[1]}.{signature}", 1.0)
    assert caught.value.refusal.code == "token.invalid"
    assert claims


def test_the_signing_key_is_for_its_owner_only_and_is_kept(keys: Path) -> None:
    signing = keys / "token-signing.pem"
    assert signing.stat().st_mode & 0o077 == 0
    before = signing.read_bytes()
    create_signing_keys(keys)
    assert signing.read_bytes() == before
