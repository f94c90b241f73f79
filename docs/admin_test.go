package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdministration runs the examples of the page about administration, as they
// stand there, against a server of their own.
func TestAdministration(t *testing.T) {
	for _, name := range []string{"curl", "openssl", "python3"} {
		program(t, name)
	}
	bash := program(t, "bash")
	page, err := os.ReadFile(filepath.Join(root, "docs", "admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), freePort(t)
	script := "set -euo pipefail\nfor v in ${!TRACT_*}; do unset $v; done\n" +
		"export HUB=http://localhost:" + port + " ADMIN=an-administrator-of-the-test TRACT_DATA_DIR=" + dir + "/data\n" +
		"go build -o " + dir + "/tract ./cmd/tract\n" + dir + "/tract serve --admin-token $ADMIN --log-level error --listen 127.0.0.1:" + port + " &\n" +
		"curl -s --retry 50 --retry-delay 1 --retry-all-errors --fail -o /dev/null $HUB/readyz\ncd " + dir + "\n"
	for _, m := range shellBlock.FindAllStringSubmatch(string(page), -1) {
		script += m[1]
	}
	out := runTour(t, bash, script+"kill %1; wait\n")
	for _, want := range []string{
		`"failover":["sac"]`, `"ack_timeout":"2m0s"`, `"problems":[{"path":"bot","message":"no bot \"acme_fq\" (did you mean \"acme_faq\"?)"}]`, `"referred_by":["businesses/343.bot"]`,
		`"offline_message":"Back at nine."`, `"code":"precondition_failed"`, `"value":"tract_`, `"not_after":"`, `"hooks":[]`, `"channels":[{"id":`, `"burst":1000`, `"target":"acme/business/343"`, `"text":"Mon to Fri, 9 to 18h."`, `"threads":[{`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the examples do not show %s", want)
		}
	}
	if strings.Contains(out, "Back at ten") || strings.Contains(out, "one-of-ours") {
		t.Error("the examples show what must not be")
	}
	if t.Failed() {
		t.Log(out)
	}
}
