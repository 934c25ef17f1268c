package upload

import (
	"bytes"
	"encoding/json"
)

// ReadJSON makes fields of the members of a JSON object: strings as they are, numbers and booleans as they are written.
// null is no member. It does nothing to bodies of other kinds. Its error is a *FormError.
func (f *Form) ReadJSON() error {
	if f.Kind != JSON {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(f.Body, &members); err != nil {
		return &FormError{Public: "The body is not a JSON object.", Err: err}
	}
	for name, raw := range members {
		raw = bytes.TrimSpace(raw)
		switch raw[0] {
		case '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return &FormError{Public: "The body is not a JSON object.", Err: err}
			}
			f.add(name, Field{Data: []byte(s)})
		case '{', '[':
			return &FormError{Public: "A member of the JSON object is not a plain value."}
		case 'n':
		default:
			f.add(name, Field{Data: raw})
		}
	}
	return nil
}
