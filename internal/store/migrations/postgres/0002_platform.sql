-- +goose Up

-- What a bot knows. Its present steps are those of one generation; higher ones are
-- being imported; of the lower ones the newest step of each key is inactive, and
-- what lies below it is on its way out.
create table faqs (
  id         bigint generated always as identity primary key,
  client     bigint not null references clients,
  domain     text not null,
  version    bigint not null,              -- raised by every change; 0 = there never were steps
  hash       text not null,                -- of the file they were loaded from
  generation bigint not null,              -- that is active
  newest     bigint not null,              -- that was handed out
  steps      bigint not null,              -- how many are active
  updated_at bigint not null
);
create unique index faqs_domain on faqs (client, domain);
insert into faqs (client, domain, version, hash, generation, newest, steps, updated_at)
  select v.client, v.domain, v.version, v.hash, 1, 1, (select count(*) from steps s where s.client = v.client and s.domain = v.domain and s.active = 1), v.updated_at from faq_versions v;
drop table faq_versions;

alter table steps rename to steps_before;
alter table steps_before rename constraint steps_pkey to steps_before_pkey;
create table steps (
  faq        bigint not null references faqs,
  generation bigint not null,
  position   bigint not null,
  key        text not null,                -- equal for names that people take for the same
  name       text not null,
  questions  text not null,
  answers    text not null,
  primary key (faq, generation, position)
);
create unique index steps_key on steps (faq, key, generation);
insert into steps
  select f.id, s.active, row_number() over (partition by f.id, s.active order by s.position, s.name) - 1, lower(s.name), s.name, s.questions, s.answers
  from steps_before s join faqs f on f.client = s.client and f.domain = s.domain where true on conflict do nothing;
drop table steps_before;

-- Imports of FAQ files, in the order of the uploads.
create table faq_tasks (
  seq          bigint generated always as identity primary key,
  id           text not null unique,
  client       bigint not null references clients,
  domain       text not null,
  state        text not null,              -- uploading | waiting | running | done | failed
  dry_run      bigint not null,
  hash         text not null,              -- sha256 of the file
  fence        bigint not null,            -- raised by everybody who takes the task
  lease_until  bigint not null,
  base_version bigint not null,            -- of the steps that the counts go by
  faq          bigint not null,            -- 0 = nothing is staged
  generation   bigint not null,            -- being staged
  rows_total   bigint not null,
  rows_done    bigint not null,
  created      bigint not null,
  updated      bigint not null,
  kept         bigint not null,            -- updated ones that were active
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
