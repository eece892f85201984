"""Whether a person with a good token is still one who may come in."""

from stayline.domain.errors import Refusal
from stayline.domain.objects import ConfigObject
from stayline.domain.revision import position
from stayline.link.messages.envelope import Identity


def not_admitted(identity: Identity, person: ConfigObject | None, mark: str, revision: int) -> Refusal | None:
    """Why ``identity`` is not let in by who knows the configuration as of ``mark`` and ``revision``, in which
    ``person`` is its object (None: there is none). None: it is let in.

    Somebody unknown may be newer than this copy of the configuration: the token says at which revision the person was
    there, and whoever knows that one or a later one knows that the person was deleted since. A token that does not say
    it gets the benefit of the doubt until it expires.
    """
    if person is not None:
        if person.enabled:
            return None
        return Refusal(code="auth.disabled", reason=f"'{identity.user}' is disabled.", field="token")
    if not identity.revision or position(identity.mark, identity.revision) > position(mark, revision):
        return None
    return Refusal(code="auth.disabled", reason=f"There is no '{identity.user}' any more.", field="token")
