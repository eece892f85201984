"""What media servers ask for on their own links: submit, stop, change, owner."""

from collections.abc import Awaitable, Callable

import msgspec

from stayline.domain.errors import refuse
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.link.messages.interaction import (
    ChangeProperties,
    Done,
    GetOwner,
    OwnerChanged,
    Stop,
    Submit,
)
from stayline.link.peer import Peer, Request, unknown_method
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.limits import check_change, check_fields, check_id
from stayline.servers.interaction.once import Once
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.views import owner_changed
from stayline.store.interaction import RequestResult

SCOPE = "media"
"""Keys are shared by all media servers: when one dies, another one repeats its requests."""

Perform = Callable[[str, Request, RequestResult], Awaitable[Done]]


class MediaRequests:
    """Serves media servers' requests; each that changes something once per key."""

    def __init__(self, ledger: Ledger, rules: Rules, once: Once) -> None:
        self._ledger = ledger
        self._rules = rules
        self._once = once
        self._changing: dict[str, Perform] = {
            "interaction.submit": self._submit,
            "interaction.stop": self._stop,
            "interaction.change": self._change,
        }

    async def serve(self, peer: Peer, request: Request) -> object:
        """The answer to a media server's request. Raises RefusedError."""
        if request.method == "interaction.owner":
            return await self.owner(request)
        perform = self._changing.get(request.method)
        if perform is None:
            raise unknown_method(request.method)
        actor = f"application:{peer.hello.application}"
        return await self._once.carry_out(
            SCOPE,
            request,
            lambda result: perform(actor, request, result),
            _replay,
        )

    async def owner(self, request: Request) -> OwnerChanged:
        """Who owns an interaction. Raises RefusedError ``interaction.unknown``."""
        return owner_changed(await self._ledger.find(request.read(GetOwner).interaction))

    async def _submit(self, actor: str, request: Request, result: RequestResult) -> Done:
        params = request.read(Submit)
        known = self._ledger.model.interaction(params.id)
        if known is not None:
            _check_same(known, params)
            return Done(version=known.version)
        check_id(params.id)
        check_fields({name: getattr(params, name) for name in _FIELDS})
        check_change({}, params.properties)
        self._rules.check_queue(params.queue, params.tenant, params.media)
        command = self._command(Event.SUBMIT, actor, request.key)
        recorded = await self._ledger.submit(
            _described(params), command, msgspec.structs.replace(result, interaction=params.id)
        )
        return _answer(recorded)

    async def _stop(self, actor: str, request: Request, result: RequestResult) -> Done:
        params = request.read(Stop)
        found = await self._ledger.find(params.interaction)
        if found.state is State.STOPPED:
            return Done(version=found.version)

        def decide(interaction: Interaction) -> Command:
            if params.only_unanswered and interaction.state is State.OWNED:
                raise _AnsweredError(interaction.version)
            return self._command(Event.STOP, actor, request.key, why=f"stopped: {params.reason}")

        try:
            return _answer(
                await self._ledger.apply(
                    params.interaction,
                    decide,
                    msgspec.structs.replace(result, interaction=params.interaction),
                )
            )
        except _AnsweredError as answered:
            return Done(version=answered.version)

    async def _change(self, actor: str, request: Request, result: RequestResult) -> Done:
        params = request.read(ChangeProperties)

        def decide(interaction: Interaction) -> Command:
            check_change(interaction.properties, params.set)
            return msgspec.structs.replace(
                self._command(Event.CHANGE, actor, request.key),
                set=params.set,
                delete=tuple(params.delete),
                disposition=params.disposition,
                online=params.online,
            )

        return _answer(
            await self._ledger.apply(
                params.interaction, decide, msgspec.structs.replace(result, interaction=params.interaction)
            )
        )

    def _command(self, event: Event, actor: str, key: str, why: str = "") -> Command:
        return Command(
            event=event, actor=actor, epoch=self._ledger.epoch, term=self._ledger.term, key=key, why=why
        )


class _AnsweredError(Exception):
    """An agent owns it: ``stop`` with ``only_unanswered`` leaves it."""

    def __init__(self, version: int) -> None:
        super().__init__("an agent owns it")
        self.version = version


_FIELDS = ("tenant", "media", "queue", "type", "subtype", "subject", "contact", "customer", "chat_session")


def _described(params: Submit) -> Interaction:
    if not params.tenant or not params.media:
        raise refuse("interaction.field", "An interaction has a tenant and a medium.", field="media")
    return Interaction(
        id=params.id,
        tenant=params.tenant,
        media=params.media,
        queue=params.queue,
        state=State.QUEUED,
        version=0,
        epoch=0,
        term=0,
        type=params.type,
        subtype=params.subtype,
        subject=params.subject,
        contact=params.contact,
        customer=params.customer,
        chat_session=params.chat_session,
        properties=params.properties,
    )


def _check_same(known: Interaction, params: Submit) -> None:
    """A repeated submit is harmless; another party must not come by an interaction because it knows the id."""
    if (known.tenant, known.media, known.chat_session) != (params.tenant, params.media, params.chat_session):
        raise refuse("interaction.exists", "There is another interaction with this id already.", field="id")


async def _replay(known: RequestResult) -> Done:
    return Done(seq=known.seq, version=known.version)


def _answer(recorded: Recorded) -> Done:
    return Done(seq=recorded.seq, version=recorded.step.after.version)
