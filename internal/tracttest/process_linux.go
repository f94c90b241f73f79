package tracttest

import "syscall"

// process is one that runs as somebody, and gets a signal when the test that
// started it is gone.
func process(as *syscall.Credential, gone syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: gone}
}
