"""Whoever follows a Configuration Server has, in the end, what the server has: whatever happens in between."""

import dataclasses

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.revision import position
from stayline.domain.topology import Configuration
from stayline.link.messages.configuration import Changes
from stayline.servers.configuration.views import ANYBODY, EVERYBODY, changes_since, concerned, page
from stayline.store.configuration import Key, Step, Stored

NAMES = ("ann", "bob", "cas")
KEPT = 4

KINDS = [ObjectType.PERSON, ObjectType.PLACE, ObjectType.AGENT_GROUP, ObjectType.QUEUE]
change = st.tuples(st.sampled_from(KINDS), st.sampled_from(NAMES), st.sampled_from("xyz-"))
PLACES = {"x": "ann", "y": "bob", "z": ""}
"""What the letter of a person says: its default place."""

MEMBERS = {"x": ["ann", "bob"], "y": ["bob"], "z": ["cas", "ann"]}
"""What the letter of a group says."""

batches = st.lists(st.lists(change, min_size=1, max_size=3), max_size=12)


class Follower:
    """A client reduced to what decides: its copy, and where that stands."""

    def __init__(self, view: str) -> None:
        self.view = view
        self.copy = Configuration()
        self.mark = ""

    def read(self, stored: Stored, *, authority: bool) -> bool:
        """Ask since our revision and take the answer; False when the server is behind us."""
        try:
            told = changes_since(
                stored,
                self.copy.revision,
                self.mark,
                self.view,
                authority=authority,
                writable=authority,
                current=True,
            )
        except RefusedError as error:
            if error.refusal.code != "config.behind":
                raise
            return False
        objects, offset = [], 0
        while True:
            part = page(told, offset)
            objects += part.objects
            if not part.more:
                break
            offset = part.more
        told = msgspec.json.decode(
            msgspec.json.encode(msgspec.structs.replace(told, objects=objects)), type=Changes
        )
        self.copy = self.copy.applied(told.objects, told.deleted, told.revision, told.full)
        self.mark = told.mark
        return True


def after(stored: Stored, batch: list[tuple[ObjectType, str, str]], epoch: int, salt: int) -> Stored:
    objects: dict[Key, ConfigObject] = dict(stored.objects)
    revision = stored.revision + 1
    for type_, name, text in batch:
        key = (str(type_), name)
        if text == "-":
            objects.pop(key, None)
        else:
            objects[key] = ConfigObject(
                type=type_,
                name=name,
                description=text,
                revision=revision,
                password_hash="secret" if type_ is ObjectType.PERSON else "",
                default_place=PLACES[text] if type_ is ObjectType.PERSON else "",
                members=MEMBERS[text] if type_ is ObjectType.AGENT_GROUP else [],
            )
    touched = frozenset((str(type_), name) for type_, name, _ in batch)
    step = Step(revision, f"{epoch}-{revision:x}{salt:x}", touched)
    return Stored(revision, step.mark, objects, (*stored.steps, step)[-KEPT:])


def seen(stored: Stored, view: str) -> list[ConfigObject]:
    """What a view has in the end, said in another way than the server does."""
    replace = msgspec.structs.replace
    everything = [replace(obj, password_hash="") for obj in stored.objects.values()]
    if view == EVERYBODY:
        return Configuration(everything).objects
    own = next((o for o in everything if o.type is ObjectType.PERSON and o.name == view), None)
    visible = [o for o in everything if o.type is ObjectType.QUEUE or o is own]
    visible += [
        replace(o, members=[view])
        for o in everything
        if o.type is ObjectType.AGENT_GROUP and view in o.members
    ]
    place = own.default_place if own is not None else ""
    visible += [o for o in everything if o.type is ObjectType.PLACE and o.name == place]
    return Configuration(visible).objects


@given(batches, st.lists(st.booleans(), min_size=12, max_size=12), st.sampled_from([EVERYBODY, *NAMES]))
def test_a_follower_that_asks_now_and_then_misses_nothing(
    history: list[list[tuple[ObjectType, str, str]]], asks: list[bool], view: str
) -> None:
    follower, stored = Follower(view), Stored()
    for index, batch in enumerate(history):
        stored = after(stored, batch, 1, index)
        if asks[index]:
            assert follower.read(stored, authority=False)
            assert follower.copy.objects == seen(stored, view)
    if stored.revision:
        assert follower.read(stored, authority=True)
        assert follower.copy.objects == seen(stored, view)
        assert follower.copy.revision == stored.revision
    assert all(o.password_hash == "" for o in follower.copy.objects)


@settings(max_examples=200)
@given(batches.filter(bool), batches.filter(bool), st.integers(0, 11), st.booleans())
def test_lost_revisions_are_replaced_by_the_new_history_and_never_the_other_way_round(
    common: list[list[tuple[ObjectType, str, str]]],
    lost: list[list[tuple[ObjectType, str, str]]],
    later: int,
    authority: bool,
) -> None:
    base = Stored()
    for index, batch in enumerate(common):
        base = after(base, batch, 1, index)
    old = base
    for index, batch in enumerate(lost):
        old = after(old, batch, 1, 100 + index)
    new = base
    for index in range(later + 1):
        new = after(new, [(ObjectType.PLACE, NAMES[index % 3], "xyz"[index % 3])], 2, 200 + index)
    follower = Follower(EVERYBODY)
    assert follower.read(old, authority=True)
    assert follower.read(new, authority=authority)
    assert follower.copy.objects == seen(new, EVERYBODY)
    # The old site's server, which does not know yet: it must not set anybody back.
    before = follower.copy
    assert not follower.read(old, authority=False)
    assert follower.copy is before
    assert position(new.mark, new.revision) > position(old.mark, old.revision)


@given(st.integers(1, 40), st.integers(1, 12))
def test_pages_put_together_are_the_whole(count: int, size: int) -> None:
    objects = [
        ConfigObject(type=ObjectType.PLACE, name=f"p{i:03}", description="x" * size * 20_000)
        for i in range(count)
    ]
    stored = Stored(3, "1-aa", {(str(o.type), o.name): o for o in objects})
    whole = changes_since(stored, 0, "", EVERYBODY, authority=True, writable=True, current=True)
    parts, offset = [], 0
    while True:
        part = page(whole, offset)
        assert part.objects
        assert len(msgspec.json.encode(part)) < 1_000_000
        parts += part.objects
        if not part.more:
            break
        offset = part.more
    assert parts == whole.objects == objects
    assert dataclasses.asdict(stored)["revision"] == whole.revision


@given(batches.filter(bool), batches.filter(bool), st.sampled_from(NAMES))
def test_whom_a_difference_does_not_concern_is_told_what_anybody_is(
    before: list[list[tuple[ObjectType, str, str]]],
    after_that: list[list[tuple[ObjectType, str, str]]],
    view: str,
) -> None:
    stored = Stored()
    for index, batch in enumerate(before):
        stored = after(stored, batch, 1, index)
    known, mark, had = stored.revision, stored.mark, seen(stored, view)
    for index, batch in enumerate(after_that):
        stored = after(stored, batch, 1, 100 + index)
    told_as = concerned(stored, known, mark, view)
    assert told_as in (view, ANYBODY)
    told = changes_since(stored, known, mark, told_as, authority=True, writable=True, current=True)
    copy = Configuration(had).applied(told.objects, told.deleted, told.revision, told.full)
    assert copy.objects == seen(stored, view)
