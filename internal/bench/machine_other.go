//go:build !linux

package bench

import (
	"os"
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func datasync(f *os.File) error { return f.Sync() }

func freeDisk(string) (int64, bool) { return 0, false }

func rest(d time.Duration) { <-time.After(d) }
