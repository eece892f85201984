"""The fragments of the desk: which model, which template. The table is the page.

Each template renders one element with the id ``frag-NAME``; a stream message replaces it by morphing, so focus,
caret and what is being typed stay where they are.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stayline.workspace.view import InteractionCard, WorkspaceView
from stayline.workspace.web import card_models, models, wording

TEMPLATES = Path(__file__).parent / "templates"

_LINE_ENDS = re.compile(r"\r\n|\r|\n")

Model = Callable[[WorkspaceView, InteractionCard | None, str], object]

# name -> model from (view, chosen card, chosen id), in the order in which they are pushed.
FRAGMENTS: Mapping[str, Model] = {
    "title": lambda view, card, chosen: models.title(view),
    "banner": lambda view, card, chosen: models.banner(view),
    "agent": lambda view, card, chosen: models.agent(view),
    "offers": lambda view, card, chosen: models.offers(view),
    "list": lambda view, card, chosen: models.rows(view, chosen),
    "head": lambda view, card, chosen: (card_models.head(card), chosen),
    "log": lambda view, card, chosen: card_models.log(card),
    "typing": lambda view, card, chosen: card_models.typing(card),
    "composer": lambda view, card, chosen: card_models.composer(card),
    "contact": lambda view, card, chosen: card_models.contact(card),
    "case": lambda view, card, chosen: card_models.case(view, card),
    "history": lambda view, card, chosen: card_models.history(view, card),
    "status": lambda view, card, chosen: models.status(view),
    "notices": lambda view, card, chosen: models.notices(view),
}


@dataclass(frozen=True)
class Reader:
    """For whom a page is rendered: the time now (Unix seconds) and the time zone (None: the machine's)."""

    now: float
    zone: tzinfo | None


def make_environment() -> Environment:
    """Templates with escaping always on: whatever a customer typed is text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = wording.duration
    environment.filters["media_name"] = wording.media_name
    environment.filters["medium_line"] = wording.medium_line
    environment.globals["clock"] = lambda at, reader: wording.clock_time(at, reader.zone)
    environment.globals["clock_s"] = lambda at, reader: wording.clock_time(at, reader.zone, seconds=True)
    environment.globals["day_time"] = lambda at, reader: wording.day_and_time(at, reader.now, reader.zone)
    return environment


def desk_models(view: WorkspaceView, chosen: str) -> dict[str, object]:
    """The model of every fragment for a page that has ``chosen`` open."""
    card = view.card(chosen)
    return {name: model(view, card, chosen) for name, model in FRAGMENTS.items()}


def render(
    environment: Environment, name: str, model: object, card: InteractionCard | None, reader: Reader
) -> str:
    """One fragment as HTML. ``card`` gives the draft, which is no part of any model."""
    template = environment.get_template(f"fragments/{name}.html")
    return template.render(m=model, draft=card.draft if card else "", reader=reader)


def as_partial(name: str, html: str) -> str:
    """A fragment wrapped so that the page morphs it in place."""
    return f'<hx-partial hx-target="#frag-{name}" hx-swap="outerMorph">{html}</hx-partial>'


def as_message(html: str, identity: str) -> bytes:
    """A server-sent event. Line ends of any kind are split: text can never begin a field of its own."""
    lines = [f"id: {_LINE_ENDS.sub('', identity)}"]
    lines += [f"data: {line}" for line in _LINE_ENDS.split(html)]
    return ("\n".join(lines) + "\n\n").encode()


def as_event(name: str, data: str) -> bytes:
    """A named event for the page's script."""
    return f"event: {name}\ndata: {data}\n\n".encode()
