package dialect

import (
	"encoding/json"
	"net/http"
)

// WriteJSON answers with v as JSON. Where v cannot be encoded nothing is written.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
