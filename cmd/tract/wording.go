package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tract"
	"tract/internal/store"
	"tract/internal/texts"
)

// missingTexts says which texts are named by the wording in the store and do not
// exist, each with the first place that names it.
func missingTexts(tx *store.Tx) (error, error) {
	var bad []error
	err := eachClient(tx, func(c tract.Client, cfg *tract.Config) error {
		said := map[string]bool{}
		look := func(where string, wording ...string) {
			for _, key := range texts.Named(strings.Join(wording, " ")) {
				if _, known := cfg.Texts[key]; !known && !said[key] {
					said[key] = true
					bad = append(bad, fmt.Errorf("%s of client %s names the text %s, which does not exist", where, c.ID, key))
				}
			}
		}
		return eachWording(tx, cfg, look)
	})
	return errors.Join(bad...), err
}

// eachWording calls look for everything of a client that may name texts.
func eachWording(tx *store.Tx, cfg *tract.Config, look func(where string, wording ...string)) error {
	for _, key := range slices.Sorted(maps.Keys(cfg.Texts)) {
		look("text "+key, slices.Sorted(maps.Values(cfg.Texts[key].In))...)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Teams)) {
		t := cfg.Teams[name]
		look("team "+name, t.OfflineMessage, t.DelayMessage, t.RecallMessage)
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Businesses)) {
		look(fmt.Sprintf("business %d", id), cfg.Businesses[id].FailoverMessage)
	}
	for _, domain := range slices.Sorted(maps.Keys(cfg.Bots)) {
		b := cfg.Bots[domain]
		look("bot "+domain, b.Welcome, b.BotBreak, b.Handover)
		if err := tx.EachStep(cfg.Client.Key, domain, true, func(s tract.Step) error {
			look("step "+s.Name+" of bot "+domain, s.Answers...)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
