//go:build !unix

package cli

// peakMemory has no portable source here.
func peakMemory() (int64, bool) { return 0, false }
