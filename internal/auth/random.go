package auth

import (
	"context"
	"crypto/rand"
)

// RandomToken makes a token that cannot be guessed.
func RandomToken() (string, error) { return randomText(rand.Reader) }

// HashPassword is the function of the same name for callers who wait: only a few
// passwords are hashed at a time.
func (s *Service) HashPassword(ctx context.Context, password string) (string, error) {
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-s.hashing }()
	return HashPassword(s.rand, password)
}
