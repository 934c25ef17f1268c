package cli

import (
	"fmt"

	"cutout/handlers/access"
)

// KeysCmd makes API keys.
type KeysCmd struct {
	New KeysNewCmd `cmd:"" help:"Make a key. Its line for the file of --api-keys goes to standard output, the key itself to standard error: cutout keys new alice >> keys.txt"`
}

// KeysNewCmd makes one key.
type KeysNewCmd struct {
	Name       string  `arg:"" help:"Who the key is for, as metrics and the log call it."`
	Requests   float64 `default:"0" help:"Requests a minute that the key is good for; 0 for any number."`
	Megapixels float64 `default:"0" help:"Megapixels of pictures a minute that the key is good for; 0 for any number."`
}

// Run makes the key.
func (c *KeysNewCmd) Run(p Program) error {
	secret, key, err := access.New(c.Name, c.Requests, c.Megapixels)
	if err != nil {
		return &usageError{err}
	}
	if _, err := fmt.Fprintf(p.Stderr, "The key, which is not kept anywhere: %s\n", secret); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.Stdout, key)
	return err
}
