package store

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CreateDatabase makes an empty database beside the one that server, a
// postgres:// URL, names, and gives its URL.
func CreateDatabase(ctx context.Context, server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return "", fmt.Errorf("the database's URL must begin with postgres://")
	}
	u.Path = "/" + name
	return u.String(), administer(ctx, server, "create database "+pgx.Identifier{name}.Sanitize())
}

// DropDatabase removes what CreateDatabase made, whoever still uses it.
func DropDatabase(ctx context.Context, server, name string) error {
	return administer(ctx, server, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
}

func administer(ctx context.Context, server, sql string) error {
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, sql)
	return err
}
