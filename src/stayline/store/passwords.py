"""Passwords: how they are hashed and checked.

Argon2id with OWASP's second recommendation (m = 19 MiB, t = 2, p = 1), about 25 ms of one core: after a
failover hundreds log in within seconds, and a check must neither take all memory (200 at once would want 13
GB with the library's default of 64 MiB) nor all cores. Whoever steals the hashes still pays for every guess.
"""

import functools
from collections.abc import Iterable, Mapping

import msgspec
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from stayline.domain.objects import ConfigObject, ObjectType

MAX_PASSWORD = 1024
"""Bytes: a longer password is wrong without a look."""

PREFIX = "$argon2id$"

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


def hash_password(password: str) -> str:
    """The encoded hash, with a salt of its own."""
    return _HASHER.hash(password)


def verify_password(encoded: str, password: str) -> bool:
    """Whether the password is the one. Takes tens of milliseconds of a core: call it in a thread."""
    if len(password.encode()) > MAX_PASSWORD:
        return False
    try:
        return _HASHER.verify(encoded, password)
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def nobodys_hash() -> str:
    """What the password of an unknown user is checked against, so that it takes as long as a known one's."""
    return hash_password("nobody has this password")


def hashes_of(passwords: Mapping[str, str]) -> dict[str, str]:
    """The encoded hash of each person's clear password; equal passwords are hashed once, so that a lab of
    hundreds of agents starts at once."""
    hashed = {password: hash_password(password) for password in set(passwords.values())}
    return {name: hashed[password] for name, password in passwords.items()}


def with_hashes(objects: Iterable[ConfigObject], passwords: Mapping[str, str]) -> list[ConfigObject]:
    """The objects with the hash of each person's clear password in place."""
    hashed = hashes_of(passwords)
    return [
        msgspec.structs.replace(obj, password_hash=hashed[obj.name])
        if obj.type is ObjectType.PERSON and obj.name in hashed
        else obj
        for obj in objects
    ]
