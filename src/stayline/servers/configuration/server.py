"""The Configuration Server: one per site, reading everywhere, changing where the database is the primary."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from stayline.domain.errors import Refusal, RefusedError, refuse
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.options import default_of
from stayline.domain.topology import Configuration
from stayline.link.bootstrap import Node
from stayline.link.configuration import ConfigurationClient, configuration_endpoints
from stayline.link.messages.configuration import (
    Change,
    ChangeMade,
    ChangeRecord,
    Changes,
    GetChangeHistory,
    LoggedIn,
    Login,
    Read,
    Renew,
)
from stayline.link.messages.control import Report
from stayline.link.messages.envelope import Hello, Identity, Role, RoleChanged
from stayline.link.peer import BaseHandler, Peer, Request, unknown_method
from stayline.link.tokens import TokenSigner
from stayline.link.transport import Accepts, Listener
from stayline.servers.configuration.changes import (
    EDITORS,
    check_persons,
    check_request,
    for_history,
    written_by,
)
from stayline.servers.configuration.follower import Availability, Follower
from stayline.servers.configuration.logins import Logins
from stayline.servers.configuration.views import (
    EVERYBODY,
    changes_since,
    concerned,
    event_payload,
    page,
)
from stayline.servers.persons import not_admitted
from stayline.servers.process import ServerProcess
from stayline.store.configuration import NewChange

log = structlog.get_logger(__name__)

SECTION = "configuration-server"

TRUSTED_TYPES = frozenset({"Solution Control Server", "Operator"})
"""Types in a certificate that may change the configuration: the switch-over plan, and the operator's commands."""

PERSON_METHODS = frozenset({"config.read", "config.change", "config.history", "auth.login", "auth.renew"})
MAX_HISTORY = 1000


@dataclass
class Subscription:
    """Up to where a subscribed link was told."""

    view: str
    revision: int
    mark: str
    availability: tuple[bool, bool, int]


class ConfigurationServer:
    """The server of one process."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._subscriptions: dict[Peer, Subscription] = {}
        self._role = Role.PASSIVE
        boot = process.bootstrap
        own = self._own_node()
        self.follower = Follower(
            boot.database_dsn,
            boot.site,
            process.instance[:63],
            kept=lambda: int(self.option("history-kept")),
            on_stored=self._stored_anew,
            on_availability=self._availability_changed,
        )
        self._signer = TokenSigner.load(boot.keys)
        self._verifier = process.verifier()
        self.logins: Logins | None = None
        self.listener = Listener(
            self.hello,
            lambda _: LinkHandler(self),
            process.tls,
            host=own.host,
            port=own.port,
            accepts=Accepts(
                persons=True,
                anonymous=True,
                person_methods=PERSON_METHODS,
                anonymous_methods=frozenset({"auth.login"}),
            ),
            verify=self._verifier,
            admits=self.admits,
            on_higher_epoch=lambda epoch, _: self.follower.saw_epoch(epoch),
        )
        # The link to the other site's server; this process's own client has no other use.
        self._other = ConfigurationClient(
            [e for e in configuration_endpoints(boot) if e.application != process.name],
            process.hello,
            process.tls,
            random=process.random,
        )
        self._other.changed.append(lambda _: self._other_told())
        self._other.on_link.append(lambda _: self._other_told())

    def _own_node(self) -> Node:
        name = self._process.name
        for node in self._process.bootstrap.configuration:
            if node.application == name:
                return node
        raise refuse(
            "bootstrap.configuration", f"'{name}' is not in the bootstrap's list of Configuration Servers."
        )

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the process stops."""
        self._process.set_report(self._report)
        stopping = asyncio.create_task(self._process.stopping.wait())
        following = asyncio.create_task(self.follower.run(), name="configuration-follower")
        loaded = asyncio.create_task(self.follower.loaded.wait())
        self._other.start_following()
        try:
            await asyncio.wait({stopping, loaded, following}, return_when=asyncio.FIRST_COMPLETED)
            if not self._process.stopping.is_set() and not following.done():
                concurrency = int(self.option("login-concurrency"))
                self.logins = Logins(
                    self._person,
                    self.option,
                    self._signer,
                    concurrency=concurrency,
                    standing=lambda: (self.follower.stored.revision, self.follower.stored.mark),
                )
                await self.listener.open()
                log.info(
                    "configuration.listening", port=self.listener.port, revision=self.follower.stored.revision
                )
                self._process.report_now()
                await asyncio.wait({stopping, following}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
        finally:
            for task in (stopping, loaded, following):
                task.cancel()
            await asyncio.gather(stopping, loaded, following, return_exceptions=True)
            await self._other.stop()
            reason = f"{self._process.name} is stopping."
            await self.listener.close(
                Refusal(code="server.leaving", reason=reason, retryable=True), drop=True
            )
            if self.logins is not None:
                self.logins.close()

    def hello(self) -> Hello:
        """What is said to who connects: active is the server that can make changes."""
        own = self._process.hello()
        return Hello(
            application=own.application,
            type=own.type,
            instance=own.instance,
            site=own.site,
            epoch=self.follower.availability.epoch,
            role=self._role,
        )

    def _report(self) -> Report:
        availability = self.follower.availability
        report = self._process.blank_report()
        report.role = self._role.value
        report.epoch = availability.epoch
        report.listening = self.listener.is_open
        report.clients = len(self.listener.peers)
        report.address = f"{self.listener.host}:{self.listener.port}"
        report.why = f"revision {self.follower.stored.revision}; {availability.why}"
        return report

    def option(self, key: str, section: str = SECTION) -> float:
        """A number of this server's own options."""
        own = self.follower.stored.objects.get((ObjectType.APPLICATION, self._process.name))
        value = own.option(section, key) if own is not None else ""
        return float(value or default_of(section, key))

    def _person(self, name: str) -> ConfigObject | None:
        return self.follower.stored.objects.get((ObjectType.PERSON, name))

    # -- what happens ---------------------------------------------------------------------------------------------

    def _other_told(self) -> None:
        link = self._other.link
        self.follower.offer(
            self._other.snapshot if link.up else Configuration(),
            self._other.mark,
            authority=link.up and link.writable,
            current=link.up and link.current,
        )
        if self._other.peer is not None:
            self.follower.saw_epoch(self._other.peer.hello.epoch)

    def _availability_changed(self) -> None:
        availability = self.follower.availability
        self._process.saw_epoch(availability.epoch)
        role = Role.ACTIVE if availability.writable else Role.PASSIVE
        if role is not self._role:
            self._role = role
            event = RoleChanged(role, availability.epoch, 0, availability.why)
            for peer in list(self.listener.peers):
                if peer.is_server:
                    peer.event("server.role", event)
        self._process.report_now()
        self._tell_all()

    def _stored_anew(self) -> None:
        self.listener.bound_handshakes(int(self.option("handshakes", "admission")))
        self._tell_all()

    def _tell_all(self) -> None:
        """Tell every subscribed link what it does not know yet; what many are told is encoded once."""
        ready: dict[tuple[str, int, str], object] = {}
        for peer, told in list(self._subscriptions.items()):
            if self._expelled(peer):
                continue
            stored, availability = self.follower.stored, self.follower.availability
            flags = (availability.writable, availability.current, availability.epoch)
            if (told.revision, told.mark, told.availability) == (stored.revision, stored.mark, flags):
                continue
            key = (concerned(stored, told.revision, told.mark, told.view), told.revision, told.mark)
            if key not in ready:
                ready[key] = event_payload(self.changes(told.revision, told.mark, key[0], forced=True))
            peer.event("config.changed", ready[key])
            self._subscriptions[peer] = Subscription(told.view, stored.revision, stored.mark, flags)

    def _expelled(self, peer: Peer) -> bool:
        """A person who was deleted or disabled loses the link."""
        refusal = self.admits(peer.identity) if peer.identity is not None else None
        if refusal is not None:
            peer.hang_up(refusal)
        return refusal is not None

    def admits(self, identity: Identity) -> Refusal | None:
        """Why a person with a good token is not let in."""
        stored = self.follower.stored
        return not_admitted(identity, self._person(identity.user), stored.mark, stored.revision)

    # -- requests -------------------------------------------------------------------------------------------------

    def changes(self, since: int, mark: str, view: str, *, forced: bool = False) -> Changes:
        """Everything after ``since`` for a view. ``forced``: the asker follows this server, wherever it goes."""
        availability: Availability = self.follower.availability
        changes = changes_since(
            self.follower.stored,
            since,
            mark,
            view,
            authority=availability.writable or forced,
            writable=availability.writable,
            current=availability.current,
        )
        changes.epoch = availability.epoch
        return changes

    def read(self, peer: Peer, request: Read) -> Changes:
        """``config.read``."""
        view = EVERYBODY if peer.identity is None else peer.identity.user
        changes = self.changes(request.since, request.mark, view)
        if request.subscribe:
            flags = (changes.writable, changes.current, changes.epoch)
            self._subscriptions[peer] = Subscription(view, changes.revision, changes.mark, flags)
        return page(changes, request.offset)

    async def change(self, peer: Peer, request: Change, key: str) -> ChangeMade:
        """``config.change``."""
        by = self._editor(peer, "change the configuration")
        check_request(request.operations, request.reason)
        check_persons(request.operations, by, administrator=self._is_administrator(peer))
        if not key or len(key) > 200:
            raise refuse(
                "config.key", "A change needs an idempotency key of at most 200 characters.", field="k"
            )
        change = NewChange(by, request.reason.strip(), key, for_history(request.operations))
        revision = await self.follower.change(change, lambda stored: written_by(request.operations, stored))
        log.info(
            "configuration.changed",
            revision=revision,
            by=by,
            operations=len(request.operations),
            why=change.reason,
        )
        return ChangeMade(revision)

    async def login(self, peer: Peer, request: Login) -> LoggedIn:
        """``auth.login``."""
        assert self.logins is not None, "nobody can connect before the configuration is known"
        address = peer.remote_address.rpartition(":")[0]
        return await self.logins.login(request, address, lambda: peer.is_closed)

    def renew(self, peer: Peer, request: Renew) -> LoggedIn:
        """``auth.renew``."""
        assert self.logins is not None, "nobody can connect before the configuration is known"
        own = peer.identity
        if own is None:
            raise refuse("auth.nobody", "Only a person's token can be renewed.", field="m")
        newest = self._verifier.identity(request.token, time.time()) if request.token else own
        if newest.user != own.user:
            reason = f"This is the token of '{newest.user}', not of '{own.user}'."
            raise refuse("token.other_person", reason, field="token")
        renewed = self.logins.renew(newest)
        peer.identity = renewed.identity
        return renewed

    async def history(self, peer: Peer, request: GetChangeHistory) -> list[ChangeRecord]:
        """``config.history``."""
        self._editor(peer, "read the history of changes")
        limit = max(1, min(request.limit, MAX_HISTORY))
        return await self.follower.history(limit, request.type, request.name)

    def _editor(self, peer: Peer, what: str) -> str:
        """Who asks; RefusedError ``config.forbidden`` when it may not. A person's roles are those of now, not of
        the token."""
        if peer.identity is None:
            shown = peer.certificate
            if shown is not None and shown.type in TRUSTED_TYPES:
                return shown.application
            reason = f"{peer.hello.application} ({peer.hello.type}) may not {what}."
            raise refuse(
                "config.forbidden", reason, fix="Use the operator's certificate or a person's login."
            )
        person = self._person(peer.identity.user)
        if person is not None and person.enabled and EDITORS & set(person.roles):
            return person.name
        reason = f"'{peer.identity.user}' may not {what}: that needs role administrator or operator."
        raise RefusedError(Refusal(code="config.forbidden", reason=reason))

    def _is_administrator(self, peer: Peer) -> bool:
        if peer.identity is None:
            return True  # proven by an operator's certificate
        person = self._person(peer.identity.user)
        return person is not None and "administrator" in person.roles

    def forget(self, peer: Peer) -> None:
        """The link is gone."""
        self._subscriptions.pop(peer, None)
        self._process.report_now()


class LinkHandler(BaseHandler):
    """One link."""

    def __init__(self, server: ConfigurationServer) -> None:
        self._server = server

    async def on_request(self, peer: Peer, request: Request) -> object:
        """Dispatch by method."""
        match request.method:
            case "config.read":
                return self._server.read(peer, request.read(Read))
            case "auth.login":
                return await self._server.login(peer, request.read(Login))
            case "auth.renew":
                return self._server.renew(peer, request.read(Renew))
            case "config.change":
                return await self._server.change(peer, request.read(Change), request.key)
            case "config.history":
                return await self._server.history(peer, request.read(GetChangeHistory))
        raise unknown_method(request.method)

    def on_closed(self, peer: Peer, why: str) -> None:
        """Forget its subscription."""
        self._server.forget(peer)


async def main(process: ServerProcess) -> None:
    """Be a Configuration Server until the process stops."""
    await ConfigurationServer(process).run()
