package api

import (
	"net/http"

	"tract"
	"tract/internal/web"
)

// limit counts a call of a client's token, first against the token's rate: what
// that refuses does not count against the client's.
func (a *API) limit(w http.ResponseWriter, client tract.Client, token string) error {
	var buckets []web.Bucket
	rate := a.Rate
	if own := client.RateLimit.PerToken; own.PerSecond > 0 {
		rate = web.Rate(own)
	}
	if rate.PerSecond >= 0 {
		buckets = append(buckets, web.Bucket{Key: "client/" + client.ID + "/token/" + token, Rate: rate})
	}
	return a.Limiter.Take(w, append(buckets, clientBucket(client.ID, client.RateLimit)...)...)
}

// clientBucket is what all calls of a client's tokens and tools are counted in;
// none when the client has no such limit.
func clientBucket(client string, limits tract.RateLimit) []web.Bucket {
	if limits.PerClient.PerSecond <= 0 {
		return nil
	}
	return []web.Bucket{{Key: "client/" + client, Rate: web.Rate(limits.PerClient)}}
}
