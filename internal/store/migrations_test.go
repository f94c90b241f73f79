package store_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unreleased is the newest migration that no two versions ever met over.
const unreleased = "0012"

// While replicas are replaced one by one the version before goes on with the
// schema of the next: what it reads stays, and what it writes is enough.
func TestMigrationsLeaveTheVersionBeforeUsable(t *testing.T) {
	taken := regexp.MustCompile(`\bdrop table\b|\bdrop column\b|\brename\b|\balter column\b|\bset not null\b`)
	column := regexp.MustCompile(`\badd column\b[^;]*\bnot null\b`)
	for _, engine := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob(filepath.Join("migrations", engine, "*.sql"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no migrations for %s: %v", engine, err)
		}
		for _, f := range files {
			if filepath.Base(f)[:4] <= unreleased {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range broken(string(b), taken, column) {
				t.Errorf("%s: %s", f, line)
			}
		}
	}
	for sql, want := range map[string]int{
		"create table x (a bigint not null); drop index y;":              0,
		"alter table x add column a text not null default '';":           0,
		"alter table x add column a text;":                               0,
		"alter table x add column a text not null;":                      1,
		"-- drop table x\ndelete from x where a = 1;":                    0,
		"ALTER TABLE x RENAME COLUMN a TO b;":                            1,
		"drop table x; alter table y drop column z;":                     2,
		"alter table x alter column a set not null; alter table x add b": 1,
	} {
		if got := broken(sql, taken, column); len(got) != want {
			t.Errorf("%q: %q", sql, got)
		}
	}
}

// broken lists the statements that the version before could not live with.
func broken(sql string, taken, column *regexp.Regexp) (out []string) {
	sql = strings.ToLower(regexp.MustCompile(`--[^\n]*`).ReplaceAllString(sql, ""))
	for _, s := range strings.Split(sql, ";") {
		s = strings.Join(strings.Fields(s), " ")
		if taken.MatchString(s) || column.MatchString(s) && !strings.Contains(s, "default") {
			out = append(out, s)
		}
	}
	return out
}
