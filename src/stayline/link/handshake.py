"""The rules of opening a link: who may talk to whom. Pure checks, used by both sides."""

from dataclasses import dataclass

from stayline.domain.errors import Refusal
from stayline.link.messages.envelope import PROTOCOL_VERSION, Hello, Role

_ACTING = frozenset({Role.PRIMARY, Role.ACTIVE})


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a verified certificate says: the application's name (CN) and type (OU)."""

    application: str
    type: str


@dataclass(frozen=True, slots=True)
class Accepts:
    """Whom a listener lets in.

    ``servers``: types of applications proving themselves by certificate (None: all types of this authority).
    ``persons``: applications without certificate, with a person's token. ``anonymous``: with neither.
    ``person_methods`` / ``anonymous_methods``: all that such a link may call (None: everything).
    """

    servers: frozenset[str] | None = None
    persons: bool = False
    anonymous: bool = False
    person_methods: frozenset[str] | None = None
    anonymous_methods: frozenset[str] = frozenset()


def stale(lower: Hello, higher: Hello) -> Refusal | None:
    """Refusal when ``lower`` acts under an epoch that ``higher`` knows to be over.

    Only a side that acts (primary, active) can be stale; a mere client learns the newer epoch from the
    other's hello. Epoch 0 means that a side knows of none yet.
    """
    if 0 < lower.epoch < higher.epoch and lower.role in _ACTING:
        reason = (
            f"{lower.application} acts as {lower.role} under epoch {lower.epoch}, "
            f"but {higher.application} has seen epoch {higher.epoch}: mastership has moved."
        )
        fix = "Connect to the site that holds the mastership now."
        return Refusal(code="epoch.stale", reason=reason, fix=fix, field="epoch", epoch=higher.epoch)
    return None


def unknown(ignorant: Hello, knowing: Hello) -> Refusal | None:
    """Refusal when ``ignorant`` acts without knowing any epoch while ``knowing`` knows one: nobody could tell whether
    it may act."""
    if ignorant.epoch == 0 < knowing.epoch and ignorant.role in _ACTING:
        reason = (
            f"{ignorant.application} acts as {ignorant.role} and reports no epoch, "
            f"but {knowing.application} knows epoch {knowing.epoch}."
        )
        fix = f"Is {ignorant.application} linked to the database of the site that holds the mastership?"
        return Refusal(code="epoch.unknown", reason=reason, fix=fix, field="epoch", epoch=knowing.epoch)
    return None


def check_opener(
    opener: Hello, own: Hello, certificate: Certificate | None, accepts: Accepts
) -> Refusal | None:
    """What the listener ``own`` objects to in the opener's hello; None: it may come in, if its token is good."""
    return (
        _check_version(opener, own)
        or _check_target(opener, own)
        or _check_identity(opener, own, certificate, accepts)
        or stale(opener, own)
        or stale(own, opener)
        or unknown(opener, own)
        or unknown(own, opener)
    )


def check_listener(welcome: Hello, own: Hello, certificate: Certificate | None) -> Refusal | None:
    """What the opener ``own`` objects to in the listener's welcome; None when all is well."""
    return (
        _check_version(welcome, own)
        or _check_answerer(welcome, own, certificate)
        or stale(welcome, own)
        or stale(own, welcome)
        or unknown(welcome, own)
        or unknown(own, welcome)
    )


def _check_version(other: Hello, own: Hello) -> Refusal | None:
    if other.version == PROTOCOL_VERSION:
        return None
    reason = (
        f"{other.application} speaks link version {other.version}, "
        f"{own.application} speaks {PROTOCOL_VERSION}."
    )
    older = other if other.version < PROTOCOL_VERSION else own
    return Refusal(
        code="hello.version",
        reason=reason,
        field="version",
        fix=f"Upgrade {older.application}, the older one.",
    )


def _check_target(opener: Hello, own: Hello) -> Refusal | None:
    if opener.expect and opener.expect != own.application:
        reason = f"{opener.application} wanted to reach {opener.expect}, but this is {own.application}."
        fix = "Correct host and port of one of the two in the configuration."
        return Refusal(code="hello.application", reason=reason, field="expect", fix=fix)
    return _check_home(opener, own, "expect_cluster", "expect_site")


def _check_home(asking: Hello, answering: Hello, cluster_field: str, site_field: str) -> Refusal | None:
    """Cluster and site that ``asking`` expects of ``answering``."""
    if asking.expect_cluster and asking.expect_cluster != answering.cluster:
        here = f"cluster {answering.cluster}" if answering.cluster else "no cluster"
        reason = (
            f"{asking.application} wanted a node of cluster {asking.expect_cluster}, "
            f"but {answering.application} belongs to {here}."
        )
        return Refusal(code="hello.cluster", reason=reason, field=cluster_field)
    if asking.expect_site and asking.expect_site != answering.site:
        here = f"site {answering.site}" if answering.site else "no site"
        reason = (
            f"{asking.application} wanted a server of site {asking.expect_site}, "
            f"but {answering.application} belongs to {here}."
        )
        return Refusal(code="hello.site", reason=reason, field=site_field)
    return None


def _check_identity(
    opener: Hello, own: Hello, certificate: Certificate | None, accepts: Accepts
) -> Refusal | None:
    if certificate is not None:
        return _check_server(opener, own, certificate, accepts)
    if opener.token:
        if accepts.persons:
            return None
        reason = f"{own.application} talks to servers only; {opener.application} has no certificate."
        return Refusal(code="identity.server_only", reason=reason, field="token")
    if accepts.anonymous:
        return None
    reason = (
        f"{opener.application} has neither a certificate nor a token; {own.application} needs one of them."
    )
    return Refusal(code="identity.missing", reason=reason, field="token", fix="Log in first.")


def _check_server(opener: Hello, own: Hello, certificate: Certificate, accepts: Accepts) -> Refusal | None:
    if certificate.application != opener.application:
        reason = (
            f"The hello names {opener.application}, but the certificate belongs to {certificate.application}."
        )
        return Refusal(code="identity.certificate", reason=reason, field="application")
    if certificate.type != opener.type:
        proven = certificate.type or "nothing"
        reason = f"{opener.application} says it is a {opener.type}, its certificate says {proven}."
        return Refusal(code="identity.type", reason=reason, field="type")
    if opener.token:
        reason = (
            f"{opener.application} is a server (it has a certificate) and must not carry a person's token."
        )
        return Refusal(code="identity.both", reason=reason, field="token")
    if accepts.servers is not None and opener.type not in accepts.servers:
        known = ", ".join(sorted(accepts.servers)) or "nobody"
        who = f"a {opener.type} ({opener.application})"
        reason = f"{own.application} does not take links from {who}, only from: {known}."
        return Refusal(code="hello.type", reason=reason, field="type")
    return None


def _check_answerer(welcome: Hello, own: Hello, certificate: Certificate | None) -> Refusal | None:
    if own.expect and welcome.application != own.expect:
        reason = f"{own.application} wanted to reach {own.expect}, but {welcome.application} answered."
        return Refusal(code="hello.application", reason=reason, field="application")
    elsewhere = _check_home(own, welcome, "cluster", "site")
    if elsewhere is not None:
        return elsewhere
    if certificate is None or certificate.application != welcome.application:
        proven = certificate.application if certificate else "nobody"
        reason = f"{welcome.application} answered, but its certificate belongs to {proven}."
        return Refusal(code="identity.certificate", reason=reason, field="application")
    return None
