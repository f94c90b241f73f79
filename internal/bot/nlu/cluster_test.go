package nlu_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/bot/nlu"
)

func TestClusters(t *testing.T) {
	tests := []struct {
		name, language string
		groups         [][]string
	}{
		{"nothing", "en", nil},
		{"without words", "en", [][]string{{"🙂", "?!", ""}}},
		{"the same", "en", [][]string{{"Where is my parcel?", "where is my PARCEL", "wheres my parcel"}, {"do you sell hats"}}},
		{"paraphrases and slips", "en", [][]string{
			{"do you repair old blenders", "can you repair my blender", "do you repaire old blender"},
			{"gift wrapping", "do you offer gift wrapping", "is gift wraping possible"},
			{"is the shop open on christmas", "are you open on christmas"},
		}},
		{"german", "de", [][]string{{"Repariert ihr alte Mixer", "repariert ihr auch meinen alten Mixer"}, {"Verpackt ihr Geschenke", "verpackt ihr auch geschenke"}}},
		{"devanagari", "hi", [][]string{{"क्या आप मिक्सर ठीक करते हैं", "क्या आप मेरा मिक्सर ठीक करते हैं"}, {"क्या आप तोहफ़े लपेटते हैं"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in []string
			var want []int
			for i := 0; ; i++ { // one of each group in turn
				n := len(in)
				for g, group := range tt.groups {
					if i < len(group) {
						in, want = append(in, group[i]), append(want, g)
					}
				}
				if len(in) == n {
					break
				}
			}
			out, err := nlu.Clusters(t.Context(), in, tt.language)
			if err != nil {
				t.Fatal(err)
			}
			for i, leader := range out {
				if leader > i || out[leader] != leader || want[leader] != want[i] {
					t.Errorf("%q went to %q", in[i], in[leader])
				}
				if first := slices.Index(want, want[i]); leader != first {
					t.Errorf("%q is not with %q", in[i], in[first])
				}
			}
			// The first half alone is grouped as it was among the others.
			half, err := nlu.Clusters(t.Context(), in[:len(in)/2], tt.language)
			if d := cmp.Diff(out[:len(in)/2], half); err != nil || d != "" {
				t.Errorf("%v, the half differs: %s", err, d)
			}
		})
	}
}

func TestClustersEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nlu.Clusters(ctx, []string{"a question"}, "en"); err == nil {
		t.Error("it went on")
	}
}

// BenchmarkClusters10k groups as many questions as a bot keeps at most, all of
// them different.
func BenchmarkClusters10k(b *testing.B) {
	topics := strings.Fields("parcel refund blender gift card invoice address warranty shop return label password account size colour engraving repair spare part manual")
	verbs := strings.Fields("where when how why track cancel change find buy send lose break open close move")
	var in []string
	for i := range 10_000 {
		in = append(in, fmt.Sprintf("%s do I %s the %s of my %s with a%db%d", verbs[i%5], verbs[i/5%15], topics[i%19], topics[i/19%19], i, i%97))
	}
	for b.Loop() {
		if _, err := nlu.Clusters(b.Context(), in, "en"); err != nil {
			b.Fatal(err)
		}
	}
}
