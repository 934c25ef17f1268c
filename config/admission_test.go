package config

import (
	"net/netip"
	"testing"
	"time"
)

func TestAdmissionValidate(t *testing.T) {
	t.Parallel()
	good := Admission{Wait: time.Second}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, a := range map[string]Admission{
		"slots": {Slots: -1, Wait: 1}, "queue": {Queue: -1, Wait: 1}, "no wait": {}, "memory for nothing": {Wait: 1, Memory: 1 << 20},
	} {
		if err := a.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestServerLimitsValidate(t *testing.T) {
	t.Parallel()
	good := Server{
		Addr: ":0", HeaderTimeout: 1, BodyTimeout: 1, RequestTimeout: 1, WriteTimeout: 1, IdleTimeout: 1, ShutdownTimeout: 1, MaxHeader: 1 << 10,
		PprofAddr: "127.0.0.1:6060", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Server){
		"connections": func(s *Server) { s.MaxConnections = -1 },
		"rate":        func(s *Server) { s.ClientRate = -1 },
		"range":       func(s *Server) { s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} },
		"profiles":    func(s *Server) { s.PprofAddr = "6060" },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestTracing(t *testing.T) {
	t.Parallel()
	const endpoint, traces = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for name, tc := range map[string]struct {
		env  map[string]string
		want bool
		fail bool
	}{
		"nothing":           {nil, false, false},
		"an endpoint":       {map[string]string{endpoint: "http://127.0.0.1:4318"}, true, false},
		"one for traces":    {map[string]string{traces: "http://127.0.0.1:4318/v1/traces"}, true, false},
		"the default one":   {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, false},
		"switched off":      {map[string]string{endpoint: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, false, false},
		"none":              {map[string]string{endpoint: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, false, false},
		"another exporter":  {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, false, true},
		"another protocol":  {map[string]string{endpoint: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, true},
		"the same protocol": {map[string]string{endpoint: "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, false},
	} {
		got, err := tracing(func(key string) string { return tc.env[key] })
		if got != tc.want || (err != nil) != tc.fail {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
