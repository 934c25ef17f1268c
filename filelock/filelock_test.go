package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Two openings of a file are as good as two processes: the lock is that of the opening.
func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	first, second := open(), open()
	taken, err := Take(first)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if !taken || err != nil {
		t.Fatalf("a free lock: %v, %v", taken, err)
	}
	if taken, err := Take(second); taken || err != nil {
		t.Errorf("a lock that is held: %v, %v", taken, err)
	}
	if _, err := second.WriteString("who"); err != nil {
		t.Errorf("a locked file cannot be written: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if taken, err := Take(second); !taken || err != nil {
		t.Errorf("a released lock: %v, %v", taken, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Take(second); err == nil {
		t.Error("a closed file was locked")
	}
}
