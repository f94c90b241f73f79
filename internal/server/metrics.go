package server

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tract/internal/delivery"
	"tract/internal/store"
)

func (s *Server) registerMetrics() {
	m := s.Store.Metrics()
	count := func(name, help string, f func() float64) {
		s.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f))
	}
	count("tract_store_commits_total", "Transactions committed.", func() float64 { return float64(m.Commits.Load()) })
	count("tract_store_updates_total", "Commands that were part of them.", func() float64 { return float64(m.Updates.Load()) })
	count("tract_store_failures_total", "Transactions that failed.", func() float64 { return float64(m.Failures.Load()) })
	s.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &gauges{store: s.Store, dispatcher: s.Delivery})
}

// metricsHandler answers scrapes; with a token set only to those who have it.
func (s *Server) metricsHandler() http.Handler {
	h := promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4})
	want := s.cfg.MetricsToken.Reveal()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if want != "" && subtle.ConstantTimeCompare([]byte(want), []byte(got)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "metrics need their token", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// gauges reads what is queued, dead and owned when somebody asks.
type gauges struct {
	store      *store.Store
	dispatcher *delivery.Dispatcher
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe sends nothing: the set of owners and states is fixed but small.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect reads the store, for at most two seconds.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	lanes, inFlight, bytes := g.dispatcher.Load()
	send(desc("tract_lanes_in_memory", "Lanes this process works on."), float64(lanes))
	send(desc("tract_deliveries_in_flight", "Calls under way."), float64(inFlight))
	send(desc("tract_payload_bytes_in_memory", "Bytes of payloads held for sending."), float64(bytes))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var st store.Stats
	replicas := 0
	if err := g.store.View(ctx, func(tx *store.Tx) (err error) {
		if st, err = tx.Stats(); err != nil {
			return err
		}
		replicas, err = tx.CountReplicas()
		return err
	}); err != nil {
		return // the other metrics say that the store does not answer
	}
	send(desc("tract_deliveries_queued", "Deliveries not yet settled."), float64(st.Queued))
	send(desc("tract_lanes_open", "Lanes with something queued."), float64(st.OpenLanes))
	send(desc("tract_dead_letters", "Deliveries given up and not replayed."), float64(st.Dead))
	send(desc("tract_replicas", "Processes that dispatch."), float64(replicas))
	owners := desc("tract_threads_owned", "Open conversations, by type of their owner.", "owner")
	for k, n := range st.Owners {
		send(owners, float64(n), k)
	}
	endpoints := desc("tract_endpoints", "Webhook endpoints, by state.", "state")
	for k, n := range st.Endpoints {
		send(endpoints, float64(n), k)
	}
}
