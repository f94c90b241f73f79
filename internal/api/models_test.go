package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/store"
)

const models = "/api/clients/acme/bots/acme_import/models/"

// asAdmin makes a call with the administrator's token.
func asAdmin(w *apitest.World, method, path string) apitest.Answer {
	w.T.Helper()
	return w.Call(method, path, nil, "Authorization: Bearer "+w.AdminToken)
}

// modelsReady waits until n versions are ready and have a report.
func modelsReady(w *apitest.World, n int) (list apitest.Answer) {
	w.T.Helper()
	w.Until(fmt.Sprintf("%d versions are ready", n), func(tx *store.Tx) (bool, error) {
		list = asAdmin(w, "GET", models).Want(w.T, http.StatusOK)
		newest := asAdmin(w, "GET", models+fmt.Sprint(n))
		return newest.Status == http.StatusOK && newest.Text("state") == store.ModelReady && newest.At("report") != nil, nil
	})
	return list
}

func TestModels(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		if got := asAdmin(w, "GET", models).Want(t, 200); string(got.Body) != `{"models":[]}`+"\n" && string(got.Body) != `{"models":[]}` {
			t.Errorf("before the first upload: %s", got)
		}
		task := importFAQ(w, "acme_import", faqHead+"Warranty,how long is the warranty|warranty period,Two years.\nSizes,which sizes|what size do you have,S to XL.\n")
		modelsReady(w, 1)
		importFAQ(w, "acme_import", faqHead+"Warranty,how long is the warranty|warranty period,Three years.\nGift cards,do you sell gift cards|gift card,Yes.\n")
		list := modelsReady(w, 2)
		for path, want := range map[string]any{"models.0.version": 2.0, "models.0.active": true, "models.0.state": "ready", "models.0.changed_by": "client", "models.0.restored_from": nil, "models.1.version": 1.0, "models.1.active": false, "models.1.report": nil} {
			if got := list.At(path); !cmp.Equal(got, want) {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}
		one := asAdmin(w, "GET", models+"1/").Want(t, 200)
		if one.Int("report.steps") != 2 || one.Int("report.random_folds.questions") != 4 || one.Int("steps") != 2 {
			t.Errorf("version 1: %s", one)
		}
		if task.At("meta.model") != nil && task.Int("meta.model.version") != 1 {
			t.Errorf("status of the upload: %s", task)
		}

		c := asAdmin(w, "GET", models+"compare?from=1&to=2").Want(t, 200)
		for path, want := range map[string]any{
			"from.version": 1.0, "to.version": 2.0, "from.report.steps": 2.0, "steps_added": map[string]any{"count": 1.0, "names": []any{"Gift cards"}},
			"steps_removed": map[string]any{"count": 1.0, "names": []any{"Sizes"}}, "steps_changed": map[string]any{"count": 1.0, "names": []any{"Warranty"}},
			"messages": 6.0, "messages_asked": 6.0, "answer_changes": 6.0, "answers.0.message": "how long is the warranty", "answers.0.from.step": "Warranty",
			"answers.0.from.answers": []any{"Two years."}, "answers.0.to.answers": []any{"Three years."}, "answers.2.to.step": nil,
		} {
			if got := c.At(path); !cmp.Equal(got, want) {
				t.Errorf("%s is %v, want %v", path, got, want)
			}
		}

		back := asAdmin(w, "POST", models+"1/activate").Want(t, 200)
		if back.Text("state") != "active" || back.Int("version") != 3 || back.Int("restored_from") != 1 {
			t.Errorf("activated: %s", back)
		}
		list = modelsReady(w, 3)
		if list.At("models.0.active") != true || list.Int("models.0.restored_from") != 1 || list.Text("models.0.changed_by") != "admin" || list.Int("models.0.train_ms") != list.Int("models.2.train_ms") {
			t.Errorf("after the roll-back: %s", list)
		}
		if got := exported(w, "acme_import"); got != faqHead+"Warranty,how long is the warranty|warranty period,Two years.\nSizes,which sizes|what size do you have,S to XL.\n" {
			t.Errorf("export: %s", got)
		}
		if again := asAdmin(w, "POST", models+"3/activate/").Want(t, 200); again.Int("version") != 3 {
			t.Errorf("the active one: %s", again)
		}
		if got := asAdmin(w, "GET", models+"compare/?from=1&to=3").Want(t, 200); got.Int("answer_changes") != 0 || got.Int("steps_changed.count") != 0 {
			t.Errorf("compared with itself: %s", got)
		}
		audited := 0
		w.View(func(tx *store.Tx) error {
			lines, err := tx.ListAudit(w.ClientKey("acme"), 100)
			for _, l := range lines {
				if l.Action == "model_activated" && l.Target == "acme_import" && l.Actor == "admin" {
					audited++
				}
			}
			return err
		})
		if audited != 1 {
			t.Errorf("%d lines in the audit log", audited)
		}
	})
}

func TestModelsRefuse(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		importFAQ(w, "acme_import", faqHead+"Warranty,how long is the warranty,Two years.\n")
		modelsReady(w, 1)
		key := w.ClientKey("acme")
		w.Update(func(tx *store.Tx) error {
			_, _, err := tx.ClaimModel(key, "acme_import", 1, "xx", "another", 1e12)
			return err
		})
		for _, c := range []struct {
			method, path string
			status       int
			code         string
		}{
			{"GET", models + "9", 404, "not_found"},
			{"GET", models + "0", 400, "invalid_parameter"},
			{"GET", models + "one", 400, "invalid_parameter"},
			{"GET", "/api/clients/nobody/bots/acme_import/models", 404, "not_found"},
			{"GET", "/api/clients/acme/bots/other_faq/models", 404, "not_found"},
			{"GET", "/api/clients/other/bots/acme_import/models/1", 404, "not_found"},
			{"GET", models + "compare", 400, "field_missing"},
			{"GET", models + "compare?from=1&to=x", 400, "invalid_parameter"},
			{"GET", models + "compare?from=1&from=1&to=1", 400, "invalid_parameter"},
			{"GET", models + "compare?from=1&to=9", 404, "not_found"},
			{"GET", models + "compare?from=1&to=2", 409, "version_unusable"},
			{"POST", models + "2/activate", 409, "version_unusable"},
			{"POST", models + "9/activate", 404, "not_found"},
			{"POST", models + "x/activate", 400, "invalid_parameter"},
		} {
			if got := asAdmin(w, c.method, c.path); got.Status != c.status || got.Code() != c.code {
				t.Errorf("%s %s: %s, want %d %s", c.method, c.path, got, c.status, c.code)
			}
			if got := w.Call(c.method, c.path, nil, "Authorization: Bearer "+w.Token); got.Status != 401 {
				t.Errorf("%s %s with a client's token: %s", c.method, c.path, got)
			}
		}
	})
}
