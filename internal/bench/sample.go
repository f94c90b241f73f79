package bench

import (
	"slices"
	"time"
)

// Sample is what one workload measured in one round. Rates are messages a
// second from the first one sent to the last one answered or delivered.
type Sample struct {
	Workload   string  `json:"workload"`
	Round      int     `json:"round"`
	Sent       int     `json:"sent"`
	Accepted   int     `json:"accepted"`
	Refused    int     `json:"refused"`
	Delivered  int     `json:"delivered"`
	Lost       int     `json:"lost"`
	Duplicates int     `json:"duplicates"`
	Disorder   int     `json:"disorder"`
	Checked    int     `json:"signatures_checked"`
	Unsigned   int     `json:"unsigned"` // of those
	AcceptRate float64 `json:"accepted_per_s"`
	Rate       float64 `json:"delivered_per_s"`
	Accept     Latency `json:"accept"`
	Deliver    Latency `json:"deliver"`
	CPU        float64 `json:"cpu_us_per_message"` // of the hub's processes; 0 = not known
	Memory     float64 `json:"memory_mib"`         // the most seen; 0 = not known
	Hanging    int     `json:"hanging,omitempty"`  // calls at once that got no answer
	Error      string  `json:"error,omitempty"`    // the first refusal
}

// sample sums a flow up. Latencies count from the instant at which a message
// was sent, or was due.
func (f *flow) sample(l *load) Sample {
	s := Sample{Workload: l.name, Refused: int(f.refused.Load())}
	if p := f.firstError.Load(); p != nil {
		s.Error = *p
	}
	first, answered, arrived := int64(-1), int64(0), int64(0)
	var accept, deliver []time.Duration
	for number, sent := range f.sent {
		if sent == 0 {
			continue
		}
		s.Sent++
		if first < 0 || sent < first {
			first = sent
		}
		at := f.answered[number]
		places := l.placesOf(number % f.threads)
		if at != 0 {
			s.Accepted++
			answered = max(answered, at)
			if len(places) > 0 || len(l.places) == 0 {
				accept = append(accept, time.Duration(at-sent))
			}
		}
		for _, p := range places {
			a := f.places[p]
			a.mu.Lock()
			came := a.at[number]
			a.mu.Unlock()
			if came != 0 {
				s.Delivered++
				arrived = max(arrived, came)
				deliver = append(deliver, time.Duration(came-sent))
			}
		}
	}
	for _, a := range f.places {
		a.mu.Lock()
		s.Duplicates += a.duplicates + f.surplus(a)
		s.Disorder += a.disorder
		s.Checked += a.looked
		s.Unsigned += a.unsigned
		a.mu.Unlock()
	}
	s.Lost = f.missing(l)
	s.AcceptRate, s.Rate = perSecond(s.Accepted, answered-first), perSecond(s.Delivered, arrived-first)
	s.Accept, s.Deliver = latencyOf(accept), latencyOf(deliver)
	return s
}

func perSecond(n int, nanoseconds int64) float64 {
	if n == 0 || nanoseconds <= 0 {
		return 0
	}
	return float64(n) / (float64(nanoseconds) / float64(time.Second))
}

// observer looks at the processes while a load runs.
type observer struct {
	children []*child
	before   time.Duration
	known    bool
	quit     chan struct{}
	ended    chan float64
}

const lookEvery = 50 * time.Millisecond

func observe(children []*child) *observer {
	o := &observer{children: children, quit: make(chan struct{}), ended: make(chan float64, 1)}
	o.before, o.known = cpuOf(children)
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		most := memoryOf(children)
		for {
			select {
			case <-tick.C:
				most = max(most, memoryOf(children))
			case <-o.quit:
				o.ended <- max(most, memoryOf(children))
				return
			}
		}
	}()
	return o
}

// end puts what was seen into a sample.
func (o *observer) end(s *Sample) {
	close(o.quit)
	s.Memory = <-o.ended
	if after, ok := cpuOf(o.children); ok && o.known && s.Accepted > 0 {
		s.CPU = float64((after - o.before).Microseconds()) / float64(s.Accepted)
	}
}

func cpuOf(children []*child) (sum time.Duration, ok bool) {
	for _, c := range children {
		d, known := c.cpu()
		if !known {
			return 0, false
		}
		sum += d
	}
	return sum, len(children) > 0
}

// memoryOf is the resident memory in MiB of the largest of the processes.
func memoryOf(children []*child) float64 {
	var all []float64
	for _, c := range children {
		if n, ok := c.memory(); ok {
			all = append(all, float64(n)/(1<<20))
		}
	}
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all)
}
