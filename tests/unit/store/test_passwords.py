"""Password hashes."""

from stayline.domain.objects import ConfigObject, ObjectType
from stayline.store.passwords import hash_password, nobodys_hash, verify_password, with_hashes


def test_a_hash_has_the_parameters_that_the_docs_promise_and_its_own_salt() -> None:
    one, two = hash_password("secret"), hash_password("secret")
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert one != two
    assert verify_password(one, "secret")
    assert not verify_password(one, "Secret")


def test_rubbish_is_wrong_not_an_error() -> None:
    assert not verify_password("rubbish", "secret")
    assert not verify_password("", "")
    assert not verify_password(hash_password("x" * 2000), "x" * 2000)
    assert not verify_password(nobodys_hash(), "")


def test_equal_passwords_of_a_lab_are_hashed_once() -> None:
    people = [ConfigObject(type=ObjectType.PERSON, name=n) for n in ("a", "b", "c", "d")]
    place = ConfigObject(type=ObjectType.PLACE, name="a")
    done = with_hashes([*people, place], {"a": "same", "b": "same", "c": "other"})
    hashes = [o.password_hash for o in done]
    assert hashes[0] == hashes[1] != hashes[2]
    assert verify_password(hashes[2], "other")
    assert hashes[3:] == ["", ""]
