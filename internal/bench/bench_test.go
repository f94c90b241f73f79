package bench_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/bench"
	"tract/internal/clock"
	"tract/internal/tracttest"
)

func TestPercentilesAreExact(t *testing.T) {
	var ds []time.Duration
	for i := range 1000 {
		ds = append(ds, time.Duration((i*7919)%1000+1)*time.Millisecond) // 1 to 1000 ms, shuffled
	}
	if diff := cmp.Diff(bench.Latency{P50: 500, P95: 950, P99: 990, Max: 1000}, bench.LatencyOf(ds)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(bench.Latency{P50: 2, P95: 3, P99: 3, Max: 3}, bench.LatencyOf([]time.Duration{3e6, 1e6, 2e6})); diff != "" {
		t.Error(diff)
	}
}

// TestFlowSeesWhatIsWrong sends three messages on each of two threads and
// delivers them in various ways.
func TestFlowSeesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name                       string
		arrivals                   []int // 0 to 2 of the first thread, 3 to 5 of the second
		lost, duplicates, disorder int
	}{
		{"all in order", []int{0, 1, 2, 3, 4, 5}, 0, 0, 0},
		{"threads between each other", []int{3, 0, 4, 1, 5, 2}, 0, 0, 0},
		{"one is missing", []int{0, 2, 3, 4, 5}, 1, 0, 0},
		{"one comes twice", []int{0, 1, 1, 2, 3, 4, 5}, 0, 1, 0},
		{"one comes again later", []int{0, 1, 2, 0, 3, 4, 5}, 0, 1, 0},
		{"two are exchanged", []int{0, 2, 1, 3, 4, 5}, 0, 0, 1},
		{"nothing comes", nil, 6, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := tracttest.NewClock()
			f := bench.NewFlow(2, now.Now)
			var texts [][]byte
			for i := range 6 {
				texts = append(texts, f.Send(i/3))
			}
			now.Advance(7 * time.Millisecond)
			for _, i := range c.arrivals {
				if !f.Arrive([]byte(`{"message_body":"{\"text\":\"` + string(texts[i]) + `\"}"}`)) {
					t.Fatalf("no mark in %s", texts[i])
				}
			}
			s := f.Sample()
			if s.Accepted != 6 || s.Lost != c.lost || s.Duplicates != c.duplicates || s.Disorder != c.disorder || s.Delivered != 6-c.lost {
				t.Errorf("%+v", s)
			}
			if s.Delivered > 0 && s.Deliver.Max != 7 {
				t.Errorf("delivered after %v ms, not 7", s.Deliver.Max)
			}
		})
	}
}

// TestAnswersAreCounted has a bot that answers without a mark.
func TestAnswersAreCounted(t *testing.T) {
	for _, c := range []struct{ answers, lost, duplicates int }{{3, 0, 0}, {2, 1, 0}, {4, 0, 1}} {
		f := bench.NewFlow(2, tracttest.NewClock().Now)
		for range 3 {
			f.Send(1)
		}
		for range c.answers {
			f.ArriveOf(1)
		}
		if s := f.Sample(); s.Lost != c.lost || s.Duplicates != c.duplicates || s.Delivered != min(3, c.answers) {
			t.Errorf("%d answers to 3 messages: %+v", c.answers, s)
		}
	}
}

// TestOpenLoopCountsFromWhenDue has a server that stops for a while. What was
// due meanwhile must show it, although it was sent, and answered, later.
func TestOpenLoopCountsFromWhenDue(t *testing.T) {
	const stop = 200 * time.Millisecond
	var first atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if first.CompareAndSwap(false, true) {
			<-time.After(stop)
		}
	}))
	defer srv.Close()
	s, err := bench.Send(t.Context(), srv.URL, "", "", 1, 1, 500, 500*time.Millisecond, clock.System, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Sent != 250 || s.Accepted != 250 {
		t.Errorf("%d of 250 messages sent, %d accepted", s.Sent, s.Accepted)
	}
	// About 100 messages fell due while it stood still; a tenth of all waited for
	// most of that time.
	if s.Accept.P95 < 100 {
		t.Errorf("p95 is %.1f ms: the wait was left out", s.Accept.P95)
	}
}

// TestRelay sends through the control R: everything arrives, in order, signed.
// A receiver with another secret must notice.
func TestRelay(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		good         bool
	}{{"signed", "a secret of the relay", true}, {"another secret", "another secret", false}} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			s, err := bench.Send(ctx, "http://"+l.Addr().String(), "token", c.secret, 16, 8, 0, time.Second, clock.System, func(receiver string) {
				go func() { ended <- bench.ServeRelay(ctx, l, receiver, "token", "a secret of the relay", clock.System) }()
			})
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the relay ended with %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Accepted == 0 || s.Delivered != s.Accepted || s.Lost+s.Duplicates+s.Disorder+s.Refused > 0 || s.Checked == 0 {
				t.Errorf("%+v", s)
			}
			if (s.Unsigned == 0) != c.good || s.Unsigned > 0 && s.Unsigned != s.Checked {
				t.Errorf("%d of %d signatures were bad", s.Unsigned, s.Checked)
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		must, aim float64
		less      bool
		values    []float64
		want      string
	}{
		{0.35, 0.5, false, []float64{0.6, 0.4, 0.55}, bench.MeetsAim},
		{0.35, 0.5, false, []float64{0.3, 0.4, 0.55}, bench.MeetsMust},
		{0.35, 0.5, false, []float64{0.3, 0.34, 0.9}, bench.Missed},
		{6, 4, true, []float64{3, 4, 9}, bench.MeetsAim},
		{6, 4, true, []float64{7}, bench.Missed},
		{0, 10, true, []float64{11}, bench.Short},
		{0, 0, true, []float64{0, 0, 0}, bench.MeetsAim},
		{0, 0, true, []float64{0, 0, 1}, bench.Missed}, // once is too often
	} {
		if got := bench.Judge(c.must, c.aim, c.less, c.values...); got != c.want {
			t.Errorf("%v against %g (%g): %s, want %s", c.values, c.must, c.aim, got, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]bench.Config{
		"no workload \"webhok\"": {Only: []string{"webhok"}},
		"need PostgreSQL":        {Replicas: 2},
		"needs a server":         {Engine: bench.Postgres},
		"not \"oracle\"":         {Engine: "oracle"},
	} {
		cfg.Dir, cfg.Now = t.TempDir(), clock.System
		if _, err := bench.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
