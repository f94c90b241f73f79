package bot

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"tract"
	"tract/internal/bot/nlu"
	"tract/internal/conversation"
	"tract/internal/store"
)

// A version of a model is made by one process and stored; the others, and the
// next start, load it. It keeps the steps it was made of, so that a bot always
// answers from the steps that its model knows, and old answers can come back.

// Figures of the versions.
const (
	keptVersions = 5
	modelLease   = 15 * time.Second // of a training whose process does not answer
	renewEvery   = 4 * time.Second
	maxTrainings = 5         // of one version, before it is given up
	modelPart    = 256 << 10 // of a file, in one row
	modelParts   = 4         // in one transaction
)

// Errors of the versions.
var (
	errDamaged = errors.New("the stored model is damaged")
	errFailed  = errors.New("the training failed before")
)

// obtain gives the model of an edition of a bot's steps: the stored one, or one
// that is trained and stored. It is nil when somebody else is training it.
func (b *IVA) obtain(ctx context.Context, k key, e edition) (*model, error) {
	trainer := nlu.Trainer(e.language)
	var v store.Model
	var found bool
	if err := b.Store.View(ctx, func(tx *store.Tx) (err error) {
		v, found, err = tx.ModelOf(k.client, k.domain, e.version, e.language, trainer)
		return err
	}); err != nil {
		return nil, err
	}
	if found && v.State == store.ModelFailed {
		return nil, errFailed
	}
	if found && v.State == store.ModelReady {
		made, err := loadVersion(ctx, b.Store, v)
		if errors.Is(err, errDamaged) {
			b.Log.Error("stored model damaged", "client", k.client, "domain", k.domain, "version", v.Number)
			return nil, b.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DropModel(v) })
		}
		return made, err
	}
	taken := false
	if err := b.Store.Update(ctx, func(tx *store.Tx) (err error) {
		v, taken, err = tx.ClaimModel(k.client, k.domain, e.version, e.language, trainer, modelLease)
		return err
	}); err != nil || !taken {
		return nil, err
	}
	var made *model
	err := b.hold(ctx, v, func(ctx context.Context) (err error) {
		made, err = b.make(ctx, k, &v)
		return err
	})
	if errors.Is(err, store.ErrTaskLost) {
		return nil, nil
	}
	return made, err
}

// hold keeps a version that was taken while work goes on, and gives it back
// when that ends without an end of the version.
func (b *IVA) hold(ctx context.Context, v store.Model, work func(ctx context.Context) error) error {
	within, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-within.Done():
				return
			case <-tick.C:
			}
			err := b.Store.Update(within, func(tx *store.Tx) error { return tx.RenewModel(v, modelLease) })
			if errors.Is(err, store.ErrTaskLost) {
				cancel(store.ErrTaskLost)
			}
		}
	}()
	err := guard(func() error { return work(within) })
	if errors.Is(context.Cause(within), store.ErrTaskLost) {
		err = store.ErrTaskLost
	}
	cancel(nil)
	<-done
	if err != nil && !errors.Is(err, store.ErrTaskLost) {
		// Somebody else need not wait for the lease to end.
		_ = b.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.ReleaseModel(v) })
	}
	return err
}

// guard makes an error of a panic.
func guard(work func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return work()
}

var errPanic = errors.New("the training panicked")

// make trains a version that this process holds, stores it, and drops older ones.
func (b *IVA) make(ctx context.Context, k key, v *store.Model) (*model, error) {
	var steps []tract.Step
	var current bool
	var began, ended time.Time
	if err := b.Store.View(ctx, func(tx *store.Tx) error {
		now, _, err := tx.FAQVersion(k.client, k.domain)
		if current, began = now == v.FAQVersion, tx.Now; err != nil || !current {
			return err
		}
		steps, err = tx.ListSteps(k.client, k.domain)
		return err
	}); err != nil {
		return nil, err
	}
	if !current {
		return nil, b.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DropModel(*v) })
	}
	v.Inputs, v.Steps = inputsOf(v, steps), len(steps)
	made := newModel(edition{v.FAQVersion, v.Language}, steps)
	v.State = store.ModelFailed
	v.Error = "training it ended the process several times; the bot keeps its former model"
	if v.Fence <= maxTrainings {
		var err error
		v.State, v.Error = store.ModelReady, ""
		switch made.matcher, err = b.learn(ctx, v, steps); {
		case errors.Is(err, errPanic):
			b.Log.Error("bot not trained", "client", k.client, "domain", k.domain, "error", err)
			v.State, v.Error = store.ModelFailed, errPanic.Error()
		case err != nil:
			return nil, err
		}
		if err := b.Store.View(ctx, func(tx *store.Tx) error { ended = tx.Now; return nil }); err != nil {
			return nil, err
		}
		if v.TrainMS == 0 {
			v.TrainMS = ended.Sub(began).Milliseconds()
		}
	}
	if v.State == store.ModelReady {
		if err := b.writeFile(ctx, *v, (*store.Tx).NewStepsFile, packSteps(steps)); err != nil {
			return nil, err
		}
	}
	if err := b.Store.Update(ctx, func(tx *store.Tx) (err error) {
		end := *v
		if current, err = tx.FinishModel(&end, 0); err != nil || !current {
			return err
		}
		return tx.KeepModels(end, keptVersions)
	}); err != nil || !current {
		return nil, err
	}
	token(b.models.unreported)
	if v.State == store.ModelFailed {
		return nil, errFailed
	}
	return made, nil
}

// learn trains, or takes what another version learnt of the same. The matcher
// is nil when there is nothing to learn from.
func (b *IVA) learn(ctx context.Context, v *store.Model, steps []tract.Step) (*nlu.Model, error) {
	next, reused := *v, false
	if err := b.Store.Update(ctx, func(tx *store.Tx) (err error) {
		next = *v
		reused, err = tx.ReuseModel(&next)
		return err
	}); err != nil {
		return nil, err
	}
	if reused {
		if next.ModelFile == 0 {
			*v = next
			return nil, nil
		}
		m, err := loadMatcher(ctx, b.Store, next.ModelFile)
		if err == nil {
			*v = next
		}
		if !errors.Is(err, errDamaged) {
			return m, err
		}
	}
	var m *nlu.Model
	err := guard(func() (err error) {
		m, err = nlu.Train(ctx, learnable(steps), options(v.Language))
		return err
	})
	if errors.Is(err, nlu.ErrNoExamples) {
		v.ModelFile, v.Report = 0, nothingLearnt(len(steps))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := m.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return m, b.writeFile(ctx, *v, func(tx *store.Tx, held store.Model) (id int64, err error) {
		id, err = tx.NewModelFile(held)
		v.ModelFile = id
		return id, err
	}, file)
}

// options leave half of the processors to the traffic.
func options(language string) nlu.Options {
	return nlu.Options{Language: language, Workers: max(1, runtime.GOMAXPROCS(0)/2)}
}

func learnable(steps []tract.Step) []nlu.Step {
	out := make([]nlu.Step, len(steps))
	for i, s := range steps {
		out[i] = nlu.Step{Name: s.Name, Examples: s.Questions}
	}
	return out
}

// inputsOf is equal for versions that learn the same.
func inputsOf(v *store.Model, steps []tract.Step) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", v.Trainer, v.Language)
	for _, s := range steps {
		fmt.Fprintf(sum, "%d %d\n%s\n", len(s.Questions), len(s.Name), s.Name)
		for _, q := range s.Questions {
			fmt.Fprintf(sum, "%d %s\n", len(q), q)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// packSteps writes the steps of a version: JSON lines, compressed.
func packSteps(steps []tract.Step) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	e := json.NewEncoder(z)
	for _, s := range steps {
		_ = e.Encode(s) // strings into memory cannot fail
	}
	_ = z.Close()
	return b.Bytes()
}

func unpackSteps(file []byte) (steps []tract.Step, err error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	for d := json.NewDecoder(z); ; {
		var s tract.Step
		switch err := d.Decode(&s); {
		case errors.Is(err, io.EOF):
			return steps, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		steps = append(steps, s)
	}
}

// writeFile stores a file of a version that is held, in small transactions.
func (b *IVA) writeFile(ctx context.Context, v store.Model, open func(*store.Tx, store.Model) (int64, error), data []byte) error {
	var file int64
	if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { file, err = open(tx, v); return err }); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	size, rest := len(data), data
	for part := 0; ; part += modelParts {
		last := len(rest) <= modelParts*modelPart
		some := rest[:min(len(rest), modelParts*modelPart)]
		rest = rest[len(some):]
		if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) error {
			if err := tx.RenewModel(v, modelLease); err != nil {
				return err
			}
			for i := 0; i*modelPart < len(some); i++ {
				if err := tx.PutModelPart(file, part+i, some[i*modelPart:min(len(some), (i+1)*modelPart)]); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			return tx.SealModelFile(file, hex.EncodeToString(sum[:]), size)
		}); err != nil || last {
			return err
		}
	}
}

// readFile reads a file whole and checks it.
func readFile(ctx context.Context, s *store.Store, file int64) ([]byte, error) {
	var digest string
	var size int64
	if err := s.View(ctx, func(tx *store.Tx) (err error) { digest, size, err = tx.ModelFile(file); return err }); err != nil {
		return nil, err
	}
	data := make([]byte, 0, size)
	for part, more := 0, true; more; {
		if err := s.View(ctx, func(tx *store.Tx) (err error) {
			for range modelParts {
				var b []byte
				if b, more, err = tx.ModelPart(file, part); err != nil || !more {
					return err
				}
				data = append(data, b...)
				part++
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != digest {
		return nil, errDamaged
	}
	return data, nil
}

// loadVersion gives a stored version.
func loadVersion(ctx context.Context, s *store.Store, v store.Model) (*model, error) {
	steps, err := loadSteps(ctx, s, v)
	if err != nil {
		return nil, err
	}
	m := newModel(edition{v.FAQVersion, v.Language}, steps)
	if v.ModelFile == 0 {
		return m, nil
	}
	if m.matcher, err = loadMatcher(ctx, s, v.ModelFile); err == nil && len(m.matcher.Steps()) != len(steps) {
		err = errDamaged
	}
	return m, err
}

func loadSteps(ctx context.Context, s *store.Store, v store.Model) ([]tract.Step, error) {
	file, err := readFile(ctx, s, v.StepsFile)
	if err != nil {
		return nil, err
	}
	return unpackSteps(file)
}

func loadMatcher(ctx context.Context, s *store.Store, file int64) (*nlu.Model, error) {
	b, err := readFile(ctx, s, file)
	if err != nil {
		return nil, err
	}
	m, err := nlu.Load(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return m, nil
}

// newModel is a model that does not know any question yet.
func newModel(e edition, steps []tract.Step) *model {
	m := &model{edition: e, stepOf: map[string]string{}}
	for _, s := range steps {
		a := answers{name: s.Name}
		if len(s.Questions) > 0 {
			a.asked = s.Questions[0]
		}
		for _, text := range s.Answers {
			said := body(text)
			a.bodies = append(a.bodies, said)
			template := conversation.TemplateOf(said)
			if _, known := m.stepOf[template]; !known {
				m.stepOf[template] = s.Name
			}
		}
		m.steps = append(m.steps, a)
	}
	return m
}

// Sweep removes the content of versions that were dropped.
func (b *IVA) Sweep(ctx context.Context) error {
	for {
		var gone []int64
		if err := b.Store.View(ctx, func(tx *store.Tx) (err error) { gone, err = tx.ListGoneModelFiles(100); return err }); err != nil || len(gone) == 0 {
			return err
		}
		for _, file := range gone {
			for from, n := 0, int64(1); n > 0; from += modelParts {
				if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { n, err = tx.DeleteModelParts(file, from, from+modelParts); return err }); err != nil {
					return err
				}
			}
			if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DeleteModelFile(file) }); err != nil {
				return err
			}
		}
	}
}
