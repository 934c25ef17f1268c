package jobs

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestDiskFull fills a real, small disk. Needs the right to mount one.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("no small disk can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	b := open(t, Config{DataDir: dir}) // without a reserve: the store itself meets the end of the disk
	b.start(t, 1, upper)
	data := bytes.Repeat([]byte("a"), 3<<20)
	var (
		kept []File
		full error
	)
	for range 20 {
		f, err := b.Upload(t.Context(), "f", "", bytes.NewReader(data))
		if err != nil {
			full = err
			break
		}
		kept = append(kept, f)
	}
	if !errors.Is(full, ErrStoreFull) {
		t.Fatalf("after %d files: %v", len(kept), full)
	}
	t.Logf("%d files fit: %v", len(kept), full)
	b.Discard(t.Context(), kept...)
	var id string
	until(t, "the store recovers", func() bool {
		f, err := b.Upload(t.Context(), "f", "", bytes.NewReader(data))
		if err != nil {
			return false
		}
		id, err = b.Submit(t.Context(), Submission{Kind: kind, Inputs: []File{f}})
		return err == nil
	})
	b.wait(t, Finished)
	if got := b.read(t, b.status(t, id).Outcomes[0].Results[0].Key); !bytes.Equal(got, bytes.ToUpper(data)) {
		t.Errorf("%d bytes", len(got))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Healthy(ctx); err != nil {
		t.Error(err)
	}
}
