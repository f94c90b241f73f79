-- +goose Up

-- What the gauges count, so that a scrape reads no table from end to end.
create index threads_open on threads (owner) where state not in ('', 'complete');
create index dead_waiting on dead (endpoint) where replayed_at = 0;

-- Old rows are deleted all the time: their room is to be found again soon, and
-- tables that only grow must keep their visibility maps, for index-only scans.
alter table entries set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table outbox set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
alter table attempts set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table ledger set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
alter table timers set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table tool_threads set (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
alter table idempotency set (autovacuum_vacuum_scale_factor = 0.02);
alter table replays set (autovacuum_vacuum_scale_factor = 0.02);
alter table meta set (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
