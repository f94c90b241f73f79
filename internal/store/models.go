package store

import (
	"encoding/json"
	"time"
)

// States of a version of a model.
const (
	ModelTraining = "training"
	ModelReady    = "ready"
	ModelFailed   = "failed" // it will not be tried again
)

// Model is one version of a bot's model: what was learnt of one version of its
// steps in one language. Its content lies in files.
type Model struct {
	ID, FAQ      int64
	Number       int64 // counts the bot's versions
	FAQVersion   int64 // of the steps
	Language     string
	Trainer      string // programs of one trainer make the same model
	State        string
	Inputs       string // what it was trained of, as a digest
	Steps        int
	StepsFile    int64
	ModelFile    int64 // 0 = there was nothing to learn
	Hash         string
	ChangedBy    string
	RestoredFrom int64           // the version whose steps these are again, or 0
	Report       json.RawMessage // nil = there is none yet
	Error        string
	TrainMS      int64
	Fence        int64 // raised by everybody who works on it
	CreatedAt    time.Time
	ReadyAt      time.Time
}

const modelColumns = `id, faq, number, faq_version, language, trainer, state, inputs, steps, steps_file, model_file, hash, changed_by, restored_from, report, error, train_ms, fence, created_at, ready_at`

func (tx *Tx) models(where string, args ...any) (out []Model, err error) {
	err = tx.each(func(r row) error {
		var m Model
		err := r.Scan(&m.ID, &m.FAQ, &m.Number, &m.FAQVersion, &m.Language, &m.Trainer, &m.State, &m.Inputs, &m.Steps, &m.StepsFile, &m.ModelFile,
			&m.Hash, &m.ChangedBy, &m.RestoredFrom, js(&m.Report), &m.Error, &m.TrainMS, &m.Fence, at(&m.CreatedAt), at(&m.ReadyAt))
		out = append(out, m)
		return err
	}, `select `+modelColumns+` from models where `+where, args...)
	return out, err
}

func (tx *Tx) model(where string, args ...any) (m Model, found bool, err error) {
	ms, err := tx.models(where, args...)
	if err != nil || len(ms) == 0 {
		return Model{}, false, err
	}
	return ms[0], true, nil
}

const faqOf = `(select id from faqs where client = $1 and domain = $2)`

// Model reads a version of a bot's model by its number; ErrNotFound when there
// is none, or not any more.
func (tx *Tx) Model(client int64, domain string, number int64) (Model, error) {
	m, found, err := tx.model(`faq = `+faqOf+` and number = $3`, client, domain, number)
	if err == nil && !found {
		err = ErrNotFound.With("no such version")
	}
	return m, err
}

// ModelOf reads the model of one version of a bot's steps.
func (tx *Tx) ModelOf(client int64, domain string, faqVersion int64, language, trainer string) (m Model, found bool, err error) {
	return tx.model(`faq = `+faqOf+` and faq_version = $3 and language = $4 and trainer = $5`, client, domain, faqVersion, language, trainer)
}

// ActiveModel is the version that a bot of a language answers from, where the
// program trains as trainer says: that of its present steps or, until it is
// ready, the newest one before. It is zero when there is none.
func (tx *Tx) ActiveModel(client int64, domain, language, trainer string) (m Model, err error) {
	m, _, err = tx.model(`faq = `+faqOf+` and state = 'ready' order by
		case when faq_version = (select version from faqs where client = $1 and domain = $2) and language = $3 and trainer = $4 then 0 else 1 end, number desc limit 1`, client, domain, language, trainer)
	return m, err
}

// ListModels returns the versions of a bot's model that are kept, newest first.
func (tx *Tx) ListModels(client int64, domain string) ([]Model, error) {
	return tx.models(`faq = `+faqOf+` order by number desc`, client, domain)
}

// ClaimModel takes the training of the model of a version of a bot's steps for a
// time. taken is false when somebody else has it or did it, or when the version
// is not the present one any more.
func (tx *Tx) ClaimModel(client int64, domain string, faqVersion int64, language, trainer string, lease time.Duration) (m Model, taken bool, err error) {
	var version int64
	found, err := tx.one([]any{&m.FAQ, &version, &m.Hash, &m.ChangedBy, &m.RestoredFrom, &m.Steps},
		tx.s.engine.forUpdate(`select f.id, f.version, f.hash, f.changed_by, f.restored_from, f.steps from faqs f where f.client = $1 and f.domain = $2`, "f"), client, domain)
	if err != nil || !found || version != faqVersion {
		return Model{}, false, err
	}
	n, err := tx.count(`insert into models (faq, number, faq_version, language, trainer, state, inputs, steps, steps_file, model_file, hash, changed_by, restored_from, report, error, train_ms, fence, lease_until, created_at, ready_at)
		values ($1, (select coalesce(max(number), 0) + 1 from models where faq = $1), $2, $3, $4, 'training', '', $5, 0, 0, $6, $7, $8, '', '', 0, 1, $9, $10, 0) on conflict do nothing`,
		m.FAQ, faqVersion, language, trainer, m.Steps, m.Hash, m.ChangedBy, m.RestoredFrom, tx.Now.Add(lease), tx.Now)
	if err != nil {
		return Model{}, false, err
	}
	const edition = `faq = $1 and faq_version = $2 and language = $3 and trainer = $4`
	if n == 0 {
		old, found, err := tx.model(edition+` and state = 'training' and lease_until <= $5`, m.FAQ, faqVersion, language, trainer, tx.Now)
		if err != nil || !found {
			return Model{}, false, err
		}
		// What it wrote is begun anew.
		if err := tx.exec(`update models set fence = fence + 1, lease_until = $2, steps_file = 0, model_file = 0 where id = $1`, old.ID, tx.Now.Add(lease)); err != nil {
			return Model{}, false, err
		}
		if err := tx.dropFiles(old); err != nil {
			return Model{}, false, err
		}
	}
	return tx.model(edition, m.FAQ, faqVersion, language, trainer)
}

// dropFiles marks the files of a version that no other version has.
func (tx *Tx) dropFiles(m Model) error {
	return tx.exec(`update model_files set gone = 1 where id in ($1, $2) and not exists (select 1 from models v where v.faq = $3 and (v.steps_file = model_files.id or v.model_file = model_files.id))`, m.StepsFile, m.ModelFile, m.FAQ)
}

// held is who still holds a version ($1) at a fence ($2).
const held = ` where id = $1 and fence = $2`

// hold runs a write on a version that the caller holds; ErrTaskLost when it
// does not any more.
func (tx *Tx) hold(sql string, m Model, args ...any) error {
	n, err := tx.count(sql, append([]any{m.ID, m.Fence}, args...)...)
	if err == nil && n == 0 {
		err = ErrTaskLost
	}
	return err
}

// RenewModel keeps a version for a time; ErrTaskLost for who lost it.
func (tx *Tx) RenewModel(m Model, lease time.Duration) error {
	return tx.hold(`update models set lease_until = $3`+held, m, tx.Now.Add(lease))
}

// ReleaseModel gives a version up, so that somebody else can go on at once.
func (tx *Tx) ReleaseModel(m Model) error {
	return tx.exec(`update models set lease_until = 0`+held, m.ID, m.Fence)
}

// ReleaseModels gives up every version that is being worked on. It is for who
// knows that nobody else lives.
func (tx *Tx) ReleaseModels() error {
	return tx.exec(`update models set lease_until = 0 where lease_until > 0`)
}

// NewStepsFile opens the file of the steps of a version that is being trained.
func (tx *Tx) NewStepsFile(m Model) (file int64, err error) {
	return tx.newFile(m, `update models set steps_file = $3`+held)
}

// NewModelFile opens the file of the model itself.
func (tx *Tx) NewModelFile(m Model) (file int64, err error) {
	return tx.newFile(m, `update models set model_file = $3`+held)
}

func (tx *Tx) newFile(m Model, note string) (file int64, err error) {
	if _, err := tx.writeOne([]any{&file}, `insert into model_files (faq, digest, size, gone) values ($1, '', 0, 0) returning id`, m.FAQ); err != nil {
		return 0, err
	}
	return file, tx.hold(note, m, file)
}

// PutModelPart stores a piece of a file; pieces count from 0.
func (tx *Tx) PutModelPart(file int64, part int, data []byte) error {
	return tx.exec(`insert into model_parts (file, part, data) values ($1, $2, $3)`, file, part, data)
}

// SealModelFile says that a file is complete.
func (tx *Tx) SealModelFile(file int64, digest string, size int) error {
	return tx.exec(`update model_files set digest = $2, size = $3 where id = $1`, file, digest, size)
}

// ModelFile gives the checksum and size of a file; ErrNotFound when it is gone.
func (tx *Tx) ModelFile(file int64) (digest string, size int64, err error) {
	found, err := tx.one([]any{&digest, &size}, `select digest, size from model_files where id = $1 and gone = 0`, file)
	if err == nil && !found {
		err = ErrNotFound.With("the file of the model is gone")
	}
	return digest, size, err
}

// ModelPart reads a piece of a file; ok is false behind the last one.
func (tx *Tx) ModelPart(file int64, part int) (data []byte, ok bool, err error) {
	ok, err = tx.one([]any{&data}, `select data from model_parts where file = $1 and part = $2`, file, part)
	return data, ok, err
}

// ReuseModel gives a version what another one learnt of the same inputs: the
// file and the report. found is false when there is no other.
func (tx *Tx) ReuseModel(m *Model) (found bool, err error) {
	// Nobody drops the other's file meanwhile.
	if _, err := tx.one([]any{new(int64)}, tx.s.engine.forUpdate(`select f.id from faqs f where f.id = $1`, "f"), m.FAQ); err != nil {
		return false, err
	}
	other, found, err := tx.model(`faq = $1 and state = 'ready' and inputs = $2 order by number desc limit 1`, m.FAQ, m.Inputs)
	if err != nil || !found {
		return false, err
	}
	m.ModelFile, m.Report, m.TrainMS = other.ModelFile, other.Report, other.TrainMS
	return true, tx.hold(`update models set model_file = $3`+held, *m, m.ModelFile)
}

// FinishModel ends a training: State, Inputs, ModelFile, Report, Error and
// TrainMS are stored. current is false when the steps were changed meanwhile:
// then the version, which nobody would use, is dropped.
func (tx *Tx) FinishModel(m *Model, lease time.Duration) (current bool, err error) {
	var version int64
	if _, err := tx.one([]any{&version}, tx.s.engine.forUpdate(`select f.version from faqs f where f.id = $1`, "f"), m.FAQ); err != nil {
		return false, err
	}
	if version != m.FAQVersion {
		return false, tx.DropModel(*m)
	}
	m.ReadyAt = tx.Now
	return true, tx.hold(`update models set state = $3, inputs = $4, model_file = $5, report = $6, error = $7, train_ms = $8, ready_at = $9, lease_until = $10`+held,
		*m, m.State, m.Inputs, m.ModelFile, string(m.Report), m.Error, m.TrainMS, tx.Now, tx.Now.Add(lease))
}

// DropModel forgets a version that the caller holds.
func (tx *Tx) DropModel(m Model) error {
	now, found, err := tx.model(`id = $1 and fence = $2`, m.ID, m.Fence)
	if err != nil || !found {
		return err
	}
	return tx.deleteModel(now)
}

func (tx *Tx) deleteModel(m Model) error {
	if err := tx.exec(`delete from models where id = $1`, m.ID); err != nil {
		return err
	}
	return tx.dropFiles(m)
}

// KeepModels drops a bot's versions but the newest most of those that ended in
// each way, the one that is given, and those being trained of the present steps.
func (tx *Tx) KeepModels(given Model, most int) error {
	var version int64
	if _, err := tx.one([]any{&version}, tx.s.engine.forUpdate(`select f.version from faqs f where f.id = $1`, "f"), given.FAQ); err != nil {
		return err
	}
	all, err := tx.models(`faq = $1 order by number desc`, given.FAQ)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for _, m := range all {
		seen[m.State]++
		if m.ID == given.ID || seen[m.State] <= most && m.State != ModelTraining || m.State == ModelTraining && m.FAQVersion >= version {
			continue
		}
		if err := tx.deleteModel(m); err != nil {
			return err
		}
	}
	return nil
}

// UnreportedModel finds a version without a report that nobody works on.
func (tx *Tx) UnreportedModel() (client int64, domain string, m Model, found bool, err error) {
	m, found, err = tx.model(`state = 'ready' and report = '' and lease_until <= $1 order by lease_until limit 1`, tx.Now)
	if err != nil || !found {
		return 0, "", Model{}, false, err
	}
	_, err = tx.one([]any{&client, &domain}, `select client, domain from faqs where id = $1`, m.FAQ)
	return client, domain, m, true, err
}

// ClaimReport takes the report of a version for a time. taken is false when
// somebody was faster.
func (tx *Tx) ClaimReport(m Model, lease time.Duration) (_ Model, taken bool, err error) {
	n, err := tx.count(`update models set fence = fence + 1, lease_until = $2 where id = $1 and state = 'ready' and report = '' and lease_until <= $3`, m.ID, tx.Now.Add(lease), tx.Now)
	if err != nil || n == 0 {
		return m, false, err
	}
	return tx.model(`id = $1`, m.ID)
}

// SaveModelReport stores the report of a version that the caller holds, and
// gives it to the versions with the same model that have none.
func (tx *Tx) SaveModelReport(m Model, report []byte) error {
	if err := tx.hold(`update models set report = $3, lease_until = 0`+held, m, string(report)); err != nil {
		return err
	}
	return tx.exec(`update models set report = $3 where faq = $1 and inputs = $2 and state = 'ready' and report = ''`, m.FAQ, m.Inputs, string(report))
}

// ListGoneModelFiles returns files that are to be removed.
func (tx *Tx) ListGoneModelFiles(limit int) (out []int64, err error) {
	err = tx.each(func(r row) error {
		var id int64
		err := r.Scan(&id)
		out = append(out, id)
		return err
	}, `select id from model_files where gone = 1 order by id limit $1`, limit)
	return out, err
}

// DeleteModelParts removes the pieces [from, to) of a file and says how many
// there were.
func (tx *Tx) DeleteModelParts(file int64, from, to int) (int64, error) {
	return tx.count(`delete from model_parts where file = $1 and part >= $2 and part < $3`, file, from, to)
}

// DeleteModelFile forgets a file whose pieces are removed.
func (tx *Tx) DeleteModelFile(file int64) error {
	return tx.exec(`delete from model_files where id = $1 and gone = 1`, file)
}
