-- +goose Up

-- The wording of clients. body is {"fallback", "in": {language: text}}; the
-- language "" is of no language.
create table texts (
  client     integer not null references clients,
  key        text not null,
  version    integer not null,             -- of the newest change; never used twice for a key
  body       text not null,
  primary key (client, key)
) strict, without rowid;

-- Every change of a text, for good. An empty body says that there was none, or is none now.
create table text_changes (
  client      integer not null references clients,
  key         text not null,
  version     integer not null,
  at          integer not null,
  actor       text not null,
  via         text not null,               -- manifest | rest
  body_before text not null,
  body_after  text not null,
  primary key (client, key, version)
) strict, without rowid;

insert into texts (client, key, version, body)
  select client, id, 1, '{"in":{"":' || body || '}}' from config where kind = 'text';
insert into text_changes (client, key, version, at, actor, via, body_before, body_after)
  select client, id, 1, updated_at, '', 'manifest', '', '{"in":{"":' || body || '}}' from config where kind = 'text';
delete from config where kind = 'text';

-- The log of a thread by conversation: a transcript reads nothing that came before
-- or after. Within a thread ids and conversations grow together, so the order is
-- that of the log.
drop index entries_thread;
create index entries_conversation on entries (thread, conversation, id);
