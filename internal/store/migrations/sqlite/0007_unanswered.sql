-- +goose Up

-- Questions that a bot had no sure answer to. They are copies: erasing a
-- thread's messages has to remove them, too.
create table unanswered (
  entry    integer not null primary key,  -- the question in the log
  client   integer not null references clients,
  domain   text not null,
  thread   integer not null,
  question text not null,
  did      text not null,                 -- suggested | broke | handed_over
  offered  text not null,                 -- JSON: names of the steps that were suggested
  chosen   text not null,                 -- the one of them that the user picked
  at       integer not null
) strict, without rowid;
create index unanswered_bot on unanswered (client, domain, entry);
create index unanswered_thread on unanswered (thread, entry);
create index unanswered_at on unanswered (at);
