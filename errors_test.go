package tract_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
)

// TestErrorCopies: With, Because and Fact give copies that are equal to their
// original and leave it as it was.
func TestErrorCopies(t *testing.T) {
	was := *tract.ErrNotOwner
	cause := errors.New("row is gone")
	e := tract.ErrNotOwner.With("held by %s", "one").Because(cause).Fact("thread_owner", "one")
	more := e.Fact("control_epoch", 4)

	if got := more.Error(); got != "held by one: row is gone" {
		t.Errorf("text %q", got)
	}
	if !errors.Is(e, tract.ErrNotOwner) || !errors.Is(e, cause) || errors.Is(e, tract.ErrNoOffer) || errors.Is(e, errors.New("row is gone")) {
		t.Error("a copy is its original and its cause, and nothing else")
	}
	if other := tract.Invalid(tract.ErrNotOwner.Code, "x"); errors.Is(other, tract.ErrNotOwner) {
		t.Error("the same code of another kind is another error")
	}
	if d := cmp.Diff(map[string]any{"thread_owner": "one"}, e.Fields); d != "" {
		t.Errorf("a later fact reached the earlier copy:\n%s", d)
	}
	if d := cmp.Diff(map[string]any{"thread_owner": "one", "control_epoch": 4}, more.Fields); d != "" {
		t.Error(d)
	}
	now := *tract.ErrNotOwner
	if now.Msg != was.Msg || now.Fields != nil || errors.Unwrap(tract.ErrNotOwner) != nil {
		t.Errorf("the original changed: %+v", now)
	}
}

func TestErrorKinds(t *testing.T) {
	tests := []struct {
		err  error
		kind tract.Kind
		code string
	}{
		{nil, tract.KindInternal, "internal"},
		{errors.New("plain"), tract.KindInternal, "internal"},
		{tract.ErrNotOwner, tract.KindForbidden, "not_owner"},
		{fmt.Errorf("send: %w", tract.ErrEpochMismatch.Because(errors.New("x"))), tract.KindConflict, "epoch_mismatch"},
		{tract.Invalid("bad_field", "%s is missing", "user_id"), tract.KindInvalid, "bad_field"},
	}
	for _, tt := range tests {
		if kind, code := tract.KindOf(tt.err), tract.CodeOf(tt.err); kind != tt.kind || code != tt.code {
			t.Errorf("%v: got %d %s, want %d %s", tt.err, kind, code, tt.kind, tt.code)
		}
	}
	if got := tract.Invalid("bad_field", "%s is missing", "user_id").Error(); got != "user_id is missing" {
		t.Errorf("text %q", got)
	}
}

// TestRefusalCodes: the codes are the documented ones; only who is not the owner
// is forbidden, the rest are conflicts.
func TestRefusalCodes(t *testing.T) {
	for want, e := range map[string]*tract.Error{
		"not_owner": tract.ErrNotOwner, "epoch_mismatch": tract.ErrEpochMismatch, "no_offer": tract.ErrNoOffer,
		"not_supported": tract.ErrNotSupported, "receiver_not_allowed": tract.ErrReceiverNotAllowed, "unknown_receiver": tract.ErrUnknownReceiver,
		"receiver_unavailable": tract.ErrReceiverUnavailable, "already_owner": tract.ErrAlreadyOwner, "conversation_complete": tract.ErrConversationComplete,
		"request_pending": tract.ErrRequestPending, "conflict": tract.ErrConflict, "invalid_transition": tract.ErrInvalidTransition,
	} {
		kind := tract.KindConflict
		if e == tract.ErrNotOwner {
			kind = tract.KindForbidden
		}
		if e.Code != want || e.Kind != kind || e.Msg == "" {
			t.Errorf("%s: %+v", want, e)
		}
	}
}
