//go:build !linux

package tracttest

import "syscall"

func process(as *syscall.Credential, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}
