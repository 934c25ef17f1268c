package config

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Models says which networks a server has beside the one that serves where a request names none.
type Models struct {
	Keep   []string `name:"models" env:"CUTOUT_MODELS" placeholder:"NAME" help:"Further models to load at start and never let go, by their names (repeatable)."`
	Most   int      `name:"max-models" default:"2" env:"CUTOUT_MAX_MODELS" help:"Most further installed models that requests may have loaded at a time; 0 for none."`
	Memory Bytes    `name:"model-memory" default:"2GB" env:"CUTOUT_MODEL_MEMORY" help:"Memory that those may take; 0 for any. What is longest unused is let go."`
}

// Validate reports the first setting that cannot work.
func (m Models) Validate() error {
	if m.Most < 0 || m.Most > 1000 {
		return fmt.Errorf("--max-models %d: must be from 0 to 1000", m.Most)
	}
	if slices.Contains(m.Keep, "") {
		return errors.New("--models: must name models")
	}
	return nil
}

// Cache says how long results are kept for clients that repeat a request.
type Cache struct {
	Size Bytes         `name:"cache-size" default:"64MB" env:"CUTOUT_CACHE_SIZE" help:"Memory for results that are kept for equal requests; 0 computes each."`
	TTL  time.Duration `name:"cache-ttl" default:"1m" env:"CUTOUT_CACHE_TTL" help:"How long a result is kept."`
}

// Validate reports the first setting that cannot work.
func (c Cache) Validate() error {
	if c.Size > 0 && (c.TTL <= 0 || c.TTL > 24*time.Hour) {
		return fmt.Errorf("--cache-ttl %v: must be longer than nothing and at most 24h", c.TTL)
	}
	return nil
}

// TLS says with what certificate the server shows itself.
type TLS struct {
	Cert string `name:"tls-cert" env:"CUTOUT_TLS_CERT" placeholder:"FILE" help:"Certificate to serve HTTPS with, in PEM, followed by those that sign it. Read again when it changes and on SIGHUP. Without it the server speaks plain HTTP."`
	Key  string `name:"tls-key" env:"CUTOUT_TLS_KEY" placeholder:"FILE" help:"Key of that certificate, in PEM."`
}

// Validate reports the first setting that cannot work.
func (t TLS) Validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("--tls-cert and --tls-key: one needs the other")
	}
	return nil
}
