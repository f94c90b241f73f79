-- +goose Up

-- The sets of steps a bot had. Its present one is the generation that
-- faq_versions names; higher ones are being imported; of the lower ones the
-- newest of each key is an inactive step, what lies below it is on its way out.
alter table steps rename to steps_before;
alter table steps_before rename constraint steps_pkey to steps_before_pkey;
create table steps (
  client     bigint not null references clients,
  domain     text not null,
  generation bigint not null,
  position   bigint not null,
  key        text not null,                -- equal for names that people take for the same
  name       text not null,
  questions  text not null,
  answers    text not null,
  primary key (client, domain, generation, position)
);
create unique index steps_key on steps (client, domain, key, generation);
insert into steps select client, domain, active, row_number() over (partition by client, domain, active order by position, name) - 1, lower(name), name, questions, answers from steps_before
  where true on conflict do nothing;
drop table steps_before;

alter table faq_versions add column generation bigint not null default 1; -- that is active
alter table faq_versions add column newest bigint not null default 1;     -- that was handed out
alter table faq_versions add column steps bigint not null default 0;      -- how many are active
update faq_versions set steps = (select count(*) from steps s where s.client = faq_versions.client and s.domain = faq_versions.domain and s.generation = 1);

-- Imports of FAQ files, in the order of the uploads.
create table faq_tasks (
  seq          bigint generated always as identity primary key,
  id           text not null unique,
  client       bigint not null references clients,
  domain       text not null,
  state        text not null,              -- uploading | waiting | running | done | failed
  dry_run      bigint not null,
  hash         text not null,              -- sha256 of the file
  fence        bigint not null,           -- raised by everybody who takes the task
  lease_until  bigint not null,
  base_version bigint not null,           -- of the steps that the counts go by
  generation   bigint not null,           -- being staged
  rows_total   bigint not null,
  rows_done    bigint not null,
  created      bigint not null,
  updated      bigint not null,
  kept         bigint not null,           -- updated ones that were active
  deactivated  bigint not null,
  warnings     text not null,
  error        text not null,
  created_at   bigint not null,
  finished_at  bigint not null
);
create index faq_tasks_open on faq_tasks (client, domain, seq) where state in ('waiting', 'running');

-- The uploaded files, so that any process can go on with a task.
create table faq_parts (
  task bigint not null,
  part bigint not null,
  data bytea not null,
  primary key (task, part)
);

create table feedback (
  id           bigint generated always as identity primary key,
  client       bigint not null references clients,
  business     bigint not null,
  user_id      bigint not null references users,
  thread       bigint not null references threads,
  conversation bigint not null,
  owner        text not null,              -- who had the conversation
  resolved     bigint not null,
  rating       bigint not null,
  comment      text not null,
  at           bigint not null
);
create index feedback_thread on feedback (thread, at);
create index feedback_client on feedback (client, at);
