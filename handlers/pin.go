package handlers

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"cutout/handlers/dialect"
	"cutout/pipeline"
)

// modelHeader, in a request, names the one network that may serve it, as NAME or NAME@VERSION: who needs the same result
// tomorrow is told rather than served by another.
const modelHeader = "X-Cutout-Model"

var pinForm = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@([0-9a-f]{4,64}))?$`)

type pinKey struct{}

// withPin marks a request with what its header pins.
func withPin(ctx context.Context, header http.Header) context.Context {
	if value := header.Get(modelHeader); value != "" {
		return context.WithValue(ctx, pinKey{}, value)
	}
	return ctx
}

// pinning is a processor that honours what a request pins.
type pinning struct{ next dialect.Processor }

func (p pinning) Run(ctx context.Context, image []byte, o pipeline.Options) (*pipeline.Result, error) {
	value, ok := ctx.Value(pinKey{}).(string)
	if !ok {
		return p.next.Run(ctx, image, o)
	}
	match := pinForm.FindStringSubmatch(value)
	if match == nil {
		return nil, &dialect.Error{
			Status: http.StatusBadRequest, Reason: dialect.ReasonBadParameter,
			Public: "The header " + modelHeader + " must be NAME or NAME@VERSION, with a version of 4 to 64 hexadecimal digits.",
		}
	}
	o.Model, o.Version, o.Exact = match[1], match[2], true
	result, err := p.next.Run(ctx, image, o)
	if refused, ok := errors.AsType[*pipeline.ModelError](err); ok {
		return nil, &dialect.Error{
			Status: http.StatusBadRequest, Reason: dialect.ReasonModel, Err: refused,
			Public: "The model " + value + " that the header " + modelHeader + " asks for is not available here.",
		}
	}
	return result, err
}
