//go:build !unix && !windows

package filelock

import "os"

// Take returns ErrUnsupported.
func Take(*os.File) (taken bool, err error) { return false, ErrUnsupported }
