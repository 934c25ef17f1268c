package onnx

import "fmt"

// FormatError says that the bytes are no valid ONNX model: broken protobuf, a value written twice, data that does
// not fill its shape.
type FormatError struct {
	Where  string // the part of the model, such as `initializer "conv1.weight"`; empty for the model as a whole
	Reason string
}

func (e *FormatError) Error() string { return compose("malformed model", e.Where, e.Reason) }

// UnsupportedError says that a valid model uses, outside its nodes, something the engine does not hold: an element
// type, sparse tensors, data in another file. What a node asks for in vain is an *ops.UnsupportedError, which names
// the operator and the opset.
type UnsupportedError struct {
	Where  string
	Reason string
}

func (e *UnsupportedError) Error() string { return compose("unsupported model", e.Where, e.Reason) }

// LimitError says that a model is larger than the bounds that keep a hostile one from exhausting the machine.
type LimitError struct {
	What  string // what there is too much of, in the plural
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("onnx: model too large: more than %d %s", e.Limit, e.What)
}

func compose(kind, where, reason string) string {
	if where == "" {
		return fmt.Sprintf("onnx: %s: %s", kind, reason)
	}
	return fmt.Sprintf("onnx: %s: %s: %s", kind, where, reason)
}

func malformed(where, format string, args ...any) error {
	return &FormatError{Where: where, Reason: fmt.Sprintf(format, args...)}
}

func unsupported(where, format string, args ...any) error {
	return &UnsupportedError{Where: where, Reason: fmt.Sprintf(format, args...)}
}
