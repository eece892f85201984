"""The cases of the conformance suite: what is given, what is done, what must be seen. Read from YAML.

A case is a small contact centre and a story. ``do`` steps (``actions.py``) change the centre, ``see`` steps
(``expectations.py``) say what a client has to do. The same case is played to the pure machines in virtual time and to
a whole client over sockets; chance may turn out in any way, so expectations about it are ranges. What was seen is a
:class:`~stayline.conformance.record.Record` either way, and ``verdict.py`` judges a ``see`` step by it either way.
"""

import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import yaml

from stayline.conformance.actions import ACTIONS, SHORT, AnyAction
from stayline.conformance.expectations import EXPECTATIONS, MUST_LAST, SHORT_EXPECTATIONS, AnyExpectation
from stayline.domain.errors import Refusal, StaylineError, refuse

WITHIN = 5.0
"""Seconds within which a ``see`` step has to come true, unless it says otherwise."""

DEFAULT_OPTIONS = {
    "warm-standby.retry-delay": "0.4",
    "warm-standby.reconnection-random-delay-range": "0.1",
    "warm-standby.open-timeout": "1",
    "disaster-recovery.eservices-random-delay-range": "0.2",
    "eservices.session-restore-timeout": "30",
    "login.media": "chat,email",
}
"""Options of the Workspace application in each case, unless the case sets them: small, so that no case takes long."""


class CaseError(StaylineError):
    """A file of the suite does not hold what it should."""


class GivenCluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cluster. ``interaction``/``contact``: how many proxies (named ``IxnProxy_A_1``, ``UCS_Proxy_A_1`` ... with the
    letter after the last ``_`` of the cluster's name)."""

    name: str
    site: str = ""
    interaction: int = 2
    contact: int = 1


class GivenServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Configuration Server or Stat Server. ``site``: its tag. ``backup``: the name of its backup, which follows in
    the list. ``reconnect``: the primary's Reconnect Timeout in seconds."""

    name: str
    site: str = ""
    backup: str = ""
    reconnect: float = 0.0


class GivenAddp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """ADDP of the Workspace's connection to each cluster, in seconds; 0: that side does not poll."""

    local: float = 0.0
    remote: float = 0.0


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The centre before the story begins.

    ``clusters`` in the order of the Workspace's connection list; ``unconnected`` exist without such a connection.
    ``options``: by object (``Workspace``, ``Tenant``, ``Group NAME``, ``Person``, a cluster, a server), then by key;
    every group named here has the person as member. ``active``: sites, clusters or proxies
    that listen (None: all).
    ``disabled``: Application objects. ``statements``: whether proxies carry a statement of the first active site.
    """

    clusters: list[GivenCluster]
    unconnected: list[GivenCluster] = []
    options: dict[str, dict[str, str | float | int | bool]] = {}
    active: list[str] | None = None
    disabled: list[str] = []
    epoch: int = 7
    statements: bool = True
    addp: GivenAddp = GivenAddp()
    configuration: list[GivenServer] = msgspec.field(default_factory=lambda: [GivenServer(name="Config_A")])
    statistics: list[GivenServer] = []


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: exactly one of ``do`` and ``see``. ``number`` counts from 1. ``lasting``: ``for`` in YAML."""

    number: int
    do: AnyAction | None = None
    see: AnyExpectation | None = None
    within: float = WITHIN
    lasting: float = 0.0
    text: str = ""

    @property
    def words(self) -> str:
        """The step as the case writes it, for people."""
        return self.text


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case. ``rules``: numbers of the specification that it proves. ``sources``: ``from`` in YAML. ``needs``: what
    only some clients can be told to do (``wake-up``); others are not judged by it."""

    id: str
    title: str
    rules: list[str]
    sources: list[str]
    given: Given
    story: list[Step]
    needs: list[str] = []
    chapter: str = ""
    file: str = ""


class _RawStep(msgspec.Struct, forbid_unknown_fields=True):
    do: dict[str, Any] | None = None
    see: dict[str, Any] | None = None
    within: float = WITHIN
    lasting: float = msgspec.field(name="for", default=0.0)


class _RawCase(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    title: str
    rules: list[str]
    given: Given
    story: list[_RawStep]
    sources: list[str] = msgspec.field(name="from")
    needs: list[str] = []


class _RawFile(msgspec.Struct, forbid_unknown_fields=True):
    chapter: str
    cases: list[dict[str, Any]]
    common: dict[str, Any] = {}


def suite_folder() -> Path:
    """The folder with SPEC.md and ``cases``: of the installed package, or of the checkout.

    Raises RefusedError ``conformance.no_suite``.
    """
    packaged = Path(str(files("stayline.conformance") / "suite"))
    checkout = Path(__file__).parents[3] / "conformance"
    for folder in (packaged, checkout):
        if (folder / "cases").is_dir():
            return folder
    raise refuse("conformance.no_suite", "The conformance suite is not in this installation.")


def load_suite(folder: Path | None = None) -> list[Case]:
    """Every case, in the order of files and of cases in them. Raises :class:`CaseError` naming file, case and step."""
    cases: list[Case] = []
    seen: dict[str, str] = {}
    for path in sorted(((folder or suite_folder()) / "cases").glob("*.yaml")):
        for case in load_file(path):
            if case.id in seen:
                raise _error(f"{path.name}: case {case.id} is in {seen[case.id]} already")
            seen[case.id] = path.name
            cases.append(case)
    return cases


def find_cases(cases: Iterable[Case], wanted: Iterable[str]) -> list[Case]:
    """The cases whose id, chapter, file or rule is named (all when nothing is named).

    Raises RefusedError ``conformance.unknown_case``.
    """
    pool, names = list(cases), list(wanted)
    for name in names:
        if not any(_is_meant(case, name) for case in pool):
            raise refuse("conformance.unknown_case", f"No case, chapter, file or rule is called '{name}'.")
    return [case for case in pool if not names or any(_is_meant(case, name) for name in names)]


def _is_meant(case: Case, name: str) -> bool:
    return name in (case.id, case.chapter, case.file, case.file.removesuffix(".yaml"), *case.rules)


def load_file(path: Path) -> list[Case]:
    """The cases of one file; errors as :func:`load_suite`."""
    try:
        return parse_cases(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise _error(f"{path.name} cannot be read: {error.strerror}") from error


def parse_cases(text: str, file: str) -> list[Case]:
    """The cases in a text; ``file`` is its name for errors."""
    try:
        raw = msgspec.convert(yaml.load(text, Loader=_Loader), _RawFile)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise _error(f"{file}: {error}") from error
    return [_case(one, raw.chapter, file) for one in raw.cases]


def _case(raw: dict[str, Any], chapter: str, file: str) -> Case:
    where = f"{file}, case {raw.get('id', '?')}"
    try:
        read = msgspec.convert(raw, _RawCase)
    except msgspec.ValidationError as error:
        raise _error(f"{where}: {error}") from error
    story = [_step(number, step, f"{where}, step {number}") for number, step in enumerate(read.story, 1)]
    if not any(step.see for step in story):
        raise _error(f"{where}: nothing is expected")
    if not read.rules or not read.sources:
        raise _error(f"{where}: a case names its rules and where they come from")
    return Case(
        id=read.id,
        title=read.title,
        rules=read.rules,
        sources=read.sources,
        given=read.given,
        story=story,
        needs=read.needs,
        chapter=chapter,
        file=file,
    )


def _step(number: int, raw: _RawStep, where: str) -> Step:
    if (raw.do is None) == (raw.see is None):
        raise _error(f"{where}: exactly one of 'do' and 'see' is needed")
    words = raw.do if raw.do is not None else raw.see
    assert words is not None
    if len(words) != 1:
        raise _error(f"{where}: one verb, not {len(words)}: {', '.join(words) or 'none'}")
    ((verb, arguments),) = words.items()
    text = f"{'do' if raw.do is not None else 'see'} {verb} {_said(arguments)}".strip()
    if raw.do is not None:
        action = _verb(ACTIONS, SHORT, verb, arguments, where)
        return Step(number=number, do=action, text=text)
    seen = _verb(EXPECTATIONS, SHORT_EXPECTATIONS, verb, arguments, where)
    if isinstance(seen, MUST_LAST) and not raw.lasting:
        raise _error(f"{where}: '{verb}' needs 'for' (seconds)")
    lasting = f" for {raw.lasting:g} s" if raw.lasting else f" within {raw.within:g} s"
    return Step(number=number, see=seen, within=raw.within, lasting=raw.lasting, text=text + lasting)


def _verb(known: dict[str, Any], short: dict[Any, str], verb: str, arguments: Any, where: str) -> Any:
    kind = known.get(verb)
    if kind is None:
        raise _error(f"{where}: there is no '{verb}'; known: {', '.join(known)}")
    if arguments is None:
        arguments = {}
    elif not isinstance(arguments, dict) and kind in short:
        arguments = {short[kind]: arguments}
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise _error(f"{where}, '{verb}': {error}") from error


def _said(arguments: Any) -> str:
    if isinstance(arguments, dict):
        return ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return "" if arguments is None else str(arguments)


def _error(reason: str) -> CaseError:
    return CaseError(Refusal(code="conformance.case", reason=reason))


class _Loader(yaml.SafeLoader):
    """The safe loader, without YAML 1.1's yes/no/on/off as truth values: ``on`` is a word of ours."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
