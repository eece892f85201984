"""How the customers' port is protected: TLS of its own, a proxy before it, or by being on this machine only."""

import ssl
from pathlib import Path
from typing import NamedTuple

import structlog

from stayline.domain.customer_options import SECTION
from stayline.domain.errors import RefusedError, refuse
from stayline.domain.objects import ApplicationType
from stayline.domain.topology import Configuration
from stayline.link.exposure import check_exposure

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
"""How often the files of a certificate are looked at for a renewal."""

FIX = "Set public-certificate and public-key, or behind-tls-proxy = true when a TLS proxy stands before the port."


class Protection(NamedTuple):
    """What the options of a Chat Server say. Paths are empty when they are not set."""

    certificate: str = ""
    key: str = ""
    proxied: bool = False

    @property
    def tls(self) -> bool:
        """Whether the port itself speaks TLS."""
        return bool(self.certificate and self.key)

    @property
    def secure(self) -> bool:
        """Whether customers come with https."""
        return self.tls or self.proxied

    def check(self, host: str) -> None:
        """Raises RefusedError ``chat.certificate`` (half of a pair) or ``chat.exposed`` (a network without TLS)."""
        if bool(self.certificate) != bool(self.key):
            there, missing = ("certificate", "key") if self.certificate else ("key", "certificate")
            reason = f"Option public-{there} is set, public-{missing} is not."
            raise refuse(
                "chat.certificate", reason, field=f"{SECTION}/public-{missing}", fix="Set both or none."
            )
        check_exposure(host, tls=self.secure, what="the customers' port", code="chat.exposed", fix=FIX)


def protection_of(configuration: Configuration, name: str) -> Protection:
    """How the customers' port of a Chat Server is to be protected."""
    return Protection(
        certificate=configuration.app_option(name, SECTION, "public-certificate").strip(),
        key=configuration.app_option(name, SECTION, "public-key").strip(),
        proxied=configuration.app_option(name, SECTION, "behind-tls-proxy") == "true",
    )


def customer_address(configuration: Configuration, name: str) -> str:
    """Base address at which customers reach a Chat Server. Raises RefusedError when it has no such port."""
    public = configuration.app_option(name, SECTION, "public-address")
    if public:
        return public
    host, port = configuration.endpoint_of(name, "http")
    scheme = "https" if protection_of(configuration, name).secure else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def customer_addresses(configuration: Configuration) -> list[str]:
    """Those of all Chat Servers of all sites: a page keeps working when its site is gone."""
    chats = configuration.applications(ApplicationType.CHAT_SERVER)
    return [customer_address(configuration, app.name) for app in chats if app.ports.get("http")]


class PublicCertificate:
    """The certificate of the port, read anew when its files were renewed: new connections then get the new one."""

    def __init__(self, protection: Protection, folder: Path) -> None:
        """``folder``: where relative paths begin. Raises RefusedError ``chat.certificate``."""
        self._certificate = folder / protection.certificate
        self._key = folder / protection.key
        self._stamp = self._look()
        self._looked = float("-inf")
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.set_alpn_protocols(["http/1.1"])
        self._load(self.context)

    def renew(self, now: float) -> None:
        """Look, at most every :data:`LOOK_SECONDS`, whether the files changed. One that is damaged is said in the
        log, and the old one stays in use. ``now`` is seconds of a monotonic clock."""
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # Tried on a context of its own: half a renewal must not spoil the one in use.
            self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
            self._load(self.context)
        except RefusedError as error:
            log.error("chat.certificate", why=f"{error.refusal.reason} The old certificate stays in use.")
        else:
            log.info("chat.certificate", path=str(self._certificate), why="its files were renewed")

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # With a password, if only an empty one, an encrypted key fails instead of asking at a terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            reason = f"The certificate {self._certificate} with key {self._key} cannot be used: {error}."
            fix = "Give readable PEM files that belong together, the key without a password."
            raise refuse(
                "chat.certificate", reason, field=f"{SECTION}/public-certificate", fix=fix
            ) from error

    def _look(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_stamp_of(path) for path in (self._certificate, self._key))


def _stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
