//go:build unix

package weights

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock of an open file. The system releases it with the process, however that ends.
func lockFile(f *os.File) (taken bool, err error) {
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		default:
			return false, err
		}
	}
}

// moveOpen gives an open file another name, in place of what has it.
func moveOpen(f *os.File, to string) error { return os.Rename(f.Name(), to) }
