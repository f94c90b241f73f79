package api

import (
	"net/http"
	"time"

	"tract"
	"tract/internal/intake"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

const (
	feedbackEvery = time.Hour // per user and business
	maxComment    = 4 << 10
)

// Errors of feedback, with the documented texts.
var (
	errFeedbackUser  = intake.ErrNotRegistered.With("Invalid_User")
	errFeedbackNone  = &tract.Error{Kind: tract.KindNotFound, Code: "no_conversation", Msg: "Failed to submit feedback, please make sure there is an active conversation with the agent"}
	errFeedbackAgain = tract.Invalid("duplicate_feedback", "duplicate feedback")
)

type feedbackInput struct {
	AuthID        string                 `json:"auth_id"`
	BusinessID    strictjson.IntOrString `json:"business_id"`
	QueryResolved *bool                  `json:"query_resolved"`
	QueryRating   *int64                 `json:"query_rating"`
	Feedback      *string                `json:"feedback"`
}

func (in *feedbackInput) check() error {
	switch {
	case in.AuthID == "":
		return missing("auth_id")
	case !given(in.BusinessID):
		return missing("business_id")
	case in.QueryResolved == nil:
		return missing("query_resolved")
	case in.QueryRating == nil:
		return missing("query_rating")
	case *in.QueryRating < 1 || *in.QueryRating > 5:
		return badValue("query_rating", "must be from 1 to 5")
	case in.Feedback != nil && len(*in.Feedback) > maxComment:
		return badValue("feedback", "is longer than %d bytes", maxComment)
	}
	return nil
}

// logFeedback notes what a user thought of the present or, once that is over,
// the last conversation.
func (a *API) logFeedback(c *clientCall) (web.Answer, error) {
	var in feedbackInput
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	if err := in.check(); err != nil {
		return web.Answer{}, err
	}
	return a.once(c, "feedback", body, func(tx *store.Tx) (web.Answer, error) {
		thread, err := a.feedbackThread(tx, c.client, &in)
		if err != nil {
			return web.Answer{}, err
		}
		// Two calls at once wait for each other here.
		l, err := tx.LockThread(thread)
		if err != nil {
			return web.Answer{}, err
		}
		if l.Erased() {
			return web.Answer{}, errFeedbackUser
		}
		if l.State.Conversation == 0 {
			return web.Answer{}, errFeedbackNone
		}
		f := store.Feedback{Client: l.Client, Business: l.Business, User: l.User.ID, Thread: l.ID, Conversation: l.State.Conversation, Owner: l.State.Owner, Resolved: *in.QueryResolved, Rating: int(*in.QueryRating)}
		if in.Feedback != nil {
			f.Comment = *in.Feedback
		}
		if l.State.State == tract.StateComplete {
			// The thread has gone back to its default receiver.
			if f.Owner, err = tx.CompletedBy(l.ID, l.State.Conversation); err != nil {
				return web.Answer{}, err
			}
		}
		inserted, err := tx.InsertFeedback(f, tx.Now.Add(-feedbackEvery))
		if err == nil && !inserted {
			err = errFeedbackAgain
		}
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusCreated, map[string]any{"success": true}), nil
	})
}

func (a *API) feedbackThread(tx *store.Tx, client tract.Client, in *feedbackInput) (int64, error) {
	u, err := tx.UserByAuthID(client.Key, in.AuthID)
	if tract.KindOf(err) == tract.KindNotFound {
		return 0, errFeedbackUser
	}
	if err != nil {
		return 0, err
	}
	cfg, err := a.Conversation.Config(tx, client.Key)
	if err != nil {
		return 0, err
	}
	if !in.BusinessID.Valid || cfg.Businesses[in.BusinessID.Value] == nil {
		return 0, intake.ErrInvalidBusiness
	}
	thread, err := tx.ThreadOf(client.Key, in.BusinessID.Value, u.ID)
	if err == nil && thread == 0 {
		err = errFeedbackNone
	}
	return thread, err
}
