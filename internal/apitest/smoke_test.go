package apitest_test

import (
	"testing"

	"tract/internal/apitest"
)

// A world answers, its tools hear, and its users are answered.
func TestWorld(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "user_events/create_user")
		u := w.User()
		w.Say(&u, apitest.Answerable)
		w.Channel.Wait(t, "the bot's answer", apitest.Saying(u, apitest.AnswerText))
		w.One.Wait(t, "the bot's answer", apitest.Saying(u, apitest.AnswerText))
		v := w.ToDeskOne()
		if a := w.Write("desk-one", v, "hello").Want(t, 200); a.Int("message_id") == 0 {
			t.Errorf("no message_id: %s", a)
		}
		w.Channel.Wait(t, "the tool's message", apitest.Saying(v, "hello"))
		w.Settle()
	})
}
