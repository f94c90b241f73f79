-- +goose Up

-- Threads by the minute of their last activity: all of a client, and those that
-- people have. By the minute, because an index on the instant would be written
-- with every message.
alter table threads add column active_at bigint not null default 0;
update threads set active_at = last_entry_at - last_entry_at % 60000000;
create index threads_activity on threads (client, active_at, id);
create index threads_people on threads (client, active_at, id) where state in ('queued', 'assigned', 'waiting_for_user');
create index threads_by_user on threads (user_id);

-- A user whose personal data was erased; its auth id is free again.
alter table users add column erased_at bigint not null default 0;

-- What was answered is erased with the user it was answered about.
alter table idempotency add column user_id bigint not null default 0;
create index idempotency_user on idempotency (user_id) where user_id <> 0;

create index audit_target on audit (client, target);

-- What endpoints were that are deleted: their lines in the delivery log stay.
create table removed_endpoints (
  id          bigint not null primary key,
  client      bigint not null,
  kind        text not null,
  tool        text not null,
  category    text not null,
  subcategory text not null,
  business    bigint not null,
  removed_at  bigint not null
);
create index removed_endpoints_client on removed_endpoints (client, kind, tool);

create index lanes_retrying on lanes (endpoint) where attempt > 0;

-- dead.replayed_at: 0 = given up, > 0 = queued again, -1 = withdrawn, its user was erased.
create index dead_newest on dead (client, at, thread, endpoint, seq);
drop index dead_client;

-- Users being erased, and those that were.
create table erasures (
  id           text not null primary key,
  client       bigint not null,
  user_id      bigint not null,
  subject      bytea not null,              -- keyed digest of the auth id, so that asking twice is asking once
  state        text not null,              -- waiting | running | done
  progress     text not null,              -- how far: {step, thread, endpoint, after}
  counts       text not null,              -- what was emptied, by kind
  requested_at bigint not null,
  finished_at  bigint not null
);
create index erasures_client on erasures (client, requested_at);
create index erasures_subject on erasures (client, subject);
