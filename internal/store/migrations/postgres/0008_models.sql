-- +goose Up

-- Who made the present steps: client | manifest | admin; and of which version of
-- the model they are the steps again.
alter table faqs add column changed_by text not null default '';
alter table faqs add column restored_from bigint not null default 0;
alter table faq_tasks add column asked_by text not null default '';
alter table faq_tasks add column restores bigint not null default 0;

-- The versions of a bot's model. Exactly one is made of each version of the steps
-- in one language by one kind of trainer, whichever process does it.
create table models (
  id            bigint generated always as identity primary key,
  faq           bigint not null references faqs,
  number        bigint not null,          -- counts the bot's versions
  faq_version   bigint not null,          -- of the steps it is made of
  language      text not null,
  trainer       text not null,             -- a program of another trainer makes its own
  state         text not null,             -- training | ready | failed
  inputs        text not null,             -- what it was trained of, as a digest
  steps         bigint not null,
  steps_file    bigint not null,          -- 0 = none
  model_file    bigint not null,          -- 0 = there was nothing to learn
  hash          text not null,             -- of the FAQ file
  changed_by    text not null,
  restored_from bigint not null,
  report        text not null,             -- JSON; '' = there is none yet
  error         text not null,
  train_ms      bigint not null,
  fence         bigint not null,          -- raised by everybody who works on it
  lease_until   bigint not null,
  created_at    bigint not null,
  ready_at      bigint not null
);
create unique index models_number on models (faq, number);
create unique index models_edition on models (faq, faq_version, language, trainer);
create index models_unreported on models (lease_until) where state = 'ready' and report = '';

create table model_files (
  id     bigint generated always as identity primary key,
  faq    bigint not null,
  digest text not null,                    -- sha256, in hex; '' while it is being written
  size   bigint not null,
  gone   bigint not null                  -- nobody needs it: it is being removed
);
create index model_files_gone on model_files (id) where gone = 1;

create table model_parts (
  file bigint not null,
  part bigint not null,
  data bytea not null,
  primary key (file, part)
);
