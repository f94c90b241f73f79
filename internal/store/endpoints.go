package store

import (
	"strconv"
	"time"

	"tract"
)

// Kinds of endpoints.
const (
	EndpointHook    = "hook"    // a tool's webhook for one event
	EndpointChannel = "channel" // a business' channel webhook
	EndpointBot     = "bot"     // a business' bot: turns are answered in the process
)

// Reasons an endpoint is disabled for.
const (
	DisabledExhausted = "exhausted" // a ladder ran out and nothing else got through
	DisabledGone      = "gone"      // it answered 410
	DisabledByOwner   = "switched_off"
	DisabledRemoved   = "removed" // unregistered, or no longer configured
)

// Endpoint is where deliveries go.
type Endpoint struct {
	ID             int64
	Client         int64
	Kind           string
	Tool           tract.ReceiverID
	Category       string
	Subcategory    string
	Business       int64
	URL            string
	Secrets        []string  // sealed, newest first
	SecretUntil    time.Time // when the older secret ends
	Enabled        bool
	DisabledReason string
	DisabledAt     time.Time
	EnabledAt      time.Time
	Generation     int64 // raised by every change
	CreatedAt      time.Time
}

const endpointColumns = `id, client, kind, tool, category, subcategory, business, url, secrets, secret_until, enabled, disabled_reason, disabled_at, enabled_at, generation, created_at`

func scanEndpoint(r row, e *Endpoint) error {
	return r.Scan(&e.ID, &e.Client, &e.Kind, &e.Tool, &e.Category, &e.Subcategory, &e.Business, &e.URL, js(&e.Secrets), at(&e.SecretUntil), flag(&e.Enabled),
		&e.DisabledReason, at(&e.DisabledAt), at(&e.EnabledAt), &e.Generation, at(&e.CreatedAt))
}

func (tx *Tx) endpoints(where string, args ...any) (out []Endpoint, err error) {
	err = tx.each(func(r row) error {
		var e Endpoint
		err := scanEndpoint(r, &e)
		out = append(out, e)
		return err
	}, `select `+endpointColumns+` from endpoints where `+where+` order by id`, args...)
	return out, err
}

// Endpoint reads an endpoint by its number; ErrNotFound when there is none.
func (tx *Tx) Endpoint(id int64) (Endpoint, error) {
	es, err := tx.endpoints(`id = $1`, id)
	if err == nil && len(es) == 0 {
		err = ErrNotFound.With("no such endpoint")
	}
	if err != nil {
		return Endpoint{}, err
	}
	return es[0], nil
}

// FindEndpoint reads an endpoint by what it is for; ErrNotFound when there is none.
func (tx *Tx) FindEndpoint(e Endpoint) (Endpoint, error) {
	es, err := tx.endpoints(`client = $1 and kind = $2 and tool = $3 and category = $4 and subcategory = $5 and business = $6`, e.Client, e.Kind, string(e.Tool), e.Category, e.Subcategory, e.Business)
	if err == nil && len(es) == 0 {
		err = ErrNotFound.With("no such hook")
	}
	if err != nil {
		return Endpoint{}, err
	}
	return es[0], nil
}

// ListEndpoints returns a client's endpoints of a kind; tool "" means all tools.
func (tx *Tx) ListEndpoints(client int64, kind string, tool tract.ReceiverID) ([]Endpoint, error) {
	return tx.endpoints(`client = $1 and kind = $2 and (tool = $3 or $3 = '')`, client, kind, string(tool))
}

// ListAllEndpoints returns the endpoints of every client.
func (tx *Tx) ListAllEndpoints() ([]Endpoint, error) { return tx.endpoints(`id > 0`) }

// PutEndpoint creates an endpoint or replaces its address and secrets, and
// enables it. What is queued for it goes to the new address.
func (tx *Tx) PutEndpoint(e Endpoint) (Endpoint, error) {
	if _, err := tx.writeOne([]any{&e.ID, &e.Generation, at(&e.CreatedAt)}, `insert into endpoints (client, kind, tool, category, subcategory, business, url, secrets, secret_until, enabled, disabled_reason, disabled_at, enabled_at, generation, created_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, '', 0, $10, 1, $10)
		on conflict (client, kind, tool, category, subcategory, business) do update set url = excluded.url, secrets = excluded.secrets, secret_until = excluded.secret_until,
			enabled = 1, disabled_reason = '', enabled_at = case when endpoints.enabled = 1 then endpoints.enabled_at else excluded.enabled_at end, generation = endpoints.generation + 1
		returning id, generation, created_at`,
		e.Client, e.Kind, string(e.Tool), e.Category, e.Subcategory, e.Business, e.URL, toJSON(e.Secrets), e.SecretUntil, tx.Now); err != nil {
		return e, err
	}
	e.Enabled = true
	return e, tx.endpointChanged(e.Client, e.ID)
}

// EnableEndpoint lets an endpoint be called again.
func (tx *Tx) EnableEndpoint(e Endpoint) error {
	if err := tx.exec(`update endpoints set enabled = 1, disabled_reason = '', enabled_at = $2, generation = generation + 1 where id = $1 and enabled = 0`, e.ID, tx.Now); err != nil {
		return err
	}
	return tx.endpointChanged(e.Client, e.ID)
}

// DisableEndpoint stops calls to an endpoint; what is committed for it queues.
// It says whether this call changed it.
func (tx *Tx) DisableEndpoint(e Endpoint, reason string) (bool, error) {
	n, err := tx.count(`update endpoints set enabled = 0, disabled_reason = $2, disabled_at = $3, generation = generation + 1 where id = $1 and enabled = 1`, e.ID, reason, tx.Now)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.endpointChanged(e.Client, e.ID)
}

// DeleteEndpoint unregisters a hook. What was queued for it is dead; its lines
// in the delivery log stay.
func (tx *Tx) DeleteEndpoint(e Endpoint) error {
	// Lanes before endpoints, as the dispatcher's marks lock them.
	if err := tx.each(func(r row) error { var thread int64; return r.Scan(&thread) },
		tx.s.engine.forUpdate(`select l.thread from lanes l where l.endpoint = $1 and l.open = 1 order by l.thread`, "l"), e.ID); err != nil {
		return err
	}
	if err := tx.exec(`insert into removed_endpoints (id, client, kind, tool, category, subcategory, business, removed_at) select id, client, kind, tool, category, subcategory, business, $2 from endpoints where id = $1`, e.ID, tx.Now); err != nil {
		return err
	}
	for _, q := range []string{`delete from endpoints where id = $1`, `delete from endpoint_health where endpoint = $1`} {
		if err := tx.exec(q, e.ID); err != nil {
			return err
		}
	}
	if err := tx.BuryOrphans(e.ID); err != nil {
		return err
	}
	return tx.endpointChanged(e.Client, e.ID)
}

// BuryOrphans makes dead letters of what is queued for an endpoint that does not
// exist any more: a command that had read the configuration just before may
// append after the endpoint was deleted.
func (tx *Tx) BuryOrphans(endpoint int64) error {
	if err := tx.exec(`insert into dead (thread, endpoint, seq, client, reason, at, replayed_at)
		select o.thread, o.endpoint, o.seq, l.client, 'removed', $2, 0 from lanes l join outbox o on o.thread = l.thread and o.endpoint = l.endpoint and o.seq > l.done and o.hold_until >= 0
		where l.endpoint = $1 and l.open = 1 and l.last > l.done and not exists (select 1 from endpoints e where e.id = $1) on conflict do nothing`, endpoint, tx.Now); err != nil {
		return err
	}
	return tx.exec(`update lanes set done = last, attempt = 0, first_at = 0, next_at = 0, fence = fence + 1, open = 0
		where endpoint = $1 and open = 1 and not exists (select 1 from endpoints e where e.id = $1)`, endpoint)
}

// endpointChanged tells the caches.
func (tx *Tx) endpointChanged(client, id int64) error {
	tx.commit.Endpoints = append(tx.commit.Endpoints, id)
	return tx.BumpConfig(client)
}

// Health is how an endpoint fares, over all replicas.
type Health struct {
	ConsecutiveFailures int
	LastSuccessAt       time.Time
	LastFailureAt       time.Time
	LastError           string
}

// PutHealth writes what this replica saw of an endpoint.
func (tx *Tx) PutHealth(endpoint int64, h Health) error {
	return tx.exec(`insert into endpoint_health (endpoint, replica, consecutive_failures, last_success_at, last_failure_at, last_error) values ($1, $2, $3, $4, $5, $6)
		on conflict (endpoint, replica) do update set consecutive_failures = excluded.consecutive_failures, last_success_at = excluded.last_success_at, last_failure_at = excluded.last_failure_at, last_error = excluded.last_error`,
		endpoint, tx.s.replica.Load(), h.ConsecutiveFailures, h.LastSuccessAt, h.LastFailureAt, h.LastError)
}

// Health reads an endpoint's health; without news it is the zero value.
func (tx *Tx) Health(endpoint int64) (h Health, err error) {
	err = tx.each(func(r row) error {
		var one Health
		if err := r.Scan(&one.ConsecutiveFailures, at(&one.LastSuccessAt), at(&one.LastFailureAt), &one.LastError); err != nil {
			return err
		}
		if one.LastSuccessAt.After(h.LastSuccessAt) {
			h.LastSuccessAt = one.LastSuccessAt
		}
		if one.LastFailureAt.After(h.LastFailureAt) {
			h.LastFailureAt, h.LastError, h.ConsecutiveFailures = one.LastFailureAt, one.LastError, one.ConsecutiveFailures
		}
		return nil
	}, `select consecutive_failures, last_success_at, last_failure_at, last_error from endpoint_health where endpoint = $1`, endpoint)
	if h.LastSuccessAt.After(h.LastFailureAt) {
		h.ConsecutiveFailures = 0
	}
	return h, err
}

// Queue is what waits for an endpoint.
type Queue struct {
	Length   int64
	OldestAt time.Time
}

// Queue counts what waits for an endpoint.
func (tx *Tx) Queue(endpoint int64) (q Queue, err error) {
	_, err = tx.one([]any{&q.Length, at(&q.OldestAt)}, `select coalesce(cast(sum(l.last - l.done) as bigint), 0), coalesce(min(o.created_at), 0)
		from lanes l left join outbox o on o.thread = l.thread and o.endpoint = l.endpoint and o.seq = l.done + 1 where l.endpoint = $1 and l.open = 1 and l.last > l.done`, endpoint)
	return q, err
}

// PutHealths writes what this replica saw of several endpoints.
func (tx *Tx) PutHealths(seen map[int64]Health) error {
	for _, id := range sortedKeys(seen) {
		if err := tx.PutHealth(id, seen[id]); err != nil {
			return err
		}
	}
	return nil
}

// ListChangedEndpoints returns those of the known endpoints (number to
// generation) that have changed or are gone.
func (tx *Tx) ListChangedEndpoints(known map[int64]int64) (changed []int64, err error) {
	seen := map[int64]bool{}
	err = tx.each(func(r row) error {
		var id, generation int64
		err := r.Scan(&id, &generation)
		seen[id] = true
		if g, ok := known[id]; ok && g != generation {
			changed = append(changed, id)
		}
		return err
	}, `select id, generation from endpoints`)
	for id := range known {
		if !seen[id] {
			changed = append(changed, id)
		}
	}
	return changed, err
}

// SecretContext binds the sealed secrets of a client's endpoints to it.
func SecretContext(client int64) string { return "endpoint/" + strconv.FormatInt(client, 10) }
