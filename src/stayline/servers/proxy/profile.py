"""The two proxies are one program; this table says in what they differ."""

from dataclasses import dataclass

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of proxy.

    ``methods``: all that a person may call through it. ``reads``: those that change nothing (or are the same however
    often they are done), so that they may be repeated at a new primary without an idempotency key.
    ``opening``: methods answered with a session, ``closing``: those that end it; both empty: the core has no
    sessions. ``section``: of this proxy's own options.
    """

    app_type: ApplicationType
    core_type: ApplicationType
    section: str
    methods: frozenset[str]
    reads: frozenset[str]
    opening: frozenset[str] = frozenset()
    closing: frozenset[str] = frozenset()


_INTERACTION = Profile(
    app_type=ApplicationType.INTERACTION_SERVER_PROXY,
    core_type=ApplicationType.INTERACTION_SERVER,
    section="interaction-server-proxy",
    methods=frozenset(
        {
            "agent.login",
            "agent.resume",
            "agent.logout",
            "agent.media",
            "interaction.accept",
            "interaction.reject",
            "interaction.transfer",
            "interaction.done",
            "interaction.change",
            "interaction.journal",
        }
    ),
    reads=frozenset({"agent.resume", "interaction.journal"}),
    opening=frozenset({"agent.login", "agent.resume"}),
    closing=frozenset({"agent.logout"}),
)

_CONTACT = Profile(
    app_type=ApplicationType.CONTACT_SERVER_PROXY,
    core_type=ApplicationType.CONTACT_SERVER,
    section="contact-server-proxy",
    methods=frozenset(
        {"contact.identify", "contact.get", "contact.update", "history.list", "transcript.get"}
    ),
    reads=frozenset({"contact.identify", "contact.get", "history.list", "transcript.get"}),
)

PROFILES = {str(profile.app_type): profile for profile in (_INTERACTION, _CONTACT)}
"""Application type -> profile."""


def profile_of(app_type: str) -> Profile:
    """The profile of an application type. Raises RefusedError ``server.type_unknown``."""
    try:
        return PROFILES[app_type]
    except KeyError:
        raise refuse("server.type_unknown", f"{app_type!r} is not a kind of proxy.") from None
