"""One term as primary: everything that exists from the election until the role is lost, put together."""

import random as random_module
import uuid
from collections.abc import Callable

import structlog

from stayline.domain.interaction import Event
from stayline.domain.session import SessionState
from stayline.link.tokens import TokenSigner, TokenVerifier
from stayline.servers.interaction.agent_requests import AgentRequests
from stayline.servers.interaction.background import Background
from stayline.servers.interaction.channels import Channels
from stayline.servers.interaction.consequences import Consequences
from stayline.servers.interaction.journal_requests import JournalRequests
from stayline.servers.interaction.ledger import Ledger, Recorded, Writer
from stayline.servers.interaction.media_requests import MediaRequests
from stayline.servers.interaction.model import Model
from stayline.servers.interaction.once import Once
from stayline.servers.interaction.reader import Reader
from stayline.servers.interaction.resumption import Resumption
from stayline.servers.interaction.router import Router
from stayline.servers.interaction.rules import Rules
from stayline.servers.interaction.sessions import Sessions
from stayline.servers.interaction.tickets import Tickets
from stayline.servers.interaction.timers import Timers
from stayline.servers.interaction.views import Views
from stayline.store.interaction_state import Loaded

log = structlog.get_logger(__name__)


class Tenure:
    """The Interaction Server at work. ``clock`` gives Unix seconds, ``lost`` is told when the term is over, ``random``
    gives numbers in [0, 1)."""

    def __init__(
        self,
        loaded: Loaded,
        writer: Writer,
        reader: Reader,
        rules: Rules,
        signer: TokenSigner,
        verifier: TokenVerifier,
        *,
        epoch: int,
        term: int,
        clock: Callable[[], float],
        lost: Callable[[str], None],
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.model = Model(loaded)
        self.channels = Channels()
        self.background = Background()
        self._loaded = loaded
        self._timers = Timers(clock)
        views = Views(signer, epoch, term, clock, lambda: rules.ticket_validity)
        tickets = Tickets(self.model, self.channels, views, self._timers, clock, random)
        self.ledger = Ledger(
            self.model,
            writer,
            epoch=epoch,
            term=term,
            clock=clock,
            find=reader.find,
            after=self._after,
            lost=lost,
        )
        self.router = Router(self.ledger, rules, self.background, self._timers)
        self.sessions = Sessions(
            self.ledger,
            rules,
            self.channels,
            self.background,
            self._timers,
            tickets,
            changed=self._session_changed,
            new_id=lambda: uuid.uuid4().hex,
        )
        self._consequences = Consequences(
            self.ledger, self.channels, views, self.router, self.sessions, self.background, self._timers
        )
        self.resumption = Resumption(
            self.ledger, rules, self.channels, self.sessions, views, reader, verifier
        )
        once = Once(self.ledger)
        self.journal = JournalRequests(reader)
        self.media = MediaRequests(self.ledger, rules, once)
        self.agents = AgentRequests(
            self.ledger, rules, self.sessions, self.resumption, views, once, self.journal
        )

    def start(self) -> None:
        """Arm every timer that the loaded rows call for, and put right what the last primary left half done."""
        for session in self.model.sessions.values():
            self.sessions.watch(session)
        for offered in self.model.offered():
            self._consequences.watch_offer(offered)
        for owned in self.model.owned():
            self._consequences.watch_handling(owned)
        for queued in self.model.queued():
            self.router.watch(queued)
        for held in self._loaded.held_back:
            self.router.hold_back(held.interaction, held.session, held.at)
        stranded = self.model.stranded()
        for interaction in stranded:
            self.sessions.requeue(interaction, Event.SESSION_LOST_TIMEOUT)
        log.info(
            "interaction.took_over",
            sessions=len(self.model.sessions),
            interactions=self.model.counts(),
            stranded=len(stranded),
            results=len(self.model.results),
            seq=self.model.seq,
            why="every open session counts as lost from now; its proxy brings it back",
        )
        self.router.kick()

    async def stop(self) -> None:
        """The term is over: no timer, no offer, no further work."""
        self.router.stop()
        self._timers.stop()
        await self.background.stop()

    def configuration_changed(self) -> None:
        """Queues, groups or capacities may be others now, and so may the time limits."""
        for session in self.model.sessions.values():
            if session.state is SessionState.LOST:
                self.sessions.watch(session)
        self.router.kick()

    def session_counts(self) -> tuple[int, int]:
        """Open sessions, and how many of them are lost."""
        lost = sum(s.state is SessionState.LOST for s in self.model.sessions.values())
        return len(self.model.sessions), lost

    def _after(self, recorded: Recorded) -> None:
        self._consequences.of(recorded)

    def _session_changed(self, session: str) -> None:
        self._consequences.session_changed(session)
