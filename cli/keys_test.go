package cli

import (
	"regexp"
	"strings"
	"testing"

	"cutout/handlers/access"
)

func TestKeysNew(t *testing.T) {
	t.Parallel()
	got := run(t, "", "keys", "new", "alice", "--requests", "60", "--megapixels", "500")
	if got.code != exitOK {
		t.Fatalf("%d %s", got.code, got.stderr)
	}
	keys, err := access.Parse([]byte(got.stdout))
	if err != nil || len(keys) != 1 || keys[0].Name != "alice" || keys[0].Requests != 60 || keys[0].Megapixels != 500 {
		t.Errorf("%v, %v", keys, err)
	}
	secret := regexp.MustCompile(`cutout_[A-Z2-7]{26}`).FindString(got.stderr)
	if secret == "" || strings.Contains(got.stdout, secret) {
		t.Errorf("standard error %q, standard output %q", got.stderr, got.stdout)
	}
	for _, args := range [][]string{{"keys", "new"}, {"keys", "new", "two words"}, {"keys", "new", "a", "--requests", "-1"}, {"keys"}} {
		if got := run(t, "", args...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("%v: %d %q", args, got.code, got.stdout)
		}
	}
}

func TestServeRefusesKeysThatCannotBeRead(t *testing.T) {
	t.Parallel()
	got := run(t, "", "serve", "--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--api-keys", t.TempDir()+"/none")
	if got.code == exitOK || !strings.Contains(got.stderr, "keys:") {
		t.Errorf("%d %s", got.code, got.stderr)
	}
	for _, args := range [][]string{
		{"--cors-origin", "example.com"}, {"--removebg-size", "huge"}, {"--removebg-max-file", "64MB"}, {"--apisphere-max-pixels=-1"},
		{"--rembg-max-request", "1B"},
	} {
		if got := run(t, "", append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...); got.code != exitUsage {
			t.Errorf("%v: %d %s", args, got.code, got.stderr)
		}
	}
}
