"""Who an agent of a storm is, and what it carries from one link to the next."""

import uuid
from dataclasses import dataclass, field

from stayline.domain.objects import ApplicationType
from stayline.link.messages.envelope import Hello

WORKSPACE = "Workspace"
"""Name of the Application object that all agents of a storm run as."""


@dataclass(slots=True)
class Account:
    """``token`` proves the person, ``ticket`` resumes ``session``, ``last_seq`` is the last event heard in it,
    ``epoch`` the highest one known; ``instance`` is this agent's Workspace."""

    number: int
    user: str
    place: str
    token: str = ""
    ticket: str = ""
    session: str = ""
    last_seq: int = 0
    epoch: int = 0
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)

    def hello(self) -> Hello:
        """What its Workspace says first: with the ticket, it is in the lane of resumes."""
        return Hello(
            application=WORKSPACE,
            type=ApplicationType.WORKSPACE,
            instance=self.instance,
            epoch=self.epoch,
            token=self.token,
            ticket=self.ticket,
        )
