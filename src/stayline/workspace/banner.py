"""The banner's words: what is wrong, since when, what is limited, what happens next. Pure, and always
true.

It is written for agents: names of servers and the words of errors are in ``Banner.detail``, for whoever helps them.
"""

from stayline.link.messages.interaction import Ownership
from stayline.workspace.view import Banner, BannerKind, InteractionCard, LinksView, LinkView, Phase

_LIMITS = (
    "Your interactions stay open with limited controls: case information, disposition and contact "
    "assignment are read only; End, Transfer, Conference and Done are off."
)


def banner_of(
    phase: Phase,
    links: LinksView,
    cards: list[InteractionCard],
    *,
    since: float,
    over: str,
    trying: str,
    trying_at: float = 0.0,
) -> Banner | None:
    """The banner, or None when there is nothing to say.

    ``since``: start of the restriction (Unix s). ``over``: why the session ended. ``trying``: what is being
    done when the link stands but the core has not confirmed yet, ``trying_at`` when it is done again (0: under way).
    """
    if phase is Phase.ENDED:
        return Banner(
            kind=BannerKind.ERROR, text=f"Your session has ended: {over}", since=since, next="Log in again."
        )
    link = links.interaction
    if phase is Phase.RESTRICTED:
        text = f"{_what_is_away(link)} {_limits(links, cards)}"
        return _with_next(BannerKind.WARNING, text, since, link, trying, trying_at)
    if phase is Phase.CONNECTING:
        text = "Connecting to the Interaction Server. No interactions reach you until then."
        return _with_next(BannerKind.INFO, text, since or link.since, link, trying, trying_at)
    if phase is Phase.READY:
        return _minor(links, cards)
    return None


def _what_is_away(link: LinkView) -> str:
    if link.up:
        return "The connection to the Interaction Server is back and your interactions are being confirmed."
    if link.connected:
        return "The Interaction Server does not answer at the moment."
    if link.application or link.next_attempt_at or link.searching:
        return "The connection to the Interaction Server is lost."
    return "There is no Interaction Server to connect to."


def _limits(links: LinksView, cards: list[InteractionCard]) -> str:
    chats = [card for card in cards if card.state is Ownership.OWNED and card.media == "chat" and card.online]
    if not any(card.state is Ownership.OWNED for card in cards):
        return "No new interactions reach you."
    if not chats:
        return _LIMITS
    if all(card.chat_up for card in chats):
        return f"{_LIMITS} You can go on chatting."
    if any(card.chat_up for card in chats):
        return f"{_LIMITS} You can go on in the chats where Send is active."
    return f"{_LIMITS} Messages cannot be sent either until a Chat Server is connected."


def _minor(links: LinksView, cards: list[InteractionCard]) -> Banner | None:
    """The core works, something beside it does not."""
    if not links.contact.up:
        text = "Contacts and history cannot be used at the moment. Everything else works."
        return _with_next(BannerKind.INFO, text, links.contact.since, links.contact, "")
    chatting = any(card.media == "chat" and card.online for card in cards)
    down = next((link for link in links.chats if not link.up), None)
    if down is not None and chatting:
        text = "Chat messages cannot be sent at the moment. What you have sent before is kept and delivered later."
        return _with_next(BannerKind.WARNING, text, down.since, down, "")
    return None


def _with_next(
    kind: BannerKind, text: str, since: float, link: LinkView, trying: str, trying_at: float = 0.0
) -> Banner:
    turn = False
    if trying:
        following, at = trying, trying_at
    elif link.held_until:
        following = "A server lets this desk in as soon as it is its turn; nothing you typed is lost."
        at, turn = link.held_until, True
    elif link.next_attempt_at:
        following, at = "The next attempt starts by itself; nothing you typed is lost.", link.next_attempt_at
    elif link.searching:
        following, at = "Servers that answer are being looked for; nothing you typed is lost.", 0.0
    elif link.application:
        following, at = "The next server is being tried; nothing you typed is lost.", 0.0
    else:
        following, at = _until_mended(link), 0.0
    detail = _detail(link)
    return Banner(kind=kind, text=text, since=since, next=following, next_at=at, detail=detail, turn=turn)


def _until_mended(link: LinkView) -> str:
    """Only the configuration can help: an agent cannot, but knows whom to tell, and where the reason stands."""
    ends = "It goes on by itself as soon as the configuration allows it."
    return f"Tell your administrator; the reason shows when you point here. {ends}" if link.why else ends


def _detail(link: LinkView) -> str:
    if link.up:
        return f"Connected to {link.application}."
    named = link.application and f"Trying {link.application}."
    return " ".join(part for part in (named, _sentence(link.why), _sentence(link.fix)) if part)


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
