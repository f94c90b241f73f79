package bot_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tract"
	"tract/internal/bot"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// unsure is a bot that asks about nearly everything, so that a conversation does
// not hang on a confidence's last digit.
var unsure = tract.Bot{Threshold: 0.86, SuggestFrom: 0.1}

// exchange is a message of the user and what follows in the log, one line an
// entry; the choices of a message stand in brackets behind it.
type exchange struct {
	user string // text; an element when it begins with {; "(image)"
	want []string
}

// converse plays a conversation in a new thread and gives the thread.
func (w *world) converse(business int64, lines []exchange) (thread int64) {
	w.t.Helper()
	id := w.thread(business)
	for _, l := range lines {
		w.exchange(id, l)
	}
	return id
}

func (w *world) exchange(id int64, l exchange) {
	w.t.Helper()
	_, last := w.log(id, 0)
	m := tract.UserMessage{Body: hsl.Text(l.user).Body()}
	switch {
	case l.user == "(image)":
		m = tract.UserMessage{Body: hsl.Text("scratch.png").Body(), MessageType: tract.TypeImage}
	case strings.HasPrefix(l.user, `{"`):
		m.Body = l.user
	}
	if err := w.turn(w.saying(id, m)); err != nil {
		w.t.Fatal(err)
	}
	diff(w.t, l.user, l.want, w.after(id, last))
}

// after is what happened in a thread after an entry, the user's messages left out.
func (w *world) after(id int64, last tract.MessageID) (lines []string) {
	w.t.Helper()
	var entries []store.Entry
	w.view(func(tx *store.Tx) (err error) { entries, err = tx.ListEntries(id, last, 1000); return err })
	for _, e := range entries {
		switch {
		case e.Event == tract.EventBot || e.Sender == tract.SenderCEU:
		case e.Event != "":
			lines = append(lines, string(e.Event)+" "+e.Meta.Reason)
		default:
			lines = append(lines, "iva: "+shown(w.t, e.Body))
		}
	}
	return lines
}

func shown(t *testing.T, body string) string {
	t.Helper()
	el, err := hsl.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	text := el.Text
	if choices := el.Choices(); len(choices) > 0 {
		var captions []string
		for _, c := range choices {
			captions = append(captions, c.Caption)
		}
		text += " [" + strings.Join(captions, "|") + "]"
	}
	return text
}

var handed = []string{handover, "thread_control/passed bot_break", "conversation_state/waiting bot_break"}

const (
	asked   = "iva: Did you mean: [when are you open|how long does delivery take|Something else]"
	unclear = "my parcel is open" // the hours, or the delivery
	none    = "my blender exploded"
)

func TestConversations(t *testing.T) {
	tests := []struct {
		name     string
		business int64
		bot      tract.Bot
		lines    []exchange
		owner    tract.ReceiverID
	}{
		{"chosen by number", assisted, unsure, []exchange{{unclear, []string{asked}}, {"2", []string{delivery}}}, tract.IVA},
		{"a number with a dot", assisted, unsure, []exchange{{unclear, []string{asked}}, {" 1. ", []string{hours}}}, tract.IVA},
		{"a number as a word", alone, unsure, []exchange{{unclear, []string{asked}}, {"The second one", []string{delivery}}}, tract.IVA},
		{"a number as a sign", alone, unsure, []exchange{{unclear, []string{asked}}, {"2️⃣", []string{delivery}}}, tract.IVA},
		{"a number that is not there", alone, unsure, []exchange{{unclear, []string{asked}}, {"7", []string{broken}}}, tract.IVA},
		{"a number without a suggestion", alone, unsure, []exchange{{"2", []string{broken}}}, tract.IVA},
		{"a number after the answer", alone, unsure, []exchange{{unclear, []string{asked}}, {"2", []string{delivery}}, {"1", []string{broken}}}, tract.IVA},
		{"a number after small talk", alone, unsure, []exchange{{unclear, []string{asked}}, {"thanks", []string{"iva: You are welcome!"}}, {"2", []string{delivery}}}, tract.IVA},
		{"chosen by its text", alone, unsure, []exchange{{unclear, []string{asked}}, {"HOW LONG does delivery take ", []string{delivery}}}, tract.IVA},
		{"another question", alone, unsure, []exchange{{unclear, []string{asked}}, {"what is your return policy", []string{returns1, returns2 + " [Yes]"}}}, tract.IVA},
		{"something else, nobody there", alone, unsure, []exchange{{unclear, []string{asked}}, {"Something else", []string{broken}}}, tract.IVA},
		{"something else by number", alone, unsure, []exchange{{unclear, []string{asked}}, {"3", []string{broken}}}, tract.IVA},
		{"something else", assisted, unsure, []exchange{{unclear, []string{asked}}, {"something else", handed}}, tract.SAC},
		{"asked twice, nobody there", alone, unsure, []exchange{{unclear, []string{asked}}, {unclear, []string{asked}}, {unclear, []string{asked}}, {"1", []string{hours}}}, tract.IVA},
		{"not understood twice", assisted, unsure, []exchange{{unclear, []string{asked}}, {unclear, handed}}, tract.SAC},
		{"not understood at all", assisted, unsure, []exchange{{none, handed}}, tract.SAC},
		{"small talk between", assisted, unsure, []exchange{{unclear, []string{asked}}, {"hello", []string{"iva: Hello! How can I help you?"}}, {unclear, handed}}, tract.SAC},
		{"an answer between", assisted, unsure, []exchange{{unclear, []string{asked}}, {"delivery time", []string{delivery}}, {unclear, []string{asked}}}, tract.IVA},
		{"three are allowed", assisted, tract.Bot{Threshold: 0.86, SuggestFrom: 0.1, Misunderstandings: 3}, []exchange{{unclear, []string{asked}}, {unclear, []string{asked}}, {unclear, handed}}, tract.SAC},
		{"one is allowed", assisted, tract.Bot{Threshold: 0.86, SuggestFrom: 0.1, Misunderstandings: 1}, []exchange{{unclear, handed}}, tract.SAC},
		{"suggestions off", alone, tract.Bot{Threshold: 0.86, SuggestFrom: 0.86}, []exchange{{unclear, []string{broken}}}, tract.IVA},
		{"the defaults", alone, tract.Bot{}, []exchange{{"items", []string{"iva: Did you mean: [how do I return an item|how long does delivery take|Something else]"}}}, tract.IVA},
		{"wording of its own", alone, tract.Bot{Threshold: 0.86, SuggestFrom: 0.1, DidYouMean: "Hm?", SomethingElse: "No", BotBreak: "Pardon?"},
			[]exchange{{unclear, []string{"iva: Hm? [when are you open|how long does delivery take|No]"}}, {"no", []string{"iva: Pardon?"}}}, tract.IVA},
		{"welcome once", alone, tract.Bot{Welcome: "Welcome!", Threshold: 0.86, SuggestFrom: 0.1}, []exchange{{unclear, []string{"iva: Welcome!", asked}}, {"2", []string{delivery}}}, tract.IVA},
		{"asks for a human", assisted, unsure, []exchange{{unclear, []string{asked}}, {"agent please", []string{handover, "thread_control/passed user_asked", "conversation_state/waiting user_asked"}}}, tract.SAC},
		{"asks for a human in words of the bot's own", assisted, tract.Bot{HumanPhrases: []string{"ring the bell", "Mia"}}, []exchange{{"can you ring the bell for me", []string{handover, "thread_control/passed user_asked", "conversation_state/waiting user_asked"}}}, tract.SAC},
		{"a single word of its own", assisted, tract.Bot{HumanPhrases: []string{"ring the bell", "Mia"}}, []exchange{{"Mia, please!", []string{handover, "thread_control/passed user_asked", "conversation_state/waiting user_asked"}}}, tract.SAC},
		{"a single word within others", alone, tract.Bot{HumanPhrases: []string{"Mia"}}, []exchange{{"Mia sent me a blender", []string{broken}}}, tract.IVA},
		{"image", assisted, tract.Bot{}, []exchange{{"(image)", append([]string{received}, handed...)}}, tract.SAC},
		{"image, nobody there", alone, tract.Bot{}, []exchange{{"(image)", []string{received}}, {"delivery time", []string{delivery}}}, tract.IVA},
		{"image, own wording", alone, tract.Bot{FileReceived: "Nice!"}, []exchange{{"(image)", []string{"iva: Nice!"}}}, tract.IVA},
		{"small talk of its own", alone, tract.Bot{SmallTalk: tract.SmallTalk{Greeting: "Ahoy!", More: []tract.Talk{{Said: []string{"are you a bot?", "are you human"}, Answer: "I am Acme's bot."}}}},
			[]exchange{{"good morning", []string{"iva: Ahoy!"}}, {"Are you a bot", []string{"iva: I am Acme's bot."}}, {"bye", []string{"iva: Goodbye!"}}}, tract.IVA},
		{"small talk off", alone, tract.Bot{SmallTalk: tract.SmallTalk{Off: true}}, []exchange{{"hello", []string{broken}}}, tract.IVA},
		{"small talk is no bot break", assisted, tract.Bot{}, []exchange{{"hello", []string{"iva: Hello! How can I help you?"}}, {"thanks", []string{"iva: You are welcome!"}}, {"bye", []string{"iva: Goodbye!"}}}, tract.IVA},
		{"hidden message of a reply", alone, unsure, []exchange{{unclear, []string{asked}}, {`{"text":"whatever","type":"TEXT","data":{"gogo_message":"x{tract_step:` + bot.StepID("Delivery time") + `}"}}`, []string{delivery}}}, tract.IVA},
		{"hidden message as text", alone, unsure, []exchange{{"how long{tract_step:" + bot.StepID("delivery  TIME") + "}", []string{delivery}}}, tract.IVA},
		{"a step that is gone", alone, unsure, []exchange{{"delivery time{tract_step:0123456789abcdef}", []string{delivery}}}, tract.IVA},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				w.setBot(tt.bot)
				id := w.converse(tt.business, tt.lines)
				diff(t, "owner", tt.owner, w.state(id).Owner)
			})
		}
	})
}

func TestLanguages(t *testing.T) {
	tests := []struct {
		language, csv                 string
		hello, greeting, human        string
		unclear, suggestion           string
		number, answer, else_, broken string
		image, received               string
	}{
		{"en", shopFAQ, "hello", "Hello! How can I help you?", "let me talk to a person", unclear, asked[5:], "two", "Delivery takes two to four days.", "Something else", "Sorry, I did not get that.", "(image)", received[5:]},
		{"hi", "node_name,question,answer\nसमय,आप कब खुलते हैं|दुकान का समय क्या है,सोमवार से शुक्रवार।\nडिलीवरी,डिलीवरी में कितना समय लगता है|मेरा पार्सल कब आएगा|delivery kab hogi,दो दिन।\nवापसी,मैं सामान कैसे वापस करूँ|पार्सल वापस भेजना है|return kaise kare,तीस दिन।\n",
			"नमस्ते", "नमस्ते! मैं आपकी कैसे मदद कर सकता हूँ?", "kisi agent se baat karni hai", "मेरा पार्सल", "क्या आपका मतलब यह था: [डिलीवरी में कितना समय लगता है|मैं सामान कैसे वापस करूँ|कुछ और]",
			"२", "तीस दिन।", "कुछ और", "माफ़ कीजिए, मैं समझ नहीं पाया।", "(image)", "धन्यवाद, आपकी फ़ाइल मिल गई। मैं उसे खुद नहीं देख सकता।"},
		{"hi-Latn", "node_name,question,answer\nDelivery,delivery kab hogi|mera parcel kab aayega,Do din.\nReturn,return kaise kare|parcel wapas bhejna hai,Tees din.\n",
			"namaste ji", "नमस्ते! मैं आपकी कैसे मदद कर सकता हूँ?", "mujhe agent chahiye", "mera parcel", "Kya aapka matlab yeh tha: [delivery kab hogi|return kaise kare|Kuch aur]",
			"doosra wala", "Tees din.", "Kuch aur", "Maaf kijiye, main samajh nahi paya.", "(image)", "Dhanyavaad, aapki file mil gayi. Main use khud nahi dekh sakta."},
		{"es", "node_name,question,answer\nHorario,Qué horario tienen|A qué hora abren,De lunes a viernes.\nEnvío,Cuánto tarda el envío|Cuándo llega mi paquete,Dos días.\nDevolución,Cómo puedo devolver un artículo|Puedo devolver mi paquete,Treinta días.\n",
			"¡Hola!", "¡Hola! ¿En qué puedo ayudarte?", "quiero hablar con una persona", "mi paquete", "¿Quisiste decir…? [Cuánto tarda el envío|Cómo puedo devolver un artículo|Otra cosa]",
			"la segunda", "Treinta días.", "otra cosa", "Lo siento, no te he entendido.", "(image)", "Gracias, he recibido tu archivo. Yo no puedo verlo."},
		{"de", "node_name,question,answer\nÖffnungszeiten,Wann habt ihr geöffnet|Öffnungszeiten,Mo bis Fr.\nLieferzeit,Wie lange dauert die Lieferung|Wann kommt mein Paket,Zwei Tage.\nRückgabe,Wie kann ich etwas zurückgeben|Kann ich mein Paket zurückschicken,30 Tage.\n",
			"Grüß Gott", "Hallo! Wie kann ich helfen?", "Ich möchte mit einem Menschen sprechen", "mein Paket", "Meinten Sie: [Wie lange dauert die Lieferung|Wie kann ich etwas zurückgeben|Etwas anderes]",
			"Nummer 2", "30 Tage.", "etwas anderes", "Das habe ich leider nicht verstanden.", "(image)", "Danke, die Datei ist angekommen. Ansehen kann ich sie leider nicht."},
		{"fr", "node_name,question,answer\nHoraires,Quels sont vos horaires|À quelle heure ouvrez-vous,Du lundi au vendredi.\nLivraison,Combien de temps prend la livraison|Quand arrive mon colis,Deux jours.\nRetour,Comment retourner un article|Puis-je renvoyer mon colis,Trente jours.\n",
			"Bonjour", "Bonjour ! Comment puis-je vous aider ?", "je veux parler à un conseiller", "mon colis", "Vouliez-vous dire : [Combien de temps prend la livraison|Comment retourner un article|Autre chose]",
			"le deuxième", "Trente jours.", "autre chose", "Désolé, je n'ai pas compris.", "(image)", "Merci, j'ai bien reçu votre fichier. Je ne peux pas le consulter moi-même."},
		{"pt-BR", "node_name,question,answer\nHorário,Qual é o horário de funcionamento|A que horas vocês abrem,De segunda a sexta.\nEntrega,Quanto tempo demora a entrega|Quando chega minha encomenda,Dois dias.\nDevolução,Como posso devolver um produto|Posso devolver minha encomenda,Trinta dias.\n",
			"bom dia", "Olá! Como posso ajudar?", "quero falar com um atendente", "minha encomenda", "Você quis dizer: [Quanto tempo demora a entrega|Como posso devolver um produto|Outra coisa]",
			"opção 2", "Trinta dias.", "outra coisa", "Desculpe, não entendi.", "(image)", "Obrigado, recebi o seu arquivo. Não consigo abri-lo."},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		for _, tt := range tests {
			t.Run(tt.language, func(t *testing.T) {
				w.t = t
				w.setBot(tract.Bot{Language: tt.language, Threshold: 0.86, SuggestFrom: 0.1})
				w.load(tt.csv)
				says := func(s string) []string { return []string{"iva: " + s} }
				w.converse(alone, []exchange{{tt.hello, says(tt.greeting)}, {tt.unclear, says(tt.suggestion)}, {tt.number, says(tt.answer)},
					{tt.unclear, says(tt.suggestion)}, {tt.else_, says(tt.broken)}, {tt.image, says(tt.received)}})
				w.converse(assisted, []exchange{{tt.human, []string{handover, "thread_control/passed user_asked", "conversation_state/waiting user_asked"}}})
			})
		}
	})
}

// TestSuggestionSurvives: a choice means its step whatever happened to the bot
// between, as long as there is such a step.
func TestSuggestionSurvives(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setBot(unsure)
		w.load(shopFAQ)
		id := w.thread(alone)
		w.exchange(id, exchange{unclear, []string{asked}})
		w.load("node_name,question,answer\nGifts,do you wrap gifts,We do.\ndelivery TIME,how quick are you,One day.\n")
		w.exchange(id, exchange{"2", []string{"iva: One day."}})
		w.exchange(id, exchange{"when are you open", []string{broken}}) // that step is gone
	})
}

func TestChannelGetsChoices(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setBot(unsure)
		w.load(shopFAQ)
		id := w.thread(alone)
		w.ask(id, unclear)
		_, _, raw := w.sent(id, store.EndpointChannel)
		var got struct {
			Text string
			Data struct {
				QuickReplies []struct {
					Type    string
					Payload struct {
						Message     string
						GogoMessage string `json:"gogo_message"`
					}
				} `json:"quick_replies"`
			}
		}
		if len(raw) != 1 || json.Unmarshal(raw[0], &got) != nil || len(got.Data.QuickReplies) != 3 {
			t.Fatalf("sent %s", raw)
		}
		diff(t, "text", "Did you mean:", got.Text)
		for _, r := range got.Data.QuickReplies {
			if r.Type != "TEXT_ONLY" || !strings.HasPrefix(r.Payload.GogoMessage, r.Payload.Message+"{tract_step:") || strings.Contains(r.Payload.Message, "{") {
				t.Errorf("reply %+v", r)
			}
		}
		// Where only text can be shown the choices are in it.
		w.platform = 19
		sms := w.thread(alone)
		w.exchange(sms, exchange{unclear, []string{"iva: Did you mean:\n1. when are you open\n2. how long does delivery take\n3. Something else [when are you open|how long does delivery take|Something else]"}})
		w.exchange(sms, exchange{"2", []string{delivery}})
	})
}

// TestLostControl: what the bot says after it lost the thread reaches nobody and
// is not kept as a question without an answer.
func TestLostControl(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setBot(unsure)
		w.load(shopFAQ)
		id := w.thread(assisted)
		for _, said := range []string{unclear, none, "delivery time"} {
			turn := w.say(id, said)
			for _, c := range []tract.Control{{Op: tract.OpTake, By: tract.SAC}, {Op: tract.OpPass, By: tract.SAC, To: tract.IVA}} {
				if _, err := w.c.Do(w.ctx, id, c); err != nil {
					t.Fatal(err)
				}
			}
			st := w.state(id)
			if st.Owner != tract.IVA || st.Epoch == turn.Epoch {
				t.Fatalf("state %+v", st)
			}
			_, last := w.log(id, 0)
			if err := w.turn(turn); err != nil {
				t.Fatal(err)
			}
			diff(t, said, []string(nil), w.after(id, last))
			texts, _, _ := w.sent(id, store.EndpointChannel)
			for _, text := range texts {
				if strings.HasPrefix(text, "Did you") || strings.HasPrefix(text, "Delivery") || strings.HasPrefix(text, "Let me") {
					t.Errorf("the channel got %q", text)
				}
			}
		}
		w.view(func(tx *store.Tx) error {
			kept, err := tx.ListUnanswered(w.client, domain, 10)
			if len(kept) > 0 {
				t.Errorf("kept %+v", kept)
			}
			return err
		})
	})
}
