-- Configuration: objects as they are, and every change that made them so.

-- The one row that is polled: the newest revision and its mark. The mark tells apart two histories that gave the
-- same number to different changes (a forced switch-over may lose the last ones).
CREATE TABLE config_revision (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    revision bigint NOT NULL CHECK (revision >= 0),
    mark     text NOT NULL
);

INSERT INTO config_revision (revision, mark) VALUES (0, '');

-- Objects as documents: their fields are those of domain/objects.py, which judges them before they are stored.
CREATE TABLE config_object (
    type     text NOT NULL,
    name     text NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 1),
    document jsonb NOT NULL,
    PRIMARY KEY (type, name)
);

-- Who changed what, when (Unix seconds) and why. `key` is the request's idempotency key.
CREATE TABLE config_change (
    revision   bigint PRIMARY KEY CHECK (revision >= 1),
    mark       text NOT NULL UNIQUE,
    at         double precision NOT NULL,
    by         text NOT NULL CHECK (by <> ''),
    reason     text NOT NULL,
    key        text NOT NULL,
    operations jsonb NOT NULL,
    UNIQUE (by, key)
);

-- Which objects a revision touched: what a client that comes back must be told.
CREATE TABLE config_touched (
    revision bigint NOT NULL REFERENCES config_change (revision),
    type     text NOT NULL,
    name     text NOT NULL,
    PRIMARY KEY (revision, type, name)
);

CREATE INDEX config_touched_by_object ON config_touched (type, name, revision DESC);
