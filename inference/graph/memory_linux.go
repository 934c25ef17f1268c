package graph

import "golang.org/x/sys/unix"

// adviseHugePages asks the kernel to back b with huge pages. A kernel that will not is no worse than before.
func adviseHugePages(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
