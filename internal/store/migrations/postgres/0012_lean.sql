-- +goose Up

-- What a message writes of what it does not change is written all the same, each
-- page of it, so there is to be little of it.

-- open: something waits, or did a short while ago. What waits would be written to
-- the index, and taken from it, with each delivery.
alter table lanes add column open bigint not null default 0;
update lanes set open = 1 where last > done;
drop index lanes_open;
create index lanes_open on lanes (endpoint, owner) where open = 1;

-- A feed is read by its lanes.
drop index outbox_feed;

-- told: the newest delivery_seq of each tool that was told of the thread, by tool.
alter table threads add column told text not null default '';
update threads set told = (select json_object_agg(k.tool, k.delivery_seq)::text from tool_threads k where k.thread = threads.id)
  where id in (select thread from tool_threads);
alter table tool_threads drop column delivery_seq;
delete from tool_threads where ect_user_id = '';
