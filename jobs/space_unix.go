//go:build linux || darwin

package jobs

import "golang.org/x/sys/unix"

// freeSpace is the number of bytes that an ordinary user may still write to the disk of dir.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(min(st.Bavail, 1<<62/uint64(st.Bsize))) * int64(st.Bsize), nil //nolint:unconvert // its type differs by system
}
