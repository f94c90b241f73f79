// Package web owns the way from an HTTP request to checked input and from a
// result or an error to an answer: routes, bodies, paging, idempotency keys,
// rate limits, event streams. It alone knows which [tract.Kind] is which status.
//
// It must not know what any endpoint does, nor who is calling.
//
// Invariants: every answer carries a request id; nothing redirects; an error
// that nobody classified never shows its text; query strings, bodies and
// headers are never logged; a remembered answer is committed together with what
// it answers.
package web
