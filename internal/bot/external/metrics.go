package external

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count calls, and what they cost. The names are documented in
// docs/operate.md.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	tokens  *prometheus.CounterVec
	cost    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, open func() int) *metrics {
	m := &metrics{
		calls:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_bot_external_calls_total", Help: "Questions for external bots, by kind and result."}, []string{"kind", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tract_bot_external_seconds", Help: "How long external bots took, by kind.", Buckets: []float64{.025, .05, .1, .25, .5, 1, 1.5, 2, 3, 4, 5}}, []string{"kind"}),
		tokens:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_bot_external_tokens_total", Help: "Tokens that language models counted, by client, business and direction."}, []string{"client", "business", "direction"}),
		cost:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_bot_external_cost_total", Help: "What these tokens cost by the configured prices, in their currency."}, []string{"client", "business"}),
	}
	if r != nil {
		waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tract_bot_external_open", Help: "External bots that this process leaves alone after failures."}, func() float64 { return float64(open()) })
		r.MustRegister(m.calls, m.seconds, m.tokens, m.cost, waiting)
	}
	return m
}

func (m *metrics) call(kind, result string) { m.calls.WithLabelValues(kind, result).Inc() }

func (m *metrics) took(kind string, d time.Duration) {
	m.seconds.WithLabelValues(kind).Observe(d.Seconds())
}
