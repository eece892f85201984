-- Contacts, chat sessions and transcripts (Contact Server).
--
-- Times are Unix seconds given by the primary that wrote the row; 0 means "not yet".

CREATE TABLE contact (
    id          text PRIMARY KEY,
    tenant      text NOT NULL,
    attributes  jsonb NOT NULL,
    version     bigint NOT NULL DEFAULT 1,
    last_key    text NOT NULL DEFAULT '',   -- idempotency key of the change that made this version
    created_at  double precision NOT NULL,
    changed_at  double precision NOT NULL,
    epoch       bigint NOT NULL,
    term        bigint NOT NULL
);

-- One row per identifying value. Its primary key, and no lock, makes a customer one contact.
CREATE TABLE contact_identity (
    tenant      text NOT NULL,
    attribute   text NOT NULL,
    value       text NOT NULL,
    contact     text NOT NULL REFERENCES contact (id) ON DELETE CASCADE,
    PRIMARY KEY (tenant, attribute, value)
);

CREATE INDEX contact_identity_contact ON contact_identity (contact);

CREATE TABLE chat_session (
    session     text PRIMARY KEY,
    tenant      text NOT NULL,
    interaction text NOT NULL,
    contact     text NOT NULL,
    customer    text NOT NULL,
    subject     text NOT NULL,
    queue       text NOT NULL,
    secret_hash text NOT NULL,
    submitted   boolean NOT NULL DEFAULT false,
    ended       boolean NOT NULL DEFAULT false,
    ended_by    text NOT NULL DEFAULT '',
    settled     boolean NOT NULL DEFAULT false,   -- the Interaction Server knows of the end
    last_seq    bigint NOT NULL DEFAULT 0,
    created_at  double precision NOT NULL,
    ended_at    double precision NOT NULL DEFAULT 0,
    version     bigint NOT NULL DEFAULT 1,
    epoch       bigint NOT NULL,
    term        bigint NOT NULL
);

CREATE INDEX chat_session_contact ON chat_session (contact);
CREATE INDEX chat_session_open ON chat_session (session) WHERE NOT ended;
CREATE INDEX chat_session_unsettled ON chat_session (session) WHERE ended AND NOT settled;

-- The transcript. seq is 1, 2, 3 ... without gaps in each session; id is made by whoever typed it.
CREATE TABLE chat_entry (
    session     text NOT NULL REFERENCES chat_session (session),
    seq         bigint NOT NULL,
    id          text NOT NULL,
    kind        text NOT NULL,
    party       text NOT NULL,
    name        text NOT NULL,
    usr         text NOT NULL DEFAULT '',
    text        text NOT NULL DEFAULT '',
    at          double precision NOT NULL,
    epoch       bigint NOT NULL,
    term        bigint NOT NULL,
    PRIMARY KEY (session, seq),
    UNIQUE (session, id)
);
