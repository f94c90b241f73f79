package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"tract"
	"tract/internal/ect"
	"tract/internal/manifest"
)

// What every scene calls the same.
const (
	clientName    = "bench" // without a hyphen: markKey must not be found in it
	userPrefix    = "u-"
	channelPath   = "/channel"
	channelSecret = "channel-secret-of-the-benchmark"
	botDomain     = "bench_faq"
	answerable    = "what are your opening hours"
)

// The businesses of the main scene.
const (
	businessIntake = 1 // the desk has its threads: nothing is sent anywhere
	businessOne    = 2 // one tool
	businessReply  = 3 // one tool and a channel
	businessBot    = 4 // the bot and a channel
	businessTwo    = 5 // two tools
	businessThink  = 6 // the first of those that have a slow tool each
	businessCrowd  = 100
)

// scene is what a hub is told by its declarative file.
type scene struct {
	clients []sceneClient
	users   int // of each client
}

type sceneClient struct {
	id         string
	tools      []*tool
	bot        bool
	businesses []map[string]any
}

// tool is an attached tool, as its own side sees it.
type tool struct {
	client, id string
	business   int // that has it alone; 0 = none
	identity   *ect.Identity
	cert       string
	token      string // of its calls, once the hub runs
}

func (t *tool) path() string { return "/" + t.client + "/" + t.id }
func (t *tool) fqdn() string { return t.id + "." + t.client + ".example" }

func (b *bench) newTool(client, id string) (*tool, error) {
	t := &tool{client: client, id: id, cert: uuid.NewString()}
	var err error
	t.identity, err = ect.NewIdentity(t.fqdn(), ect.ECDSA, b.cfg.Now())
	return t, err
}

// quietScene has users and nobody to send anything to.
func (b *bench) quietScene() scene {
	return scene{users: b.size.threads, clients: []sceneClient{{id: clientName, businesses: []map[string]any{business(businessIntake, string(tract.SAC))}}}}
}

func business(id int, receiver string, tools ...string) map[string]any {
	return map[string]any{"id": id, "name": fmt.Sprint("Business ", id), "human_assistance": true, "default_receiver": receiver, "external_chat_tools": tools, "auto_complete_after": "24h"}
}

// mainScene has what most workloads need.
func (b *bench) mainScene() (scene, error) {
	one, err := b.newTool(clientName, "one")
	if err != nil {
		return scene{}, err
	}
	two, err := b.newTool(clientName, "two")
	if err != nil {
		return scene{}, err
	}
	tools := []*tool{one, two}
	var thinking []map[string]any
	for i := range slowTools {
		t, err := b.newTool(clientName, fmt.Sprint("slow", i))
		if err != nil {
			return scene{}, err
		}
		t.business = businessThink + i
		tools = append(tools, t)
		thinking = append(thinking, business(t.business, t.id, t.id))
	}
	channel := []any{map[string]any{"platform": "webhook", "url": b.sink.url + channelPath, "secret": channelSecret}}
	with := func(m map[string]any, key string, v any) map[string]any { m[key] = v; return m }
	return scene{users: b.size.slowThreads, clients: []sceneClient{{id: clientName, bot: true, tools: tools, businesses: append(thinking,
		business(businessIntake, string(tract.SAC)), business(businessOne, "one", "one"), with(business(businessReply, "one", "one"), "channels", channel),
		with(with(business(businessBot, string(tract.IVA)), "bot", botDomain), "channels", channel), business(businessTwo, "one", "one", "two"),
	)}}}, nil
}

// crowdScene has many tools, each with a business of its own.
func (b *bench) crowdScene(clients, tools, users int) (scene, error) {
	s := scene{users: users}
	for c := range clients {
		sc := sceneClient{id: fmt.Sprint(clientName, c)}
		for i := range tools {
			t, err := b.newTool(sc.id, fmt.Sprintf("tool%d", i))
			if err != nil {
				return s, err
			}
			t.business = businessCrowd*(c+1) + i
			sc.tools = append(sc.tools, t)
			sc.businesses = append(sc.businesses, business(t.business, t.id, t.id))
		}
		s.clients = append(s.clients, sc)
	}
	return s, nil
}

const sceneFAQ = `node_name,question,answer
Opening hours,"when are you open|what are your opening hours|are you open on sunday","We are open Mon to Fri, 9 to 18h."
Return policy,"how do I return an item|what is your return policy|can I send it back","You can return items within 30 days."
Delivery time,"how long does delivery take|when will my parcel arrive|delivery time","Delivery takes two to four days."
`

// bundle writes the declarative file with what it names into dir and packs it.
func (s scene) bundle(dir, token string) ([]byte, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	files := map[string][]byte{"faq.csv": []byte(sceneFAQ)}
	var clients []any
	for _, c := range s.clients {
		var tools []any
		for _, t := range c.tools {
			name := t.client + "-" + t.id + ".pem"
			files[name] = t.identity.CertificatePEM()
			tools = append(tools, map[string]any{"id": t.id, "fqdn": t.fqdn(), "certificates": []any{map[string]any{"file": "./" + name, "uuid": t.cert}}})
		}
		doc := map[string]any{"id": c.id, "tokens": []any{map[string]any{"name": "main", "value": token + c.id}}, "desk": map[string]any{"enabled": true},
			"teams": []any{map[string]any{"name": "Everybody"}}, "external_chat_tools": tools, "businesses": c.businesses}
		if c.bot {
			doc["bots"] = []any{map[string]any{"domain_name": botDomain, "language": "en", "faq": "./faq.csv"}}
		}
		clients = append(clients, doc)
	}
	text, err := json.Marshal(map[string]any{"version": 1, "clients": clients})
	if err != nil {
		return nil, err
	}
	files["scene.yaml"] = text // JSON is YAML
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return manifest.EncodeBundle(filepath.Join(dir, "scene.yaml"), nil, nil)
}
