package video

import (
	"os"
	"path/filepath"
)

// workPattern names the directories in which clips are worked on.
const workPattern = "cutout-video-*"

// Work is a directory that one clip is worked on in.
type Work struct {
	Dir  string
	lock *os.File
}

// NewWork makes a directory below parent, "" being the system's for temporary files.
func NewWork(parent string) (*Work, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, workPattern)
	if err != nil {
		return nil, err
	}
	w := &Work{Dir: dir}
	if w.lock, err = lock(dir); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return w, nil
}

// Remove leaves nothing of the directory.
func (w *Work) Remove() error {
	err := os.RemoveAll(w.Dir)
	_ = w.lock.Close() // it only holds the lock
	return err
}

// Sweep removes the directories below parent whose process was killed before it could. Where the system has no locks that
// end with their process, it removes nothing.
func Sweep(parent string) (removed int) {
	if parent == "" {
		parent = os.TempDir()
	}
	dirs, err := filepath.Glob(filepath.Join(parent, workPattern))
	if err != nil {
		return 0 // only for a malformed pattern
	}
	for _, dir := range dirs {
		if abandoned(dir) && os.RemoveAll(dir) == nil {
			removed++
		}
	}
	return removed
}

const lockName = ".lock"
