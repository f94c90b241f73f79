-- +goose Up

-- Files of users. The content lies in the data folder or an object store.
create table files (
  id         text not null primary key,    -- unguessable: part of the link and name of the object
  client     bigint not null references clients,
  state      text not null,                -- pending (no message yet) | live | gone (the object is to be removed)
  thread     bigint not null,             -- 0 while pending
  entry      bigint not null,             -- its message in the log
  name       text not null,
  media_type text not null,
  size       bigint not null,
  digest     text not null,                -- sha256, in hex
  inline     bigint not null,             -- a browser may show it
  created_at bigint not null
);
create index files_thread on files (thread);
create index files_unused on files (created_at) where state <> 'live';

-- What the files of a client take, pending and gone ones included.
create table file_usage (
  client bigint not null primary key references clients,
  bytes  bigint not null
);
