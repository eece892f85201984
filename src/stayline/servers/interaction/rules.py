"""What the configuration says to the Interaction Server: options, queues, capacity, places; read at each use."""

from collections.abc import Callable, Mapping

from stayline.domain.errors import refuse
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.second_login import Policy
from stayline.domain.topology import Configuration

SECTION = "settings"


class Rules:
    """A view on the newest configuration. ``application`` is this server's name (its options)."""

    def __init__(self, configuration: Callable[[], Configuration], application: str) -> None:
        self._configuration = configuration
        self._application = application
        self._read_from: Configuration | None = None
        self._queue_groups: dict[str, frozenset[str]] = {}
        self._groups_of: dict[str, frozenset[str]] = {}

    # -- options ---------------------------------------------------------------------------------------------

    @property
    def restore_timeout(self) -> float:
        """``agent-session-restore-timeout`` in seconds."""
        return float(self._option("agent-session-restore-timeout"))

    @property
    def delivering_timeout(self) -> float:
        """``delivering-timeout`` in seconds."""
        return float(self._option("delivering-timeout"))

    @property
    def routing_timeout(self) -> float:
        """``routing-timeout`` in seconds."""
        return 60.0 * float(self._option("routing-timeout"))

    @property
    def handling_timeout(self) -> float:
        """``handling-timeout`` in seconds."""
        return 60.0 * float(self._option("handling-timeout"))

    @property
    def reoffer_delay(self) -> float:
        """``reoffer-delay`` in seconds."""
        return float(self._option("reoffer-delay"))

    @property
    def multiple_connections(self) -> Policy:
        """``allow-multiple-agent-connections``; its default for a value that nobody knows."""
        value = self._option("allow-multiple-agent-connections")
        return Policy(value) if value in list(Policy) else Policy.TAKES_OVER

    @property
    def ticket_validity(self) -> float:
        """``ticket-validity`` in seconds."""
        return float(self._option("ticket-validity"))

    @property
    def snapshot_limit(self) -> int:
        """``max-interactions-per-snapshot``."""
        return int(self._option("max-interactions-per-snapshot"))

    def _option(self, key: str) -> str:
        return self._configuration().app_option(self._application, SECTION, key)

    # -- objects ---------------------------------------------------------------------------------------------

    def check_queue(self, name: str, tenant: str, media: str) -> None:
        """Raises RefusedError ``queue.unknown`` or ``queue.media`` when interactions of ``media`` may not go there."""
        queue = self._configuration().get(ObjectType.QUEUE, name)
        if queue is None or not queue.enabled or queue.tenant not in ("", tenant):
            known = ", ".join(sorted(self.queue_groups())) or "none"
            raise refuse("queue.unknown", f"There is no queue {name!r}; there are: {known}.", field="queue")
        if queue.media and media not in queue.media:
            raise refuse("queue.media", f"Queue {name!r} takes no {media}.", field="queue")

    def check_place(self, name: str, tenant: str) -> None:
        """Raises RefusedError ``place.unknown``."""
        place = self._configuration().get(ObjectType.PLACE, name)
        if place is None or not place.enabled or place.tenant not in ("", tenant):
            raise refuse("place.unknown", f"There is no place {name!r}.", field="place")

    def check_agent(self, name: str, tenant: str) -> ConfigObject:
        """The person; RefusedError ``agent.unknown`` when the configuration knows no such enabled one."""
        person = self._configuration().get(ObjectType.PERSON, name)
        if person is None or not person.enabled or person.tenant not in ("", tenant):
            raise refuse("agent.unknown", f"There is no agent {name!r} in tenant {tenant!r}.", field="agent")
        return person

    def queue_groups(self) -> Mapping[str, frozenset[str]]:
        """Queue -> agent groups that serve it (empty: everybody)."""
        self._read_groups()
        return self._queue_groups

    def groups_of(self, agent: str) -> frozenset[str]:
        """Names of the agent's groups."""
        self._read_groups()
        return self._groups_of.get(agent, frozenset())

    def _read_groups(self) -> None:
        """The router asks for these at every look: they are collected once per configuration."""
        configuration = self._configuration()
        if configuration is self._read_from:
            return
        self._read_from = configuration
        queues = configuration.all(ObjectType.QUEUE)
        self._queue_groups = {queue.name: frozenset(queue.groups) for queue in queues if queue.enabled}
        groups: dict[str, set[str]] = {}
        for group in configuration.all(ObjectType.AGENT_GROUP):
            for member in group.members if group.enabled else ():
                groups.setdefault(member, set()).add(group.name)
        self._groups_of = {member: frozenset(names) for member, names in groups.items()}

    def capacity_rule(self, agent: str) -> Mapping[str, int] | None:
        """The agent's capacity rule (media -> number); None: none assigned."""
        configuration = self._configuration()
        person = configuration.get(ObjectType.PERSON, agent)
        if person is None or not person.capacity_rule:
            return None
        rule = configuration.get(ObjectType.CAPACITY_RULE, person.capacity_rule)
        return rule.capacity if rule is not None and rule.enabled else None
