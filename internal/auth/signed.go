package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/strictjson"
)

const (
	headerUUID      = "SignatureCertUUID"
	headerChain     = "SignatureCertChainUrl"
	headerSHA1      = "Signature"
	headerSHA256    = "Signature-256"
	maxSigned       = 8 << 10
	minSignature    = 8    // the shortest ECDSA signature in ASN.1
	maxSignature    = 1024 // RSA with 8192 bits
	maxFQDN         = 253
	maxUUID         = 64
	timestampWindow = 150 * time.Second
	// replayKept outlives the longest time a body can stay acceptable, from the
	// earliest to the latest instant, and some difference between clocks.
	replayKept = 2*timestampWindow + 30*time.Second
)

var (
	errUnknownFQDN = tract.Invalid("fqdn_mismatch", "field fqdn does not name a registered external chat tool")
	errUnknownUUID = tract.Invalid("certificate_unknown", headerUUID+" is not the id of a certificate of this tool")
	errNoChains    = tract.Invalid("certificate_source_not_allowed", headerChain+" cannot be used: this tool must use a registered certificate")
	errWeakSign    = tract.Invalid("weak_signature", "this tool must sign with SHA-256, in the header "+headerSHA256)
	errReplayed    = tract.Invalid("replayed_request", "this body was used before; change its timestamp or add a nonce")
	errInactive    = tract.Invalid("tool_inactive", "this external chat tool is not active")
	errNoClient    = tract.Invalid("client_unknown", "field client_id does not name a client that this tool and certificate serve")
)

// SignedRequest is a signed management request as it came.
type SignedRequest struct {
	Header http.Header
	Body   []byte // the exact bytes
}

// Caller is a tool that proved itself by a signed request.
type Caller struct {
	FQDN string
	// ClientID is the body's client_id, not looked at yet; "" when it has none.
	ClientID string

	clients []store.Attachment // that the certificate counts for
	weak    []string           // ids of clients that want a stronger signature
}

// candidate is one client's record of the tool, with the certificate that may
// prove it.
type candidate struct {
	store.Attachment
	leaf *x509.Certificate
}

// signedCall is a signed request, read.
type signedCall struct {
	uuid, chainURL string // one of them
	byUUID         bool
	signatures
	body      []byte
	fqdn      string
	clientID  string
	timestamp json.RawMessage

	now   time.Time
	tools []store.Attachment
	certs []tract.Certificate
}

// source names the header that the certificate came by, for error texts.
func (c *signedCall) source() string {
	if c.byUUID {
		return headerUUID
	}
	return headerChain
}

// VerifySigned checks a signed management request: its form, the certificate,
// the signature, the time, and that it was not used before. The caller is a
// known and active tool; for which client it wants something is checked by
// IssueToken. Every refusal is logged.
func (s *Service) VerifySigned(ctx context.Context, r SignedRequest) (Caller, error) {
	call, err := readSigned(r)
	if err == nil {
		var c Caller
		if c, err = s.verify(ctx, call); err == nil {
			return c, nil
		}
	}
	attrs := []any{"code", tract.CodeOf(err), "error", err}
	if call != nil && len(call.tools) > 0 {
		attrs = append(attrs, "fqdn", call.fqdn)
	}
	s.log.WarnContext(ctx, "signed request refused", attrs...)
	return Caller{}, err
}

func (s *Service) verify(ctx context.Context, call *signedCall) (Caller, error) {
	if err := s.lookUp(ctx, call); err != nil {
		return Caller{}, err
	}
	claimed, err := s.claim(ctx, call)
	if err != nil {
		return Caller{}, err
	}
	proved, err := prove(call, claimed)
	if err != nil {
		return Caller{}, err
	}
	caller := Caller{FQDN: call.fqdn, ClientID: call.clientID}
	for _, a := range proved {
		if a.Tool.RequireSHA256 && call.sha256 == nil {
			caller.weak = append(caller.weak, a.Client.ID)
			continue
		}
		caller.clients = append(caller.clients, a)
	}
	if len(caller.clients) == 0 {
		return Caller{}, errWeakSign
	}
	if err := s.useOnce(ctx, call); err != nil {
		return Caller{}, err
	}
	caller.clients = slices.DeleteFunc(caller.clients, func(a store.Attachment) bool { return !active(a) })
	if len(caller.clients) == 0 {
		return Caller{}, errInactive
	}
	return caller, nil
}

func active(a store.Attachment) bool { return a.Client.Active && a.Tool.Active }

// readSigned checks what can be seen without the record.
func readSigned(r SignedRequest) (*signedCall, error) {
	if len(r.Body) > maxSigned {
		return nil, &tract.Error{Kind: tract.KindTooLarge, Code: "body_too_large", Msg: "a signed body has at most 8 KiB"}
	}
	c := &signedCall{body: r.Body}
	uuids, urls := r.Header.Values(headerUUID), r.Header.Values(headerChain)
	switch {
	case len(uuids)+len(urls) == 0:
		return nil, tract.Invalid("certificate_source_missing", "one of the headers %s and %s is needed", headerUUID, headerChain)
	case len(uuids)+len(urls) > 1:
		return nil, tract.Invalid("certificate_source_ambiguous", "only one of the headers %s and %s may be given, and once", headerUUID, headerChain)
	case len(uuids) == 1:
		c.uuid, c.byUUID = uuids[0], true
	default:
		c.chainURL = urls[0]
	}
	var err error
	if c.sha1, err = readSignature(r.Header, headerSHA1); err != nil {
		return nil, err
	}
	if c.sha256, err = readSignature(r.Header, headerSHA256); err != nil {
		return nil, err
	}
	if c.sha1 == nil && c.sha256 == nil {
		return nil, tract.Invalid("signature_missing", "the header %s or %s is needed", headerSHA1, headerSHA256)
	}
	return c, c.readBody()
}

func readSignature(h http.Header, name string) ([]byte, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 {
		return nil, tract.Invalid("signature_ambiguous", "the header %s may be given only once", name)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(values[0])
	// The decoder passes over line breaks.
	if err != nil || strings.ContainsAny(values[0], "\r\n") || len(sig) < minSignature || len(sig) > maxSignature {
		return nil, tract.Invalid("signature_encoding", "the header %s must hold a signature in standard base64", name)
	}
	return sig, nil
}

func (c *signedCall) readBody() error {
	var body struct {
		FQDN      json.RawMessage `json:"fqdn"`
		ClientID  json.RawMessage `json:"client_id"`
		Timestamp json.RawMessage `json:"timestamp"`
	}
	if err := strictjson.Decode(c.body, &body); err != nil {
		return err
	}
	fqdn, ok := text(body.FQDN)
	if !ok || fqdn == "" || len(fqdn) > maxFQDN {
		return errUnknownFQDN
	}
	c.fqdn = strings.ToLower(fqdn)
	c.clientID, _ = text(body.ClientID)
	c.timestamp = body.Timestamp
	return nil
}

// text gives a JSON string's content; ok is false for anything else.
func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// lookUp reads the tool's record.
func (s *Service) lookUp(ctx context.Context, call *signedCall) error {
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		call.now = tx.Now
		if call.tools, err = tx.ListAttachments(call.fqdn); err != nil || !call.byUUID || !plainID(call.uuid) {
			return err
		}
		call.certs, err = tx.Certificates(call.uuid)
		return err
	})
	if err == nil && len(call.tools) == 0 {
		err = errUnknownFQDN
	}
	return err
}

// plainID says whether an id can be one of ours, so that nothing strange reaches
// the database.
func plainID(id string) bool {
	return id != "" && len(id) <= maxUUID && strings.Trim(strings.ToLower(id), "0123456789abcdefghijklmnopqrstuvwxyz-_.") == ""
}

// claim finds the records that the certificate named by the request may prove.
func (s *Service) claim(ctx context.Context, call *signedCall) (out []candidate, err error) {
	if call.byUUID {
		return claimByUUID(call)
	}
	url, err := chainURL(call.chainURL, call.fqdn)
	if err != nil {
		return nil, err
	}
	for _, a := range call.tools {
		if a.Tool.CASigned && active(a) {
			out = append(out, candidate{Attachment: a})
		}
	}
	if len(out) == 0 {
		return nil, errNoChains
	}
	leaf, known, err := s.chains.known(url, call.fqdn, call.now)
	if !known {
		// An old body must not make us open a connection.
		if err := checkTimestamp(call.timestamp, call.now); err != nil {
			return nil, err
		}
		leaf, err = s.chains.get(ctx, url, call.fqdn, call.now)
		if keyExposed(err) {
			s.alertExposed(ctx, out)
		}
	}
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].leaf = leaf
	}
	return out, nil
}

func claimByUUID(call *signedCall) (out []candidate, err error) {
	for _, c := range call.certs {
		for _, a := range call.tools {
			if c.Client != a.Client.Key || c.Tool != a.Tool.ID || !c.RevokedAt.IsZero() {
				continue
			}
			leaf, perr := parseCertificate([]byte(c.PEM))
			if perr != nil {
				err = tract.Invalid("unsupported_key", "%s: the certificate cannot be read", headerUUID).Because(perr)
				continue
			}
			out = append(out, candidate{a, leaf})
		}
	}
	if len(out) == 0 && err == nil {
		err = errUnknownUUID
	}
	if len(out) > 0 {
		err = nil
	}
	return out, err
}

// prove keeps the records whose certificate is good and made the signature.
// Clients that list one certificate share the answer.
func prove(call *signedCall, claimed []candidate) (proved []store.Attachment, first error) {
	answers := map[string]error{}
	for _, c := range claimed {
		err, done := answers[string(c.leaf.Raw)]
		if !done {
			if err = checkLeaf(c.leaf, call.source(), call.fqdn, call.now); err == nil {
				err = call.signatures.verify(c.leaf, call.source(), call.body)
			}
			answers[string(c.leaf.Raw)] = err
		}
		if err == nil {
			proved = append(proved, c.Attachment)
		} else if first == nil {
			first = err
		}
	}
	if len(proved) > 0 {
		first = nil
	}
	return proved, first
}

// useOnce checks the time and takes the body, in one transaction, so that of
// any number of equal requests at any number of replicas one gets through.
func (s *Service) useOnce(ctx context.Context, call *signedCall) error {
	sum := sha256.Sum256(call.body)
	digest := sha256.Sum256(append([]byte(call.fqdn+"\x00"), sum[:]...))
	fresh := false
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		if err = checkTimestamp(call.timestamp, tx.Now); err != nil {
			return err
		}
		fresh, err = tx.InsertReplay(digest[:], tx.Now.Add(replayKept))
		return err
	})
	if err == nil && !fresh {
		err = errReplayed
	}
	return err
}

// alertExposed tells the clients that their tool publishes its private key.
func (s *Service) alertExposed(ctx context.Context, tools []candidate) {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for _, c := range tools {
			if err := tx.InsertAudit(c.Client.Key, "system", "tool_private_key_exposed", string(c.Tool.ID), map[string]string{"fqdn": c.Tool.FQDN}); err != nil {
				return err
			}
		}
		return nil
	})
	s.log.ErrorContext(ctx, "private key published", "fqdn", tools[0].Tool.FQDN, "error", err)
}

// checkTimestamp takes ISO 8601 in UTC, to the second or finer, from 150 s ago
// to 150 s ahead.
func checkTimestamp(raw json.RawMessage, now time.Time) error {
	at, ok := parseTimestamp(raw)
	if !ok {
		return tract.Invalid("timestamp_invalid", "field timestamp must be an instant in UTC such as 2026-11-20T10:30:00Z")
	}
	switch age := now.Sub(at); {
	case age > timestampWindow:
		return tract.Invalid("timestamp_stale", "field timestamp is more than 150 seconds in the past")
	case age < -timestampWindow:
		return tract.Invalid("timestamp_future", "field timestamp is more than 150 seconds in the future")
	}
	return nil
}

func parseTimestamp(raw json.RawMessage) (at time.Time, ok bool) {
	const layout = "2006-01-02T15:04:05"
	s, _ := text(raw)
	s, utc := strings.CutSuffix(s, "Z")
	if !utc {
		s, utc = strings.CutSuffix(s, "+00:00")
	}
	if !utc || len(s) < len(layout) {
		return at, false
	}
	// The parser also takes single digits and a comma before the fraction.
	fraction, dotted := strings.CutPrefix(s[len(layout):], ".")
	if dotted != (fraction != "") || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return at, false
	}
	at, err := time.Parse(layout, s)
	return at, err == nil
}
