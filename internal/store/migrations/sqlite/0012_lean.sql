-- +goose Up

-- What a message writes of what it does not change is written all the same, each
-- page of it, so there is to be little of it.

-- open: something waits, or did a short while ago. What waits would be written to
-- the index, and taken from it, with each delivery.
alter table lanes add column open integer not null default 0;
update lanes set open = 1 where last > done;
drop index lanes_open;
create index lanes_open on lanes (endpoint, owner) where open = 1;

-- A feed is read by its lanes; there is no index for it any more. Rows lie in the
-- order in which they came: in the order of their key each would be written with
-- what lies beside it, and half of the time with what is split off and moved.
alter table outbox rename to outbox_by_key;
drop index outbox_log;
drop index outbox_feed;
create table outbox (
  thread       integer not null,
  endpoint     integer not null,
  seq          integer not null,
  entry        integer not null,
  tool         text not null,              -- "" for channels and the bot
  delivery_seq integer not null,
  hold_until   integer not null,           -- kept for a synchronous caller until then; -1 = it took it
  payload      blob not null,
  created_at   integer not null,
  primary key (thread, endpoint, seq)
) strict;
insert into outbox select * from outbox_by_key order by entry;
drop table outbox_by_key;
create index outbox_log on outbox (endpoint, entry);

-- told: the newest delivery_seq of each tool that was told of the thread, by tool.
alter table threads add column told text not null default '';
update threads set told = (select json_group_object(k.tool, k.delivery_seq) from tool_threads k where k.thread = threads.id)
  where id in (select thread from tool_threads);
alter table tool_threads drop column delivery_seq;
delete from tool_threads where ect_user_id = '';
