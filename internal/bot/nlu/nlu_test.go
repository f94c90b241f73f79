package nlu_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/bot/nlu"
)

// readCSV reads a file of sentences and labels.
func readCSV(t testing.TB, path string) []nlu.Question {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var list []nlu.Question
	for _, row := range rows[1:] {
		list = append(list, nlu.Question{Text: row[0], Step: row[1]})
	}
	return list
}

// stepsOf groups sentences by label, in order of appearance.
func stepsOf(questions []nlu.Question) []nlu.Step {
	var steps []nlu.Step
	at := make(map[string]int)
	for _, q := range questions {
		i, ok := at[q.Step]
		if !ok {
			i = len(steps)
			at[q.Step] = i
			steps = append(steps, nlu.Step{Name: q.Step})
		}
		steps[i].Examples = append(steps[i].Examples, q.Text)
	}
	return steps
}

func shop(t testing.TB) []nlu.Step {
	return stepsOf(readCSV(t, filepath.Join("testdata", "shop.csv")))
}

func train(t testing.TB, steps []nlu.Step, o nlu.Options) *nlu.Model {
	t.Helper()
	m, err := nlu.Train(context.Background(), steps, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestShopIsMatched(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	e := nlu.Evaluate(m, readCSV(t, filepath.Join("testdata", "shop_questions.csv")), 0, nil)
	if e.InScopeAccuracy < 0.9 || e.Top3 < 0.95 {
		t.Errorf("in-scope accuracy %.2f, top 3 %.2f", e.InScopeAccuracy, e.Top3)
	}
	if e.InScopeAccuracyAtThreshold < 0.75 || e.OOSRecall < 0.75 || e.Precision < 0.85 || e.AUROC < 0.9 {
		t.Errorf("at the threshold: %+v", e)
	}
	if e.Questions != 32 || e.OutOfScope != 8 || e.Threshold != nlu.DefaultThreshold {
		t.Errorf("counted %d questions, %d out of scope, at %v", e.Questions, e.OutOfScope, e.Threshold)
	}
}

func TestResultIsOrdered(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	r := m.Match("cancel my order")
	if len(r.Candidates) != 5 {
		t.Fatalf("%d candidates", len(r.Candidates))
	}
	first := r.Candidates[0]
	if first.Name != "CANCEL_ORDER" || m.Steps()[first.Step] != first.Name || first.Confidence != r.Confidence || r.Confidence < 0.8 {
		t.Errorf("first candidate %+v, confidence %v", first, r.Confidence)
	}
	for i, c := range r.Candidates[1:] {
		if c.Score > r.Candidates[i].Score || c.Confidence > r.Candidates[i].Confidence || c.Confidence < 0 {
			t.Errorf("candidate %d is out of order: %+v", i+1, r.Candidates)
		}
	}
	if r.Signals.Known != 1 || r.Signals.Coverage != 1 || r.Signals.Nearest < 0.99 || r.Signals.Jaccard < 0.99 {
		t.Errorf("signals of a training sentence: %+v", r.Signals)
	}
}

func TestNothingToMatch(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	for _, q := range []string{"", " \t\n", "?!…", "🙂🙂", "\xff\xfe"} {
		if r := m.Match(q); len(r.Candidates) != 0 || r.Confidence != 0 {
			t.Errorf("%q gives %+v", q, r)
		}
	}
}

func TestReading(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	tests := []struct{ name, question, want string }{
		{"lower case and accents", "Où est mon PÀRCEL", "ou est mon parcel"},
		{"wide letters", "ｏｒｄｅｒ", "order"},
		{"apostrophes", "I don’t know what's up", "i dont know whats up"},
		{"letter runs", "pleeeease cancelllll", "please cancel"},
		{"digits", "order 12345 of 2kg", "order #5 of #1 kg"},
		{"slang", "pls send ur addr", "please send your address"},
		{"one edit", "cancle my ordr", "cancel my order"},
		{"two edits in a long word", "delvirey", "delivery"},
		{"first letter stays", "xancel", "xancel"},
		{"short words stay", "pa", "pa"},
		{"common words stay", "planks and parties", "planks and parties"},
		{"percent", "10% off", "#2 percent off"},
		{"underscores and punctuation", "ORDER_STATUS, please!", "order status please"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(m.Match(tt.question).Read, " "); got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLongQuestionIsBounded(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	for _, q := range []string{strings.Repeat("cancel my order ", 100_000), strings.Repeat("é", 1<<20), strings.Repeat("ab1", 1<<18)} {
		if r := m.Match(q); len(r.Read) > 256 {
			t.Errorf("read %d words", len(r.Read))
		}
	}
}

func TestSameStepsSameBytes(t *testing.T) {
	var first []byte
	for _, workers := range []int{1, 2, 7} {
		b, err := train(t, shop(t), nlu.Options{Workers: workers}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Errorf("%d workers made another model", workers)
		}
	}
	other := shop(t)
	other[0].Examples = other[0].Examples[1:]
	if b, _ := train(t, other, nlu.Options{}).MarshalBinary(); bytes.Equal(first, b) {
		t.Error("other steps made the same model")
	}
}

func TestTrainRefuses(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tests := []struct {
		name  string
		ctx   context.Context
		steps []nlu.Step
		want  error
	}{
		{"no steps", context.Background(), nil, nlu.ErrNoExamples},
		{"no words", context.Background(), []nlu.Step{{Name: "!", Examples: []string{"", "?"}}}, nlu.ErrNoExamples},
		{"ended context", ctx, shop(t), context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := nlu.Train(tt.ctx, tt.steps, nlu.Options{}); !errors.Is(err, tt.want) || m != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOddSteps(t *testing.T) {
	tests := []struct {
		name  string
		steps []nlu.Step
		ask   string
		want  string
	}{
		{"a single step", []nlu.Step{{Name: "GREETING", Examples: []string{"hello there"}}}, "hello there", "GREETING"},
		{"a name is an example", []nlu.Step{{Name: "OrderStatus"}, {Name: "refund_policy"}}, "what is your refund policy", "refund_policy"},
		{"one name twice", []nlu.Step{{Name: "a", Examples: []string{"red apples"}}, {Name: "a", Examples: []string{"green pears"}}}, "green pears", "a"},
		{"stop words only", []nlu.Step{{Name: "x", Examples: []string{"kya hai"}}, {Name: "y", Examples: []string{"parcel"}}}, "kya hai", "x"},
		{"nothing in common", []nlu.Step{{Name: "a", Examples: []string{"一二三"}}, {Name: "b", Examples: []string{"привет мир"}}}, "привет", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := train(t, tt.steps, nlu.Options{}).Match(tt.ask)
			if len(r.Candidates) == 0 || r.Candidates[0].Name != tt.want {
				t.Errorf("got %+v", r.Candidates)
			}
		})
	}
}

func TestLanguages(t *testing.T) {
	tests := []struct {
		language string
		steps    []nlu.Step
		ask      map[string]string
	}{
		{"hi", []nlu.Step{
			{Name: "ORDER", Examples: []string{"mera order kahan hai", "order kab aayega", "मेरा ऑर्डर कहाँ है", "पार्सल कब आएगा"}},
			{Name: "REFUND", Examples: []string{"mera paisa wapas chahiye", "refund kab milega", "मुझे पैसे वापस चाहिए"}},
			{Name: "ADDRESS", Examples: []string{"pata badalna hai", "address galat hai", "पता बदलना है"}},
		}, map[string]string{"mera parcel kb aaega": "ORDER", "paise wapis krdo": "REFUND", "मेरा पार्सल कहाँ है": "ORDER", "पैसे वापस करो": "REFUND", "addres badalna": "ADDRESS"}},
		{"es-MX", []nlu.Step{
			{Name: "PEDIDO", Examples: []string{"¿dónde está mi pedido?", "cuándo llega el paquete", "seguimiento del envío"}},
			{Name: "DEVOLUCIÓN", Examples: []string{"quiero devolver un producto", "quiero que me devuelvan el dinero"}},
			{Name: "PAGO", Examples: []string{"¿puedo pagar con tarjeta?", "formas de pago"}},
		}, map[string]string{"donde esta mi encomienda": "PEDIDO", "necesito un reembolso": "DEVOLUCIÓN", "aceptan tarjetas de crédito": "PAGO"}},
		{"de", []nlu.Step{
			{Name: "LIEFERUNG", Examples: []string{"Wo ist mein Paket?", "Wann kommt meine Bestellung an?"}},
			{Name: "RÜCKGABE", Examples: []string{"Ich möchte etwas zurückgeben", "Wie geht eine Retoure?"}},
			{Name: "ÖFFNUNGSZEITEN", Examples: []string{"Wann habt ihr geöffnet?", "Öffnungszeiten am Samstag"}},
		}, map[string]string{"wo bleibt meine sendung": "LIEFERUNG", "artikel zurueckgeben": "RÜCKGABE", "seid ihr sonntags offen": "ÖFFNUNGSZEITEN"}},
		{"fr", []nlu.Step{
			{Name: "LIVRAISON", Examples: []string{"Où est mon colis ?", "Quand arrive ma commande ?"}},
			{Name: "REMBOURSEMENT", Examples: []string{"Je veux être remboursé", "Je souhaite retourner un article"}},
			{Name: "PAIEMENT", Examples: []string{"Puis-je payer par carte ?", "Moyens de paiement"}},
		}, map[string]string{"suivi de mon paquet": "LIVRAISON", "rendre un produit": "REMBOURSEMENT", "payer par carte bancaire": "PAIEMENT"}},
		{"pt_BR", []nlu.Step{
			{Name: "ENTREGA", Examples: []string{"Onde está meu pedido?", "Quando chega a encomenda?"}},
			{Name: "REEMBOLSO", Examples: []string{"Quero meu dinheiro de volta", "Quero devolver o produto"}},
			{Name: "PAGAMENTO", Examples: []string{"Posso pagar com cartão?", "Formas de pagamento"}},
		}, map[string]string{"cadê meu pacote": "ENTREGA", "vc faz estorno": "REEMBOLSO", "aceita cartao de credito": "PAGAMENTO"}},
		{"sw", []nlu.Step{
			{Name: "BEI", Examples: []string{"bei ya simu ni gani", "inagharimu kiasi gani"}},
			{Name: "SAA", Examples: []string{"mnafungua saa ngapi", "saa za kazi"}},
		}, map[string]string{"bei gani": "BEI", "saa ngapi": "SAA"}},
	}
	for _, tt := range tests {
		t.Run(tt.language, func(t *testing.T) {
			m := train(t, tt.steps, nlu.Options{Language: tt.language})
			for q, want := range tt.ask {
				r := m.Match(q)
				if len(r.Candidates) == 0 || r.Candidates[0].Name != want {
					t.Errorf("%q is taken for %+v, read as %q", q, r.Candidates, r.Read)
				}
			}
		})
	}
}

func TestMatchAtOnce(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	questions := readCSV(t, filepath.Join("testdata", "shop_questions.csv"))
	var want []nlu.Result
	for _, q := range questions {
		want = append(want, m.Match(q.Text))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i, q := range questions {
				if diff := cmp.Diff(want[i], m.Match(q.Text)); diff != "" {
					t.Errorf("%q: %s", q.Text, diff)
				}
			}
		})
	}
	wg.Wait()
}

func TestEvaluationCounts(t *testing.T) {
	m := train(t, shop(t), nlu.Options{})
	questions := []nlu.Question{
		{Text: "cancel my order", Step: "CANCEL_ORDER"}, // right and sure
		{Text: "track my parcel", Step: "REFUND"},       // wrong and sure
		{Text: "zxqv wkjh", Step: "REFUND"},             // unsure
		{Text: "opening hours", Step: nlu.OutOfScope},   // answered, but should not be
		{Text: "zxqv wkjh", Step: nlu.OutOfScope},       // refused
	}
	tick := time.Unix(0, 0)
	e := nlu.Evaluate(m, questions, 0, func() time.Time {
		tick = tick.Add(3 * time.Microsecond)
		return tick
	})
	want := nlu.Evaluation{
		Questions: 5, OutOfScope: 2, Threshold: nlu.DefaultThreshold,
		InScopeAccuracy: e.InScopeAccuracy, InScopeAccuracyAtThreshold: 1.0 / 3,
		OOSRecall: 0.5, Precision: 1.0 / 3, Answered: 3.0 / 5, Top3: e.Top3,
		// 2 of 5 agree; the truth is 1, 2, 2 of a kind, the guesses 1, 1, 1, 2.
		MCC:   (2*5 - (1*1 + 2*2)) / math.Sqrt((25-9)*(25-7)),
		AUROC: e.AUROC, P50US: 3, P99US: 3,
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if e.AUROC <= 0.5 || e.AUROC >= 1 {
		t.Errorf("AUROC %v", e.AUROC)
	}
	if got := nlu.Evaluate(m, nil, 0.7, nil); got != (nlu.Evaluation{Threshold: 0.7}) {
		t.Errorf("no questions give %+v", got)
	}
}

func TestReviewFindsFaults(t *testing.T) {
	steps := append(shop(t),
		nlu.Step{Name: "THIN", Examples: []string{"gift wrapping"}},
		nlu.Step{Name: "STOP_ORDER", Examples: []string{"Cancel my ORDER!", "stop the order please", "i wish to cancel the order", "can i still cancel"}})
	m := train(t, steps, nlu.Options{})
	r, err := nlu.Review(context.Background(), m, steps, nlu.Options{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Steps != 14 || r.Examples != 12*6+5 {
		t.Errorf("counted %d steps, %d examples", r.Steps, r.Examples)
	}
	if diff := cmp.Diff([]nlu.ThinStep{{Name: "THIN", Examples: 1}}, r.Thin); diff != "" {
		t.Error(diff)
	}
	want := []nlu.SharedSentence{{Sentence: "cancel my order", Steps: []string{"CANCEL_ORDER", "STOP_ORDER"}}}
	if diff := cmp.Diff(want, r.Shared); diff != "" {
		t.Error(diff)
	}
	if len(r.Confused) == 0 || r.Confused[0].Steps != [2]string{"CANCEL_ORDER", "STOP_ORDER"} || len(r.Confused[0].Sentences) == 0 {
		t.Errorf("confused: %+v", r.Confused)
	}
	for name, e := range map[string]nlu.Evaluation{"random": r.Random, "hard": r.Hard} {
		if e.Questions != r.Examples || e.InScopeAccuracy < 0.4 || e.InScopeAccuracy > 0.95 || e.Precision == 0 || e.Answered == 0 {
			t.Errorf("%s folds: %+v", name, e)
		}
	}
}

func TestCrossValidate(t *testing.T) {
	for _, hard := range []bool{false, true} {
		e, err := nlu.CrossValidate(context.Background(), shop(t), nlu.Options{}, hard)
		if err != nil {
			t.Fatal(err)
		}
		if e.Questions != 72 || e.InScopeAccuracy < 0.6 {
			t.Errorf("hard %v: %+v", hard, e)
		}
	}
}
