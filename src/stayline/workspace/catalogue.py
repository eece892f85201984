"""What the configuration offers an agent to choose from: queues, dispositions, fields, reasons. Pure."""

from typing import NamedTuple

from stayline.domain.objects import ObjectType
from stayline.domain.topology import Configuration
from stayline.workspace.view import CaseField


class Catalogue(NamedTuple):
    """Choices of one tenant: see :class:`~stayline.workspace.view.WorkspaceView`."""

    queues: dict[str, list[str]]
    dispositions: dict[str, str]
    case_fields: list[CaseField]
    not_ready_reasons: list[str]


EMPTY = Catalogue({}, {}, [], [])


def catalogue_of(configuration: Configuration, tenant: str) -> Catalogue:
    """The choices of a tenant."""
    queues: dict[str, list[str]] = {}
    for queue in configuration.all(ObjectType.QUEUE):
        if queue.enabled and (not queue.tenant or queue.tenant == tenant):
            for media in queue.media:
                queues.setdefault(media, []).append(queue.name)
    owner = configuration.get(ObjectType.TENANT, tenant) if tenant else None
    options = owner.options if owner is not None else {}
    fields = [
        CaseField(key=key, label=label or key) for key, label in options.get("case-information", {}).items()
    ]
    reasons = [label or key for key, label in options.get("not-ready-reasons", {}).items()]
    return Catalogue(queues, dict(options.get("dispositions", {})), fields, reasons)


def default_place(configuration: Configuration, person: str) -> str:
    """The place of the Person object (empty: none)."""
    found = configuration.get(ObjectType.PERSON, person)
    return found.default_place if found is not None else ""
