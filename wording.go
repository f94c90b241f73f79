package tract

import "strings"

// BotWording is what a bot says beside its steps' answers.
type BotWording struct {
	BotBreak      string // it has no answer
	Handover      string // a human takes over
	DidYouMean    string // before the steps that a question may mean
	SomethingElse string // the choice that is none of them
	FileReceived  string // to an image or a document
}

// DefaultWording is the wording of a bot that sets none, by its language;
// English for a language without one.
func DefaultWording(language string) BotWording {
	tag := strings.ToLower(language)
	if tag == "hi-latn" {
		return BotWording{"Maaf kijiye, main samajh nahi paya.", "Main aapko hamare ek saathi se jodta hoon.", "Kya aapka matlab yeh tha:", "Kuch aur", "Dhanyavaad, aapki file mil gayi. Main use khud nahi dekh sakta."}
	}
	code, _, _ := strings.Cut(tag, "-")
	switch code {
	case "hi":
		return BotWording{"माफ़ कीजिए, मैं समझ नहीं पाया।", "मैं आपको हमारे एक साथी से जोड़ता हूँ।", "क्या आपका मतलब यह था:", "कुछ और", "धन्यवाद, आपकी फ़ाइल मिल गई। मैं उसे खुद नहीं देख सकता।"}
	case "es":
		return BotWording{"Lo siento, no te he entendido.", "Te paso con un compañero.", "¿Quisiste decir…?", "Otra cosa", "Gracias, he recibido tu archivo. Yo no puedo verlo."}
	case "de":
		return BotWording{"Das habe ich leider nicht verstanden.", "Ich hole jemanden aus unserem Team dazu.", "Meinten Sie:", "Etwas anderes", "Danke, die Datei ist angekommen. Ansehen kann ich sie leider nicht."}
	case "fr":
		return BotWording{"Désolé, je n'ai pas compris.", "Je vous passe un collègue.", "Vouliez-vous dire :", "Autre chose", "Merci, j'ai bien reçu votre fichier. Je ne peux pas le consulter moi-même."}
	case "pt":
		return BotWording{"Desculpe, não entendi.", "Vou chamar um colega.", "Você quis dizer:", "Outra coisa", "Obrigado, recebi o seu arquivo. Não consigo abri-lo."}
	}
	return BotWording{"Sorry, I did not get that.", "Let me get a colleague.", "Did you mean:", "Something else", "Thank you, I have received your file. I cannot look into it myself."}
}
