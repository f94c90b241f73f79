package store

import (
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"tract"
)

// StepKey is equal for names of steps that people would take for the same.
func StepKey(name string) string {
	return strings.ToLower(norm.NFC.String(strings.Join(strings.Fields(name), " ")))
}

// PutSteps makes the steps of a bot those given: a step of the same name is
// replaced and active, others become inactive. hash names the file. It is for
// what fits into one transaction; see StageSteps for more.
func (tx *Tx) PutSteps(client int64, domain, hash string, steps []tract.Step) error {
	_, generation, err := tx.newGeneration(client, domain)
	if err != nil {
		return err
	}
	if err := tx.insertSteps(client, domain, generation, 0, steps); err != nil {
		return err
	}
	if err := tx.DeleteSuperseded(client, domain, generation, 0, len(steps)); err != nil {
		return err
	}
	if err := tx.exec(`update faq_versions set version = version + 1, generation = $3, steps = $4, hash = $5, updated_at = $6 where client = $1 and domain = $2`,
		client, domain, generation, len(steps), hash, tx.Now); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// newGeneration hands out the number of a set of steps to be made, with the
// version of the present one. It holds the domain until the transaction ends.
func (tx *Tx) newGeneration(client int64, domain string) (version, generation int64, err error) {
	_, err = tx.writeOne([]any{&version, &generation}, `insert into faq_versions (client, domain, version, hash, updated_at, generation, newest, steps) values ($1, $2, 0, '', $3, 0, 1, 0)
		on conflict (client, domain) do update set newest = faq_versions.newest + 1 returning version, newest`, client, domain, tx.Now)
	return version, generation, err
}

func (tx *Tx) insertSteps(client int64, domain string, generation int64, from int, steps []tract.Step) error {
	for i, s := range steps {
		if err := tx.exec(`insert into steps (client, domain, generation, position, key, name, questions, answers) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			client, domain, generation, from+i, StepKey(s.Name), s.Name, toJSON(s.Questions), toJSON(s.Answers)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteSuperseded removes the older steps that those of a generation at the
// positions [from, to) took the place of. It goes row by row: for a join, or a
// delete by key, neither engine makes a plan that fits rows staged a moment ago.
func (tx *Tx) DeleteSuperseded(client int64, domain string, generation int64, from, to int) error {
	var older []query
	if err := tx.each(func(r row) error {
		var key string
		err := r.Scan(&key)
		older = append(older, query{sql: `select generation, position from steps where client = $1 and domain = $2 and key = $3 and generation < $4`, args: []any{client, domain, key, generation}})
		return err
	}, `select key from steps where client = $1 and domain = $2 and generation = $3 and position >= $4 and position < $5`, client, domain, generation, from, to); err != nil || len(older) == 0 {
		return err
	}
	type place struct{ generation, position int64 }
	var places []place
	for i := range older {
		older[i].each = func(r row) error {
			var p place
			err := r.Scan(&p.generation, &p.position)
			places = append(places, p)
			return err
		}
	}
	if err := tx.many(older...); err != nil {
		return err
	}
	for _, p := range places {
		if err := tx.exec(`delete from steps where client = $1 and domain = $2 and generation = $3 and position = $4`, client, domain, p.generation, p.position); err != nil {
			return err
		}
	}
	return nil
}

// ListSteps returns a bot's active steps in their order.
func (tx *Tx) ListSteps(client int64, domain string) (out []tract.Step, err error) {
	err = tx.EachStep(client, domain, true, func(s tract.Step) error {
		out = append(out, s)
		return nil
	})
	return out, err
}

const activeSteps = `select s.name, s.questions, s.answers from steps s join faq_versions v on v.client = s.client and v.domain = s.domain and v.generation = s.generation
	where s.client = $1 and s.domain = $2 order by s.position`

const inactiveSteps = `select s.name, s.questions, s.answers from steps s join faq_versions v on v.client = s.client and v.domain = s.domain
	where s.client = $1 and s.domain = $2 and s.generation < v.generation
	and not exists (select 1 from steps n where n.client = s.client and n.domain = s.domain and n.key = s.key and n.generation > s.generation and n.generation <= v.generation)
	order by s.key`

// EachStep calls fn for a bot's active steps in their order, or for its inactive
// ones by name, without holding them all.
func (tx *Tx) EachStep(client int64, domain string, active bool, fn func(tract.Step) error) error {
	sql := activeSteps
	if !active {
		sql = inactiveSteps
	}
	return tx.each(func(r row) error {
		var s tract.Step
		if err := r.Scan(&s.Name, js(&s.Questions), js(&s.Answers)); err != nil {
			return err
		}
		return fn(s)
	}, sql, client, domain)
}

// RestoreSteps makes inactive steps active again, behind the others. unknown
// names those that are not there; then nothing is to be kept. Ones that are
// active already are passed over. most bounds the active steps; tooMany says
// that they would be more.
func (tx *Tx) RestoreSteps(client int64, domain string, names []string, most int) (restored int, unknown []string, tooMany bool, err error) {
	var generation, count, next int64
	found, err := tx.one([]any{&generation, &count}, tx.s.engine.forUpdate(`select v.generation, v.steps from faq_versions v where v.client = $1 and v.domain = $2`, "v"), client, domain)
	if err != nil || !found {
		return 0, names, false, err
	}
	if _, err := tx.one([]any{&next}, `select coalesce(max(position), -1) + 1 from steps where client = $1 and domain = $2 and generation = $3`, client, domain, generation); err != nil {
		return 0, nil, false, err
	}
	for _, name := range names {
		key, newest := StepKey(name), int64(0)
		found, err := tx.one([]any{&newest}, `select generation from steps where client = $1 and domain = $2 and key = $3 and generation <= $4 order by generation desc limit 1`, client, domain, key, generation)
		switch {
		case err != nil:
			return 0, nil, false, err
		case !found:
			unknown = append(unknown, name)
			continue
		case newest == generation:
			continue
		}
		if err := tx.exec(`update steps set generation = $5, position = $6 where client = $1 and domain = $2 and key = $3 and generation = $4`, client, domain, key, newest, generation, next); err != nil {
			return 0, nil, false, err
		}
		next++
		restored++
	}
	if count += int64(restored); restored == 0 || len(unknown) > 0 || count > int64(most) {
		return restored, unknown, count > int64(most), nil
	}
	// The set is no file's any more.
	if err := tx.exec(`update faq_versions set version = version + 1, steps = $3, hash = '', updated_at = $4 where client = $1 and domain = $2`, client, domain, count, tx.Now); err != nil {
		return 0, nil, false, err
	}
	return restored, nil, false, tx.BumpConfig(client)
}

// FAQVersion is the version of a bot's steps and the hash of the file they came
// from; 0 when it never had any.
func (tx *Tx) FAQVersion(client int64, domain string) (version int64, hash string, err error) {
	_, err = tx.one([]any{&version, &hash}, `select version, hash from faq_versions where client = $1 and domain = $2`, client, domain)
	return version, hash, err
}

// States of a task.
const (
	TaskUploading = "uploading" // its file is not complete; nobody was told of it
	TaskWaiting   = "waiting"
	TaskRunning   = "running"
	TaskDone      = "done"
	TaskFailed    = "failed"
)

// Task is the import of an FAQ file.
type Task struct {
	Seq    int64  // order of the uploads
	ID     string // for callers
	Client int64
	Domain string
	State  string
	DryRun bool
	Hash   string // sha256 of the file

	Fence       int64 // raised by everybody who takes the task
	BaseVersion int64 // of the steps that the counts go by
	Generation  int64 // being staged; 0 = none yet

	Total, Done           int // rows
	Created, Updated      int
	Kept                  int // updated ones that were active
	Deactivated           int
	Warnings              []string
	Error                 string
	CreatedAt, FinishedAt time.Time
}

const taskColumns = `seq, id, client, domain, state, dry_run, hash, fence, base_version, generation, rows_total, rows_done, created, updated, kept, deactivated, warnings, error, created_at, finished_at`

func (tx *Tx) tasks(where string, args ...any) (out []Task, err error) {
	err = tx.each(func(r row) error {
		var t Task
		err := r.Scan(&t.Seq, &t.ID, &t.Client, &t.Domain, &t.State, flag(&t.DryRun), &t.Hash, &t.Fence, &t.BaseVersion, &t.Generation,
			&t.Total, &t.Done, &t.Created, &t.Updated, &t.Kept, &t.Deactivated, js(&t.Warnings), &t.Error, at(&t.CreatedAt), at(&t.FinishedAt))
		out = append(out, t)
		return err
	}, `select `+taskColumns+` from faq_tasks where `+where, args...)
	return out, err
}

// InsertTask makes a task whose file is still to come and returns its number.
func (tx *Tx) InsertTask(t Task) (seq int64, err error) {
	_, err = tx.writeOne([]any{&seq}, `insert into faq_tasks (id, client, domain, state, dry_run, hash, fence, lease_until, base_version, generation, rows_total, rows_done, created, updated, kept, deactivated, warnings, error, created_at, finished_at)
		values ($1, $2, $3, 'uploading', $4, $5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '[]', '', $6, 0) returning seq`, t.ID, t.Client, t.Domain, t.DryRun, t.Hash, tx.Now)
	return seq, err
}

// PutPart stores a piece of a task's file; pieces count from 0.
func (tx *Tx) PutPart(task int64, part int, data []byte) error {
	return tx.exec(`insert into faq_parts (task, part, data) values ($1, $2, $3)`, task, part, data)
}

// Part reads a piece of a task's file; ok is false behind the last one.
func (tx *Tx) Part(task int64, part int) (data []byte, ok bool, err error) {
	ok, err = tx.one([]any{&data}, `select data from faq_parts where task = $1 and part = $2`, task, part)
	return data, ok, err
}

// DeleteParts removes the pieces [from, to) of a task's file and says how many
// there were.
func (tx *Tx) DeleteParts(task int64, from, to int) (int64, error) {
	return tx.count(`delete from faq_parts where task = $1 and part >= $2 and part < $3`, task, from, to)
}

// QueueTask lets a task run whose file is complete.
func (tx *Tx) QueueTask(seq int64) error {
	return tx.exec(`update faq_tasks set state = 'waiting' where seq = $1 and state = 'uploading'`, seq)
}

// DeleteTask forgets a task.
func (tx *Tx) DeleteTask(seq int64) error {
	return tx.exec(`delete from faq_tasks where seq = $1`, seq)
}

// Task reads a client's task by its id; ErrNotFound when there is none.
func (tx *Tx) Task(client int64, id string) (Task, error) {
	ts, err := tx.tasks(`id = $1 and client = $2 and state <> 'uploading'`, id, client)
	if err == nil && len(ts) == 0 {
		err = ErrNotFound.With("no such task")
	}
	if err != nil {
		return Task{}, err
	}
	return ts[0], nil
}

// runnable is a task ($1) that may be taken at an instant ($2): it is the first
// of its domain, and nobody works on that.
const runnable = `state in ('waiting', 'running') and lease_until <= $2 and ($1 = 0 or seq = $1)
	and not exists (select 1 from faq_tasks o where o.client = faq_tasks.client and o.domain = faq_tasks.domain and o.seq <> faq_tasks.seq and
		(o.state in ('waiting', 'running') and o.seq < faq_tasks.seq or o.state = 'running' and o.lease_until > $2))`

// RunnableTask finds a task that may be taken now, the oldest first.
func (tx *Tx) RunnableTask() (t Task, found bool, err error) {
	ts, err := tx.tasks(runnable+` order by seq limit 1`, int64(0), tx.Now)
	if err != nil || len(ts) == 0 {
		return Task{}, false, err
	}
	return ts[0], true, nil
}

// ClaimTask takes a task for a time. taken is false when somebody was faster.
func (tx *Tx) ClaimTask(t Task, lease time.Duration) (_ Task, taken bool, err error) {
	// Of several who take tasks of one domain, one at a time looks.
	if err := tx.exec(`insert into faq_versions (client, domain, version, hash, updated_at, generation, newest, steps) values ($1, $2, 0, '', $3, 0, 0, 0)
		on conflict (client, domain) do update set updated_at = faq_versions.updated_at`, t.Client, t.Domain, tx.Now); err != nil {
		return t, false, err
	}
	n, err := tx.count(`update faq_tasks set state = 'running', fence = fence + 1, lease_until = $3 where seq = $1 and `+runnable, t.Seq, tx.Now, tx.Now.Add(lease))
	if err != nil || n == 0 {
		return t, false, err
	}
	ts, err := tx.tasks(`seq = $1`, t.Seq)
	if err != nil {
		return t, false, err
	}
	return ts[0], true, nil
}

// StartTask takes a task whose file has just become complete, past those that wait.
func (tx *Tx) StartTask(seq int64, lease time.Duration) (Task, error) {
	if err := tx.exec(`update faq_tasks set state = 'running', fence = fence + 1, lease_until = $2 where seq = $1 and state = 'uploading'`, seq, tx.Now.Add(lease)); err != nil {
		return Task{}, err
	}
	ts, err := tx.tasks(`seq = $1`, seq)
	if err == nil && len(ts) == 0 {
		err = ErrTaskLost
	}
	if err != nil {
		return Task{}, err
	}
	return ts[0], nil
}

// ErrTaskLost tells who worked on a task that somebody else has it now.
var ErrTaskLost = &tract.Error{Kind: tract.KindConflict, Code: "task_lost", Msg: "somebody else works on this task"}

// SaveTask writes how far a task is and keeps it for a time. It fails with
// ErrTaskLost for who does not hold the task any more.
func (tx *Tx) SaveTask(t *Task, lease time.Duration) error {
	n, err := tx.count(`update faq_tasks set state = $3, base_version = $4, generation = $5, rows_total = $6, rows_done = $7, created = $8, updated = $9, kept = $10, deactivated = $11, warnings = $12, error = $13, finished_at = $14, lease_until = $15
		where seq = $1 and fence = $2 and state = 'running'`,
		t.Seq, t.Fence, t.State, t.BaseVersion, t.Generation, t.Total, t.Done, t.Created, t.Updated, t.Kept, t.Deactivated, toJSON(t.Warnings), t.Error, t.FinishedAt, tx.Now.Add(lease))
	if err == nil && n == 0 {
		err = ErrTaskLost
	}
	return err
}

// BeginSteps opens a new generation for a task, on the present version.
func (tx *Tx) BeginSteps(t *Task) (err error) {
	t.Done, t.Created, t.Updated, t.Kept = 0, 0, 0, 0
	t.BaseVersion, t.Generation, err = tx.newGeneration(t.Client, t.Domain)
	return err
}

// StageSteps adds the next steps to a task's generation, which nobody sees yet,
// and counts them against the present ones.
func (tx *Tx) StageSteps(t *Task, steps []tract.Step) error {
	if err := tx.insertSteps(t.Client, t.Domain, t.Generation, t.Done, steps); err != nil {
		return err
	}
	var updated, kept int
	if _, err := tx.one([]any{&updated, &kept}, `select count(p.older), coalesce(sum(case when p.older = p.active then 1 else 0 end), 0) from (
			select v.generation as active, (select b.generation from steps b where b.client = n.client and b.domain = n.domain and b.key = n.key and b.generation <= v.generation order by b.generation desc limit 1) as older
			from steps n join faq_versions v on v.client = n.client and v.domain = n.domain
			where n.client = $1 and n.domain = $2 and n.generation = $3 and n.position >= $4 and n.position < $5) p`, t.Client, t.Domain, t.Generation, t.Done, t.Done+len(steps)); err != nil {
		return err
	}
	t.Done += len(steps)
	t.Updated += updated
	t.Created += len(steps) - updated
	t.Kept += kept
	return nil
}

// CountDeactivated is how many active steps a task does not name. current is
// false when the steps are not those any more that it was counted against.
func (tx *Tx) CountDeactivated(t *Task) (n int, current bool, err error) {
	var version int64
	_, err = tx.one([]any{&version, &n}, `select version, steps from faq_versions where client = $1 and domain = $2`, t.Client, t.Domain)
	return n - t.Kept, version == t.BaseVersion, err
}

// SwitchSteps makes a task's generation the active one, if the version is still
// the one that it was made on.
func (tx *Tx) SwitchSteps(t *Task) (switched bool, err error) {
	n, err := tx.count(`update faq_versions set version = version + 1, generation = $4, steps = $5, hash = $6, updated_at = $7 where client = $1 and domain = $2 and version = $3`,
		t.Client, t.Domain, t.BaseVersion, t.Generation, t.Total, t.Hash, tx.Now)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.BumpConfig(t.Client)
}

// DeleteStaged removes a generation's steps at the positions [from, to), unless
// it is the active one.
func (tx *Tx) DeleteStaged(client int64, domain string, generation int64, from, to int) error {
	return tx.exec(`delete from steps where client = $1 and domain = $2 and generation = $3 and position >= $4 and position < $5
		and not exists (select 1 from faq_versions v where v.client = $1 and v.domain = $2 and v.generation = $3)`, client, domain, generation, from, to)
}

// ReleaseTasks gives up every task that is being worked on, so that it can be
// taken at once. It is for who knows that nobody else lives.
func (tx *Tx) ReleaseTasks() error {
	return tx.exec(`update faq_tasks set lease_until = 0 where state = 'running'`)
}

// ReleaseTask gives up a task that is held.
func (tx *Tx) ReleaseTask(t Task) error {
	return tx.exec(`update faq_tasks set lease_until = 0 where seq = $1 and fence = $2 and state = 'running'`, t.Seq, t.Fence)
}

// ListTaskLeftovers returns tasks that are over but still have a file, and
// uploads that never came to an end.
func (tx *Tx) ListTaskLeftovers(uploadsBefore time.Time, limit int) ([]Task, error) {
	return tx.tasks(`state = 'uploading' and created_at < $1 or state in ('done', 'failed') and exists (select 1 from faq_parts p where p.task = faq_tasks.seq) order by seq limit $2`, uploadsBefore, limit)
}

// DeleteTasksBefore forgets finished tasks older than an instant.
func (tx *Tx) DeleteTasksBefore(t time.Time, limit int) error {
	return tx.exec(`delete from faq_tasks where seq in (select seq from faq_tasks where state in ('done', 'failed') and finished_at < $1 order by seq limit $2)`, t, limit)
}
