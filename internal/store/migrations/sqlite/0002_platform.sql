-- +goose Up

-- The sets of steps a bot had. Its present one is the generation that
-- faq_versions names; higher ones are being imported; of the lower ones the
-- newest of each key is an inactive step, what lies below it is on its way out.
alter table steps rename to steps_before;
create table steps (
  client     integer not null references clients,
  domain     text not null,
  generation integer not null,
  position   integer not null,
  key        text not null,                -- equal for names that people take for the same
  name       text not null,
  questions  text not null,
  answers    text not null,
  primary key (client, domain, generation, position)
) strict, without rowid;
create unique index steps_key on steps (client, domain, key, generation);
insert into steps select client, domain, active, row_number() over (partition by client, domain, active order by position, name) - 1, lower(name), name, questions, answers from steps_before
  where true on conflict do nothing;
drop table steps_before;

alter table faq_versions add column generation integer not null default 1; -- that is active
alter table faq_versions add column newest integer not null default 1;     -- that was handed out
alter table faq_versions add column steps integer not null default 0;      -- how many are active
update faq_versions set steps = (select count(*) from steps s where s.client = faq_versions.client and s.domain = faq_versions.domain and s.generation = 1);

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
