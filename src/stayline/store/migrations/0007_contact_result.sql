-- The recorded answer of each change of a contact that carried an idempotency key; "scope" says whose keys they are.
-- Pruned after an hour. contact.last_key knew only the newest change, so that one repeated after a colleague's next
-- change was refused although it had been made. The column stays, unused, for servers of the release before.
create table contact_result (
    scope       text not null,
    key         text not null,
    contact     text not null references contact (id) on delete cascade,
    answer      jsonb not null,
    at          double precision not null,
    primary key (scope, key)
);

create index contact_result_by_age on contact_result (at);
create index contact_result_by_contact on contact_result (contact);
