-- +goose Up

-- The oldest schema whose programs can use this one. A migration that takes away
-- or changes what they read or write raises it, and until then a program of the
-- version before may be started, too: while replicas are replaced, or to go back.
insert into meta (key, value) values ('schema_usable_from', '13');
