// Package filelock keeps processes of one machine from using the same file at a time.
package filelock

import "errors"

// ErrUnsupported says that the system has no file locks.
var ErrUnsupported = errors.New("this system has no file locks")
