"""Words and figures that pages show: durations, clock times, states. Pure functions."""

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from stayline.link.messages.contact import Party
from stayline.link.messages.interaction import MediaState, Ownership
from stayline.workspace.view import EntryView, InteractionCard, LinksView, LinkView, Phase, WorkspaceView

MEDIA_NAMES = {"chat": "Chat", "email": "E-mail", "sms": "SMS"}


class Chip(NamedTuple):
    """A word with a tone ("", "good", "warn", "bad", "info")."""

    text: str
    tone: str


def duration(seconds: float) -> str:
    """``75`` -> ``1:15``; from one hour on ``1:02:03``. Negative counts as 0. The page's script does the same."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def clock_time(at: float, zone: tzinfo | None, *, seconds: bool = False) -> str:
    """A Unix time as ``14:03`` in the reader's zone (None: the machine's)."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return moment.strftime("%H:%M:%S" if seconds else "%H:%M")


def day_and_time(at: float, now: float, zone: tzinfo | None) -> str:
    """``14:03`` for today, ``3 Nov, 14:03`` for another day, with the year when that differs."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    if moment.date() == today.date():
        return moment.strftime("%H:%M")
    year = "" if moment.year == today.year else f" {moment.year}"
    return f"{moment.day} {moment.strftime('%b')}{year}, {moment.strftime('%H:%M')}"


def media_name(media: str) -> str:
    """How people call a medium."""
    return MEDIA_NAMES.get(media, media.capitalize())


def waiting_since(card: InteractionCard) -> float:
    """When the customer wrote the oldest message nobody has answered yet (0: none waits)."""
    since = 0.0
    for entry in reversed(card.transcript):
        if entry.party is Party.AGENT and entry.text:
            break
        if entry.party is Party.CUSTOMER and entry.text:
            since = entry.at
    return since if card.online else 0.0


def card_chip(card: InteractionCard) -> Chip:
    """The state of an interaction in a word or two."""
    if card.busy:
        return Chip(f"{card.busy.capitalize()}…", "info")
    if card.state is Ownership.OFFERED:
        return Chip("Offered", "info")
    if not card.online:
        return Chip("Ended", "")
    if not card.customer_present:
        return Chip("Customer away", "warn")
    return Chip("Active", "good")


def last_line(card: InteractionCard) -> str:
    """The newest message, else the subject: the second line of a row."""
    newest: EntryView | None = next((entry for entry in reversed(card.transcript) if entry.text), None)
    if newest is None:
        return card.subject or card.queue
    return f"You: {newest.text}" if newest.mine else newest.text


def readiness(view: WorkspaceView) -> Chip:
    """The agent's status in words."""
    if view.phase is Phase.CONNECTING:
        return Chip("Connecting…", "warn")
    if view.phase in (Phase.OFFLINE, Phase.ENDED):
        return Chip("Logged out", "bad")
    ready = [media for media in view.media if media.ready]
    if ready and len(ready) == len(view.media):
        return Chip("Ready", "good")
    if ready:
        return Chip(f"Ready for {', '.join(media_name(one.media) for one in ready)}", "good")
    reason = next((media.reason for media in view.media if media.reason), "")
    return Chip(f"Not ready · {reason}" if reason else "Not ready", "warn")


def medium_line(state: MediaState) -> str:
    """``Chat: ready``, ``Chat: not ready (Lunch)``."""
    word = "ready" if state.ready else "not ready"
    return f"{media_name(state.media)}: {word}" + (f" ({state.reason})" if state.reason else "")


def link_words(link: LinkView, what: str) -> str:
    """A sentence about one link, for its tooltip."""
    if link.up and link.leaving_at:
        return f"{what}: connected to {link.application}, moves to another server: {link.why}"
    if link.up and link.fix:
        return f"{what}: connected to {link.application}. {link.why} {link.fix}"
    if link.up:
        return f"{what}: connected to {link.application}"
    if link.connected:
        return f"{what}: {link.application} is {link.why}"
    if link.held_until:
        return f"{what}: waits for its turn at {link.application}. {link.why}".strip()
    tried = f", trying {link.application}" if link.application else ""
    return f"{what}: not connected{tried}. {link.why} {link.fix}".strip()


def until_words(link: LinkView) -> str:
    """What comes at ``link.until``, to be followed by a time; empty when nothing does."""
    if link.held_until:
        return "its turn comes at"
    if link.next_attempt_at:
        return "next attempt at"
    return "moves at" if link.leaving_at else ""


def site_words(links: LinksView, site: str) -> str:
    """The site this desk works at, in a word or two."""
    at = next((link.site for link in (links.interaction, links.contact) if link.up and link.site), "")
    return at or (f"{site} (not connected)" if site else "No site")


def unread_total(view: WorkspaceView) -> int:
    """Messages nobody has looked at, over the whole desk."""
    return sum(card.unread for card in view.interactions if card.state is Ownership.OWNED)


def page_title(view: WorkspaceView) -> str:
    """The tab's title: what calls for attention first."""
    offers = [card for card in view.interactions if card.state is Ownership.OFFERED]
    unread = unread_total(view)
    count = f"({unread}) " if unread else ""
    if offers:
        return f"{count}Offer: {offers[0].customer or media_name(offers[0].media)} · Stayline"
    if view.phase is Phase.RESTRICTED:
        return f"{count}Restricted · Stayline"
    return f"{count}{view.display_name or view.agent} · Stayline"


def announcement(view: WorkspaceView) -> str:
    """What a screen reader is told at once: the newest offer."""
    offers = [card for card in view.interactions if card.state is Ownership.OFFERED]
    if not offers:
        return ""
    newest = offers[-1]
    who = newest.customer or "a customer"
    about = f" about {newest.subject}" if newest.subject else ""
    return f"New {media_name(newest.media)} offer from {who}{about}, queue {newest.queue}."
