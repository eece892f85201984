"""Who is let in with a good token."""

from stayline.domain.objects import ConfigObject, ObjectType
from stayline.link.messages.envelope import Identity
from stayline.servers.persons import not_admitted

ANN = ConfigObject(type=ObjectType.PERSON, name="ann")
DISABLED = ConfigObject(type=ObjectType.PERSON, name="ann", enabled=False)


def identity(revision: int = 0, mark: str = "") -> Identity:
    return Identity(user="ann", tenant="T", roles=[], expires=9e9, revision=revision, mark=mark)


def test_a_known_person_is_let_in_unless_disabled() -> None:
    assert not_admitted(identity(), ANN, "1-a", 5) is None
    assert not_admitted(identity(9, "2-a"), ANN, "1-a", 5) is None
    refusal = not_admitted(identity(3, "1-a"), DISABLED, "1-a", 5)
    assert refusal is not None
    assert (refusal.code, "disabled" in refusal.reason) == ("auth.disabled", True)


def test_an_unknown_person_is_deleted_or_new() -> None:
    for revision, mark in ((5, "1-a"), (4, "1-b"), (900, "0-c")):
        refusal = not_admitted(identity(revision, mark), None, "1-a", 5)
        assert refusal is not None, (revision, mark)
        assert (refusal.code, refusal.retryable) == ("auth.disabled", False)
    for revision, mark in ((6, "1-b"), (1, "2-a")):
        assert not_admitted(identity(revision, mark), None, "1-a", 5) is None, (revision, mark)
    # A copy that was not read yet knows nobody, and a token that says nothing is believed.
    assert not_admitted(identity(5, "1-a"), None, "", 0) is None
    assert not_admitted(identity(), None, "1-a", 5) is None
