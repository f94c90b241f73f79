-- +goose Up

-- The oldest schema whose programs can use this one. A migration that takes away
-- or changes what they read or write raises it, and until then a program of the
-- version before may be started, too: while replicas are replaced, or to go back.
insert into meta (key, value) values ('schema_usable_from', '13');

-- Threads, clients and users are never deleted, and looking whether they are there
-- costs each row of the log as much as writing it.
alter table entries drop constraint entries_thread_fkey;
alter table ledger drop constraint ledger_thread_fkey;
alter table timers drop constraint timers_thread_fkey;
alter table tool_threads drop constraint tool_threads_thread_fkey;
alter table briefs drop constraint briefs_thread_fkey;
