-- Who may write: the epochs of the centre (which site) and the terms of each pair (which process).

-- One row for each time mastership moved. The newest row names the site whose core may be primary.
CREATE TABLE mastership (
    epoch  bigint PRIMARY KEY CHECK (epoch >= 1),
    site   text NOT NULL CHECK (site <> ''),
    mode   text NOT NULL CHECK (mode IN ('planned', 'forced')),
    reason text NOT NULL,
    by     text NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    token  jsonb
);

CREATE FUNCTION mastership_grows_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest bigint := (SELECT coalesce(max(epoch), 0) FROM mastership);
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'rows of mastership are history and never change' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.epoch <> newest + 1 THEN
        RAISE EXCEPTION 'epoch % does not follow epoch %', NEW.epoch, newest USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER mastership_grows_by_one BEFORE INSERT OR UPDATE OR DELETE ON mastership
    FOR EACH ROW EXECUTE FUNCTION mastership_grows_by_one();
CREATE TRIGGER mastership_is_kept BEFORE TRUNCATE ON mastership
    FOR EACH STATEMENT EXECUTE FUNCTION mastership_grows_by_one();

-- The primary of each pair inside the active site. Terms of a pair never repeat, not even in a later epoch.
CREATE TABLE election (
    pair     text PRIMARY KEY,
    epoch    bigint NOT NULL REFERENCES mastership (epoch),
    term     bigint NOT NULL CHECK (term >= 1),
    site     text NOT NULL,
    holder   text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION election_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.term <> OLD.term + 1 OR NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'term %/% of pair % does not follow %/%', NEW.epoch, NEW.term, NEW.pair, OLD.epoch, OLD.term
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER election_only_grows BEFORE UPDATE ON election
    FOR EACH ROW EXECUTE FUNCTION election_only_grows();

-- First statement of every write transaction of a pair's primary. The shared lock keeps a new term from being taken
-- before this transaction ends; the check comes after the lock, with a snapshot of its own (a volatile function takes
-- a new one for each statement), so a writer that had to wait for a new primary sees that primary's term.
CREATE FUNCTION fence_write(lock_class integer, lock_key integer, my_pair text, my_epoch bigint, my_term bigint, my_site text)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    holder election%ROWTYPE;
    master mastership%ROWTYPE;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(lock_class, lock_key);
    SELECT * INTO holder FROM election WHERE pair = my_pair;
    SELECT * INTO master FROM mastership ORDER BY epoch DESC LIMIT 1;
    IF holder.epoch IS DISTINCT FROM my_epoch OR holder.term IS DISTINCT FROM my_term
       OR master.epoch IS DISTINCT FROM my_epoch OR master.site IS DISTINCT FROM my_site THEN
        RAISE EXCEPTION 'term %/% of % at % is over: % holds %/%, epoch % belongs to %',
            my_epoch, my_term, my_pair, my_site,
            coalesce(holder.holder, 'nobody'), coalesce(holder.epoch, 0), coalesce(holder.term, 0),
            coalesce(master.epoch, 0), coalesce(master.site, 'nobody')
            USING ERRCODE = 'SL001';
    END IF;
END $$;
