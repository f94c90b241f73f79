-- +goose Up
-- Instants are microseconds since 1970 (0 = not set), booleans 0 or 1, JSON is text.

create table meta (
  key   text not null primary key,
  value text not null
) strict, without rowid;

-- Processes that dispatch. A process is alive while its heartbeat is fresh.
create table replicas (
  id           integer primary key autoincrement,
  name         text not null,
  started_at   integer not null,
  heartbeat_at integer not null
) strict;

create table clients (
  key        integer primary key autoincrement,
  id         text not null unique,
  version    integer not null,             -- raised by every change of what decides about threads
  body       text not null,
  updated_at integer not null
) strict;

-- What the declarative file names, a document each: bot, team, agent, tool, business.
create table config (
  client     integer not null references clients,
  kind       text not null,
  id         text not null,
  lookup     text not null,                -- what it is found by across clients: a tool's fqdn, an agent's e-mail
  body       text not null,
  version    integer not null,
  updated_at integer not null,
  primary key (client, kind, id)
) strict, without rowid;
create index config_lookup on config (kind, lookup);

create table tokens (
  id         text not null primary key,
  client     integer not null references clients,
  name       text not null,
  hash       text not null unique,         -- sha256 of the token
  scopes     text not null,
  created_at integer not null,
  expires_at integer not null,
  revoked_at integer not null
) strict, without rowid;
create unique index tokens_name on tokens (client, name);

create table certificates (
  uuid       text not null,                -- several clients may list one certificate
  client     integer not null references clients,
  tool       text not null,
  pem        text not null,
  created_at integer not null,
  revoked_at integer not null,
  primary key (uuid, client)
) strict, without rowid;
create index certificates_tool on certificates (client, tool);

-- Keys that sign the tools' tokens, newest first; sealed.
create table signing_keys (
  kid        text not null primary key,
  sealed     text not null,
  public     blob not null,
  created_at integer not null,
  retired_at integer not null
) strict, without rowid;

-- Tokens of a tool issued before this instant are void.
create table token_cutoffs (
  client     integer not null,
  tool       text not null,
  not_before integer not null,
  primary key (client, tool)
) strict, without rowid;

-- Signed bodies already used, until they are too old anyway.
create table replays (
  digest     blob not null primary key,
  expires_at integer not null
) strict, without rowid;
create index replays_expiry on replays (expires_at);

create table idempotency (
  scope        blob not null primary key,  -- sha256 over client, caller, endpoint and key
  request_hash blob not null,
  status       integer not null,           -- of the answer, always 2xx
  response     blob not null,
  created_at   integer not null
) strict, without rowid;
create index idempotency_age on idempotency (created_at);

create table audit (
  id     integer primary key autoincrement,
  client integer not null,
  at     integer not null,
  actor  text not null,
  action text not null,
  target text not null,
  detail text not null
) strict;
create index audit_client on audit (client, id);

create table users (
  id         integer primary key autoincrement,
  client     integer not null references clients,
  auth_id    text not null,
  user_name  text not null,
  details    text not null,
  created_at integer not null,
  updated_at integer not null
) strict;
create unique index users_auth on users (client, auth_id);
create unique index users_name on users (client, user_name);

create table threads (
  id              integer primary key autoincrement,
  client          integer not null references clients,
  business        integer not null,
  user_id         integer not null references users,
  pxut            text not null,
  platform        integer not null,
  owner           text not null,
  epoch           integer not null,
  conversation    integer not null,
  state           text not null,
  team            text not null,
  agent           text not null,           -- name of the agent who has it
  last_entry      integer not null,
  last_entry_at   integer not null,
  rest            text not null,           -- the other fields of the thread's state
  created_at      integer not null
) strict;
create unique index threads_user on threads (client, business, user_id);
create unique index threads_pxut on threads (client, pxut);
create index threads_owner on threads (client, owner, state);

create table entries (
  id           integer not null primary key,
  thread       integer not null references threads,
  conversation integer not null,
  event        text not null,              -- "" = a message
  sender       text not null,
  by_receiver  text not null,
  message_type integer not null,
  body         text not null,              -- HSL of a message
  meta         text not null,
  at           integer not null,
  hash         blob not null               -- of the content, so that a flipped byte is found
) strict;
create index entries_thread on entries (thread, id);

create table ledger (
  id              integer primary key autoincrement,
  thread          integer not null references threads,
  at              integer not null,
  op              text not null,
  requester       text not null,
  from_receiver   text not null,
  to_receiver     text not null,
  granted         integer not null,
  code            text not null,
  reason          text not null,
  metadata        text not null,
  epoch           integer not null,
  first_answer_ms integer not null          -- -1 = not answered yet
) strict;
create index ledger_thread on ledger (thread, id);

-- The structured brief of the latest hand-over of a conversation.
create table briefs (
  thread       integer not null references threads,
  conversation integer not null,
  at           integer not null,
  body         text not null,
  primary key (thread, conversation)
) strict, without rowid;

create table timers (
  thread integer not null references threads,
  kind   text not null,
  due_at integer not null,
  primary key (thread, kind)
) strict, without rowid;
create index timers_due on timers (due_at);

create table jobs (
  id         integer primary key autoincrement,
  kind       text not null,
  client     integer not null,
  body       text not null,
  run_at     integer not null,
  attempts   integer not null
) strict;
create index jobs_due on jobs (run_at);

-- What a tool knows of a thread: its counter, its own name for the user.
create table tool_threads (
  thread       integer not null references threads,
  tool         text not null,
  delivery_seq integer not null,
  ect_user_id  text not null,
  primary key (thread, tool)
) strict, without rowid;

-- Where deliveries go: a tool's hook, a business' channel webhook, a business' bot.
create table endpoints (
  id              integer primary key autoincrement,
  client          integer not null references clients,
  kind            text not null,           -- hook | channel | bot
  tool            text not null,
  category        text not null,
  subcategory     text not null,
  business        integer not null,
  url             text not null,
  secrets         text not null,           -- sealed, newest first
  secret_until    integer not null,        -- when the older secret ends
  enabled         integer not null,
  disabled_reason text not null,
  disabled_at     integer not null,
  enabled_at      integer not null,
  generation      integer not null,        -- raised by every change
  created_at      integer not null
) strict;
create unique index endpoints_name on endpoints (client, kind, tool, category, subcategory, business);

create table endpoint_health (
  endpoint             integer not null,
  replica              integer not null,
  consecutive_failures integer not null,
  last_success_at      integer not null,
  last_failure_at      integer not null,
  last_error           text not null,
  primary key (endpoint, replica)
) strict, without rowid;

-- A lane is the ordered way to one endpoint for one thread: done <= last.
create table lanes (
  thread     integer not null,
  endpoint   integer not null,
  client     integer not null,
  last       integer not null,             -- sequence of the newest delivery
  done       integer not null,             -- everything up to here is settled
  owner      integer not null,             -- the replica that sends
  fence      integer not null,             -- raised by every change of owner
  attempt    integer not null,             -- failed attempts of the delivery done + 1
  first_at   integer not null,             -- when its first attempt began
  next_at    integer not null,             -- not before
  primary key (thread, endpoint)
) strict, without rowid;
create index lanes_open on lanes (endpoint, owner) where last > done;

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
) strict, without rowid;
create index outbox_log on outbox (endpoint, entry);
create index outbox_feed on outbox (thread, tool, delivery_seq) where tool <> '';

create table attempts (
  thread     integer not null,
  endpoint   integer not null,
  seq        integer not null,
  attempt    integer not null,
  at         integer not null,
  latency_us integer not null,
  status     integer not null,
  error      text not null,
  excerpt    text not null,
  primary key (thread, endpoint, seq, attempt)
) strict, without rowid;

create table dead (
  thread      integer not null,
  endpoint    integer not null,
  seq         integer not null,
  client      integer not null,
  reason      text not null,
  at          integer not null,
  replayed_at integer not null,
  primary key (thread, endpoint, seq)
) strict, without rowid;
create index dead_client on dead (client, at);

create table steps (
  client    integer not null references clients,
  domain    text not null,
  name      text not null,
  position  integer not null,
  questions text not null,
  answers   text not null,
  active    integer not null,
  primary key (client, domain, name)
) strict, without rowid;

create table faq_versions (
  client     integer not null references clients,
  domain     text not null,
  version    integer not null,
  hash       text not null,                -- of the file it was loaded from
  updated_at integer not null,
  primary key (client, domain)
) strict, without rowid;
