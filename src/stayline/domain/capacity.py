"""How many interactions of each medium an agent may have at once (domain facts 6.6)."""

from collections.abc import Mapping

NO_RULE: Mapping[str, int] = {"voice": 1}
"""Without a capacity rule: one voice interaction and nothing else. A chat agent needs a rule."""


def capacity_for(rule: Mapping[str, int] | None, media: str) -> int:
    """The number of interactions of ``media`` that a rule (media -> number; None: no rule assigned) allows."""
    return max(0, (NO_RULE if rule is None else rule).get(media, 0))


def free_capacity(rule: Mapping[str, int] | None, media: str, held: int) -> int:
    """How many more interactions of ``media`` fit beside ``held`` ones (offered ones count as held)."""
    return max(0, capacity_for(rule, media) - held)


def why_no_capacity(agent: str, rule: Mapping[str, int] | None, media: str) -> str:
    """The sentence for the log when a rule allows none of ``media``; empty when it allows some."""
    if capacity_for(rule, media) > 0:
        return ""
    if rule is None:
        return (
            f"Agent {agent} has no capacity rule: the default allows one voice interaction and no {media}. "
            f"Assign a Capacity Rule to the person."
        )
    return f"The capacity rule of agent {agent} allows no {media}."
