package nlu

import (
	"context"
	"math"
)

const signalCount = 7

// list gives the signals as numbers, in the order of the calibration.
func (s Signals) list() [signalCount]float64 {
	return [signalCount]float64{s.Margin, s.Probability, s.Gap, s.Nearest, s.Known, s.Coverage, s.Jaccard}
}

// calibration turns signals into the probability of being right.
type calibration struct {
	bias   float64
	weight [signalCount]float64
}

// shippedCalibration was learnt over 600 bots of 2 to 12 steps with 1 to 10
// examples, drawn from public data sets. A bot too small to learn its own has
// this one; a larger one's own is pulled towards it.
func shippedCalibration() calibration {
	return calibration{bias: 1.14, weight: [signalCount]float64{4.90, -0.76, 0.04, -0.29, 0.37, -0.45, 1.22}}
}

func (c calibration) confidence(s Signals) float64 {
	sum := c.bias
	for i, v := range s.list() {
		sum += c.weight[i] * v
	}
	return 1 / (1 + math.Exp(-sum))
}

// sample is a question of which we know whether the best step was right.
type sample struct {
	signals [signalCount]float64
	right   bool
	weight  float64
}

// What a bot needs to learn its own calibration.
const (
	calibrateSteps    = 8
	calibrateExamples = 60
)

// unanswerable tells how much the two kinds of questions without an answer
// count against those with one: examples of a step that was left out, and
// foreign sentences. A bot with many examples per step knows its users' topics
// better, so fewer of its questions miss them all.
func (t *trainingSet) unanswerable() (leftOut, foreign float64) {
	return 0.3 - 0.22*t.rich, 0.2 - 0.1*t.rich
}

// calibrate learns how far the signals can be trusted, by asking models
// trained without some of the steps: examples of these have no right answer,
// and examples held back of the others have one.
func (t *trainingSet) calibrate(ctx context.Context, workers int) (calibration, error) {
	if len(t.steps) < calibrateSteps || t.count() < calibrateExamples {
		return shippedCalibration(), nil
	}
	samples, err := t.sampled(sampledSteps).ask(ctx, workers)
	if err != nil {
		return calibration{}, err
	}
	return fitCalibration(samples.weighted(t.unanswerable())), nil
}

// answerable tells whether sentence i is an example of a step.
func (t *trainingSet) answerable(i int) bool {
	return int(t.sentences[i].class) < len(t.steps) && !t.sentences[i].name
}

// samples are by what the question was.
type samples struct {
	held    []sample // an example held back
	leftOut []sample // an example of a step left out
	foreign []sample // a background sentence held back
}

// weighted is all samples, weighing what their kind should.
func (s samples) weighted(leftOut, foreign float64) []sample {
	total := float64(len(s.held))
	share(s.held, total)
	share(s.leftOut, leftOut*total)
	share(s.foreign, foreign*total)
	return append(append(s.held, s.leftOut...), s.foreign...)
}

// ask asks the models of several folds about what they were trained without.
func (t *trainingSet) ask(ctx context.Context, workers int) (samples, error) {
	folds, asked := foldsFor(t.count())
	stepFold := deal(len(t.steps), folds, 1)
	fold := deal(len(t.sentences), folds, 2)
	var all samples
	for f := range asked {
		out := func(i int) bool {
			s := t.sentences[i]
			return int(s.class) < len(t.steps) && stepFold[s.class] == f
		}
		m, err := t.subset(func(i int) bool { return !out(i) && (t.sentences[i].name || fold[i] != f) }).fit(ctx, workers)
		if err != nil {
			return samples{}, err
		}
		for i, s := range t.sentences {
			if s.name || fold[i] != f && !out(i) {
				continue
			}
			r := m.Match(s.text)
			if len(r.Candidates) == 0 {
				continue
			}
			p := sample{signals: r.Signals.list(), right: r.Candidates[0].Step == int(s.class)}
			switch {
			case int(s.class) == len(t.steps):
				all.foreign = append(all.foreign, p)
			case out(i):
				all.leftOut = append(all.leftOut, p)
			default:
				all.held = append(all.held, p)
			}
		}
	}
	return all, nil
}

// share spreads a total weight over samples.
func share(samples []sample, total float64) {
	for i := range samples {
		samples[i].weight = total / float64(len(samples))
	}
}

// deal gives each of n things one of some folds, at random but always the same
// way, the folds of equal size.
func deal(n, folds int, seed uint64) []int {
	order := make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	rng := random(seed)
	rng.shuffle(order)
	fold := make([]int, n)
	for k, i := range order {
		fold[i] = k % folds
	}
	return fold
}

const (
	calibrationRounds = 50
	calibrationPull   = 5.0 // towards the shipped one, in samples
	longestStep       = 2.0 // of one round, so that none overshoots
)

// coefficients belong to the signals in units of their spread, then the constant.
type coefficients [signalCount + 1]float64

// scale is where a signal's values lie.
type scale struct{ mean, spread [signalCount]float64 }

// fitCalibration is logistic regression by Newton's method, pulled towards the
// shipped calibration.
func fitCalibration(samples []sample) calibration {
	prior := shippedCalibration()
	z, ok := scaleOf(samples)
	if !ok {
		return prior
	}
	var target coefficients
	target[signalCount] = prior.bias
	for i := range signalCount {
		target[i] = prior.weight[i] * z.spread[i]
		target[signalCount] += prior.weight[i] * z.mean[i]
	}
	beta := target
	for range calibrationRounds {
		step := z.step(samples, beta, target)
		var size float64
		for _, v := range step {
			size = max(size, math.Abs(v))
		}
		for i, v := range step {
			beta[i] -= v * min(1, longestStep/max(size, 1e-300))
		}
		if size < 1e-9 {
			break
		}
	}
	c := calibration{bias: beta[signalCount]}
	for i := range signalCount {
		c.weight[i] = beta[i] / z.spread[i]
		c.bias -= c.weight[i] * z.mean[i]
	}
	return c
}

// scaleOf measures the samples; it fails when none has any weight.
func scaleOf(samples []sample) (z scale, ok bool) {
	var total float64
	for _, s := range samples {
		total += s.weight
		for i, v := range s.signals {
			z.mean[i] += s.weight * v
		}
	}
	if total == 0 {
		return z, false
	}
	for i := range z.mean {
		z.mean[i] /= total
	}
	for _, s := range samples {
		for i, v := range s.signals {
			z.spread[i] += s.weight * (v - z.mean[i]) * (v - z.mean[i])
		}
	}
	for i := range z.spread {
		z.spread[i] = math.Sqrt(z.spread[i]/total) + 1e-6
	}
	return z, true
}

// step is one round of Newton's method.
func (z scale) step(samples []sample, beta, target coefficients) coefficients {
	var gradient coefficients
	var hessian [signalCount + 1]coefficients
	for _, s := range samples {
		x := coefficients{signalCount: 1}
		sum := beta[signalCount]
		for i, v := range s.signals {
			x[i] = (v - z.mean[i]) / z.spread[i]
			sum += beta[i] * x[i]
		}
		p := 1 / (1 + math.Exp(-sum))
		wrong := p
		if s.right {
			wrong = p - 1
		}
		for i := range x {
			gradient[i] += s.weight * wrong * x[i]
			for j := range x {
				hessian[i][j] += s.weight * p * (1 - p) * x[i] * x[j]
			}
		}
	}
	for i := range gradient {
		gradient[i] += calibrationPull * (beta[i] - target[i])
		hessian[i][i] += calibrationPull
	}
	return solve(hessian, gradient)
}

// solve gives x with a·x = b for a symmetric positive definite a, by Cholesky.
func solve(a [signalCount + 1]coefficients, b coefficients) coefficients {
	const n = len(b)
	for i := range n {
		for j := range i + 1 {
			sum := a[i][j]
			for k := range j {
				sum -= a[i][k] * a[j][k]
			}
			if i == j {
				a[i][i] = math.Sqrt(max(sum, 1e-12))
			} else {
				a[i][j] = sum / a[j][j]
			}
		}
	}
	for i := range n {
		for k := range i {
			b[i] -= a[i][k] * b[k]
		}
		b[i] /= a[i][i]
	}
	for i := n - 1; i >= 0; i-- {
		for k := i + 1; k < n; k++ {
			b[i] -= a[k][i] * b[k]
		}
		b[i] /= a[i][i]
	}
	return b
}
