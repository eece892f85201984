"""Synthetic agents as configuration objects: a person, a place and a share in the groups for each."""

import msgspec

from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.provisioning import Provisioned

CROWD_PASSWORD = "stayline"
"""Password of every synthetic agent. They exist in labs only."""


def crowd_name(number: int) -> str:
    """Login of the ``number``-th synthetic agent (from 1)."""
    return f"robot{number:04d}"


def crowd_place(number: int) -> str:
    """Place of the ``number``-th synthetic agent (from 1)."""
    return f"Robot_{number:04d}"


def with_crowd(centre: Provisioned, agents: int) -> Provisioned:
    """The centre with ``agents`` synthetic agents: the groups of the sample agents take turns in getting
    one, and capacity rule and tenant are those of the first sample agent."""
    if agents <= 0:
        return centre
    groups = [one for one in centre.objects if one.type is ObjectType.AGENT_GROUP]
    model = next((one for one in centre.objects if one.type is ObjectType.PERSON and one.capacity_rule), None)
    tenant = model.tenant if model else ""
    persons, places = list[ConfigObject](), list[ConfigObject]()
    members: dict[str, list[str]] = {group.name: [] for group in groups}
    for number in range(1, agents + 1):
        name, place = crowd_name(number), crowd_place(number)
        places.append(ConfigObject(type=ObjectType.PLACE, name=place, tenant=tenant))
        persons.append(
            ConfigObject(
                type=ObjectType.PERSON,
                name=name,
                tenant=tenant,
                roles=["agent"],
                display_name=f"Robot {number}",
                default_place=place,
                capacity_rule=model.capacity_rule if model else "",
            )
        )
        if groups:
            members[groups[(number - 1) % len(groups)].name].append(name)
    grown = [
        msgspec.structs.replace(one, members=[*one.members, *members[one.name]])
        if one.type is ObjectType.AGENT_GROUP
        else one
        for one in centre.objects
    ]
    passwords = centre.passwords | {person.name: CROWD_PASSWORD for person in persons}
    return Provisioned([*grown, *places, *persons], passwords)
