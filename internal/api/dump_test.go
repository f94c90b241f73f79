package api_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // a driver to look past the store with

	"tract/internal/store"
)

// dumped reads every column of every table of a database, past the store, a text
// for each row: what is in none of them is nowhere in it.
func dumped(t *testing.T, o store.Options) map[string][]string {
	t.Helper()
	driver, url, tables := "sqlite", "file:"+filepath.Join(o.Dir, "tract.db")+"?mode=ro&_pragma=busy_timeout(10000)", `select name from sqlite_master where type = 'table'`
	if o.URL != "" {
		driver, url, tables = "pgx", o.URL, `select table_name from information_schema.tables where table_schema = 'public'`
	}
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	defer db.Close()
	out := map[string][]string{}
	for _, name := range readAll(t, db, tables) {
		out[name] = readAll(t, db, `select * from "`+name+`"`)
	}
	return out
}

// readAll gives each row as one text.
func readAll(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, dests := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dests[i] = &values[i]
		}
		if err := rows.Scan(dests...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		texts := make([]string, len(values))
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			texts[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// holding names the tables that hold a text somewhere.
func holding(dump map[string][]string, text string) (tables []string) {
	for name, rows := range dump {
		for _, r := range rows {
			if strings.Contains(r, text) {
				tables = append(tables, name)
				break
			}
		}
	}
	return tables
}
