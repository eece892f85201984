"""Signed cookies and request-forgery tokens, made with one key that is kept in the state folder."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_USE = "workspace-page"
_ALGORITHM = "HS256"


def load_key(path: Path) -> bytes:
    """The key in ``path``, made at the first start; readable by the owner only.

    Two processes that start at once end up with the same key: creation is exclusive, the loser reads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()


class CookieSigner:
    """Makes and checks what the browser holds."""

    def __init__(self, key: bytes) -> None:
        self._bytes = key
        self._key = OctKey.import_key(key)

    def sign(self, session: str, expires: float) -> str:
        """The value of a session cookie that is good until ``expires`` (Unix seconds)."""
        return jwt.encode({"alg": _ALGORITHM}, {"sid": session, "exp": int(expires), "use": _USE}, self._key)

    def session(self, value: str, now: float) -> str:
        """The session id of a cookie; empty when it is not ours or has expired."""
        try:
            claims = jwt.decode(value, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            return ""
        expires = claims.get("exp")
        if claims.get("use") != _USE or not isinstance(expires, int) or expires <= now:
            return ""
        return str(claims.get("sid", ""))

    def forgery_token(self, binding: str) -> str:
        """The token that each POST of a page must carry; bound to the session or the login page's cookie."""
        return hmac.new(self._bytes, b"csrf:" + binding.encode(), hashlib.sha256).hexdigest()

    def is_genuine(self, binding: str, token: str) -> bool:
        """Whether ``token`` was made for ``binding`` (compared in constant time)."""
        return hmac.compare_digest(self.forgery_token(binding), token)
