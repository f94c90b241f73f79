package api_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/store"
)

// The description and the server name the same endpoints: nothing is served
// that is not described, and nothing is described that is not there.
func TestEveryEndpointIsDescribed(t *testing.T) {
	w := apitest.New(t, store.Options{Dir: t.TempDir()})
	served, described := w.Server.Mux.Routes(), apitest.Described()
	slices.Sort(served)
	slices.Sort(described)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("described (-) and served (+) differ:\n%s", diff)
	}
}
