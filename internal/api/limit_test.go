package api_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"tract/internal/apitest"
	"tract/internal/store"
)

// tally is what became of many calls at once.
type tally struct{ passed, limited atomic.Int32 }

func (n *tally) race(t *testing.T, calls int, call func(i int) apitest.Answer) {
	apitest.Race(calls, func(i int) {
		switch a := call(i); {
		case a.Status == 200:
			n.passed.Add(1)
		case a.Status == 429 && a.Code() == "rate_limited" && a.Header.Get("Retry-After") != "" && a.Header.Get("RateLimit-Limit") != "" && a.Header.Get("RateLimit-Remaining") == "0" && a.Header.Get("RateLimit-Reset") != "":
			n.limited.Add(1)
		default:
			t.Errorf("HT-18: %s %v", a, a.Header)
		}
	})
}

// HT-18: a client over its limit is refused, tokens and tools alike; what is
// refused stores nothing, and another client is not slowed.
func TestClientRateLimit(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u, other := w.UserOf("acme", 346), w.UserOf("other", 900)
		w.JWT("desk-one")
		w.Admin("PATCH", acmeAPI, m{"rate_limit": m{"per_client": m{"per_second": 1, "burst": 3}}}).Want(t, 200)
		// A proof from before the change counts for one more call.
		w.Tool("desk-one", "GET", "/tract/hooks/list/", nil).Want(t, 200)
		w.TrySay(u, "hi").Want(t, 200)
		const calls = 60
		var own, tools, others tally
		apitest.Race(3, func(i int) {
			switch i {
			case 0:
				own.race(t, calls, func(int) apitest.Answer { return w.TrySay(u, "hi") })
			case 1:
				tools.race(t, calls, func(int) apitest.Answer { return w.Tool("desk-one", "GET", "/tract/hooks/list/", nil) })
			case 2:
				others.race(t, calls, func(int) apitest.Answer { return w.TrySay(other, "hi") })
			}
		})
		if own.limited.Load() == 0 || tools.limited.Load() == 0 || others.limited.Load() != 0 {
			t.Errorf("limited: tokens %d, tools %d, the other client %d", own.limited.Load(), tools.limited.Load(), others.limited.Load())
		}
		said := int32(-1) // but for the first
		for _, e := range w.Log(u) {
			if e.Sender == "ceu" {
				said++
			}
		}
		if said != own.passed.Load() {
			t.Errorf("%d messages passed, %d are stored", own.passed.Load(), said)
		}
		// Taken away it ends with the next call that passes.
		w.Admin("PATCH", acmeAPI, m{"rate_limit": nil}).Want(t, 200)
		w.Until("a call passes", func(*store.Tx) (bool, error) { return w.TrySay(u, "hi").Status == 200, nil })
		var free tally
		free.race(t, calls, func(int) apitest.Answer { return w.TrySay(u, "hi") })
		if free.limited.Load() != 0 {
			t.Errorf("%d calls are refused without a limit", free.limited.Load())
		}
	})
}

// A token over its own limit uses up nothing of its client's. HT-13: whom a
// call says it is forwarded for makes no difference.
func TestTokenRateLimitOfClient(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Admin("PATCH", acmeAPI, m{"rate_limit": m{"per_token": m{"per_second": 1, "burst": 2}, "per_client": m{"per_second": 1, "burst": 40}}}).Want(t, 200)
		call := func(token string, i int) apitest.Answer {
			return w.Call("GET", "/mogambo_api/nodes/faq/?domain_name=acme_faq", nil, "client-id: acme", "Authorization: Bearer "+token,
				fmt.Sprintf("X-Forwarded-For: 10.0.0.%d", i), fmt.Sprintf("Forwarded: for=10.0.0.%d", i), fmt.Sprintf("X-Real-IP: 10.0.0.%d", i))
		}
		var busy, quiet tally
		busy.race(t, 100, func(i int) apitest.Answer { return call(w.Token, i) })
		if busy.limited.Load() == 0 {
			t.Fatal("HT-13 HT-18: no call was refused")
		}
		quiet.race(t, 2, func(i int) apitest.Answer { return call(w.Token+"-narrow", i) })
		if quiet.limited.Load() != 0 {
			t.Error("another token of the client is slowed")
		}
	})
}
