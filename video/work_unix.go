//go:build unix

package video

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock takes a lock in a directory that ends with this process. The file is opened read-only by others, who take the lock to
// see whether it is free.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// abandoned tells whether nobody holds the lock of a directory. One without a lock is just being made.
func abandoned(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read from
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
