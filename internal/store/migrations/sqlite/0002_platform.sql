-- +goose Up

-- What a bot knows. Its present steps are those of one generation; higher ones are
-- being imported; of the lower ones the newest step of each key is inactive, and
-- what lies below it is on its way out.
create table faqs (
  id         integer primary key autoincrement,
  client     integer not null references clients,
  domain     text not null,
  version    integer not null,             -- raised by every change; 0 = there never were steps
  hash       text not null,                -- of the file they were loaded from
  generation integer not null,             -- that is active
  newest     integer not null,             -- that was handed out
  steps      integer not null,             -- how many are active
  updated_at integer not null
) strict;
create unique index faqs_domain on faqs (client, domain);
insert into faqs (client, domain, version, hash, generation, newest, steps, updated_at)
  select v.client, v.domain, v.version, v.hash, 1, 1, (select count(*) from steps s where s.client = v.client and s.domain = v.domain and s.active = 1), v.updated_at from faq_versions v;
drop table faq_versions;

alter table steps rename to steps_before;
create table steps (
  faq        integer not null references faqs,
  generation integer not null,
  position   integer not null,
  key        text not null,                -- equal for names that people take for the same
  name       text not null,
  questions  text not null,
  answers    text not null,
  primary key (faq, generation, position)
) strict, without rowid;
create unique index steps_key on steps (faq, key, generation);
insert into steps
  select f.id, s.active, row_number() over (partition by f.id, s.active order by s.position, s.name) - 1, lower(s.name), s.name, s.questions, s.answers
  from steps_before s join faqs f on f.client = s.client and f.domain = s.domain where true on conflict do nothing;
drop table steps_before;

-- Imports of FAQ files, in the order of the uploads.
create table faq_tasks (
  seq          integer primary key autoincrement,
  id           text not null unique,
  client       integer not null references clients,
  domain       text not null,
  state        text not null,              -- uploading | waiting | running | done | failed
  dry_run      integer not null,
  hash         text not null,              -- sha256 of the file
  fence        integer not null,           -- raised by everybody who takes the task
  lease_until  integer not null,
  base_version integer not null,           -- of the steps that the counts go by
  faq          integer not null,           -- 0 = nothing is staged
  generation   integer not null,           -- being staged
  rows_total   integer not null,
  rows_done    integer not null,
  created      integer not null,
  updated      integer not null,
  kept         integer not null,           -- updated ones that were active
  deactivated  integer not null,
  warnings     text not null,
  error        text not null,
  created_at   integer not null,
  finished_at  integer not null
) strict;
create index faq_tasks_open on faq_tasks (client, domain, seq) where state in ('waiting', 'running');

-- The uploaded files, so that any process can go on with a task.
create table faq_parts (
  task integer not null,
  part integer not null,
  data blob not null,
  primary key (task, part)
) strict;

create table feedback (
  id           integer primary key autoincrement,
  client       integer not null references clients,
  business     integer not null,
  user_id      integer not null references users,
  thread       integer not null references threads,
  conversation integer not null,
  owner        text not null,              -- who had the conversation
  resolved     integer not null,
  rating       integer not null,
  comment      text not null,
  at           integer not null
) strict;
create index feedback_thread on feedback (thread, at);
create index feedback_client on feedback (client, at);
