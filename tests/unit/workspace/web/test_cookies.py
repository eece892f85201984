"""Signed cookies and forgery tokens."""

from pathlib import Path

from stayline.workspace.web.cookies import CookieSigner, load_key

KEY = b"k" * 32


def test_a_cookie_names_its_session_until_it_expires() -> None:
    signer = CookieSigner(KEY)
    value = signer.sign("session-1", 1000.0)
    assert signer.session(value, 999.0) == "session-1"
    assert signer.session(value, 1000.0) == ""


def test_a_cookie_that_is_not_ours_names_nobody() -> None:
    signer = CookieSigner(KEY)
    value = signer.sign("session-1", 1000.0)
    assert CookieSigner(b"x" * 32).session(value, 0.0) == ""
    assert signer.session(value[:-2] + ("AA" if not value.endswith("AA") else "BB"), 0.0) == ""
    assert signer.session("", 0.0) == ""
    assert signer.session("a.b.c", 0.0) == ""
    header, body, _ = value.split(".")
    assert signer.session(f"{header}.{body}.", 0.0) == ""


def test_a_forgery_token_is_good_for_one_session_only() -> None:
    signer = CookieSigner(KEY)
    token = signer.forgery_token("session-1")
    assert signer.is_genuine("session-1", token)
    assert not signer.is_genuine("session-2", token)
    assert not signer.is_genuine("session-1", "")


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert path.stat().st_mode & 0o077 == 0
