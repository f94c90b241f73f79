package delivery_test

import (
	"testing"
	"time"
)

// The store hears that nothing waits in a lane when that is so for a while; a lane
// that is busy stays open, and what a process left open is closed by the next.
func TestLanesAreClosed(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.net.host("tool", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		open := func(what string, want bool) {
			t.Helper()
			if l := w.lane(w.threads[0], e.ID); l.Open != want || l.Last != l.Done {
				t.Errorf("%s: %+v", what, l)
			}
		}
		for range 4 { // each a little before it would be closed
			w.add(w.threads[0], e.ID, "crm", "a")
			pass(8 * time.Second)
			open("busy", true)
		}
		pass(20 * time.Second)
		open("idle", false)
		w.add(w.threads[0], e.ID, "crm", "b")
		pass(time.Second)
		open("again", true)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		open("left to the next", true)
		w.run()
		pass(time.Second)
		open("by the next", false)
	})
}
