package upload

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func readJSON(body string) (*Form, error) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	form, err := Read(r, Options{})
	if err != nil {
		return nil, err
	}
	return form, form.ReadJSON()
}

func TestReadJSON(t *testing.T) {
	t.Parallel()
	form, err := readJSON(` {"a":"text \u00e9","b":true,"c":1.50,"d":null,"e":"","f":"  "}`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "text é", "b": "true", "c": "1.50", "d": "", "e": "", "f": ""} {
		field, ok := form.Get(name)
		if field.Text() != want || ok != (want != "") || field.File {
			t.Errorf("%s: %q, %v", name, field.Data, ok)
		}
	}
	for _, body := range []string{`[]`, `"x"`, `{`, `{"a":[1]}`, `{"a":{}}`, `{"a":1} x`, `null x`, "\x00"} {
		_, err := readJSON(body)
		if _, ok := errors.AsType[*FormError](err); !ok {
			t.Errorf("%q: %v", body, err)
		}
	}
	if err := (&Form{Kind: Raw, Body: []byte("x")}).ReadJSON(); err != nil {
		t.Errorf("a raw body: %v", err)
	}
}

func FuzzReadJSON(f *testing.F) {
	f.Add(`{"a":"b","c":1}`)
	f.Fuzz(func(_ *testing.T, body string) { _, _ = readJSON(body) })
}
