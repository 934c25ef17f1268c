package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// Take takes the lock of an open file; taken is false where another process has it. The system releases it with the process,
// however that ends, and when f is closed. What is locked is one byte far behind the file's end: a locked byte cannot be
// read by others, and they want to read who holds it.
func Take(f *os.File) (taken bool, err error) {
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 30})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
