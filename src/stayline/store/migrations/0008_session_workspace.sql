-- Which installation of a Workspace has the session ('' when it did not say): its login is never a second login.
-- Media whose interactions the session keeps over a lost link, as a JSON list; null: all.
alter table agent_session
    add column workspace text not null default '',
    add column restore jsonb;
