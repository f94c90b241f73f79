package nlu
import ("testing";"context";"fmt";"time";"math/rand";"runtime")
func TestBig(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	syl := []string{"ka","ro","min","tel","sa","ver","do","lin","pa","qui","zen","bor","fi","gal","hu","tra","ne","os","um","ij"}
	word := func() string { s := ""; for range 2+r.Intn(2) { s += syl[r.Intn(len(syl))] }; return s }
	vocab := make([]string, 6000); for i := range vocab { vocab[i] = word() }
	verbs := []string{"how do i change","where is","cancel","what does it cost to get","i need help with","please open","why is there a problem with","when will i receive","can i return","tell me about"}
	var steps []Step
	for i := range 10000 {
		a, b, c := vocab[r.Intn(6000)], vocab[r.Intn(6000)], vocab[r.Intn(6000)]
		v := verbs[r.Intn(10)]
		s := Step{Name: fmt.Sprintf("node %d", i)}
		for k := range 5 { x := vocab[r.Intn(6000)]; s.Examples = append(s.Examples, []string{v+" my "+a+" "+b, a+" "+b+" "+c, v+" the "+c+" "+a+" "+x, "the "+b+" and the "+c+" "+x, v+" "+a+" "+b+" "+c+" "+x}[k]) }
		steps = append(steps, s)
	}
	t0 := time.Now()
	m, err := Train(context.Background(), steps, Options{})
	if err != nil { t.Fatal(err) }
	var ms runtime.MemStats; runtime.ReadMemStats(&ms)
	fmt.Println("train", time.Since(t0), "features", m.vec.size(), "sys MB", ms.Sys>>20)
	ok := 0; var qs []Question
	for i := range 1000 { s := steps[i*10]; qs = append(qs, Question{s.Examples[r.Intn(5)]+" "+vocab[r.Intn(6000)], s.Name}) }
	e := Evaluate(m, qs, 0, time.Now)
	_ = ok
	fmt.Printf("%+v\n", e)
	b, _ := m.MarshalBinary(); fmt.Println("file MB", len(b)>>20)
}
