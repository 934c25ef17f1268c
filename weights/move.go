//go:build !windows

package weights

import "os"

// moveOpen gives an open file another name, in place of what has it.
func moveOpen(f *os.File, to string) error { return os.Rename(f.Name(), to) }
