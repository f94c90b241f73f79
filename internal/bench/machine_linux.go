package bench

import (
	"os"
	"syscall"
	"time"
)

// dieWithParent ends a child whose bench was killed. It holds for the thread
// that starts the child.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// freeDisk is how many bytes may still be written in dir.
func freeDisk(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}

// rest sleeps by the kernel's timer. The runtime's own fire up to a millisecond
// late, which would count as the hub's.
func rest(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}
