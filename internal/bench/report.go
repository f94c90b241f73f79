package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is everything that was measured.
type Report struct {
	Version  string    `json:"version"`
	Engine   string    `json:"engine"`
	Replicas int       `json:"replicas"`
	Rounds   int       `json:"rounds"`
	Short    bool      `json:"short,omitempty"`
	Duration string    `json:"duration"`
	System   string    `json:"system"`
	CPUs     int       `json:"cpus"`
	At       time.Time `json:"at"`
	Samples  []Sample  `json:"samples"`
	Verdicts []Verdict `json:"verdicts"`
}

func newReport(cfg Config) *Report {
	return &Report{Version: cfg.Version, Engine: cfg.Engine, Replicas: cfg.Replicas, Rounds: cfg.Rounds, Short: cfg.Short, Duration: cfg.sizes().duration.String(),
		System: runtime.GOOS + "/" + runtime.GOARCH + " " + runtime.Version(), CPUs: runtime.NumCPU(), At: cfg.Now().UTC()}
}

// conclude holds the samples against the limits, round by round.
func (r *Report) conclude() {
	for _, l := range limits() {
		var values []float64
		for n := range r.Rounds {
			s := map[string]Sample{}
			for _, one := range r.Samples {
				if one.Round == n+1 {
					s[one.Workload] = one
				}
			}
			if !slices.ContainsFunc(l.needs, func(name string) bool { _, ok := s[name]; return !ok }) {
				values = append(values, l.of(s))
			}
		}
		if len(values) > 0 {
			r.Verdicts = append(r.Verdicts, l.judge(r.Engine, values))
		}
	}
}

// Broken are the workloads in which a message was lost, doubled, out of order or
// not signed, in words; none of them ever may.
func (r *Report) Broken() (out []string) {
	for _, s := range r.Samples {
		if s.Lost+s.Duplicates+s.Disorder+s.Unsigned > 0 {
			out = append(out, fmt.Sprintf("%s, round %d: %d lost, %d duplicates, %d out of order, %d not signed", s.Workload, s.Round, s.Lost, s.Duplicates, s.Disorder, s.Unsigned))
		}
	}
	return out
}

// Missed are the limits that were not held.
func (r *Report) Missed() (out []string) {
	for _, v := range r.Verdicts {
		if v.Verdict == Missed {
			out = append(out, fmt.Sprintf("%s: %.3g %s, must be %s", v.What, v.Value, v.Unit, v.bounds()))
		}
	}
	return out
}

// WriteJSON writes everything.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// merged are the samples of a workload as one: medians of the rates and
// latencies, the largest memory, the sums of everything else.
func (r *Report) merged() (out []Sample) {
	byName := map[string][]Sample{}
	var names []string
	for _, s := range r.Samples {
		if byName[s.Workload] == nil {
			names = append(names, s.Workload)
		}
		byName[s.Workload] = append(byName[s.Workload], s)
	}
	for _, name := range names {
		all := byName[name]
		mid := func(of func(Sample) float64) float64 {
			vs := make([]float64, len(all))
			for i, s := range all {
				vs[i] = of(s)
			}
			return median(vs)
		}
		m := Sample{Workload: name, AcceptRate: mid(func(s Sample) float64 { return s.AcceptRate }), Rate: mid(func(s Sample) float64 { return s.Rate }), CPU: mid(func(s Sample) float64 { return s.CPU }),
			Accept:  mergedLatency(mid, func(s Sample) Latency { return s.Accept }),
			Deliver: mergedLatency(mid, func(s Sample) Latency { return s.Deliver })}
		for _, s := range all {
			m.Sent, m.Accepted, m.Refused, m.Delivered = m.Sent+s.Sent, m.Accepted+s.Accepted, m.Refused+s.Refused, m.Delivered+s.Delivered
			m.Lost, m.Duplicates, m.Disorder, m.Checked, m.Unsigned = m.Lost+s.Lost, m.Duplicates+s.Duplicates, m.Disorder+s.Disorder, m.Checked+s.Checked, m.Unsigned+s.Unsigned
			m.Memory, m.Hanging, m.Error = max(m.Memory, s.Memory), max(m.Hanging, s.Hanging), cmp.Or(m.Error, s.Error)
		}
		out = append(out, m)
	}
	return out
}

func mergedLatency(mid func(func(Sample) float64) float64, of func(Sample) Latency) Latency {
	return Latency{P50: mid(func(s Sample) float64 { return of(s).P50 }), P95: mid(func(s Sample) float64 { return of(s).P95 }),
		P99: mid(func(s Sample) float64 { return of(s).P99 }), Max: mid(func(s Sample) float64 { return of(s).Max })}
}

// tables are the figures as rows of cells, the first row their heads.
func (r *Report) tables() [][][]string {
	figures := [][]string{{"workload", "accepted/s", "delivered/s", "accept p50/p95/p99/max ms", "delivered p50/p95/p99/max ms", "CPU µs/msg", "memory MiB", "messages", "hanging calls", "disorder", "lost", "double", "refused"}}
	for _, s := range r.merged() {
		figures = append(figures, []string{s.Workload, number0(s.AcceptRate), number0(s.Rate), s.Accept.text(), s.Deliver.text(), number0(s.CPU), number0(s.Memory), number0(float64(s.Accepted)), number0(float64(s.Hanging)),
			fmt.Sprint(s.Disorder), fmt.Sprint(s.Lost), fmt.Sprint(s.Duplicates), fmt.Sprint(s.Refused)})
	}
	verdicts := [][]string{{"figure", "must (aim)", "measured", "lowest … highest", "verdict"}}
	for _, v := range r.Verdicts {
		verdicts = append(verdicts, []string{v.What, v.bounds() + " " + v.Unit, fmt.Sprintf("%.3g", v.Value), fmt.Sprintf("%.3g … %.3g", v.Lowest, v.Highest), v.Verdict})
	}
	return [][][]string{figures, verdicts}
}

func (l Latency) text() string {
	if l == (Latency{}) {
		return "–"
	}
	return fmt.Sprintf("%.3g / %.3g / %.3g / %.3g", l.P50, l.P95, l.P99, l.Max)
}

// number0 is a count or rate; nothing was measured where it is 0.
func number0(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", v)
}

func (r *Report) heading() string {
	return fmt.Sprintf("tract %s, %s, %d replica(s), %d round(s) of %s, %d CPUs, %s, %s", r.Version, r.Engine, r.Replicas, r.Rounds, r.Duration, r.CPUs, r.System, r.At.Format(time.DateTime))
}

// refusals say why messages were not accepted.
func (r *Report) refusals() (out []string) {
	for _, s := range r.Samples {
		if s.Refused > 0 {
			out = append(out, fmt.Sprintf("%s, round %d: %d messages were refused, the first with: %s", s.Workload, s.Round, s.Refused, s.Error))
		}
	}
	return out
}

// WriteText writes the tables for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintln(w, r.heading())
	for _, t := range r.tables() {
		fmt.Fprintln(w)
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range t {
			fmt.Fprintln(out, strings.Join(row, "\t"))
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return r.writeRefusals(w)
}

func (r *Report) writeRefusals(w io.Writer) (err error) {
	if lines := r.refusals(); len(lines) > 0 {
		_, err = fmt.Fprintf(w, "\n%s\n", strings.Join(lines, "\n"))
	}
	return err
}

// WriteMarkdown writes the tables as they are pasted into a document.
func (r *Report) WriteMarkdown(w io.Writer) error {
	fmt.Fprintln(w, r.heading())
	for _, t := range r.tables() {
		fmt.Fprintln(w)
		for i, row := range t {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintln(w, "|"+strings.Repeat("---|", len(row)))
			}
		}
	}
	return r.writeRefusals(w)
}
