-- Interaction Server: interactions, the history of their ownership, agent sessions, results of keyed requests.
--
-- All times are Unix seconds (double precision), given by the primary that wrote the row; 0 means "not yet".
-- Every row that carries ownership has version, epoch and term (who wrote it last).

create table interaction (
    id            text primary key,
    tenant        text not null,
    media         text not null,
    type          text not null,
    subtype       text not null,
    subject       text not null default '',
    contact       text not null default '',
    customer      text not null default '',
    chat_session  text not null default '',
    state         text not null check (state in ('queued', 'offered', 'owned', 'workbin', 'stopped')),
    -- The queue it waits in, or returns to.
    queue         text not null,
    -- The agent whose workbin holds it ('' unless state = workbin).
    workbin       text not null default '',
    -- The agent and the agent session it is with: offered to (state = offered) or owned by (state = owned).
    owner         text not null default '',
    session       text not null default '',
    -- The agent who owned it last: stays when it is stopped (history shows who handled it).
    last_owner    text not null default '',
    version       bigint not null check (version > 0),
    epoch         bigint not null,
    term          bigint not null,
    properties    jsonb not null default '{}',
    disposition   text not null default '',
    online        boolean not null default true,
    created_at    double precision not null,
    queued_at     double precision not null default 0,
    offered_at    double precision not null default 0,
    -- The version that the offer made: an answer must be to this offer, though properties may have changed since.
    offer_version bigint not null default 0,
    offer_deadline double precision not null default 0,
    owned_at      double precision not null default 0,
    ended_at      double precision not null default 0,
    -- Invariants I1 and I2, also in the database: with an agent session exactly when offered or owned.
    constraint interaction_with_somebody check ((state in ('offered', 'owned')) = (session <> '')),
    constraint interaction_owner_has_session check ((owner <> '') = (session <> '')),
    constraint interaction_workbin check ((state = 'workbin') = (workbin <> '')),
    constraint interaction_ended check ((state = 'stopped') = (ended_at > 0))
);

-- What a new primary loads: everything alive.
create index interaction_alive on interaction (id) where state <> 'stopped';
create index interaction_by_contact on interaction (contact, created_at desc) where contact <> '';
create index interaction_by_chat on interaction (chat_session) where chat_session <> '';

-- One row per committed transition: the history of ownership without gap or fork (invariant I3).
create table journal (
    seq              bigserial primary key,
    interaction      text not null,
    version          bigint not null,
    event            text not null,
    from_state       text not null,
    to_state         text not null,
    agent            text not null,
    session          text not null,
    previous_agent   text not null,
    previous_session text not null,
    queue            text not null,
    -- Who caused it: agent:NAME, application:NAME or server (a timer or the router).
    actor            text not null,
    key              text not null,
    why              text not null,
    epoch            bigint not null,
    term             bigint not null,
    at               double precision not null,
    unique (interaction, version)
);

create index journal_by_session on journal (session, seq) where session <> '';
create index journal_by_previous_session on journal (previous_session, seq) where previous_session <> '';

-- The recorded result of each request that carried an idempotency key. Pruned after an hour.
create table request_result (
    scope       text not null,
    key         text not null,
    method      text not null,
    interaction text not null default '',
    session     text not null default '',
    seq         bigint not null default 0,
    version     bigint not null default 0,
    at          double precision not null,
    primary key (scope, key)
);

create index request_result_by_age on request_result (at);

-- An agent's login; it survives connections (ADR 1 section 5).
create table agent_session (
    id              text primary key,
    tenant          text not null,
    agent           text not null,
    display_name    text not null default '',
    place           text not null,
    -- [{"media": ..., "ready": ..., "reason": ...}]
    media           jsonb not null default '[]',
    state           text not null check (state in ('live', 'lost', 'closed')),
    -- When it came into this state.
    since           double precision not null,
    opened_at       double precision not null,
    -- When the agent last became ready; the router's "longest idle" begins here.
    ready_since     double precision not null default 0,
    -- False only for logins made while the agent may have several at once.
    exclusive       boolean not null default true,
    version         bigint not null check (version > 0),
    epoch           bigint not null,
    term            bigint not null,
    why             text not null default ''
);

-- An agent has one session and a place has one agent, even if a server should think otherwise.
create unique index agent_session_one_per_agent on agent_session (tenant, agent)
    where state <> 'closed' and exclusive;
create unique index agent_session_one_per_place on agent_session (tenant, place)
    where state <> 'closed' and exclusive;
create index agent_session_open on agent_session (id) where state <> 'closed';
