package tracttest

import (
	"os"
	"os/exec"
	"testing"
)

// Browser is the path of a Chromium; without one the test says so loudly, and
// with TRACT_TEST_ALL=1 fails.
func Browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("TRACT_TEST_ALL") == "1" {
		t.Fatal("a browser is needed: install chromium")
	}
	t.Skip("NOT RUN IN A BROWSER: there is no chromium, chromium-browser or google-chrome")
	return ""
}
