"""Contacts: identify or create, read, change.

That a customer is one contact is guaranteed by the primary key of ``contact_identity`` alone: whoever inserts the
identifying value first has made the contact, everybody else finds it. No lock is involved, so two Contact Servers, or
an administrator's import beside a running one, cannot make two.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from stayline.domain.contact import ContactIdentity, clean_attributes, identities
from stayline.domain.errors import Refusal, RefusedError
from stayline.link.messages.contact import Contact, Identified, Identify, UpdateContact
from stayline.store.contact_result import record_answer, recorded_answer
from stayline.store.transcript import Connection, Stamp

IdentityKey = tuple[str, str, str]
"""Tenant, attribute, normalised value."""


_BUSY = Refusal(
    code="contact.busy",
    reason="The contact is being created or changed elsewhere at this moment.",
    retryable=True,
    retry_after=0.1,
)


class Candidate(NamedTuple):
    """A request to identify, checked: ``id`` is used if a contact is created."""

    request: Identify
    id: str
    attributes: dict[str, str]
    identities: list[ContactIdentity]

    @property
    def keys(self) -> list[IdentityKey]:
        """In the order in which they are tried."""
        return [(self.request.tenant, item.attribute, item.value) for item in self.identities]


class Change(NamedTuple):
    """A request to change a contact, with its idempotency key and the tenant it is limited to ("" : any). ``scope``
    says whose key it is: nobody gets the answer to somebody else's request."""

    request: UpdateContact
    key: str
    tenant: str
    scope: str


def candidate(request: Identify, new_id: str) -> Candidate:
    """Check a request; raises ``contact.invalid`` naming the attribute."""
    attributes = clean_attributes(request.attributes)
    return Candidate(request, new_id, attributes, identities(attributes))


def _contact(row: Any) -> Contact:
    attributes = msgspec.json.decode(row["attributes"], type=dict[str, str])
    return Contact(id=row["id"], tenant=row["tenant"], attributes=attributes, version=row["version"])


_FIND = """
select i.tenant as key_tenant, i.attribute, i.value, c.id, c.tenant, c.attributes, c.version
from unnest($1::text[], $2::text[], $3::text[]) as k(tenant, attribute, value)
    join contact_identity i using (tenant, attribute, value) join contact c on c.id = i.contact
"""


async def _find(connection: Connection, candidates: Sequence[Candidate]) -> dict[IdentityKey, Contact]:
    keys = list(dict.fromkeys(key for one in candidates for key in one.keys))
    if not keys:
        return {}
    tenants, attributes, values = zip(*keys, strict=True)
    rows = await connection.fetch(_FIND, tenants, attributes, values)
    return {(row["key_tenant"], row["attribute"], row["value"]): _contact(row) for row in rows}


def _match(one: Candidate, found: Mapping[IdentityKey, Contact]) -> Identified | None:
    for key in one.keys:
        if key in found:
            return Identified(contact=found[key], matched=key[1])
    return None


async def find_contact(connection: Connection, one: Candidate) -> Identified | None:
    """The contact that matches, or None. A committed read: the cheap way for a customer who is known."""
    return _match(one, await _find(connection, [one]))


async def identify_contacts(
    connection: Connection, candidates: Sequence[Candidate], stamp: Stamp
) -> list[Identified | Refusal]:
    """Identify or create a batch in the caller's transaction. Outcomes in the order given."""
    found = await _find(connection, candidates)
    outcomes: list[Identified | Refusal] = []
    for one in candidates:
        outcome: Identified | Refusal | None = _match(one, found)
        if outcome is None and not one.request.create:
            outcome = Identified(contact=None)
        if outcome is None:
            outcome = await _create(connection, one, stamp)
            if isinstance(outcome, Identified) and outcome.contact is not None:
                found.update(dict.fromkeys(one.keys, outcome.contact))
        outcomes.append(outcome)
    return outcomes


async def _create(connection: Connection, one: Candidate, stamp: Stamp) -> Identified | Refusal:
    await connection.execute(
        """insert into contact (id, tenant, attributes, created_at, changed_at, epoch, term)
            values ($1, $2, $3, $4, $4, $5, $6)""",
        one.id,
        one.request.tenant,
        msgspec.json.encode(one.attributes).decode(),
        stamp.at,
        stamp.epoch,
        stamp.term,
    )
    taken = await _claim(connection, one.id, one.keys)
    if taken == len(one.keys):
        contact = Contact(id=one.id, tenant=one.request.tenant, attributes=one.attributes)
        return Identified(contact=contact, created=True)
    # Somebody else committed one of the values since we looked. Theirs is the contact.
    await connection.execute("delete from contact where id = $1", one.id)
    outcome = _match(one, await _find(connection, [one]))
    return outcome or _BUSY


async def _claim(connection: Connection, contact: str, keys: Sequence[IdentityKey]) -> int:
    """Insert identity rows where nobody has them; how many were inserted.

    In the order of the key, so that two writers with several values in common cannot wait for each other.
    """
    if not keys:
        return 0
    tenants, attributes, values = zip(*sorted(keys), strict=True)
    rows = await connection.fetch(
        """insert into contact_identity (tenant, attribute, value, contact)
            select *, $4 from unnest($1::text[], $2::text[], $3::text[])
            on conflict (tenant, attribute, value) do nothing returning value""",
        tenants,
        attributes,
        values,
        contact,
    )
    return len(rows)


async def read_contact(connection: Connection, contact: str, tenant: str = "") -> Contact | Refusal:
    """A contact of that tenant ("": any); refused ``contact.unknown``."""
    row = await connection.fetchrow(
        "select id, tenant, attributes, version from contact where id = $1 and ($2 = '' or tenant = $2)",
        contact,
        tenant,
    )
    return _contact(row) if row else _unknown(contact)


def _unknown(contact: str) -> Refusal:
    return Refusal(code="contact.unknown", reason=f"There is no contact {contact}.")


async def update_contact(connection: Connection, change: Change, stamp: Stamp) -> Contact | Refusal:
    """Change attributes in the caller's transaction (a refusal leaves no trace).

    Refused ``contact.changed`` when a colleague changed the contact since ``version``, ``contact.identity_taken`` when
    a new address or number belongs to another contact, ``contact.invalid``. The same key again: the same answer,
    whoever changed the contact since; for another contact ``request.key_reused``.
    """
    request = change.request
    row = await connection.fetchrow(
        """select id, tenant, attributes, version from contact
            where id = $1 and ($2 = '' or tenant = $2) for update""",
        request.contact,
        change.tenant,
    )
    if row is None:
        return _unknown(request.contact)
    answered = await recorded_answer(connection, change.scope, change.key, request.contact)
    if answered is not None:
        return answered
    present = _contact(row)
    if present.version != request.version:
        return _changed_meanwhile(present, request.version)
    try:
        kept = {name: value for name, value in present.attributes.items() if name not in request.delete}
        attributes = clean_attributes({**kept, **request.set})
        wanted = [(present.tenant, item.attribute, item.value) for item in identities(attributes)]
    except RefusedError as error:
        return error.refusal
    changed = await _store_change(connection, present, attributes, wanted, stamp)
    if isinstance(changed, Contact):
        await record_answer(connection, change.scope, change.key, changed, stamp.at)
    return changed


async def _store_change(
    connection: Connection,
    present: Contact,
    attributes: dict[str, str],
    wanted: list[IdentityKey],
    stamp: Stamp,
) -> Contact | Refusal:
    rows = await connection.fetch(
        "select tenant, attribute, value from contact_identity where contact = $1", present.id
    )
    held = {(row["tenant"], row["attribute"], row["value"]) for row in rows}
    new = [identity for identity in wanted if identity not in held]
    if await _claim(connection, present.id, new) < len(new):
        return await _identity_taken(connection, present.id, new)
    for tenant, attribute, value in held.difference(wanted):
        await connection.execute(
            "delete from contact_identity where tenant = $1 and attribute = $2 and value = $3",
            tenant,
            attribute,
            value,
        )
    await connection.execute(
        """update contact set attributes = $2, version = version + 1, changed_at = $3,
            epoch = $4, term = $5 where id = $1""",
        present.id,
        msgspec.json.encode(attributes).decode(),
        stamp.at,
        stamp.epoch,
        stamp.term,
    )
    return Contact(id=present.id, tenant=present.tenant, attributes=attributes, version=present.version + 1)


def _changed_meanwhile(present: Contact, version: int) -> Refusal:
    return Refusal(
        code="contact.changed",
        reason=f"The contact was changed by somebody else: it has version {present.version}, not {version}.",
        fix="Read the contact again and repeat the change.",
    )


async def _identity_taken(connection: Connection, contact: str, keys: Sequence[IdentityKey]) -> Refusal:
    """Name the attribute that belongs to somebody else; give back what was claimed beside it."""
    field = ""
    for tenant, attribute, value in keys:
        holder = await connection.fetchval(
            "select contact from contact_identity where tenant = $1 and attribute = $2 and value = $3",
            tenant,
            attribute,
            value,
        )
        if holder == contact:
            await connection.execute(
                "delete from contact_identity where tenant = $1 and attribute = $2 and value = $3",
                tenant,
                attribute,
                value,
            )
        else:
            field = field or attribute
    return Refusal(
        code="contact.identity_taken",
        reason=f"Another contact has this {field or 'value'} already.",
        field=field,
        fix="Open that contact instead, or leave the value out.",
    )
