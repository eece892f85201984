"""Why an option has the value it has for one agent: who supplied it, what it overrode, when a change is noticed."""

from dataclasses import dataclass

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType, ConfigObject, ObjectType
from stayline.domain.option_catalogue import BY_SECTION
from stayline.domain.option_spec import OptionSpec
from stayline.domain.options import nearest
from stayline.domain.topology import WORKSPACE_SECTION, Configuration


@dataclass(frozen=True, kw_only=True)
class Supply:
    """One value and who holds it: ``supplier`` in words (``Agent Group 'Support'``), ``level`` its place in the
    hierarchy (0: the default of the catalogue)."""

    supplier: str
    value: str
    level: int


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The effective value of one option for a person.

    ``overrode`` is every weaker value, strongest first; the default is always the last of them unless it is in force
    itself. ``disagreeing``: Agent Groups of the person that name different values (the last by name decides).
    ``targets``: values that single clusters or servers set for links to them, which outrank the hierarchy there.
    """

    spec: OptionSpec
    value: str
    supplier: str
    overrode: tuple[Supply, ...]
    disagreeing: tuple[Supply, ...] = ()
    targets: tuple[Supply, ...] = ()

    @property
    def sentence(self) -> str:
        """Value, supplier and rule in one sentence."""
        shown = f"'{self.value}'" if self.value else "empty"
        text = f"{self.spec.key} is {shown}, from {self.supplier}"
        if self.disagreeing:
            names = ", ".join(one.supplier for one in self.disagreeing)
            text += f"; {names} disagree, and of groups the last by name wins"
        return f"{text}."


def explain(configuration: Configuration, application: str, person: str, key: str) -> Explanation:
    """Why ``interaction-workspace/key`` has its value for ``person`` at the Workspace ``application``.

    Raises RefusedError ``config.unknown_object`` or ``option.unknown`` (naming the nearest known one).
    """
    configuration.require(ObjectType.PERSON, person)
    spec = _workspace_option(key)
    supplies = [Supply(supplier="the default", value=spec.default, level=0)]
    for level, obj in enumerate(configuration.hierarchy(application, person), 1):
        value = obj.options.get(WORKSPACE_SECTION, {}).get(spec.key)
        if value is not None:
            supplies.append(Supply(supplier=words(obj), value=value, level=level))
    groups = [one for one in supplies if one.supplier.startswith(str(ObjectType.AGENT_GROUP))]
    winner = supplies[-1]
    return Explanation(
        spec=spec,
        value=winner.value,
        supplier=winner.supplier,
        overrode=tuple(reversed(supplies[:-1])),
        disagreeing=tuple(groups) if len({one.value for one in groups}) > 1 else (),
        targets=tuple(_targets(configuration, application, spec)),
    )


def explain_all(configuration: Configuration, application: str, person: str) -> list[Explanation]:
    """Every Workspace option of the catalogue for a person, in the catalogue's order. Raises as :func:`explain`."""
    return [explain(configuration, application, person, spec.key) for spec in workspace_options()]


def workspace_options() -> list[OptionSpec]:
    """The options that the hierarchy overrides."""
    return [spec for spec in BY_SECTION[WORKSPACE_SECTION] if ApplicationType.WORKSPACE in spec.on]


def words(obj: ConfigObject) -> str:
    """An object as people call it."""
    return f"{obj.type} '{obj.name}'"


def _workspace_option(key: str) -> OptionSpec:
    known = {spec.key: spec for spec in workspace_options()}
    bare = key.removeprefix(f"{WORKSPACE_SECTION}/")
    if bare in known:
        return known[bare]
    near = nearest(bare, known)
    fix = f"Did you mean '{near}'?" if near else "stayline config options lists what is known."
    raise refuse("option.unknown", f"'{bare}' is no option of a Workspace.", field=bare, fix=fix)


def _targets(configuration: Configuration, application: str, spec: OptionSpec) -> list[Supply]:
    """Values that objects a Workspace connects to hold themselves."""
    found: list[Supply] = []
    for connection in configuration.application(application).connections:
        target = configuration.get(ObjectType.APPLICATION, connection.server)
        if target is None or target.app_type not in spec.on:
            continue
        value = target.options.get(WORKSPACE_SECTION, {}).get(spec.key)
        if value is not None:
            found.append(Supply(supplier=words(target), value=value, level=-1))
    return found
