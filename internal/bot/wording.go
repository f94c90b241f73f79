package bot

// wording is a phrasebook as it is written: one pattern a line (see phrase).
// Accents and apostrophes may be left out or not.
type wording struct {
	human, justHuman, fillers, not string

	numbers   string       // of the first choice, the second, the third and the fourth
	smallTalk [3][2]string // greetings, thanks, goodbyes: patterns and the answer
}

// wordings are all there is, by language code. A further language is one more
// entry.
func wordings() map[string]wording {
	return map[string]wording{"en": english(), "hi": hindi(), "es": spanish(), "de": german(), "fr": french(), "pt": portuguese()}
}

func english() wording {
	const who = "agent/agents/human/humans/person/people/someone/somebody/representative/representatives/rep/operator/advisor/adviser/executive/manager/supervisor/colleague/staff/support/team"
	return wording{
		human: `
			talk/speak/chat/talking/speaking/chatting to/with a/an/the/your/some/one? of? your? real/live/human/actual/another? customer? service/support/care? ` + who + `
			connect/connecting/transfer/transferring/put/pass/forward/switch/redirect me/us? through/over? to/with a/an/the/your/some? real/live/human/actual? customer? service/support/care? ` + who + `
			contact/reach a/an/the/your? real/live/human/actual/customer? service/support/care? agent/human/person/representative/operator
			talk/speak/chat to/with customer service/support/care`,
		justHuman: `
			i/we? would/id/really/just? want/need/like/get/give/prefer? me? to? have? a/an/the/some? real/live/human/actual? customer? service/support/care? agent/human/person/representative/operator being?
			i/we? want/need/get/give? me? real/live chat/support
			i/we? want/need/get/give? me? human/live/customer support/service/care/help/assistance
			i/we? want/need/get/give? me? help from a? human/agent/person`,
		fillers: `please pls plz hi hello hey ok okay no sorry thanks thank you now immediately asap can could just but instead right away`,
		not:     `not dont doesnt didnt never without avoid`,
		numbers: `
			number/option/the? 1/one/first/1st one?
			number/option/the? 2/two/second/2nd one?
			number/option/the? 3/three/third/3rd one?
			number/option/the? 4/four/fourth/4th/last one?`,
		smallTalk: [3][2]string{
			{`
				hi/hello/hey/hiya/howdy/greetings hi/hello/hey? there/all/everyone/everybody/team/bot/again? my? friend/team/bot?
				hi/hello/hey? good morning/afternoon/evening/day to? you?
				hi/hello/hey? how are/r you/u doing/today?`, "Hello! How can I help you?"},
			{`
				ok/okay/great/cool/perfect/alright/many? thanks/thx/ty/tnx/cheers so? very/a? much/lot/again?
				ok/okay/great/cool/perfect/alright? thank you/u so? very/a? much/lot/again?
				thanks/thank you? for your? help/helping me?`, "You are welcome!"},
			{`
				ok/okay/thanks? bye/goodbye/cya bye? for? now?
				good bye
				see you later/soon/tomorrow/then?
				have a nice/good/great/lovely day/evening/weekend/night/one
				good night`, "Goodbye!"},
		},
	}
}

func hindi() wording {
	const who = "agent/insaan/insan/human/person/vyakti/executive/representative/adhikari/operator/manager/support/kisi/एजेंट/इंसान/इनसान/व्यक्ति/मनुष्य/प्रतिनिधि/अधिकारी/मैनेजर/किसी"
	return wording{
		human: `
			` + who + ` agent/insaan/insan/human/person/vyakti/executive/adhikari/aadmi/इंसान/एजेंट/व्यक्ति/आदमी? se/sey/say/से baat/bat/baath/बात
			customer/कस्टमर care/केयर executive? se/से baat/bat/बात
			agent/human/insaan/insan/एजेंट/इंसान ko/को bulao/bulaiye/bula/बुलाओ/बुलाइए
			agent/human/insaan/insan/एजेंट/इंसान se/से connect/jodo/jodiye/कनेक्ट/जोड़ो/जोड़िए`,
		justHuman: `
			mujhe/muje/hame/मुझे/हमें? koi/ek/कोई/एक? agent/human/insaan/insan/aadmi/एजेंट/इंसान/आदमी chahiye/chaiye/चाहिए?`,
		fillers: `please pls kripya कृपया जी ji hi hello namaste नमस्ते ok haan हां हाँ`,
		not:     `nahi nahin mat नहीं मत`,
		numbers: `
			number? 1/१/ek/एक/pehla/pahla/पहला wala/वाला?
			number? 2/२/do/दो/dusra/doosra/दूसरा wala/वाला?
			number? 3/३/teen/तीन/teesra/tisra/तीसरा wala/वाला?
			number? 4/४/char/chaar/चार/chautha/चौथा wala/वाला?`,
		smallTalk: [3][2]string{
			{`
				namaste/namaskar/namaskaram/hello/hi/नमस्ते/नमस्कार/हैलो/हेलो ji/जी?
				suprabhat/सुप्रभात
				aap/आप? kaise/kaisi/कैसे/कैसी ho/hain/hai/हो/हैं/है aap/आप?
				ram/राम ram/राम`, "नमस्ते! मैं आपकी कैसे मदद कर सकता हूँ?"},
			{`
				ji/bahut/bohot/जी/बहुत? bahut/बहुत? dhanyavad/dhanyawad/dhanyavaad/shukriya/धन्यवाद/शुक्रिया ji/aapka/जी/आपका?`, "आपका स्वागत है!"},
			{`
				alvida/अलविदा
				phir/fir/फिर milenge/मिलेंगे`, "अलविदा!"},
		},
	}
}

func spanish() wording {
	const who = "agente/persona/humano/humana/alguien/asesor/asesora/operador/operadora/representante/ejecutivo/ejecutiva/encargado/supervisor/soporte"
	return wording{
		human: `
			hablar/hablo/hable/chatear/conversar/comunicarme/contactar/platicar con un/una/el/la/algún/alguna/su/tu? ` + who + `
			pásame/páseme/pasarme/conéctame/conécteme/conectarme/comunícame/comuníqueme/transfiéreme/transfiérame/transferirme/ponme/póngame con/a un/una/el/la/algún? ` + who + `
			hablar/comunicarme con atención al cliente`,
		justHuman: `
			quiero/necesito/quisiera/prefiero/dame/deme? un/una? agente/humano/persona/operador/operadora/asesor/asesora real/humano/humana?
			atención humana`,
		fillers: `por favor porfavor hola ok no gracias ya ahora`,
		not:     `no sin nunca`,
		numbers: `
			el/la/opción/número? 1/uno/una/primero/primera/primer
			el/la/opción/número? 2/dos/segundo/segunda
			el/la/opción/número? 3/tres/tercero/tercera
			el/la/opción/número? 4/cuatro/cuarto/cuarta`,
		smallTalk: [3][2]string{
			{`
				hola/buenas/saludos buenas? tardes/noches? a? todos/amigo/amiga?
				hola? buenos/buen días/día
				hola? qué/cómo tal/estás/está`, "¡Hola! ¿En qué puedo ayudarte?"},
			{`
				ok/vale/muchas/mil/perfecto? gracias por? todo/tu/su? ayuda?`, "¡De nada!"},
			{`
				adiós/chao/chau gracias?
				hasta luego/pronto/mañana/la? vista?`, "¡Hasta pronto!"},
		},
	}
}

func german() wording {
	const who = "menschen/mensch/mitarbeiter/mitarbeiterin/mitarbeitern/berater/beraterin/agenten/agent/person/jemandem/jemanden/kollegen/kollegin/kundenservice/kundendienst/kundenbetreuer/support/ansprechpartner"
	return wording{
		human: `
			mit/an einem/einen/einer/nem/ner/dem/der/ihrem? echten/richtigen/menschlichen/realen/echter? ` + who + ` sprechen/reden/chatten/schreiben/verbinden/verbunden/telefonieren/weiterleiten/weitergeleitet
			einen/eine/jemanden echten/richtigen? menschen/mitarbeiter/mitarbeiterin/berater? sprechen
			verbinde/verbinden/leiten sie? mich bitte? mit/an einem/einen/einer/dem/der/jemandem? echten/richtigen/menschlichen? ` + who + `?`,
		justHuman: `
			ich/wir? will/möchte/moechte/brauche/hätte/haette? gern/gerne? einen/einem/eine/ein? echten/richtigen/echter? menschen/mensch/mitarbeiter/mitarbeiterin/agent/agenten/berater/beraterin/kundenservice/kundendienst
			echte/menschliche hilfe`,
		fillers: `bitte hallo hi ok nein danke jetzt sofort`,
		not:     `nicht nie kein keinen keinem ohne`,
		numbers: `
			nummer/nr/das/die/der? 1/eins/erste/erstes/ersteres
			nummer/nr/das/die/der? 2/zwei/zweite/zweites
			nummer/nr/das/die/der? 3/drei/dritte/drittes
			nummer/nr/das/die/der? 4/vier/vierte/viertes`,
		smallTalk: [3][2]string{
			{`
				hallo/hi/hey/servus/moin/tag/grüezi moin/zusammen/du/team?
				hallo/hi? guten/schönen morgen/tag/abend
				grüß gott/dich
				hallo/hi/na? wie gehts/geht es? dir/ihnen/euch?`, "Hallo! Wie kann ich helfen?"},
			{`
				ok/super/alles/vielen/besten/herzlichen/klar? klar? dank/danke schön/sehr/dir/ihnen/euch?
				dankeschön`, "Gern geschehen!"},
			{`
				danke? tschüss/tschüs/tschau/ciao/servus
				auf wiedersehen/wiederschauen
				bis bald/dann/später/morgen
				gute nacht
				schönen tag/abend noch?`, "Auf Wiedersehen!"},
		},
	}
}

func french() wording {
	const who = "conseiller/conseillère/agent/humain/personne/opérateur/opératrice/quelquun/responsable/représentant/être"
	return wording{
		human: `
			parler/discuter/échanger/parle/chatter/tchatter à/avec un/une/votre/le/la? vrai/vraie/véritable? ` + who + `
			mettez/mets/passez/passe/transférez/transfère/mettre/connectez moi? en? relation/contact? avec/à? un/une/le? vrai/vraie? ` + who + `
			joindre/contacter un/une vrai/vraie? conseiller/conseillère/agent/humain/opérateur
			parler/joindre/contacter au? le? service client`,
		justHuman: `
			je? veux/voudrais/souhaite/besoin? dun/dune/un/une? vrai/vraie? conseiller/conseillère/agent/humain/personne/opérateur humain/réel/réelle?
			jai besoin dun/dune vrai/vraie? conseiller/conseillère/agent/humain/personne`,
		fillers: `svp sil vous te plait bonjour salut ok non merci maintenant`,
		not:     `pas jamais sans ne`,
		numbers: `
			numéro/le/la/option? 1/un/une/premier/première/1er
			numéro/le/la/option? 2/deux/deuxième/second/seconde
			numéro/le/la/option? 3/trois/troisième
			numéro/le/la/option? 4/quatre/quatrième`,
		smallTalk: [3][2]string{
			{`
				bonjour/bonsoir/salut/coucou/hello à? tous/toutes/vous?
				bonjour/salut? comment allez vous/vas tu
				bonjour/salut? ça va`, "Bonjour ! Comment puis-je vous aider ?"},
			{`
				ok/super/parfait? un/mille? grand? merci/mercis beaucoup/bien? à? vous/toi?`, "Je vous en prie !"},
			{`
				merci? au revoir
				à bientôt/demain/plus tard?
				bonne journée/soirée/nuit`, "Au revoir !"},
		},
	}
}

func portuguese() wording {
	const who = "atendente/humano/pessoa/agente/operador/operadora/alguém/representante/consultor/consultora/gerente/suporte"
	return wording{
		human: `
			falar/conversar/falo/fale/conversa com um/uma/o/a/algum/alguma? ` + who + `
			passar/passa/passe/transferir/transfere/transfira/conectar/conecte/encaminhar/encaminhe me? para/pra/com/a um/uma/o/a/algum? ` + who + `
			falar com o? atendimento humano?`,
		justHuman: `
			eu? quero/preciso/queria/gostaria? de/do/da? um/uma? atendente/humano/pessoa/agente/operador humano/humana/real?
			atendimento humano`,
		fillers: `por favor pfv oi olá ok não obrigado obrigada agora`,
		not:     `não nao sem nunca`,
		numbers: `
			o/a/opção/número? 1/um/uma/primeiro/primeira
			o/a/opção/número? 2/dois/duas/segundo/segunda
			o/a/opção/número? 3/três/terceiro/terceira
			o/a/opção/número? 4/quatro/quarto/quarta`,
		smallTalk: [3][2]string{
			{`
				oi/olá/opa/alô bom/boa? dia/tarde/noite? pessoal/amigo?
				bom dia
				boa tarde/noite
				oi/olá? tudo/como bem/bom/vai/está com? você?`, "Olá! Como posso ajudar?"},
			{`
				ok/muito/muitíssimo/perfeito? obrigado/obrigada/valeu/brigado/brigada por? tudo?`, "De nada!"},
			{`
				obrigado/obrigada? tchau/adeus
				até logo/mais/breve/amanhã`, "Até logo!"},
		},
	}
}
