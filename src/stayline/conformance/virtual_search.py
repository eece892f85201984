"""Looking at servers without using them, in virtual time: probes of ports, and questions for a statement."""

from typing import TYPE_CHECKING

from stayline.conformance.actions import StatementKind
from stayline.conformance.virtual_attempt import Attempt
from stayline.conformance.world import SignedStatement
from stayline.link.machine.plan import Link
from stayline.link.machine.site_events import Ask, Asked, Probe, Probed

if TYPE_CHECKING:
    from stayline.conformance.virtual_client import VirtualClient


class Search:
    """One :class:`Probe` or :class:`Ask` of the machine: its servers one after the other."""

    def __init__(self, client: "VirtualClient", wanted: Probe | Ask) -> None:
        self._client = client
        self._number, self._cluster = wanted.number, wanted.cluster
        self._left = list(wanted.nodes)
        self._attempt: Attempt | None = None

    def probe(self) -> None:
        """Does one of them accept a connection?"""
        if not self._left:
            self._client.tell(Probed(self._number, self._cluster, False))
            return
        self._client.probe(self._left.pop(0).application, self._accepted)

    def _accepted(self, accepted: bool) -> None:
        if accepted:
            self._client.tell(Probed(self._number, self._cluster, True))
        else:
            self.probe()

    def ask(self) -> None:
        """Which good statement does one of them carry? Each is left again."""
        if not self._left:
            self._client.answered(self._number, Asked(self._number, self._cluster, None))
            return
        node = self._left.pop(0)
        self._attempt = Attempt(self._client, Link.INTERACTION, 0, node, only_ask=self._stated)
        self._attempt.open()

    def _stated(self, statement: SignedStatement | None) -> None:
        if statement is not None and statement.kind is StatementKind.VALID:
            stated = (statement.site, statement.epoch)
            self._client.answered(self._number, Asked(self._number, self._cluster, stated))
            return
        if statement is not None:
            self._client.heard_statement(statement)
        self.ask()

    def hang_up(self) -> None:
        """It is not wanted any more."""
        if self._attempt is not None:
            self._attempt.hang_up()
