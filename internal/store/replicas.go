package store

import (
	"context"
	"time"
)

// RegisterReplica makes this process one that dispatches, and returns its number.
// Two living processes never share a name: what had it before is dead, and its
// lanes are free at once.
func (s *Store) RegisterReplica(ctx context.Context, name string) (id int64, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		if err := tx.exec(`delete from replicas where name = $1`, name); err != nil {
			return err
		}
		tx.commit.Lanes = true
		_, err := tx.writeOne([]any{&id}, `insert into replicas (name, started_at, heartbeat_at) values ($1, $2, $2) returning id`, name, tx.Now)
		return err
	})
	if err == nil {
		s.replica.Store(id)
		s.engine.listen()
	}
	return id, err
}

// Heartbeat says that this replica lives. It is false when others have given it
// up meanwhile: then it must register anew.
func (s *Store) Heartbeat(ctx context.Context) (alive bool, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		n, err := tx.count(`update replicas set heartbeat_at = $2 where id = $1 and heartbeat_at > $3`, s.replica.Load(), tx.Now, tx.Now.Add(-aliveFor))
		alive = n == 1
		return err
	})
	return alive, err
}

// LeaveReplica gives back everything this process was sending.
func (s *Store) LeaveReplica(ctx context.Context) error {
	return s.Update(ctx, func(tx *Tx) error {
		tx.commit.Lanes = true
		return tx.exec(`delete from replicas where id = $1`, s.replica.Load())
	})
}

// CountReplicas is how many processes dispatch.
func (tx *Tx) CountReplicas() (n int, err error) {
	ids, err := tx.ListReplicas()
	return len(ids), err
}

// ListReplicas returns the numbers of the processes that dispatch.
func (tx *Tx) ListReplicas() (ids []int64, err error) {
	err = tx.each(func(r row) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, `select id from replicas where heartbeat_at > $1 order by id`, tx.Now.Add(-aliveFor))
	return ids, err
}

// IsReplica says whether a number is this process' own.
func (s *Store) IsReplica(id int64) bool { return id != 0 && id == s.replica.Load() }

// replicaKept is how long a dead process stays listed.
const replicaKept = time.Minute

// RetireReplicas forgets processes that died a while ago. What they saw of
// endpoints is kept as one row each, under the number 0: the verdict on an
// endpoint needs its last success, whoever saw it.
func (tx *Tx) RetireReplicas(limit int) error {
	if err := tx.exec(`delete from replicas where heartbeat_at <= $1`, tx.Now.Add(-replicaKept)); err != nil {
		return err
	}
	type seen struct {
		endpoint, replica int64
		Health
	}
	var old []seen
	if err := tx.each(func(r row) error {
		var h seen
		err := r.Scan(&h.endpoint, &h.replica, &h.ConsecutiveFailures, at(&h.LastSuccessAt), at(&h.LastFailureAt), &h.LastError)
		old = append(old, h)
		return err
	}, `select endpoint, replica, consecutive_failures, last_success_at, last_failure_at, last_error from endpoint_health
		where replica <> 0 and replica not in (select id from replicas) order by endpoint, replica limit $1`, limit); err != nil {
		return err
	}
	for _, h := range old {
		if err := tx.exec(`insert into endpoint_health (endpoint, replica, consecutive_failures, last_success_at, last_failure_at, last_error) values ($1, 0, $2, $3, $4, $5)
			on conflict (endpoint, replica) do update set
				last_success_at = case when excluded.last_success_at > endpoint_health.last_success_at then excluded.last_success_at else endpoint_health.last_success_at end,
				consecutive_failures = case when excluded.last_failure_at > endpoint_health.last_failure_at then excluded.consecutive_failures else endpoint_health.consecutive_failures end,
				last_error = case when excluded.last_failure_at > endpoint_health.last_failure_at then excluded.last_error else endpoint_health.last_error end,
				last_failure_at = case when excluded.last_failure_at > endpoint_health.last_failure_at then excluded.last_failure_at else endpoint_health.last_failure_at end`,
			h.endpoint, h.ConsecutiveFailures, h.LastSuccessAt, h.LastFailureAt, h.LastError); err != nil {
			return err
		}
		if err := tx.exec(`delete from endpoint_health where endpoint = $1 and replica = $2`, h.endpoint, h.replica); err != nil {
			return err
		}
	}
	return nil
}
