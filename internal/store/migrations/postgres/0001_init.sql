-- +goose Up
-- Instants are microseconds since 1970 (0 = not set), booleans 0 or 1, JSON is text.

-- Ids of log entries: handed out in blocks under the thread's lock.
create sequence message_ids increment by 64 cache 1;

create table meta (
  key   text not null primary key,
  value text not null
);

-- Processes that dispatch. A process is alive while its heartbeat is fresh.
create table replicas (
  id           bigint generated always as identity primary key,
  name         text not null,
  started_at   bigint not null,
  heartbeat_at bigint not null
);

create table clients (
  key        bigint generated always as identity primary key,
  id         text not null unique,
  version    bigint not null,             -- raised by every change of what decides about threads
  body       text not null,
  updated_at bigint not null
);

-- What the declarative file names, a document each: bot, team, agent, tool, business.
create table config (
  client     bigint not null references clients,
  kind       text not null,
  id         text not null,
  lookup     text not null,                -- what it is found by across clients: a tool's fqdn, an agent's e-mail
  body       text not null,
  version    bigint not null,
  updated_at bigint not null,
  primary key (client, kind, id)
);
create index config_lookup on config (kind, lookup);

create table tokens (
  id         text not null primary key,
  client     bigint not null references clients,
  name       text not null,
  hash       text not null unique,         -- sha256 of the token
  scopes     text not null,
  created_at bigint not null,
  expires_at bigint not null,
  revoked_at bigint not null
);
create unique index tokens_name on tokens (client, name);

create table certificates (
  uuid       text not null,                -- several clients may list one certificate
  client     bigint not null references clients,
  tool       text not null,
  pem        text not null,
  created_at bigint not null,
  revoked_at bigint not null,
  primary key (uuid, client)
);
create index certificates_tool on certificates (client, tool);

-- Keys that sign the tools' tokens, newest first; sealed.
create table signing_keys (
  kid        text not null primary key,
  sealed     text not null,
  public     bytea not null,
  created_at bigint not null,
  retired_at bigint not null
);

-- Tokens of a tool issued before this instant are void.
create table token_cutoffs (
  client     bigint not null,
  tool       text not null,
  not_before bigint not null,
  primary key (client, tool)
);

-- Signed bodies already used, until they are too old anyway.
create table replays (
  digest     bytea not null primary key,
  expires_at bigint not null
);
create index replays_expiry on replays (expires_at);

create table idempotency (
  scope        bytea not null primary key,  -- sha256 over client, caller, endpoint and key
  request_hash bytea not null,
  status       bigint not null,           -- of the answer, always 2xx
  response     bytea not null,
  created_at   bigint not null
);
create index idempotency_age on idempotency (created_at);

create table audit (
  id     bigint generated always as identity primary key,
  client bigint not null,
  at     bigint not null,
  actor  text not null,
  action text not null,
  target text not null,
  detail text not null
);
create index audit_client on audit (client, id);

create table users (
  id         bigint generated always as identity primary key,
  client     bigint not null references clients,
  auth_id    text not null,
  user_name  text not null,
  details    text not null,
  created_at bigint not null,
  updated_at bigint not null
);
create unique index users_auth on users (client, auth_id);
create unique index users_name on users (client, user_name);

create table threads (
  id              bigint generated always as identity primary key,
  client          bigint not null references clients,
  business        bigint not null,
  user_id         bigint not null references users,
  pxut            text not null,
  platform        bigint not null,
  owner           text not null,
  epoch           bigint not null,
  conversation    bigint not null,
  state           text not null,
  team            text not null,
  agent           text not null,           -- name of the agent who has it
  last_entry      bigint not null,
  last_entry_at   bigint not null,
  rest            text not null,           -- the other fields of the thread's state
  created_at      bigint not null
);
create unique index threads_user on threads (client, business, user_id);
create unique index threads_pxut on threads (client, pxut);
create index threads_owner on threads (client, owner, state);

create table entries (
  id           bigint not null primary key,
  thread       bigint not null references threads,
  conversation bigint not null,
  event        text not null,              -- "" = a message
  sender       text not null,
  by_receiver  text not null,
  message_type bigint not null,
  body         text not null,              -- HSL of a message
  meta         text not null,
  at           bigint not null,
  hash         bytea not null               -- of the content, so that a flipped byte is found
);
create index entries_thread on entries (thread, id);

create table ledger (
  id              bigint generated always as identity primary key,
  thread          bigint not null references threads,
  at              bigint not null,
  op              text not null,
  requester       text not null,
  from_receiver   text not null,
  to_receiver     text not null,
  granted         bigint not null,
  code            text not null,
  reason          text not null,
  metadata        text not null,
  epoch           bigint not null,
  first_answer_ms bigint not null          -- -1 = not answered yet
);
create index ledger_thread on ledger (thread, id);

-- The structured brief of the latest hand-over of a conversation.
create table briefs (
  thread       bigint not null references threads,
  conversation bigint not null,
  at           bigint not null,
  body         text not null,
  primary key (thread, conversation)
);

create table timers (
  thread bigint not null references threads,
  kind   text not null,
  due_at bigint not null,
  primary key (thread, kind)
);
create index timers_due on timers (due_at);

create table jobs (
  id         bigint generated always as identity primary key,
  kind       text not null,
  client     bigint not null,
  body       text not null,
  run_at     bigint not null,
  attempts   bigint not null
);
create index jobs_due on jobs (run_at);

-- What a tool knows of a thread: its counter, its own name for the user.
create table tool_threads (
  thread       bigint not null references threads,
  tool         text not null,
  delivery_seq bigint not null,
  ect_user_id  text not null,
  primary key (thread, tool)
);

-- Where deliveries go: a tool's hook, a business' channel webhook, a business' bot.
create table endpoints (
  id              bigint generated always as identity primary key,
  client          bigint not null references clients,
  kind            text not null,           -- hook | channel | bot
  tool            text not null,
  category        text not null,
  subcategory     text not null,
  business        bigint not null,
  url             text not null,
  secrets         text not null,           -- sealed, newest first
  secret_until    bigint not null,        -- when the older secret ends
  enabled         bigint not null,
  disabled_reason text not null,
  disabled_at     bigint not null,
  enabled_at      bigint not null,
  generation      bigint not null,        -- raised by every change
  created_at      bigint not null
);
create unique index endpoints_name on endpoints (client, kind, tool, category, subcategory, business);

create table endpoint_health (
  endpoint             bigint not null,
  replica              bigint not null,
  consecutive_failures bigint not null,
  last_success_at      bigint not null,
  last_failure_at      bigint not null,
  last_error           text not null,
  primary key (endpoint, replica)
);

-- A lane is the ordered way to one endpoint for one thread: done <= last.
create table lanes (
  thread     bigint not null,
  endpoint   bigint not null,
  client     bigint not null,
  last       bigint not null,             -- sequence of the newest delivery
  done       bigint not null,             -- everything up to here is settled
  owner      bigint not null,             -- the replica that sends
  fence      bigint not null,             -- raised by every change of owner
  attempt    bigint not null,             -- failed attempts of the delivery done + 1
  first_at   bigint not null,             -- when its first attempt began
  next_at    bigint not null,             -- not before
  primary key (thread, endpoint)
);
create index lanes_open on lanes (endpoint, owner) where last > done;
alter table lanes set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
alter table threads set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

create table outbox (
  thread       bigint not null,
  endpoint     bigint not null,
  seq          bigint not null,
  entry        bigint not null,
  tool         text not null,              -- "" for channels and the bot
  delivery_seq bigint not null,
  hold_until   bigint not null,           -- kept for a synchronous caller until then; -1 = it took it
  payload      bytea not null,
  created_at   bigint not null,
  primary key (thread, endpoint, seq)
);
create index outbox_log on outbox (endpoint, entry);
create index outbox_feed on outbox (thread, tool, delivery_seq) where tool <> '';

create table attempts (
  thread     bigint not null,
  endpoint   bigint not null,
  seq        bigint not null,
  attempt    bigint not null,
  at         bigint not null,
  latency_us bigint not null,
  status     bigint not null,
  error      text not null,
  excerpt    text not null,
  primary key (thread, endpoint, seq, attempt)
);

create table dead (
  thread      bigint not null,
  endpoint    bigint not null,
  seq         bigint not null,
  client      bigint not null,
  reason      text not null,
  at          bigint not null,
  replayed_at bigint not null,
  primary key (thread, endpoint, seq)
);
create index dead_client on dead (client, at);

create table steps (
  client    bigint not null references clients,
  domain    text not null,
  name      text not null,
  position  bigint not null,
  questions text not null,
  answers   text not null,
  active    bigint not null,
  primary key (client, domain, name)
);

create table faq_versions (
  client     bigint not null references clients,
  domain     text not null,
  version    bigint not null,
  hash       text not null,                -- of the file it was loaded from
  updated_at bigint not null,
  primary key (client, domain)
);
