package delivery

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count attempts. The names are documented in docs/operate.md.
type Metrics struct {
	attempts *prometheus.CounterVec
	latency  *prometheus.HistogramVec
}

// NewMetrics registers the metrics; a nil registerer counts nowhere visible.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_delivery_attempts_total", Help: "Attempts to deliver, by kind of endpoint and outcome."}, []string{"kind", "outcome"}),
		latency:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tract_delivery_attempt_seconds", Help: "How long calls took, by kind of endpoint.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}}, []string{"kind"}),
	}
	if r != nil {
		r.MustRegister(m.attempts, m.latency)
	}
	return m
}

func (m *Metrics) observe(ev *Event) {
	m.attempts.WithLabelValues(ev.Kind, ev.Outcome).Inc()
	if ev.Latency > 0 {
		m.latency.WithLabelValues(ev.Kind).Observe(ev.Latency.Seconds())
	}
}

// Load says how much is in memory and in flight.
func (d *Dispatcher) Load() (lanes, inFlight, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lanes), d.inFlight, d.bytes
}
