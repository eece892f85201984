"""What agents ask for through the proxies' channels."""

from collections.abc import Awaitable, Callable

import msgspec

from stayline.domain.controls import Control
from stayline.domain.errors import refuse
from stayline.domain.interaction import Command, Event, Interaction, State
from stayline.link.messages import interaction as messages
from stayline.link.messages.interaction import Done, InteractionView, SessionOpened
from stayline.link.peer import Request, unknown_method
from stayline.servers.interaction.channels import Channel
from stayline.servers.interaction.journal_requests import JournalRequests
from stayline.servers.interaction.ledger import Ledger, Recorded
from stayline.servers.interaction.limits import check_change
from stayline.servers.interaction.once import Once
from stayline.servers.interaction.permitted import check_control
from stayline.servers.interaction.resumption import Resumption
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.sessions import Sessions
from stayline.servers.interaction.views import Views
from stayline.store.interaction import RequestResult

Perform = Callable[[Channel, Request, RequestResult], Awaitable[object]]


class AgentRequests:
    """Serves one channel's requests; each that changes something once per key."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        sessions: Sessions,
        resumption: Resumption,
        views: Views,
        once: Once,
        journal: JournalRequests,
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._sessions = sessions
        self._resumption = resumption
        self._views = views
        self._once = once
        self._journal = journal
        self._changing: dict[str, Perform] = {
            "agent.login": self._login,
            "agent.logout": self._logout,
            "agent.media": self._media,
            "interaction.accept": self._accept,
            "interaction.reject": self._reject,
            "interaction.transfer": self._transfer,
            "interaction.done": self._done,
            "interaction.change": self._change,
        }

    async def serve(self, channel: Channel, request: Request) -> object:
        """The answer to a request on a channel. Raises RefusedError."""
        if request.method == "agent.resume":
            # Moving a session to where it is already changes nothing: it needs no key.
            return await self._resumption.resume(channel, request.read(messages.AgentResume))
        if request.method == "interaction.journal":
            return await self._journal.for_person(channel.identity, request)
        perform = self._changing.get(request.method)
        if perform is None:
            raise unknown_method(request.method)
        identity = channel.identity
        return await self._once.carry_out(
            f"agent:{identity.tenant}/{identity.user}",
            request,
            lambda result: perform(channel, request, result),
            lambda known: self._replay(channel, request, known),
        )

    # -- sessions --------------------------------------------------------------------------------------------

    async def _login(self, channel: Channel, request: Request, result: RequestResult) -> SessionOpened:
        login = await self._sessions.login(channel, request.read(messages.AgentLogin), result)
        return self._resumption.logged_in(login)

    async def _logout(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        await self._sessions.logout(channel, request.read(messages.AgentLogout), result)
        return Done()

    async def _media(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        await self._sessions.set_media(channel, request.read(messages.SetMedia), result)
        return Done()

    # -- interactions ----------------------------------------------------------------------------------------

    async def _accept(self, channel: Channel, request: Request, result: RequestResult) -> InteractionView:
        params = request.read(messages.Accept)
        command = self._command(
            channel,
            Event.ACCEPT,
            request.key,
            version=params.version,
            handling=self._rules.handling_timeout,
        )
        recorded = await self._ledger.apply(
            params.interaction, lambda _: command, _of(result, params.interaction)
        )
        return self._view(recorded.step.after)

    async def _reject(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        params = request.read(messages.Reject)
        why = f"the agent rejected the offer: {params.reason}" if params.reason else ""
        command = self._command(channel, Event.REJECT, request.key, version=params.version, why=why)
        return _answer(
            await self._ledger.apply(params.interaction, lambda _: command, _of(result, params.interaction))
        )

    async def _transfer(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        params = request.read(messages.Transfer)
        reason = f": {params.reason}" if params.reason else ""
        why = f"the agent transferred it to queue {params.queue}{reason}"
        command = self._command(channel, Event.TRANSFER, request.key, queue=params.queue, why=why)

        def decide(interaction: Interaction) -> Command:
            check_control(interaction, Control.TRANSFER, command.session)
            self._rules.check_queue(params.queue, interaction.tenant, interaction.media)
            return command

        return _answer(await self._ledger.apply(params.interaction, decide, _of(result, params.interaction)))

    async def _done(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        params = request.read(messages.MarkDone)
        command = self._command(channel, Event.DONE, request.key, disposition=params.disposition or None)

        def decide(interaction: Interaction) -> Command:
            check_control(interaction, Control.DONE, command.session)
            return command

        return _answer(await self._ledger.apply(params.interaction, decide, _of(result, params.interaction)))

    async def _change(self, channel: Channel, request: Request, result: RequestResult) -> Done:
        params = request.read(messages.ChangeProperties)
        command = self._command(
            channel,
            Event.CHANGE,
            request.key,
            set=params.set,
            delete=tuple(params.delete),
            disposition=params.disposition,
            online=params.online,
        )

        def decide(interaction: Interaction) -> Command:
            check_change(interaction.properties, params.set)
            return command

        return _answer(await self._ledger.apply(params.interaction, decide, _of(result, params.interaction)))

    def _command(
        self,
        channel: Channel,
        event: Event,
        key: str,
        *,
        version: int = 0,
        handling: float = 0.0,
        queue: str = "",
        set: dict[str, str] | None = None,
        delete: tuple[str, ...] = (),
        disposition: str | None = None,
        online: bool | None = None,
        why: str = "",
    ) -> Command:
        session = self._sessions.session_of(channel)
        return Command(
            event=event,
            actor=f"agent:{session.agent}",
            epoch=self._ledger.epoch,
            term=self._ledger.term,
            agent=session.agent,
            session=session.id,
            version=version,
            handling=handling,
            queue=queue,
            set=set or {},
            delete=delete,
            disposition=disposition,
            online=online,
            why=why,
            key=key,
        )

    # -- answers ---------------------------------------------------------------------------------------------

    async def _replay(self, channel: Channel, request: Request, known: RequestResult) -> object:
        """The answer to a request that was carried out before."""
        if known.method == "agent.login":
            login = request.read(messages.AgentLogin)
            return await self._resumption.rejoin(channel, known.session, login)
        if known.method == "interaction.accept":
            return self._accepted_before(channel, await self._ledger.find(known.interaction))
        return Done(seq=known.seq, version=known.version)

    def _accepted_before(self, channel: Channel, interaction: Interaction) -> InteractionView:
        """As it is now, if it is still this agent's: an older picture would undo what happened since."""
        session = self._sessions.session_of(channel)
        if interaction.state is not State.OWNED or interaction.session != session.id:
            raise refuse(
                "interaction.not_yours",
                f"You accepted interaction {interaction.id}, but it is {interaction.state.value} now"
                f"{f', with {interaction.owner}' if interaction.owner else ''}.",
            )
        return self._view(interaction)

    def _view(self, interaction: Interaction) -> InteractionView:
        return self._views.interaction(interaction, self._ledger.model.sessions.get(interaction.session))


def _of(result: RequestResult, interaction: str) -> RequestResult:
    return msgspec.structs.replace(result, interaction=interaction)


def _answer(recorded: Recorded) -> Done:
    return Done(seq=recorded.seq, version=recorded.step.after.version)
