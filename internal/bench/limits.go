package bench

import (
	"fmt"
	"slices"
)

// limit is a figure that the hub is held to: in any case at least must, at best
// at least aim; at most where less is better. Where only an aim is set nothing
// is a miss; where both are 0 a single round decides.
type limit struct {
	what      string
	must, aim float64
	less      bool // less is better
	unit      string
	engine    string   // on the other one it is only shown; "" = both
	needs     []string // the workloads of a round that it is made from
	of        func(s map[string]Sample) float64
}

// limits are the rows of the second table.
func limits() []limit {
	share := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	accepted := func(a, b string) func(map[string]Sample) float64 {
		return func(s map[string]Sample) float64 { return share(s[a].AcceptRate, s[b].AcceptRate) }
	}
	delivered := func(a, b string) func(map[string]Sample) float64 {
		return func(s map[string]Sample) float64 { return share(s[a].Rate, s[b].Rate) }
	}
	return []limit{
		{what: "webhook path: delivered", must: 0.35, aim: 0.50, unit: "× R", engine: SQLite, needs: []string{"webhook", "relay"}, of: delivered("webhook", "relay")},
		{what: "intake: accepted, over syncs", must: 1.5, aim: 2, unit: "× F", engine: SQLite, needs: []string{"intake", "fdatasync"}, of: accepted("intake", "fdatasync")},
		{what: "intake: accepted, over single commits", must: 2, aim: 3, unit: "× N", engine: SQLite, needs: []string{"intake", "single"}, of: accepted("intake", "single")},
		{what: "1,000/s: accept p99", must: 6, aim: 4, less: true, unit: "× R's", needs: []string{"open-1000", "relay-1000"},
			of: func(s map[string]Sample) float64 { return share(s["open-1000"].Accept.P99, s["relay-1000"].Accept.P99) }},
		{what: "1,000/s: accept p99 on a quiet machine", aim: 10, less: true, unit: "ms", needs: []string{"open-1000"}, of: func(s map[string]Sample) float64 { return s["open-1000"].Accept.P99 }},
		{what: "1,000/s: delivered p99 above accept p99", must: 15, aim: 10, less: true, unit: "ms", needs: []string{"open-1000"},
			of: func(s map[string]Sample) float64 { return s["open-1000"].Deliver.P99 - s["open-1000"].Accept.P99 }},
		{what: "200/s: delivered p50", must: 5, aim: 2, less: true, unit: "ms", needs: []string{"open-200"}, of: func(s map[string]Sample) float64 { return s["open-200"].Deliver.P50 }},
		{what: "200/s: delivered p99", must: 25, aim: 10, less: true, unit: "ms", needs: []string{"open-200"}, of: func(s map[string]Sample) float64 { return s["open-200"].Deliver.P99 }},
		{what: "receivers that think 50 ms: delivered", must: 0.6, aim: 0.75, unit: "× fast ones", needs: []string{"think", "webhook"}, of: delivered("think", "webhook")},
		{what: "3 of 20 tools hanging: delivered p99 of the others", must: 2, aim: 1.3, less: true, unit: "× without", needs: []string{"crowd", "crowd-hanging"},
			of: func(s map[string]Sample) float64 {
				return share(s["crowd-hanging"].Deliver.P99, s["crowd"].Deliver.P99)
			}},
		{what: "PostgreSQL: accepted", must: 0.5, aim: 0.7, unit: "× SQLite", needs: []string{"intake", "intake-sqlite"}, of: accepted("intake", "intake-sqlite")},
		{what: "filled store: accepted", must: 0.8, aim: 0.95, unit: "× empty", needs: []string{"intake-filled", "intake"}, of: accepted("intake-filled", "intake")},
		{what: "memory, idle", must: 60, aim: 40, less: true, unit: "MiB", needs: []string{"memory-idle"}, of: func(s map[string]Sample) float64 { return s["memory-idle"].Memory }},
		{what: "memory, 10,000 queued and 1,000 hanging", must: 256, aim: 160, less: true, unit: "MiB", needs: []string{"memory-queued"}, of: func(s map[string]Sample) float64 { return s["memory-queued"].Memory }},
		{what: "order violations", less: true, unit: "messages", of: func(s map[string]Sample) float64 { return total(s, func(s Sample) int { return s.Disorder }) }},
		{what: "losses", less: true, unit: "messages", of: func(s map[string]Sample) float64 { return total(s, func(s Sample) int { return s.Lost }) }},
	}
}

func total(all map[string]Sample, of func(Sample) int) float64 {
	n := 0
	for _, s := range all {
		n += of(s)
	}
	return float64(n)
}

// Verdict is a limit with what was measured: the median over the rounds, and
// the rounds' extremes.
type Verdict struct {
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	Must    float64 `json:"must"`
	Aim     float64 `json:"aim"`
	Less    bool    `json:"less_is_better"`
	Value   float64 `json:"value"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	Verdict string  `json:"verdict"` // aim | holds | short | missed | shown
}

// The verdicts.
const (
	MeetsAim  = "aim"
	MeetsMust = "holds"  // but not what is aimed at
	Short     = "short"  // of an aim without a limit
	Missed    = "missed" // the limit
	Shown     = "shown"  // no limit on this engine
)

func (l *limit) judge(engine string, values []float64) Verdict {
	v := Verdict{What: l.what, Unit: l.unit, Must: l.must, Aim: l.aim, Less: l.less, Value: median(values), Verdict: Missed}
	v.Lowest, v.Highest = slices.Min(values), slices.Max(values)
	if l.must == 0 && l.aim == 0 {
		v.Value = v.Highest // not once
	}
	reaches := func(bound float64) bool {
		if l.less {
			return v.Value <= bound
		}
		return v.Value >= bound
	}
	switch {
	case l.engine != "" && l.engine != engine:
		v.Verdict = Shown
	case reaches(l.aim):
		v.Verdict = MeetsAim
	case l.must == 0 && l.aim != 0:
		v.Verdict = Short
	case reaches(l.must):
		v.Verdict = MeetsMust
	}
	return v
}

func (v *Verdict) bounds() string {
	sign := "≥"
	if v.Less {
		sign = "≤"
	}
	if v.Must == 0 && v.Aim != 0 {
		return fmt.Sprintf("– (%s %g)", sign, v.Aim)
	}
	return fmt.Sprintf("%s %g (%g)", sign, v.Must, v.Aim)
}
