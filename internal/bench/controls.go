package bench

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

const syncBytes = 400

// rawSync is the control F.
func (r *round) rawSync(ctx context.Context) ([]Sample, error) {
	f, err := os.Create(filepath.Join(r.dir, "sync"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	record := make([]byte, syncBytes)
	return r.repeat(ctx, "fdatasync", 1, func(context.Context) error {
		if _, err := f.Write(record); err != nil {
			return err
		}
		return datasync(f)
	})
}

// repeat does something again and again for the duration of a workload; each
// time counts for n.
func (r *round) repeat(ctx context.Context, name string, n int, do func(context.Context) error) ([]Sample, error) {
	var took []time.Duration
	begun := r.cfg.Now()
	for at := begun; ctx.Err() == nil && at.Sub(begun) < r.size.duration && len(took)*n < r.size.mostMessages; {
		if err := do(ctx); err != nil {
			return nil, err
		}
		now := r.cfg.Now()
		took = append(took, now.Sub(at))
		at = now
	}
	return raw(name, n*len(took), r.cfg.Now().Sub(begun), took), ctx.Err()
}

// raw is the sample of a control that is no hub.
func raw(name string, n int, took time.Duration, ds []time.Duration) []Sample {
	return []Sample{{Workload: name, Sent: n, Accepted: n, AcceptRate: perSecond(n, int64(took)), Accept: latencyOf(ds)}}
}
