package manifest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/manifest"
)

// head is a client to which a test adds; what it adds begins at line 5.
const head = "version: 1\nclients:\n  - id: acme\n    name: Acme\n"

func TestProblems(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "1:1: the file is empty"},
		{"only comments", "# nothing\n---\n", "1:1: the file is empty"},
		{"two documents", "version: 1\nclients: [{id: a}]\n---\nversion: 1\n", "4:1: a second document begins here: a file holds one"},
		{"syntax", "version: 1\nclients: [\n", "2:10: sequence end token ']' not found"},
		{"tab", "version: 1\n\tclients: []\n", "2:1: found character '\t' that cannot start any token"},
		{"not UTF-8", "version: 1\nclients: \"\xff\"\n", "2:11: is not valid UTF-8 text"},
		{"NUL", "version: 1\x00\n", "1:11: is not valid UTF-8 text"},
		{"no mapping", "- a\n", "1:1: must be a mapping with the keys version, clients"},
		{"no keys", "{}", "1:1: version: is needed\n1:1: clients: is needed"},
		{"version", "version: 2\nclients: [{id: a}]", "1:1: version: must be 1"},
		{"version as text", "version: one\nclients: [{id: a}]", "1:1: version: must be a whole number from 1 to 2147483648\n"},
		{"no clients", "version: 1\nclients: []", "2:1: clients: names no client"},
		{"clients no list", "version: 1\nclients: {a: b}", "2:1: clients: must be a list"},
		{"unknown key", head + "    busineses: []\n", `5:5: clients[0].busineses: unknown key (did you mean "businesses"?)`},
		{"unknown key, nothing near", head + "    colour: red\n", "5:5: clients[0].colour: unknown key"},
		{"duplicate key", head + "    name: Acme\n", "5:5: clients[0].name: the key stands here twice"},
		{"duplicate key in a flow mapping", head + "    desk: {enabled: true, enabled: false}\n", "5:27: clients[0].desk.enabled: the key stands here twice"},
		{"text for a flag", head + "    active: yes\n", "5:5: clients[0].active: must be true or false"},
		{"quoted flag", head + "    active: \"true\"\n", "5:5: clients[0].active: must be true or false"},
		{"quoted number", head + "    agents: [{email: mia@a.example, concurrency: '3'}]\n", "5:37: clients[0].agents[0].concurrency: must be a whole number from 1 to 20"},
		{"number for text", head + "    teams: [{name: 7}]\n", "5:14: clients[0].teams[0].name: must be text; put it in quotes"},
		{"list for text", head + "    teams:\n      - name: [a]\n", "6:9: clients[0].teams[0].name: must be text"},
		{"text for a list", head + "    teams: Support\n", "5:5: clients[0].teams: must be a list"},
		{"text for an object", head + "    teams: [Support]\n", "5:13: clients[0].teams[0]: must be a mapping with the keys name, offline_message, delay_message, delay_after, recall_message, recall_after, complete_when_offline, active"},
		{"missing id", "version: 1\nclients:\n  - name: Acme\n", "3:5: clients[0].id: is needed"},
		{"null id", "version: 1\nclients:\n  - id:\n", "3:5: clients[0].id: is needed"},
		{"empty id", "version: 1\nclients:\n  - id: ''\n", "3:5: clients[0].id: must not be empty"},
		{"bad id", "version: 1\nclients:\n  - id: a b\n", `3:5: clients[0].id: "a b" is not an id: letters, digits, '.', '_' and '-', at most 64, the first one a letter or digit`},
		{"same client", "version: 1\nclients:\n  - id: acme\n  - id: acme\n", `4:5: clients[1].id: the client "acme" stands at clients[0].id (line 3) already`},
		{"variable", head + "    tokens: [{name: a, value: \"${NOPE}\"}]\n", "5:24: clients[0].tokens[0].value: the environment variable NOPE is not set"},
		{"variable form", head + "    tokens: [{name: a, value: \"${no pe}\"}]\n", "5:24: clients[0].tokens[0].value: ${ must be followed by the name of a variable and }; write $${ for ${ itself"},
		{"same token", head + "    tokens:\n      - {name: a}\n      - {name: a}\n", `7:10: clients[0].tokens[1].name: the token "a" stands at clients[0].tokens[0].name (line 6) already`},
		{"same token value", head + "    tokens:\n      - {name: a, value: secretvalue}\n      - {name: b, value: secretvalue}\n", "7:19: clients[0].tokens[1].value: the same value stands at clients[0].tokens[0].value (line 6) already"},
		{"empty token", head + "    tokens: [{name: a, value: ''}]\n", "5:24: clients[0].tokens[0].value: must not be empty; leave the key out to have a token made"},
		{"token with a space", head + "    tokens: [{name: a, value: 'secret value'}]\n", "5:24: clients[0].tokens[0].value: must be at most 512 printable ASCII characters without spaces"},
		{"scope", head + "    tokens: [{name: a, scopes: [faq, transfers]}]\n", `5:38: clients[0].tokens[0].scopes[1]: "transfers" is not one of transfer, transcripts, faq, delivery (did you mean "transfer"?)`},
		{"assignment", head + "    desk: {assignment: balancd}\n", `5:12: clients[0].desk.assignment: "balancd" is not one of balanced, speedy (did you mean "balanced"?)`},
		{"same bot", head + "    bots: [{domain_name: f}, {domain_name: f}]\n", `5:31: clients[0].bots[1].domain_name: the bot "f" stands at clients[0].bots[0].domain_name (line 5) already`},
		{"language", head + "    bots: [{domain_name: f, language: English}]\n", `5:29: clients[0].bots[0].language: "English" is not a language code such as en or pt-BR`},
		{"threshold", head + "    bots: [{domain_name: f, threshold: 1.5}]\n", "5:29: clients[0].bots[0].threshold: must be a number from 0 to 1"},
		{"suggest_from above the threshold", head + "    bots: [{domain_name: f, threshold: 0.4, suggest_from: 0.45}]\n", "5:45: clients[0].bots[0].suggest_from: must be above 0 and at most the threshold, which is 0.4"},
		{"suggest_from nothing", head + "    bots: [{domain_name: f, suggest_from: 0}]\n", "5:29: clients[0].bots[0].suggest_from: must be above 0 and at most the threshold, which is 0.5"},
		{"misunderstandings", head + "    bots: [{domain_name: f, misunderstandings: 0}]\n", "5:29: clients[0].bots[0].misunderstandings: must be a whole number from 1 to 10"},
		{"small talk that is a word", head + "    bots: [{domain_name: f, small_talk: off}]\n", "5:29: clients[0].bots[0].small_talk: must be a mapping with the keys enabled, greeting, thanks, bye, more"},
		{"small talk without an answer", head + "    bots: [{domain_name: f, small_talk: {more: [{said: [a]}]}}]\n", "5:49: clients[0].bots[0].small_talk.more[0].answer: is needed"},
		{"small talk to nothing", head + "    bots: [{domain_name: f, small_talk: {more: [{said: [], answer: a}]}}]\n", "5:50: clients[0].bots[0].small_talk.more[0].said: must hold at least one message"},
		{"human phrases without a word", head + "    bots: [{domain_name: f, human_phrases: [\"?!\"]}]\n", "5:45: clients[0].bots[0].human_phrases[0]: holds no word"},
		{"FAQ file", head + "    bots: [{domain_name: f, faq: ./nope.csv}]\n", `5:29: clients[0].bots[0].faq: cannot read "./nope.csv": no such file or directory`},
		{"same team", head + "    teams: [{name: A}, {name: A}]\n", `5:25: clients[0].teams[1].name: the team "A" stands at clients[0].teams[0].name (line 5) already`},
		{"team name", head + "    teams: [{name: ' A'}]\n", "5:14: clients[0].teams[0].name: must not begin or end with a space or hold line breaks"},
		{"duration", head + "    teams: [{name: A, delay_after: 60}]\n", "5:23: clients[0].teams[0].delay_after: must be a duration such as 60s or 8m"},
		{"negative duration", head + "    teams: [{name: A, delay_after: -1s}]\n", "5:23: clients[0].teams[0].delay_after: must be a duration such as 60s or 8m"},
		{"recall", head + "    teams: [{name: A, recall_after: 9m}]\n", "5:23: clients[0].teams[0].recall_after: must be at most 8m0s"},
		{"e-mail", head + "    agents: [{email: mia}]\n", `5:15: clients[0].agents[0].email: "mia" is not an e-mail address`},
		{"same agent", "version: 1\nclients:\n  - id: a\n    agents: [{email: mia@a.example}]\n  - id: b\n    agents: [{email: Mia@a.example}]\n",
			`6:15: clients[1].agents[0].email: the agent "mia@a.example" stands at clients[0].agents[0].email (line 4) already`},
		{"role", head + "    agents: [{email: mia@a.example, role: boss}]\n", `5:37: clients[0].agents[0].role: "boss" is not one of agent, lead, admin`},
		{"concurrency", head + "    agents: [{email: mia@a.example, concurrency: 21}]\n", "5:37: clients[0].agents[0].concurrency: must be a whole number from 1 to 20"},
		{"concurrency 0", head + "    agents: [{email: mia@a.example, concurrency: 0}]\n", "5:37: clients[0].agents[0].concurrency: must be a whole number from 1 to 20"},
		{"password", head + "    agents: [{email: mia@a.example, password: ''}]\n", "5:37: clients[0].agents[0].password: must not be empty; leave the key out to keep the one that is stored"},
		{"agent's team", head + "    teams: [{name: Support}]\n    agents: [{email: mia@a.example, teams: [Suport]}]\n", `6:45: clients[0].agents[0].teams[0]: no team "Suport" (did you mean "Support"?)`},
		{"agent's team twice", head + "    teams: [{name: A}]\n    agents: [{email: mia@a.example, teams: [A, A]}]\n", `6:48: clients[0].agents[0].teams[1]: "A" is named twice`},
		{"texts", head + "    texts: {a: 1, b c: x}\n", "5:13: clients[0].texts.a: must be text; put it in quotes\n5:19: clients[0].texts.b c: \"b c\" is not a key: letters, digits, '.', '_' and '-', at most 64, the first one a letter or digit"},
		{"texts as a list", head + "    texts: [a]\n", "5:5: clients[0].texts: must be a mapping of keys to texts"},
		{"tool iva", head + "    external_chat_tools: [{id: iva, fqdn: a.example}]\n", `5:28: clients[0].external_chat_tools[0].id: "iva" is taken: it stands for a receiver of the hub`},
		{"tool sac", head + "    external_chat_tools: [{id: sac, fqdn: a.example}]\n", `5:28: clients[0].external_chat_tools[0].id: "sac" is taken: it stands for a receiver of the hub`},
		{"same tool", head + "    external_chat_tools: [{id: t, fqdn: a.example}, {id: t, fqdn: b.example}]\n", `5:54: clients[0].external_chat_tools[1].id: the tool "t" stands at clients[0].external_chat_tools[0].id (line 5) already`},
		{"same fqdn", head + "    external_chat_tools: [{id: t, fqdn: a.example}, {id: u, fqdn: A.example}]\n", `5:61: clients[0].external_chat_tools[1].fqdn: the fqdn "a.example" stands at clients[0].external_chat_tools[0].fqdn (line 5) already`},
		{"fqdn", head + "    external_chat_tools: [{id: t, fqdn: 'https://a.example'}]\n", `5:35: clients[0].external_chat_tools[0].fqdn: "https://a.example" is not a full domain name such as desk.example.com`},
		{"address as fqdn", head + "    external_chat_tools: [{id: t, fqdn: 10.0.0.1}]\n", `5:35: clients[0].external_chat_tools[0].fqdn: "10.0.0.1" is not a full domain name such as desk.example.com`},
		{"no fqdn", head + "    external_chat_tools: [{id: t}]\n", "5:27: clients[0].external_chat_tools[0].fqdn: is needed"},
		{"pass_to", head + "    external_chat_tools: [{id: t, fqdn: a.example, permissions: {pass_to: all}}]\n", `5:66: clients[0].external_chat_tools[0].permissions.pass_to: "all" is not one of default, any`},
		{"deliver", head + "    external_chat_tools: [{id: t, fqdn: a.example, deliver: none}]\n", `5:52: clients[0].external_chat_tools[0].deliver: "none" is not one of all, active`},
		{"history", head + "    external_chat_tools: [{id: t, fqdn: a.example, history_on_handover: -1}]\n", "5:52: clients[0].external_chat_tools[0].history_on_handover: must be a whole number from 0 to 1000"},
		{"no certificate", tool("{}"), "5:67: clients[0].external_chat_tools[0].certificates[0].file: is needed, or pem"},
		{"two kinds of certificate", tool("{file: ./desk-one.pem, pem: x}"), "5:90: clients[0].external_chat_tools[0].certificates[0].pem: stands beside file: give one of them"},
		{"certificate uuid", tool("{file: ./desk-one.pem, uuid: one}"), `5:90: clients[0].external_chat_tools[0].certificates[0].uuid: "one" is not a UUID`},
		{"certificate file", tool("{file: ./nope.pem}"), `5:68: clients[0].external_chat_tools[0].certificates[0].file: cannot read "./nope.pem": no such file or directory`},
		{"junk certificate", tool("{file: ./junk.pem}"), "5:68: clients[0].external_chat_tools[0].certificates[0].file: holds no PEM certificate"},
		{"key as certificate", tool("{file: ./key.pem}"), "5:68: clients[0].external_chat_tools[0].certificates[0].file: holds a PRIVATE KEY, not a certificate"},
		{"two certificates", tool("{file: ./two.pem}"), "5:68: clients[0].external_chat_tools[0].certificates[0].file: holds more than one certificate"},
		{"broken certificate", tool("{file: ./broken.pem}"), "5:68: clients[0].external_chat_tools[0].certificates[0].file: the certificate cannot be read"},
		{"same certificate", tool("{file: ./desk-one.pem, uuid: " + uuidOne + "}, {file: ./desk-two.pem, uuid: " + strings.ToUpper(uuidOne) + "}"),
			"5:158: clients[0].external_chat_tools[0].certificates[1].uuid: the certificate " + uuidOne + " stands at clients[0].external_chat_tools[0].certificates[0].uuid (line 5) already"},
		{"business id", head + "    businesses: [{id: acme}]\n", "5:19: clients[0].businesses[0].id: must be a whole number from 1 to 9007199254740991"},
		{"no business id", head + "    businesses: [{name: A}]\n", "5:18: clients[0].businesses[0].id: is needed"},
		{"same business", desk("{id: 1}, {id: 1}"), "6:28: clients[0].businesses[1].id: the business 1 stands at clients[0].businesses[0].id (line 6) already"},
		{"default team, in block form", "version: 1\nclients:\n  - id: acme\n    desk: {enabled: true}\n    teams: [{name: Support}]\n    businesses:\n      - id: 1\n      - id: 2\n        default_team: Suport\n",
			`9:9: clients[0].businesses[1].default_team: no team "Suport" (did you mean "Support"?)`},
		{"bot", desk("{id: 1, bot: faq}"), `6:26: clients[0].businesses[0].bot: no bot "faq"`},
		{"attached tool", desk("{id: 1, external_chat_tools: [desk-one]}"), `6:48: clients[0].businesses[0].external_chat_tools[0]: no external chat tool "desk-one"`},
		{"failover", desk("{id: 1, failover: [sac, nobody]}"), `6:42: clients[0].businesses[0].failover[1]: no receiver "nobody"`},
		{"failover to a bot that is not there", desk("{id: 1, failover: [iva]}"), "6:37: clients[0].businesses[0].failover[0]: the business has no bot"},
		{"handover to the bot", desk("{id: 1, handover_to: iva}"), "6:26: clients[0].businesses[0].handover_to: the bot cannot hand over to itself"},
		{"default receiver", desk("{id: 1, default_receiver: sak}"), `6:26: clients[0].businesses[0].default_receiver: no receiver "sak" (did you mean "sac"?)`},
		{"tool that is not attached", head + "    external_chat_tools: [{id: t, fqdn: t.example}]\n    businesses: [{id: 1, default_receiver: t}]\n",
			`6:26: clients[0].businesses[0].default_receiver: "t" is not among the external_chat_tools of the business`},
		{"desk that is off", head + "    bots: [{domain_name: f}]\n    businesses: [{id: 1, bot: f, handover_to: sac}]\n", "6:34: clients[0].businesses[0].handover_to: the client's desk is not enabled"},
		{"no default receiver", head + "    businesses: [{id: 1}]\n", "5:18: clients[0].businesses[0]: no default receiver is possible: it has no active bot, the client's desk is not enabled, and it has no active external chat tool"},
		{"inactive bot only", head + "    bots: [{domain_name: f, active: false}]\n    businesses: [{id: 1, bot: f}]\n",
			"6:18: clients[0].businesses[0]: no default receiver is possible: it has no active bot, the client's desk is not enabled, and it has no active external chat tool"},
		{"several tools, none the default", head + "    external_chat_tools: [{id: t, fqdn: t.example}, {id: u, fqdn: u.example}]\n    businesses: [{id: 1, external_chat_tools: [t, u]}]\n",
			"6:18: clients[0].businesses[0]: no default receiver can be derived: it has several external chat tools and neither bot nor desk; set default_receiver"},
		{"platform", channels("{platform: whatsup}"), `6:38: clients[0].businesses[0].channels[0].platform: "whatsup" is not one of webhook, websdk, whatsapp, facebook (did you mean "whatsapp"?)`},
		{"no platform", channels("{url: 'https://a.example'}"), "6:37: clients[0].businesses[0].channels[0].platform: is needed"},
		{"no url", channels("{platform: webhook}"), "6:37: clients[0].businesses[0].channels[0].url: is needed"},
		{"url", channels("{platform: webhook, url: 'ftp://a.example'}"), "6:57: clients[0].businesses[0].channels[0].url: must be an http or https URL"},
		{"url without a host", channels("{platform: webhook, url: 'https:///x'}"), "6:57: clients[0].businesses[0].channels[0].url: must be an http or https URL"},
		{"another platform's key", channels("{platform: websdk, url: 'https://a.example'}"), "6:56: clients[0].businesses[0].channels[0].url: unknown key"},
		{"origin", channels("{platform: websdk, allowed_origins: ['https://a.example/']}"), `6:74: clients[0].businesses[0].channels[0].allowed_origins[0]: "https://a.example/" is not an origin such as https://www.example.com`},
		{"whatsapp", channels("{platform: whatsapp}"), "6:37: clients[0].businesses[0].channels[0].phone_number_id: is needed"},
		{"facebook", channels("{platform: facebook, page_id: 123}"), "6:58: clients[0].businesses[0].channels[0].page_id: must be text; put it in quotes"},
		{"same platform", channels("{platform: websdk}, {platform: websdk}"), "6:58: clients[0].businesses[0].channels[1].platform: a channel of platform websdk stands at clients[0].businesses[0].channels[0].platform (line 6) already"},
		{"same number", head + "    desk: {enabled: true}\n    businesses:\n      - {id: 1, channels: [{platform: whatsapp, phone_number_id: '5'}]}\n      - {id: 2, channels: [{platform: whatsapp, phone_number_id: '5'}]}\n",
			"8:49: clients[0].businesses[1].channels[0].phone_number_id: this phone_number_id stands at clients[0].businesses[0].channels[0].phone_number_id (line 7) already"},
		{"unknown alias", head + "    desk: *nope\n", "5:5: clients[0].desk: no anchor &nope before this alias"},
		{"alias of itself", head + "    teams: &t [*t]\n", "5:16: clients[0].teams[0]: the alias *t contains itself"},
		{"tag", head + "    desk: !!binary aaaa\n", "5:5: clients[0].desk: tag is not supported here"},
		{"merge of a text", head + "    desk: {<<: x}\n", "5:12: clients[0].desk: only a mapping can be merged"},
		{"many at once", head + "    active: 1\n    desk: 2\n    bots: 3\n    ötto: 4\n", "5:5: clients[0].active: must be true or false\n6:5: clients[0].desk: must be a mapping with the keys enabled, assignment\n7:5: clients[0].bots: must be a list\n8:5: clients[0].ötto: unknown key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifest.Parse(strings.NewReader(tt.text), "acme.yaml", options(nil))
			if err == nil {
				t.Fatal("accepted")
			}
			var got []string
			for _, p := range manifest.Problems(err) {
				got = append(got, strings.TrimPrefix(p.String(), "acme.yaml:"))
				checkPosition(t, tt.text, p)
			}
			if diff := cmp.Diff(strings.TrimSpace(tt.want), strings.Join(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !strings.HasPrefix(err.Error(), "acme.yaml:") || tract.KindOf(err) != tract.KindInvalid || tract.CodeOf(err) != "manifest" {
				t.Errorf("error %v", err)
			}
			if strings.Contains(err.Error(), "secretvalue") {
				t.Error("a secret shows")
			}
		})
	}
}

// checkPosition says whether the key that a problem names really is at its
// position: the key itself, or the beginning of what lacks it or is an item.
func checkPosition(t *testing.T, text string, p manifest.Problem) {
	t.Helper()
	if p.Path == "" {
		return
	}
	line := []rune(strings.Split(text, "\n")[p.Line-1])
	rest := strings.TrimLeft(string(line[p.Column-1:]), `'"`)
	key := p.Path[strings.LastIndexByte(p.Path, '.')+1:]
	item := strings.HasSuffix(key, "]")
	switch {
	case item && strings.ContainsAny(string(line[:p.Column-1]), "[-") && strings.ContainsAny(string(line[max(0, p.Column-3):p.Column-1]), "[,-'\" "):
	case p.Message == "only a mapping can be merged" && strings.HasPrefix(rest, "<<"):
	case !item && strings.HasPrefix(rest, key+":"), !item && strings.HasPrefix(rest, key+"':"):
	case !item && p.Message == "is needed" || strings.HasPrefix(p.Message, "is needed, or"):
		if !strings.HasPrefix(rest, "{") && !strings.HasPrefix(strings.TrimSpace(string(line[:p.Column-1])), "-") {
			t.Errorf("%s: %q is no mapping", p, rest)
		}
	default:
		t.Errorf("%s: there is %q", p, rest)
	}
}

const uuidOne = "11111111-2222-4333-8444-555555555555"

func tool(certs string) string {
	return head + "    external_chat_tools: [{id: t, fqdn: a.example, certificates: [" + certs + "]}]\n"
}

func desk(businesses string) string {
	return head + "    desk: {enabled: true}\n    businesses: [" + businesses + "]\n"
}

func channels(list string) string { return desk("{id: 1, channels: [" + list + "]}") }

func TestProblemsAreBounded(t *testing.T) {
	text := head + "    texts:\n" + strings.Repeat("      'bad key': x\n", 60)
	_, err := manifest.Parse(strings.NewReader(text), "f", options(nil))
	if n := len(manifest.Problems(err)); n != 50 || !strings.HasSuffix(err.Error(), "\nmore than 50 errors: the rest is not shown") {
		t.Errorf("%d problems: %v", n, err)
	}
}

func TestBombs(t *testing.T) {
	laughs := "version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := '1'; i <= '9'; i++ {
		one := string(i - 1)
		laughs += "a" + string(i) + ": &a" + string(i) + " [" + strings.TrimSuffix(strings.Repeat("*a"+one+", ", 10), ", ") + "]\n"
	}
	indented := ""
	for i := range 100 {
		indented += strings.Repeat(" ", i) + "a:\n"
	}
	tests := []struct{ name, text, want string }{
		{"large", strings.Repeat("#", 1<<20+1), "is larger than 1048576 bytes"},
		{"aliases", laughs, "more than 200000 values once aliases are followed"},
		{"flow depth", strings.Repeat("[", 500_000), "nested too deeply"},
		{"dashes", strings.Repeat("- ", 500_000), "nested too deeply"},
		{"question marks", strings.Repeat("? ", 500_000), "nested too deeply"},
		{"anchors", strings.Repeat("&a ", 300_000), "nested too deeply"},
		{"indentation", indented, "nested too deeply"},
		{"keys", strings.Repeat("a: 1\n", 200_000), "more than 8000 keys in one mapping"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				_, err := manifest.Parse(strings.NewReader(tt.text), "f", options(nil))
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %.300v", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("takes too long")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fixture)
	f.Add(head + "    desk: &d {enabled: true}\n    teams: [{<<: *d}]\n")
	f.Add("? [a]\n: {b: *c}\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := manifest.Parse(strings.NewReader(text), "f", options(nil))
		if err != nil && len(manifest.Problems(err)) == 0 {
			t.Errorf("an error without a problem: %v", err)
		}
		if err == nil && got == nil {
			t.Error("neither file nor error")
		}
	})
}
