package api_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tract"
	"tract/internal/apitest"
	"tract/internal/clock"
)

// register is what a thread's control must look like from outside: one owner,
// and an epoch that counts its changes.
type register struct {
	owner string
	epoch int64
}

type operation struct {
	kind  string // pass | take | send | read
	by    string
	to    string
	epoch int64 // that the caller believes in; 0 = does not say
}

type outcome struct {
	code  string // of a refusal
	owner string
	epoch int64
}

// model says which outcomes an operation may have on a register.
var model = porcupine.Model{
	Init: func() any { return register{"desk-two", 3} },
	Step: func(state, input, output any) (bool, any) {
		r, op, out := state.(register), input.(operation), output.(outcome)
		refused := func(code string) (bool, any) {
			return out.code == code && out.owner == r.owner && out.epoch == r.epoch, r
		}
		stale := op.epoch != 0 && op.epoch != r.epoch
		switch op.kind {
		case "read":
			return out.owner == r.owner && out.epoch == r.epoch, r
		case "send":
			if op.by != r.owner {
				return refused("not_owner")
			}
			if stale {
				return refused("epoch_mismatch")
			}
			return out.code == "", r
		case "pass":
			if op.by != r.owner {
				return refused("not_owner")
			}
			if stale {
				return refused("epoch_mismatch")
			}
			if op.to == r.owner {
				return refused("already_owner")
			}
			next := register{op.to, r.epoch + 1}
			return out.code == "" && out.epoch == next.epoch, next
		}
		if stale {
			return refused("epoch_mismatch")
		}
		if op.by == r.owner {
			return refused("already_owner")
		}
		next := register{op.by, r.epoch + 1}
		return out.code == "" && out.epoch == next.epoch, next
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// perform makes one operation through the API, or for the desk as the hub does.
func perform(w *apitest.World, u apitest.User, op operation) outcome {
	if op.by == "sac" {
		c := tract.Control{By: tract.SAC, Op: tract.Op(op.kind), To: tract.ReceiverID(op.to), Epoch: op.epoch}
		res, err := w.Do(u, c)
		out := outcome{owner: string(res.Thread.State.Owner), epoch: res.Thread.State.Epoch}
		if err != nil {
			out.code = tract.CodeOf(err)
		}
		return out
	}
	believed := m{}
	if op.epoch != 0 {
		believed["control_epoch"] = op.epoch
	}
	var a apitest.Answer
	switch op.kind {
	case "read":
		a = w.Tool(op.by, "POST", "/tract/thread_control/listeners/", m{"user_id": u.ID})
		list, _ := a.At("listeners").([]any)
		for _, l := range list {
			if r := l.(map[string]any); r["active"] == true {
				return outcome{owner: r["id"].(string), epoch: a.Int("control_epoch")}
			}
		}
		return outcome{code: "nobody"}
	case "send":
		a = w.Write(op.by, u, "x", believed)
		return outcome{a.Code(), a.Text("thread_owner"), a.Int("control_epoch")}
	}
	a = w.Control(op.by, op.kind, u, op.to, believed)
	if a.At("success") == true {
		return outcome{epoch: a.Int("control_epoch")}
	}
	return outcome{a.Code(), a.Text("reason.thread_owner"), a.Int("reason.control_epoch")}
}

// random picks an operation that is lawful to ask for.
func random(r *rand.Rand, seen int64) operation {
	op := operation{by: []string{"desk-one", "desk-two"}[r.IntN(2)]}
	if r.IntN(3) == 0 {
		op.epoch = max(seen-1+r.Int64N(3), 1)
	}
	switch r.IntN(6) {
	case 0:
		op.kind, op.epoch = "read", 0
	case 1, 2:
		op.kind = "send"
	case 3:
		op.kind, op.to = "pass", "sac"
		if op.by == "desk-two" && r.IntN(2) == 0 {
			op.to = "desk-one"
		}
	case 4:
		op.kind, op.by = "take", "desk-two"
	case 5:
		op.kind, op.by = "take", "sac"
	}
	return op
}

// Whatever callers see of a thread's control at once, there is an order in which
// it would have happened one by one.
func TestControlIsLinearizable(t *testing.T) {
	const workers, each, seeds = 6, 40, 4
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		for seed := range uint64(seeds) {
			u := w.ToDeskTwo()
			begun := clock.System()
			var mu sync.Mutex
			var history []porcupine.Operation
			apitest.Race(workers, func(worker int) {
				r := rand.New(rand.NewPCG(seed, uint64(worker)))
				seen := int64(3)
				for range each {
					op := random(r, seen)
					call := clock.System().Sub(begun)
					out := perform(w, u, op)
					end := clock.System().Sub(begun)
					seen = max(seen, out.epoch)
					mu.Lock()
					history = append(history, porcupine.Operation{ClientId: worker, Input: op, Call: int64(call), Output: out, Return: int64(end)})
					mu.Unlock()
				}
			})
			switch res, _ := porcupine.CheckOperationsVerbose(model, history, time.Minute); res {
			case porcupine.Illegal:
				t.Errorf("seed %d: %d operations have no order", seed, len(history))
			case porcupine.Unknown:
				t.Errorf("seed %d: no order of %d operations was found in time", seed, len(history))
			}
			lawful(t, w, u)
		}
	})
}
