package api_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	apidocs "tract/docs/api"
	"tract/internal/apitest"
)

// The description and the server name the same endpoints: nothing is served
// that is not described, and nothing is described that is not there.
func TestEveryEndpointIsDescribed(t *testing.T) {
	w := apitest.New(t, apitest.SQLite(t))
	served, described := w.Server.Mux.Routes(), apitest.Described()
	slices.Sort(served)
	slices.Sort(described)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("described (-) and served (+) differ:\n%s", diff)
	}
}

// The codes in the examples are ones that the documentation of errors has.
func TestExamplesHaveRealCodes(t *testing.T) {
	list, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`\{(?:error|error_message): .*?, code: ([a-z0-9_]+), request_id`).FindAllSubmatch(apidocs.YAML(), -1)
	if len(found) < 40 {
		t.Fatalf("found only %d examples", len(found))
	}
	for _, f := range found {
		if !regexp.MustCompile("`" + string(f[1]) + "`").Match(list) {
			t.Errorf("an example has the code %s, which docs/errors.md does not have", f[1])
		}
	}
}
