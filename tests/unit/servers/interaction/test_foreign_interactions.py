"""What is another tenant's, or another chat's, is not reached by knowing its id."""

import asyncio

import msgspec
import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.interaction import Event, Interaction, JournalEntry, State
from stayline.link.messages.envelope import Identity
from stayline.link.messages.interaction import GetJournal, Submit
from stayline.link.peer import Request
from stayline.servers.interaction.journal_requests import JournalRequests
from stayline.servers.interaction.media_requests import _check_same

THEIRS = Interaction(
    id="i1",
    tenant="Environment",
    media="chat",
    queue="chat.support",
    state=State.QUEUED,
    version=1,
    epoch=1,
    term=1,
    chat_session="i1",
)
ROW = JournalEntry(
    interaction="i1",
    version=1,
    event=Event.SUBMIT,
    from_state="",
    to_state=State.QUEUED,
    agent="",
    session="",
    previous_agent="",
    previous_session="",
    queue="chat.support",
    actor="application:Chat_A_1",
    key="k",
    why="submitted",
    epoch=1,
    term=1,
    at=1.0,
)


class Books:
    """Holds one interaction."""

    async def find(self, id: str) -> Interaction | None:
        return THEIRS if id == THEIRS.id else None

    async def journal(self, interaction: str, limit: int) -> list[JournalEntry]:
        return [ROW]


@pytest.mark.parametrize(("tenant", "rows"), [("Environment", 1), ("Other", 0), ("", 0)])
def test_a_supervisor_reads_the_journal_of_the_own_tenant_only(tenant: str, rows: int) -> None:
    identity = Identity(user="sue", tenant=tenant, roles=["supervisor"], expires=2e9)
    asked = msgspec.Raw(msgspec.json.encode(GetJournal(interaction="i1")))
    request = Request("interaction.journal", asked, "", 1)
    assert len(asyncio.run(JournalRequests(Books()).for_person(identity, request))) == rows


def submit(**differs: str) -> Submit:
    said = Submit(id="i1", tenant="Environment", media="chat", queue="q", chat_session="i1")
    return msgspec.structs.replace(said, **differs)


def test_a_repeated_submit_is_harmless_and_a_foreign_one_refused() -> None:
    _check_same(THEIRS, submit())
    for differs in ({"tenant": "Other"}, {"media": "email"}, {"chat_session": "mine"}):
        with pytest.raises(RefusedError) as caught:
            _check_same(THEIRS, submit(**differs))
        assert caught.value.refusal.code == "interaction.exists"
