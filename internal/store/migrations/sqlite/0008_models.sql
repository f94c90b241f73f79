-- +goose Up

-- Who made the present steps: client | manifest | admin; and of which version of
-- the model they are the steps again.
alter table faqs add column changed_by text not null default '';
alter table faqs add column restored_from integer not null default 0;
alter table faq_tasks add column asked_by text not null default '';
alter table faq_tasks add column restores integer not null default 0;

-- The versions of a bot's model. Exactly one is made of each version of the steps
-- in one language by one kind of trainer, whichever process does it.
create table models (
  id            integer primary key autoincrement,
  faq           integer not null references faqs,
  number        integer not null,          -- counts the bot's versions
  faq_version   integer not null,          -- of the steps it is made of
  language      text not null,
  trainer       text not null,             -- a program of another trainer makes its own
  state         text not null,             -- training | ready | failed
  inputs        text not null,             -- what it was trained of, as a digest
  steps         integer not null,
  steps_file    integer not null,          -- 0 = none
  model_file    integer not null,          -- 0 = there was nothing to learn
  hash          text not null,             -- of the FAQ file
  changed_by    text not null,
  restored_from integer not null,
  report        text not null,             -- JSON; '' = there is none yet
  error         text not null,
  train_ms      integer not null,
  fence         integer not null,          -- raised by everybody who works on it
  lease_until   integer not null,
  created_at    integer not null,
  ready_at      integer not null
) strict;
create unique index models_number on models (faq, number);
create unique index models_edition on models (faq, faq_version, language, trainer);
create index models_unreported on models (lease_until) where state = 'ready' and report = '';

create table model_files (
  id     integer primary key autoincrement,
  faq    integer not null,
  digest text not null,                    -- sha256, in hex; '' while it is being written
  size   integer not null,
  gone   integer not null                  -- nobody needs it: it is being removed
) strict;
create index model_files_gone on model_files (id) where gone = 1;

create table model_parts (
  file integer not null,
  part integer not null,
  data blob not null,
  primary key (file, part)
) strict;
