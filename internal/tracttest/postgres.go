package tracttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresServer is the server's URL: given, or our own, started once a process.
var postgresServer = sync.OnceValues(func() (string, error) {
	if u := os.Getenv("TRACT_TEST_POSTGRES"); u != "" {
		return u, nil
	}
	bin, err := postgresBin()
	if err != nil {
		return "", err
	}
	return startPostgres(bin)
})

func postgresBin() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			return filepath.Dir(p), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("no initdb is installed")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// keeper ends the server and removes its files when this process ends.
const keeper = `trap 'kill -QUIT $p; wait $p; rm -rf "$0"; exit 0' TERM
"$1/postgres" -D "$0/data" -k "$0" -c listen_addresses= -c fsync=off -c max_connections=300 -c shared_buffers=64MB >"$0/log" 2>&1 & p=$!
wait $p`

func startPostgres(bin string) (string, error) {
	dir, cred, err := initPostgres(bin)
	if err != nil {
		return "", err
	}
	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread that started the child ends.
		runtime.LockOSThread()
		cmd := exec.Command("/bin/sh", "-c", keeper, dir, bin)
		cmd.Dir, cmd.SysProcAttr = dir, process(cred, syscall.SIGTERM)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", err
	}
	url := "postgres:///postgres?host=" + dir + "&user=tract"
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return url, awaitPostgres(ctx, url)
}

// initPostgres makes the files of a server, and says as whom to run it.
func initPostgres(bin string) (dir string, cred *syscall.Credential, err error) {
	if dir, err = os.MkdirTemp("", "tract-pg-"); err != nil {
		return "", nil, err
	}
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return "", nil, fmt.Errorf("no user to run PostgreSQL as: %w", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", nil, err
		}
	}
	init := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "tract", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
	init.Dir, init.SysProcAttr = dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := init.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return dir, cred, nil
}

func awaitPostgres(ctx context.Context, url string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, url)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL did not start: %w", err)
		}
	}
}
