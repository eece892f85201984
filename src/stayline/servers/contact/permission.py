"""Who may call what of the Contact Server. Pure."""

from stayline.domain.errors import Refusal
from stayline.domain.objects import ApplicationType
from stayline.link.messages.envelope import Identity

PROXY = ApplicationType.CONTACT_SERVER_PROXY.value
"""Speaks for persons, each on a channel of its own; without a channel it only brings its clients back."""

_CHAT_SERVER = frozenset({ApplicationType.CHAT_SERVER.value})
_PROXY = frozenset({PROXY})

PERSONS = frozenset({"contact.identify", "contact.get", "contact.update", "history.list", "transcript.get"})
"""What persons may call, limited to their tenant."""


def may_call(method: str, application_type: str, identity: Identity | None) -> Refusal | None:
    """Why a request is not let in; None: it is.

    ``application_type`` is that of the link's certificate; ``identity`` the person on the request's channel (None: the
    server itself asks).
    """
    if identity is None:
        servers = _PROXY if method == "channels.restore" else _CHAT_SERVER
        if application_type in servers:
            return None
        reason = f"{method} may not be called by a {application_type}, only by: {', '.join(sorted(servers))}."
        return Refusal(code="method.forbidden", reason=reason, field="m")
    if method not in PERSONS:
        reason = f"{method} is for servers, not for persons."
        return Refusal(code="method.forbidden", reason=reason, field="m")
    if not identity.tenant:
        # Nothing must be read into a missing tenant: for servers "" means any.
        reason = f"{identity.user} belongs to no tenant, so to no tenant's contacts."
        return Refusal(code="tenant.missing", reason=reason, fix="Give the person a tenant.")
    return None
