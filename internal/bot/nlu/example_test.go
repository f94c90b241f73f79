package nlu_test

import (
	"context"
	"fmt"

	"tract/internal/bot/nlu"
)

func cafe() []nlu.Step {
	return []nlu.Step{
		{Name: "OPENING_HOURS", Examples: []string{"when are you open", "opening hours on sunday", "what time do you close"}},
		{Name: "BOOK_TABLE", Examples: []string{"book a table for two", "i want to reserve a table", "do you have a free table tonight"}},
		{Name: "MENU", Examples: []string{"show me the menu", "what cakes do you have", "do you serve vegan food"}},
	}
}

func ExampleTrain() {
	model, err := nlu.Train(context.Background(), cafe(), nlu.Options{Language: "en"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, question := range []string{"pls resrve a table 4 me", "how deep is the ocean"} {
		r := model.Match(question)
		if r.Confidence >= nlu.DefaultThreshold {
			fmt.Println(question, "->", r.Candidates[0].Name)
		} else {
			fmt.Println(question, "-> not understood")
		}
	}
	// Output:
	// pls resrve a table 4 me -> BOOK_TABLE
	// how deep is the ocean -> not understood
}

func ExampleLoad() {
	model, err := nlu.Train(context.Background(), cafe(), nlu.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := model.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}
	again, err := nlu.Load(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(again.Match("are you open today").Candidates[0].Name)

	file[100] ^= 1
	_, err = nlu.Load(file)
	fmt.Println(err)
	// Output:
	// OPENING_HOURS
	// the model file is damaged: its checksum does not fit
}

func ExampleEvaluate() {
	model, err := nlu.Train(context.Background(), cafe(), nlu.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	e := nlu.Evaluate(model, []nlu.Question{
		{Text: "can we book a table", Step: "BOOK_TABLE"},
		{Text: "is there vegan cake", Step: "MENU"},
		{Text: "who won the match", Step: nlu.OutOfScope},
	}, 0, nil)
	fmt.Printf("%.0f%% in scope, %.0f%% out of scope\n", 100*e.InScopeAccuracy, 100*e.OOSRecall)
	// Output:
	// 100% in scope, 100% out of scope
}
