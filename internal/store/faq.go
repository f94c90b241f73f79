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
// what fits into one transaction and comes with the declarative file; see
// StageSteps for more.
func (tx *Tx) PutSteps(client int64, domain, hash string, steps []tract.Step) error {
	n, err := tx.newSet(client, domain)
	if err != nil {
		return err
	}
	if err := tx.insertSteps(n.set, 0, steps); err != nil {
		return err
	}
	if err := tx.deleteSuperseded(n.set, 0, len(steps)); err != nil {
		return err
	}
	if err := tx.exec(`update faqs set version = version + 1, generation = $2, steps = $3, hash = $4, changed_by = 'manifest', restored_from = 0, updated_at = $5 where id = $1`, n.faq, n.generation, len(steps), hash, tx.Now); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// set is one set of steps that a bot has, had or may get.
type set struct{ faq, generation int64 }

// newSet is a set to be made.
type newSet struct {
	set
	version int64 // of the present one
}

// newSet hands out a set to be made. It holds the bot's steps until the
// transaction ends.
func (tx *Tx) newSet(client int64, domain string) (n newSet, err error) {
	_, err = tx.writeOne([]any{&n.faq, &n.version, &n.generation}, `insert into faqs (client, domain, version, hash, generation, newest, steps, updated_at) values ($1, $2, 0, '', 0, 1, 0, $3)
		on conflict (client, domain) do update set newest = faqs.newest + 1 returning id, version, newest`, client, domain, tx.Now)
	return n, err
}

func (tx *Tx) insertSteps(to set, from int, steps []tract.Step) error {
	for i, s := range steps {
		if err := tx.exec(`insert into steps (faq, generation, position, key, name, questions, answers) values ($1, $2, $3, $4, $5, $6, $7)`,
			to.faq, to.generation, from+i, StepKey(s.Name), s.Name, toJSON(s.Questions), toJSON(s.Answers)); err != nil {
			return err
		}
	}
	return nil
}

// deleteSuperseded removes the older steps that those of a set at the positions
// [from, to) took the place of. It goes row by row: for a join, or a delete by
// key, neither engine makes a plan that fits rows staged a moment ago.
func (tx *Tx) deleteSuperseded(by set, from, to int) error {
	var older []query
	var gone []set
	var positions []int64
	each := func(r row) error {
		var position int64
		old := set{faq: by.faq}
		err := r.Scan(&old.generation, &position)
		gone, positions = append(gone, old), append(positions, position)
		return err
	}
	if err := tx.each(func(r row) error {
		var key string
		err := r.Scan(&key)
		older = append(older, query{`select generation, position from steps where faq = $1 and key = $2 and generation < $3`, []any{by.faq, key, by.generation}, each})
		return err
	}, `select key from steps where faq = $1 and generation = $2 and position >= $3 and position < $4`, by.faq, by.generation, from, to); err != nil || len(older) == 0 {
		return err
	}
	if err := tx.many(older...); err != nil {
		return err
	}
	for i, g := range gone {
		if err := tx.exec(`delete from steps where faq = $1 and generation = $2 and position = $3`, g.faq, g.generation, positions[i]); err != nil {
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

const activeSteps = `select s.name, s.questions, s.answers from faqs f join steps s on s.faq = f.id and s.generation = f.generation where f.client = $1 and f.domain = $2 order by s.position`

const inactiveSteps = `select s.name, s.questions, s.answers from faqs f join steps s on s.faq = f.id and s.generation < f.generation where f.client = $1 and f.domain = $2
	and not exists (select 1 from steps n where n.faq = s.faq and n.key = s.key and n.generation > s.generation and n.generation <= f.generation) order by s.key`

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

// Step reads a bot's active step by its name; false when there is none.
func (tx *Tx) Step(client int64, domain, name string) (s tract.Step, found bool, err error) {
	found, err = tx.one([]any{&s.Name, js(&s.Questions), js(&s.Answers)}, `select s.name, s.questions, s.answers from faqs f join steps s on s.faq = f.id and s.generation = f.generation
		where f.client = $1 and f.domain = $2 and s.key = $3`, client, domain, StepKey(name))
	return s, found, err
}

// RestoreSteps makes inactive steps active again, behind the others. unknown
// names those that are not there; tooMany says that more than most would be
// active: then nothing is to be kept. Steps that are active are passed over.
func (tx *Tx) RestoreSteps(client int64, domain string, names []string, most int) (restored int, unknown []string, tooMany bool, err error) {
	var now set
	var count, next int64
	found, err := tx.one([]any{&now.faq, &now.generation, &count}, tx.s.engine.forUpdate(`select f.id, f.generation, f.steps from faqs f where f.client = $1 and f.domain = $2`, "f"), client, domain)
	if err != nil || !found {
		return 0, names, false, err
	}
	if _, err := tx.one([]any{&next}, `select coalesce(max(position), -1) + 1 from steps where faq = $1 and generation = $2`, now.faq, now.generation); err != nil {
		return 0, nil, false, err
	}
	for _, name := range names {
		var newest int64
		found, err := tx.one([]any{&newest}, `select generation from steps where faq = $1 and key = $2 and generation <= $3 order by generation desc limit 1`, now.faq, StepKey(name), now.generation)
		switch {
		case err != nil:
			return 0, nil, false, err
		case !found:
			unknown = append(unknown, name)
			continue
		case newest == now.generation:
			continue
		}
		if err := tx.exec(`update steps set generation = $4, position = $5 where faq = $1 and key = $2 and generation = $3`, now.faq, StepKey(name), newest, now.generation, next); err != nil {
			return 0, nil, false, err
		}
		next++
		restored++
	}
	if count += int64(restored); restored == 0 || len(unknown) > 0 || count > int64(most) {
		return restored, unknown, count > int64(most), nil
	}
	// The set is no file's any more.
	if err := tx.exec(`update faqs set version = version + 1, steps = $2, hash = '', changed_by = 'client', restored_from = 0, updated_at = $3 where id = $1`, now.faq, count, tx.Now); err != nil {
		return 0, nil, false, err
	}
	return restored, nil, false, tx.BumpConfig(client)
}

// FAQVersion is the version of a bot's steps and the hash of the file they came
// from; 0 when it never had any.
func (tx *Tx) FAQVersion(client int64, domain string) (version int64, hash string, err error) {
	_, err = tx.one([]any{&version, &hash}, `select version, hash from faqs where client = $1 and domain = $2`, client, domain)
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
	By     string // who asked: client, manifest or admin
	// Restores is the version of the model whose steps these are again, or 0.
	Restores int64

	Fence       int64 // raised by everybody who takes the task
	BaseVersion int64 // of the steps that the counts go by
	FAQ         int64 // whose set is being staged; 0 = nothing is yet
	Generation  int64 // number of that set

	Total, Done           int // rows
	Created, Updated      int
	Kept                  int // updated ones that were active
	Deactivated           int
	Warnings              []string
	Error                 string
	CreatedAt, FinishedAt time.Time
}

const taskColumns = `seq, id, client, domain, state, dry_run, hash, fence, base_version, faq, generation, rows_total, rows_done, created, updated, kept, deactivated, warnings, error, created_at, finished_at, asked_by, restores`

func (tx *Tx) tasks(where string, args ...any) (out []Task, err error) {
	err = tx.each(func(r row) error {
		var t Task
		err := r.Scan(&t.Seq, &t.ID, &t.Client, &t.Domain, &t.State, flag(&t.DryRun), &t.Hash, &t.Fence, &t.BaseVersion, &t.FAQ, &t.Generation,
			&t.Total, &t.Done, &t.Created, &t.Updated, &t.Kept, &t.Deactivated, js(&t.Warnings), &t.Error, at(&t.CreatedAt), at(&t.FinishedAt), &t.By, &t.Restores)
		out = append(out, t)
		return err
	}, `select `+taskColumns+` from faq_tasks where `+where, args...)
	return out, err
}

// InsertTask makes a task whose file is still to come and returns its number.
func (tx *Tx) InsertTask(t Task) (seq int64, err error) {
	_, err = tx.writeOne([]any{&seq}, `insert into faq_tasks (id, client, domain, state, dry_run, hash, fence, lease_until, base_version, faq, generation, rows_total, rows_done, created, updated, kept, deactivated, warnings, error, created_at, finished_at, asked_by, restores)
		values ($1, $2, $3, 'uploading', $4, $5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '[]', '', $6, 0, $7, $8) returning seq`, t.ID, t.Client, t.Domain, t.DryRun, t.Hash, tx.Now, t.By, t.Restores)
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
	tx.commit.Tasks = true
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
	if err := tx.exec(`insert into faqs (client, domain, version, hash, generation, newest, steps, updated_at) values ($1, $2, 0, '', 0, 0, 0, $3)
		on conflict (client, domain) do update set updated_at = faqs.updated_at`, t.Client, t.Domain, tx.Now); err != nil {
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
	n, err := tx.count(`update faq_tasks set state = $3, base_version = $4, faq = $5, generation = $6, rows_total = $7, rows_done = $8, created = $9, updated = $10, kept = $11, deactivated = $12, warnings = $13, error = $14, finished_at = $15, lease_until = $16
		where seq = $1 and fence = $2 and state = 'running'`,
		t.Seq, t.Fence, t.State, t.BaseVersion, t.FAQ, t.Generation, t.Total, t.Done, t.Created, t.Updated, t.Kept, t.Deactivated, toJSON(t.Warnings), t.Error, t.FinishedAt, tx.Now.Add(lease))
	if err == nil && n == 0 {
		err = ErrTaskLost
	}
	return err
}

// BeginSteps opens a new set for a task, on the present version.
func (tx *Tx) BeginSteps(t *Task) error {
	n, err := tx.newSet(t.Client, t.Domain)
	t.Done, t.Created, t.Updated, t.Kept = 0, 0, 0, 0
	t.BaseVersion, t.FAQ, t.Generation = n.version, n.faq, n.generation
	return err
}

// StageSteps adds the next steps to a task's set, which nobody sees yet, and
// counts them against the present ones.
func (tx *Tx) StageSteps(t *Task, steps []tract.Step) error {
	if err := tx.insertSteps(set{t.FAQ, t.Generation}, t.Done, steps); err != nil {
		return err
	}
	var updated, kept int
	if _, err := tx.one([]any{&updated, &kept}, `select count(p.older), coalesce(sum(case when p.older = p.active then 1 else 0 end), 0) from (
			select f.generation as active, (select b.generation from steps b where b.faq = n.faq and b.key = n.key and b.generation <= f.generation order by b.generation desc limit 1) as older
			from faqs f join steps n on n.faq = f.id where f.id = $1 and n.generation = $2 and n.position >= $3 and n.position < $4) p`, t.FAQ, t.Generation, t.Done, t.Done+len(steps)); err != nil {
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
	_, err = tx.one([]any{&version, &n}, `select version, steps from faqs where id = $1`, t.FAQ)
	return n - t.Kept, version == t.BaseVersion, err
}

// SwitchSteps makes a task's set the active one, if the version is still the one
// that it was made on.
func (tx *Tx) SwitchSteps(t *Task) (switched bool, err error) {
	n, err := tx.count(`update faqs set version = version + 1, generation = $3, steps = $4, hash = $5, changed_by = $6, restored_from = $7, updated_at = $8 where id = $1 and version = $2`,
		t.FAQ, t.BaseVersion, t.Generation, t.Total, t.Hash, t.By, t.Restores, tx.Now)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.BumpConfig(t.Client)
}

// DeleteStaged removes the steps of a task's set at the positions [from, to),
// unless it is the active one.
func (tx *Tx) DeleteStaged(t *Task, from, to int) error {
	return tx.exec(`delete from steps where faq = $1 and generation = $2 and position >= $3 and position < $4
		and not exists (select 1 from faqs f where f.id = $1 and f.generation = $2)`, t.FAQ, t.Generation, from, to)
}

// DeleteSuperseded removes the older steps that those of a task's set at the
// positions [from, to) took the place of.
func (tx *Tx) DeleteSuperseded(t *Task, from, to int) error {
	return tx.deleteSuperseded(set{t.FAQ, t.Generation}, from, to)
}

// ReleaseTasks gives up every task that is being worked on, so that it can be
// taken at once. It is for who knows that nobody else lives.
func (tx *Tx) ReleaseTasks() error {
	return tx.exec(`update faq_tasks set lease_until = 0 where state = 'running'`)
}

// ReleaseTask gives up a task that is held.
func (tx *Tx) ReleaseTask(t Task) error {
	tx.commit.Tasks = true
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
