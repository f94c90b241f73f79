package bench

import "fmt"

// limit is a figure that the hub is held to: in the best case at least aim, in
// any case at least must, or at most where less is better.
type limit struct {
	what      string
	must, aim float64
	less      bool // less is better
	unit      string
	needs     []string // the workloads of a round that it is made from
	of        func(s map[string]Sample) float64
}

// limits are the rows of the second table.
func limits() []limit {
	rate := func(name string) func(map[string]Sample) float64 {
		return func(s map[string]Sample) float64 { return s[name].Rate }
	}
	over := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	_ = rate
	return []limit{
		{what: "webhook path, delivered: share of R", must: 0.35, aim: 0.50, unit: "× R", needs: []string{"webhook", "relay"},
			of: func(s map[string]Sample) float64 { return over(s["webhook"].Rate, s["relay"].Rate) }},
		{what: "accepted, 64 senders, over F", must: 1.5, aim: 2, unit: "× F", needs: []string{"intake", "fdatasync"},
			of: func(s map[string]Sample) float64 { return over(s["intake"].AcceptRate, s["fdatasync"].AcceptRate) }},
		{what: "accepted, 64 senders, over N", must: 2, aim: 3, unit: "× N", needs: []string{"intake", "single"},
			of: func(s map[string]Sample) float64 { return over(s["intake"].AcceptRate, s["single"].AcceptRate) }},
	}
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
	Verdict string  `json:"verdict"` // aim | must | missed
}

// The verdicts.
const (
	MeetsAim  = "aim"
	MeetsMust = "must"
	Missed    = "missed"
)

func (l *limit) judge(values []float64) Verdict {
	v := Verdict{What: l.what, Unit: l.unit, Must: l.must, Aim: l.aim, Less: l.less, Value: median(values), Verdict: Missed}
	v.Lowest, v.Highest = values[0], values[0]
	for _, x := range values {
		v.Lowest, v.Highest = min(v.Lowest, x), max(v.Highest, x)
	}
	reaches := func(bound float64) bool {
		if l.less {
			return v.Value <= bound
		}
		return v.Value >= bound
	}
	switch {
	case reaches(l.aim):
		v.Verdict = MeetsAim
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
	return fmt.Sprintf("%s %g (%g)", sign, v.Must, v.Aim)
}
