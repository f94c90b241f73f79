package safehttp

import "net/http"

// Transport is for a library that speaks a protocol of its own over HTTP and
// streams, such as that of an object store. Addresses are checked at dialling as
// always; that a call ends, and how much of an answer is read, is the library's
// and its caller's to see to.
func (c *Client) Transport() http.RoundTripper { return c.transport }
