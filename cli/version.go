package cli

import (
	"fmt"
	"io"
	"runtime"
)

// VersionCmd prints the version.
type VersionCmd struct{}

// Run prints a line.
func (VersionCmd) Run(out io.Writer, p Program) error {
	_, err := fmt.Fprintf(out, "cutout %s %s %s/%s\n", p.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
