package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const (
	configurationDoc = "../../docs/configuration.md"
	tablesBegin      = "<!-- written by: go test ./cmd/tract -run Configuration -update -->\n"
	tablesEnd        = "<!-- end of what is written by the test -->\n"
)

// The tables of docs/configuration.md are those of the command line itself.
func TestConfigurationIsDocumented(t *testing.T) {
	var c commands
	parser, err := kong.New(&c, kong.Name("tract"), kong.Writers(io.Discard, io.Discard), kong.Configuration(yamlConfig))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(configurationDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), tablesBegin)
	_, after, closed := strings.Cut(rest, tablesEnd)
	if !ok || !closed {
		t.Fatalf("%s has lost the marks between which its tables stand", configurationDoc)
	}
	want := before + tablesBegin + settingsTable(t, parser.Model) + commandsTable(parser.Model) + tablesEnd + after
	if *update {
		if err := os.WriteFile(configurationDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(doc) != want {
		t.Errorf("%s is not what the settings are; write it with: go test ./cmd/tract -run Configuration -update", configurationDoc)
	}
}

func settingsTable(t *testing.T, app *kong.Application) string {
	var b strings.Builder
	b.WriteString("\n| flag | environment | default | meaning |\n|---|---|---|---|\n")
	for _, f := range app.Flags {
		if f.Name == "help" {
			continue
		}
		if len(f.Envs) != 1 {
			t.Errorf("--%s has %d environment variables, not one", f.Name, len(f.Envs))
			continue
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, f.Envs[0], orDash(f.Default), cell(f.Help))
	}
	return b.String()
}

func commandsTable(app *kong.Application) string {
	var b strings.Builder
	b.WriteString("\n### Commands\n\n| command | does |\n|---|---|\n")
	for _, n := range app.Leaves(true) {
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", cell(usage(n)), cell(n.Help), cell(options(n)))
	}
	b.WriteString("\n")
	return b.String()
}

// usage is "tract token create NAME --client CLIENT": what must be given.
func usage(n *kong.Node) string {
	out := n.FullPath()
	for _, p := range n.Positional {
		out += " " + strings.ToUpper(p.Name)
	}
	for _, f := range n.Flags {
		if f.Required {
			out += " --" + f.Name + " " + strings.ToUpper(f.Name)
		}
	}
	return out
}

// options are a command's flags that may be left out.
func options(n *kong.Node) string {
	var out []string
	for _, f := range n.Flags {
		if f.Required || f.Name == "help" {
			continue
		}
		text := fmt.Sprintf("`--%s`: %s", f.Name, strings.TrimSuffix(f.Help, "."))
		if f.Default != "" {
			text += " (" + f.Default + ")"
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return ""
	}
	return "<br>" + strings.Join(out, "<br>")
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
