package store

import "tract"

// LockedStep is an active step that the transaction holds, with its bot's others.
type LockedStep struct {
	tract.Step

	client   int64
	at       set
	position int64
}

// LockStep reads an active step of a bot to change it; false when there is none
// of that name.
func (tx *Tx) LockStep(client int64, domain, name string) (s LockedStep, found bool, err error) {
	s.client = client
	// The row of the bot is held first: which set is active must not change.
	if found, err = tx.one([]any{&s.at.faq, &s.at.generation}, tx.s.engine.forUpdate(`select f.id, f.generation from faqs f where f.client = $1 and f.domain = $2`, "f"), client, domain); err != nil || !found {
		return s, false, err
	}
	found, err = tx.one([]any{&s.position, &s.Name, js(&s.Questions), js(&s.Answers)}, `select position, name, questions, answers from steps where faq = $1 and key = $2 and generation = $3`,
		s.at.faq, StepKey(name), s.at.generation)
	return s, found, err
}

// SetQuestions replaces the user messages of a step. The steps still count as
// those of the file they were loaded from, so that the same file does not undo it.
func (tx *Tx) SetQuestions(s LockedStep, questions []string) error {
	if err := tx.exec(`update steps set questions = $4 where faq = $1 and generation = $2 and position = $3`, s.at.faq, s.at.generation, s.position, toJSON(questions)); err != nil {
		return err
	}
	return tx.stepsChanged(s.client, s.at.faq, 0)
}

func (tx *Tx) stepsChanged(client, faq int64, more int) error {
	if err := tx.exec(`update faqs set version = version + 1, steps = steps + $2, changed_by = 'admin', restored_from = 0, updated_at = $3 where id = $1`, faq, more, tx.Now); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// InsertStep adds an active step to a bot, behind the others; an inactive one of
// its name is gone then. inserted is false when there is an active one of that
// name, or when the bot would have more than most: then full is true.
func (tx *Tx) InsertStep(client int64, domain string, s tract.Step, most int) (inserted, full bool, err error) {
	if err := tx.exec(`insert into faqs (client, domain, version, hash, generation, newest, steps, updated_at) values ($1, $2, 0, '', 0, 0, 0, $3) on conflict do nothing`, client, domain, tx.Now); err != nil {
		return false, false, err
	}
	var now set
	var count, next, taken int64
	if _, err := tx.one([]any{&now.faq, &now.generation, &count}, tx.s.engine.forUpdate(`select f.id, f.generation, f.steps from faqs f where f.client = $1 and f.domain = $2`, "f"), client, domain); err != nil {
		return false, false, err
	}
	if _, err := tx.one([]any{&taken}, `select count(*) from steps where faq = $1 and key = $2 and generation = $3`, now.faq, StepKey(s.Name), now.generation); err != nil || taken > 0 {
		return false, false, err
	}
	if count >= int64(most) {
		return false, true, nil
	}
	if _, err := tx.one([]any{&next}, `select coalesce(max(position), -1) + 1 from steps where faq = $1 and generation = $2`, now.faq, now.generation); err != nil {
		return false, false, err
	}
	if err := tx.insertSteps(now, int(next), []tract.Step{s}); err != nil {
		return false, false, err
	}
	if err := tx.deleteSuperseded(now, int(next), int(next)+1); err != nil {
		return false, false, err
	}
	return true, false, tx.stepsChanged(client, now.faq, 1)
}
