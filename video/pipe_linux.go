package video

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe is asked to hold: a frame of 1080p takes 8 MiB, and every wait for the other side costs a
// switch of processes. 1 MiB is what a user without privileges may ask for.
const pipeSize = 1 << 20

// widen enlarges the buffer of a pipe. Where the system refuses, the pipe is as it was.
func widen(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}
