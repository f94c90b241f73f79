package ect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tract"
	"tract/internal/hsl"
)

// followUp queues what the rules do about something that a hook brought. It is
// called when the hook has been answered.
func (t *Tool) followUp(it item) {
	user := it.UserID
	if it.event == tract.EventMessage && it.Sender == string(tract.SenderCEU) {
		if th, _ := t.Thread(user); th.Name == "" {
			t.later(user, "look up the user", func(ctx context.Context) error { return t.identify(ctx, user) })
		}
		if t.cfg.Rules.Reply != "" && !it.facts.Standby {
			t.later(user, "reply by rule", func(ctx context.Context) error { return t.reply(ctx, it) })
		}
	}
	if t.cfg.Rules.Allocate != "" && gains(it.event) && it.facts.Owner == t.cfg.ReceiverID {
		t.later(user, "allocate by rule", func(ctx context.Context) error { return t.takeIn(ctx, it) })
	}
}

// later queues a job of the user, whose failure is reported.
func (t *Tool) later(user, name string, do func(context.Context) error) {
	t.work.add(user, func(ctx context.Context) {
		if err := do(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.problem(user, "", fmt.Errorf("%s: %w", name, err))
		}
	})
}

// gains says whether an event can tell a receiver that it has a thread now.
func gains(e tract.Event) bool {
	switch e {
	case tract.EventWaiting, tract.EventPassed, tract.EventTaken, tract.EventAccepted, tract.EventReleased, tract.EventReset, tract.EventFailedOver:
		return true
	}
	return false
}

// reply answers a user's message. It carries the epoch of the question: if
// control has moved on since, the hub refuses it and nobody is talked over. It is
// sent as a TEXT element, because a user who writes JSON must not make elements.
func (t *Tool) reply(ctx context.Context, it item) error {
	text := hsl.Text(strings.ReplaceAll(t.cfg.Rules.Reply, "{{text}}", display(it.MessageBody)))
	if _, err := t.say(ctx, it.UserID, text.Body(), t.cfg.Rules.Allocate, it.facts.Epoch); err != nil {
		return err
	}
	t.mu.Lock()
	th := t.thread(it.UserID)
	th.replies++
	enough := t.cfg.Rules.CompleteAfter.Replies > 0 && th.replies >= t.cfg.Rules.CompleteAfter.Replies
	t.mu.Unlock()
	if enough {
		return t.Complete(ctx, it.UserID)
	}
	return nil
}

// takeIn acknowledges a hand-over and gives it to the agent of the rule. One
// hand-over is announced by several events; the epoch tells which one it is.
func (t *Tool) takeIn(ctx context.Context, it item) error {
	which := handover(it.Conversation, it.facts.Epoch)
	t.mu.Lock()
	th := t.thread(it.UserID)
	due := th.takenIn != which && it.facts.Epoch == th.Epoch
	if due {
		th.takenIn = which
	}
	t.mu.Unlock()
	if !due {
		return nil
	}
	if err := t.Received(ctx, it.UserID); err != nil {
		return err
	}
	return t.Allocate(ctx, it.UserID, t.cfg.Rules.Allocate)
}

// watchSilence arms the timer that completes a silent conversation, if the tool
// has it. It is called with the lock held.
func (t *Tool) watchSilence(th *thread) {
	limit := t.cfg.Rules.CompleteAfter.Silence
	if limit == 0 {
		return
	}
	armed := th.silence != nil
	wanted := th.Mine && th.State != tract.StateComplete
	if armed && wanted && th.silenceOf == th.activity {
		return
	}
	if armed {
		th.silence.Stop()
		th.silence = nil
	}
	if !wanted {
		return
	}
	user, activity := th.UserID, th.activity
	th.silenceOf = activity
	th.silence = time.AfterFunc(limit, func() {
		t.later(user, "complete by rule", func(ctx context.Context) error { return t.completeSilent(ctx, user, activity) })
	})
}

func (t *Tool) completeSilent(ctx context.Context, user string, activity int) error {
	t.mu.Lock()
	th := t.thread(user)
	still := th.Mine && th.activity == activity && th.State != tract.StateComplete
	t.mu.Unlock()
	if !still {
		return nil
	}
	return t.Complete(ctx, user)
}

// stopTimers leaves nothing behind that could fire when the tool has ended.
func (t *Tool) stopTimers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, th := range t.threads {
		for _, timer := range []*time.Timer{th.silence, th.gap} {
			if timer != nil {
				timer.Stop()
			}
		}
	}
}
