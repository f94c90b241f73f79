package webui_test

import (
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// schemes reads the colours of both schemes; the dark one overrides the light.
func schemes(t *testing.T, css string) (light, dark map[string]string) {
	t.Helper()
	before, after, found := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("there is no dark scheme")
	}
	light = colours(before)
	dark = maps.Clone(light)
	maps.Copy(dark, colours(after))
	if len(light) < 20 || len(colours(after)) != len(light) {
		t.Errorf("%d colours in the light scheme, %d in the dark one", len(light), len(colours(after)))
	}
	return light, dark
}

func colours(css string) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// contrast is the ratio of WCAG 2.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	if err != nil {
		t.Fatalf("no such colour: %q", colour)
	}
	channel := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(n>>16) + 0.7152*channel(n>>8) + 0.0722*channel(n)
}
