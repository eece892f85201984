-- When the owner of an interaction last did something with it (Unix seconds), and how many seconds of silence it stands
-- (the handling timeout as it was when it was taken; 0: any). The timer of a new primary follows from the two.
alter table interaction
    add column handled_at double precision not null default 0,
    add column handling_timeout double precision not null default 0;
