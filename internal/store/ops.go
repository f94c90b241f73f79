package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Kinds of jobs.
const (
	JobHookDisabled = "hook_disabled" // a tool's message hook was disabled: {"tool"}
	JobToolGone     = "tool_gone"     // a tool was removed or made inactive: {"tool"}
	JobAdopt        = "adopt"         // a default receiver may exist now: {}
	JobErase        = "erase"         // a user is to be erased: {"erasure"}
)

// Job is work to be done once, after the transaction that asked for it.
type Job struct {
	ID       int64
	Kind     string
	Client   int64
	Body     json.RawMessage
	RunAt    time.Time
	Attempts int
}

// InsertJob asks for work.
func (tx *Tx) InsertJob(kind string, client int64, body any, runAt time.Time) error {
	tx.commit.Jobs = true
	return tx.exec(`insert into jobs (kind, client, body, run_at, attempts) values ($1, $2, $3, $4, 0)`, kind, client, toJSON(body), runAt)
}

// ClaimJobs takes due jobs: nobody else gets them for a minute.
func (tx *Tx) ClaimJobs(limit int) (out []Job, err error) {
	tx.wrote = true
	err = tx.each(func(r row) error {
		var j Job
		var body string
		err := r.Scan(&j.ID, &j.Kind, &j.Client, &body, at(&j.RunAt), &j.Attempts)
		j.Body = json.RawMessage(body)
		out = append(out, j)
		return err
	}, `update jobs set run_at = $2, attempts = attempts + 1 where id in (`+tx.s.engine.skipLocked(`select j.id from jobs j where j.run_at <= $1 order by j.run_at limit $3`, "j")+`) returning id, kind, client, body, run_at, attempts`,
		tx.Now, tx.Now.Add(time.Minute), limit)
	return out, err
}

// PostponeJob lets a job that is not done be claimed again at an instant.
func (tx *Tx) PostponeJob(id int64, to time.Time) error {
	return tx.exec(`update jobs set run_at = $2, attempts = 0 where id = $1`, id, to)
}

// DeleteJob says that a job is done.
func (tx *Tx) DeleteJob(id int64) error { return tx.exec(`delete from jobs where id = $1`, id) }

// InsertAudit notes who did what to what. Detail is JSON and holds no secrets.
func (tx *Tx) InsertAudit(client int64, actor, action, target string, detail any) error {
	return tx.exec(`insert into audit (client, at, actor, action, target, detail) values ($1, $2, $3, $4, $5, $6)`, client, tx.Now, actor, action, target, toJSON(detail))
}

// AuditLine is one line of the audit log.
type AuditLine struct {
	ID                    int64
	At                    time.Time
	Actor, Action, Target string
	Detail                json.RawMessage
}

// ListAudit returns a client's newest audit lines.
func (tx *Tx) ListAudit(client int64, limit int) (out []AuditLine, err error) {
	err = tx.each(func(r row) error {
		var l AuditLine
		var detail string
		err := r.Scan(&l.ID, at(&l.At), &l.Actor, &l.Action, &l.Target, &detail)
		l.Detail = json.RawMessage(detail)
		out = append(out, l)
		return err
	}, `select id, at, actor, action, target, detail from audit where client = $1 order by id desc limit $2`, client, limit)
	return out, err
}

// Meta reads a value of the store itself; "" when it is not set.
func (tx *Tx) Meta(key string) (v string, err error) {
	_, err = tx.one([]any{&v}, `select value from meta where key = $1`, key)
	return v, err
}

// SetMeta writes a value of the store itself.
func (tx *Tx) SetMeta(key, value string) error {
	return tx.exec(`insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value`, key, value)
}

// Stats are counts for the metrics.
type Stats struct {
	Queued    int64
	OpenLanes int64
	Dead      int64
	Owners    map[string]int64 // threads in open conversations, by type of owner
	Endpoints map[string]int64 // enabled, disabled
}

// Stats counts what is queued, dead and owned.
func (tx *Tx) Stats() (st Stats, err error) {
	st.Owners, st.Endpoints = map[string]int64{"iva": 0, "sac": 0, "ect": 0, "none": 0}, map[string]int64{"enabled": 0, "disabled": 0}
	err = tx.many(
		query{`select coalesce(cast(sum(last - done) as bigint), 0), count(*) from lanes where open = 1 and last > done`, nil, func(r row) error { return r.Scan(&st.Queued, &st.OpenLanes) }},
		query{`select count(*) from dead where replayed_at = 0`, nil, func(r row) error { return r.Scan(&st.Dead) }},
		query{`select case when owner in ('iva', 'sac') then owner when owner = '' then 'none' else 'ect' end, count(*) from threads where state not in ('', 'complete') group by 1`, nil, func(r row) error {
			var k string
			var n int64
			err := r.Scan(&k, &n)
			st.Owners[k] = n
			return err
		}},
		query{`select enabled, count(*) from endpoints where kind <> 'bot' group by enabled`, nil, func(r row) error {
			var on bool
			var n int64
			err := r.Scan(flag(&on), &n)
			st.Endpoints[map[bool]string{true: "enabled", false: "disabled"}[on]] = n
			return err
		}},
	)
	return st, err
}

// DeadDelivery names a dead letter.
type DeadDelivery struct {
	Lane   LaneKey
	Seq    int64
	Client int64
	Reason string
	At     time.Time
}

// Dead reads a dead letter that was not replayed yet; ok is false when there is none.
func (tx *Tx) Dead(k LaneKey, seq int64) (d DeadDelivery, ok bool, err error) {
	ok, err = tx.one([]any{&d.Client, &d.Reason, at(&d.At)}, `select client, reason, at from dead where thread = $1 and endpoint = $2 and seq = $3 and replayed_at = 0`, k.Thread, k.Endpoint, seq)
	d.Lane, d.Seq = k, seq
	return d, ok, err
}

// SetReplayed says that a dead letter was queued again.
func (tx *Tx) SetReplayed(k LaneKey, seq int64) error {
	return tx.exec(`update dead set replayed_at = $4 where thread = $1 and endpoint = $2 and seq = $3`, k.Thread, k.Endpoint, seq, tx.Now)
}

// Delivery reads one delivery; ErrNotFound when there is none.
func (tx *Tx) Delivery(k LaneKey, seq int64) (Delivery, error) {
	ds, err := tx.deliveries(`select `+deliveryColumns+` from outbox where thread = $1 and endpoint = $2 and seq = $3`, k.Thread, k.Endpoint, seq)
	if err != nil {
		return Delivery{}, err
	}
	if len(ds) == 0 {
		return Delivery{}, ErrNotFound.With("no such delivery")
	}
	return ds[0], nil
}

// ListAttempts returns the recorded attempts of a delivery. A clean first
// success leaves none.
func (tx *Tx) ListAttempts(k LaneKey, seq int64) (out []Attempt, err error) {
	err = tx.each(func(r row) error {
		var a Attempt
		var us int64
		err := r.Scan(&a.Number, at(&a.At), &us, &a.Status, &a.Error, &a.Excerpt)
		a.Latency = time.Duration(us) * time.Microsecond
		out = append(out, a)
		return err
	}, `select attempt, at, latency_us, status, error, excerpt from attempts where thread = $1 and endpoint = $2 and seq = $3 order by attempt`, k.Thread, k.Endpoint, seq)
	return out, err
}

// AfterRestore makes a restored store safe to serve from: counters jump so that
// nothing handed out since the backup is handed out again.
func (s *Store) AfterRestore(ctx context.Context) error {
	return s.Update(ctx, func(tx *Tx) error {
		for _, q := range jumps(tx.s.engine) {
			if err := tx.exec(q); err != nil {
				return err
			}
		}
		return nil
	})
}

// jumps are the statements that let counters jump.
func jumps(e engine) []string {
	const far = 1_000_000
	return []string{
		fmt.Sprintf(`update threads set epoch = epoch + %d where conversation > 0`, far),
		fmt.Sprintf(`update threads set told = (%s) where told <> ''`, e.raised(far)),
		`update clients set version = version + 1`,
	}
}

// JobsDue says whether a job waits.
func (tx *Tx) JobsDue() (due bool, err error) {
	var n int64
	_, err = tx.one([]any{&n}, `select count(*) from (select 1 from jobs where run_at <= $1 limit 1) due`, tx.Now)
	return n > 0, err
}
