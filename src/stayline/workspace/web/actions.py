"""What a page can ask for: a table from the name in the address to a call of the engine.

Every action answers with nothing (204): what it changed comes back through the page's stream. A refusal comes
back as a notice with the reason.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from stayline.domain.errors import refuse
from stayline.workspace.protocol import Workspace
from stayline.workspace.web.card_models import CONTACT_FIELDS
from stayline.workspace.web.page import Page

MAX_MESSAGE = 8_000
"""Characters in one message."""


@dataclass(frozen=True)
class Asked:
    """One request of a page: its engine, the page (None: closed meanwhile) and the posted fields."""

    engine: Workspace
    page: Page | None
    form: Mapping[str, str]

    def field(self, name: str) -> str:
        """A field that may be missing."""
        return self.form.get(name, "")

    @property
    def interaction(self) -> str:
        """The interaction meant. Raises RefusedError when it is not on this desk (any more)."""
        wanted = self.field("i")
        if self.engine.view.card(wanted) is None:
            raise refuse("interaction.unknown", "This interaction is no longer on your desk.")
        return wanted


Action = Callable[[Asked], Awaitable[None]]


async def _accept(asked: Asked) -> None:
    interaction = asked.interaction
    await asked.engine.accept(interaction)
    if asked.page is not None:
        asked.page.choose(interaction)


async def _reject(asked: Asked) -> None:
    await asked.engine.reject(asked.interaction, asked.field("reason"))


async def _choose(asked: Asked) -> None:
    if asked.page is not None:
        asked.page.choose(asked.interaction)


async def _send(asked: Asked) -> None:
    text = asked.field("text").replace("\r\n", "\n").strip()
    if not text:
        raise refuse("message.empty", "There is nothing to send.")
    if len(text) > MAX_MESSAGE:
        raise refuse("message.long", f"The message has {len(text)} characters; {MAX_MESSAGE} are allowed.")
    await asked.engine.send(asked.interaction, text)


async def _typing(asked: Asked) -> None:
    asked.engine.typing(asked.interaction)


async def _draft(asked: Asked) -> None:
    asked.engine.save_draft(asked.interaction, asked.field("text")[:MAX_MESSAGE])


async def _read(asked: Asked) -> None:
    asked.engine.mark_read(asked.interaction)


async def _end(asked: Asked) -> None:
    await asked.engine.end_chat(asked.interaction)


async def _transfer(asked: Asked) -> None:
    if not asked.field("queue"):
        raise refuse("transfer.queue", "Choose a queue.", field="queue")
    interaction = asked.interaction
    await asked.engine.transfer(interaction, asked.field("queue"), asked.field("reason"))
    if asked.page is not None:
        asked.page.finish(interaction)


async def _done(asked: Asked) -> None:
    interaction = asked.interaction
    await asked.engine.done(interaction, asked.field("disposition"))
    if asked.page is not None:
        asked.page.finish(interaction)


async def _case(asked: Asked) -> None:
    """One case information field: ``key``, ``value``; an emptied field is removed."""
    interaction, key, value = asked.interaction, asked.field("key"), asked.field("value").strip()
    if not any(field.key == key and field.editable for field in asked.engine.view.case_fields):
        raise refuse("case.field", f"The field {key!r} cannot be edited.", field=key)
    if value:
        await asked.engine.change(interaction, {key: value})
    else:
        await asked.engine.change(interaction, {}, [key])


async def _disposition(asked: Asked) -> None:
    await asked.engine.change(asked.interaction, {}, disposition=asked.field("disposition"))


async def _contact(asked: Asked) -> None:
    """One attribute of the contact: ``key``, ``value``; an emptied one is removed."""
    interaction, key, value = asked.interaction, asked.field("key"), asked.field("value").strip()
    if key not in dict(CONTACT_FIELDS):
        raise refuse("contact.field", f"The attribute {key!r} cannot be edited here.", field=key)
    if value:
        await asked.engine.update_contact(interaction, {key: value})
    else:
        await asked.engine.update_contact(interaction, {}, [key])


async def _history(asked: Asked) -> None:
    await asked.engine.load_history(asked.interaction)


async def _ready(asked: Asked) -> None:
    await asked.engine.set_ready(True)


async def _not_ready(asked: Asked) -> None:
    await asked.engine.set_ready(False, asked.field("reason"))


async def _dismiss(asked: Asked) -> None:
    asked.engine.dismiss_notice(asked.field("notice"))


ACTIONS: Mapping[str, Action] = {
    "accept": _accept,
    "reject": _reject,
    "choose": _choose,
    "send": _send,
    "typing": _typing,
    "draft": _draft,
    "read": _read,
    "end": _end,
    "transfer": _transfer,
    "done": _done,
    "case": _case,
    "disposition": _disposition,
    "contact": _contact,
    "history": _history,
    "ready": _ready,
    "not-ready": _not_ready,
    "dismiss": _dismiss,
}
