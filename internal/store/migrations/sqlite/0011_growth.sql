-- +goose Up

-- What the gauges count, so that a scrape reads no table from end to end.
create index threads_open on threads (owner) where state not in ('', 'complete');
create index dead_waiting on dead (endpoint) where replayed_at = 0;
