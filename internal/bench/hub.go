package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"tract/internal/store"
)

const (
	publicURL   = "http://hub.example" // the issuer of tokens: the same for all replicas
	adminToken  = "administrator-of-the-benchmark"
	secretKey   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	clientToken = "token-of-the-benchmark-"
	setUpCalls  = 16 // at once
)

// hub is the system under test: one process, or several on one database.
type hub struct {
	b        *bench
	scene    scene
	replicas []*child
}

// homeOf is where a hub keeps its store.
type homeOf struct {
	dir      string // data folder
	database string // name on the PostgreSQL server; "" = SQLite
	url      string
}

// newHome makes a place for an empty store.
func (b *bench) newHome(ctx context.Context, name, engine string) (h homeOf, err error) {
	b.stores++
	h.dir = filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.stores))
	if engine != Postgres {
		return h, nil
	}
	h.database = "tract_bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	h.url, err = store.CreateDatabase(ctx, b.cfg.DatabaseURL, h.database)
	return h, err
}

// remove drops the database; the folder goes with everything else. It works
// also after the benchmark was interrupted.
func (b *bench) remove(h homeOf) error {
	if h.database == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	return store.DropDatabase(ctx, b.cfg.DatabaseURL, h.database)
}

// startHub starts the replicas on a home and brings the scene up.
func (b *bench) startHub(ctx context.Context, name string, home homeOf, replicas int, s scene, env ...string) (*hub, error) {
	h := &hub{b: b, scene: s}
	if home.url != "" {
		env = append(env, "TRACT_DATABASE_URL="+home.url)
	}
	for i := range replicas {
		dir := home.dir
		if i > 0 {
			dir = fmt.Sprintf("%s-replica-%d", home.dir, i)
		}
		serve := []string{"serve"}
		if b.cfg.Profiles != "" {
			serve = append(serve, "--cpu-profile", filepath.Join(b.cfg.Profiles, fmt.Sprintf("%s-%d.pprof", name, b.children+1)))
		}
		c, err := b.startChild(ctx, name, serve, append([]string{"TRACT_DATA_DIR=" + dir, "TRACT_ALLOW_PRIVATE_TARGETS=true", "TRACT_ADMIN_TOKEN=" + adminToken,
			"TRACT_SECRET_KEY=" + secretKey, "TRACT_RATE_LIMIT=-1", "TRACT_PUBLIC_URL=" + publicURL}, env...)...)
		if err != nil {
			return nil, errors.Join(err, h.stop())
		}
		h.replicas = append(h.replicas, c)
	}
	return h, nil
}

// setUp applies the scene, attaches its tools and makes its users.
func (h *hub) setUp(ctx context.Context) error {
	bundle, err := h.scene.bundle(filepath.Join(h.b.dir, "scene"), clientToken)
	if err != nil {
		return err
	}
	if err := h.b.http.want(ctx, http.MethodPost, h.base(0)+"/api/manifest/", http.Header{"Authorization": {"Bearer " + adminToken}}, bundle, nil); err != nil {
		return fmt.Errorf("apply the scene: %w", err)
	}
	h.b.sink.setSecret(channelPath, channelSecret)
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(setUpCalls)
	for _, c := range h.scene.clients {
		for _, t := range c.tools {
			g.Go(func() error { return h.attach(each, t) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, r := range h.replicas {
		if err := h.b.await(ctx, r); err != nil {
			return fmt.Errorf("replica %d: %w", i, err)
		}
	}
	return h.makeUsers(ctx)
}

func (h *hub) makeUsers(ctx context.Context) error {
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(setUpCalls)
	for _, c := range h.scene.clients {
		header := clientHeader(c.id)
		for i := range h.scene.users {
			g.Go(func() error {
				return h.b.http.want(each, http.MethodPost, h.base(i)+"/v1.0/user/", header, map[string]any{"auth_id": userOf(i), "name": "Asha"}, nil)
			})
		}
	}
	return g.Wait()
}

// attach gets a tool its token and registers its hook, as the tool would.
func (h *hub) attach(ctx context.Context, t *tool) error {
	body, err := json.Marshal(map[string]string{"fqdn": t.fqdn(), "client_id": t.client, "timestamp": h.b.cfg.Now().UTC().Format(time.RFC3339), "nonce": uuid.NewString()})
	if err != nil {
		return err
	}
	_, strong, err := t.identity.Sign(body)
	if err != nil {
		return err
	}
	var issued struct {
		Token string `json:"token"`
	}
	header := http.Header{"Signature-256": {strong}, "Signaturecertuuid": {t.cert}}
	if err := h.b.http.want(ctx, http.MethodPost, h.base(0)+"/tract/management/token/issue/", header, body, &issued); err != nil {
		return err
	}
	t.token = issued.Token
	var registered struct {
		Secret string `json:"secret"`
	}
	in := map[string]any{"category": "message", "subcategory": "receive", "url": h.b.sink.url + t.path(), "rotate_secret": true}
	if err := h.b.http.want(ctx, http.MethodPost, h.base(0)+"/tract/hooks/register/", http.Header{"Authorization": {"Bearer " + t.token}}, in, &registered); err != nil {
		return err
	}
	h.b.sink.setSecret(t.path(), registered.Secret)
	return nil
}

// base is the URL of a replica, in turn.
func (h *hub) base(i int) string { return "http://" + h.replicas[i%len(h.replicas)].addr }

// urls are those of a path at each replica.
func (h *hub) urls(path string) (out []*url.URL) {
	for _, c := range h.replicas {
		out = append(out, &url.URL{Scheme: "http", Host: c.addr, Path: path})
	}
	return out
}

func clientHeader(client string) http.Header {
	return http.Header{"Authorization": {"Bearer " + clientToken + client}, "Client-Id": {client}, "Content-Type": jsonType}
}

func userOf(thread int) string { return fmt.Sprintf("%s%06d", userPrefix, thread) }

func (h *hub) stop() (err error) {
	if h == nil {
		return nil
	}
	for _, c := range h.replicas {
		err = errors.Join(err, c.stop())
	}
	return err
}
