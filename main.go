// Command cutout removes image backgrounds: as an HTTP server that speaks the formats of known services, and from the
// terminal.
package main

import (
	_ "embed"
	"os"

	"cutout/cli"
)

// version is that of the API, as vX.Y.Z; the build sets it from the repository's tag.
var version = "v1.0.0"

//go:embed openapi.yaml
var openAPI []byte

func main() {
	os.Exit(cli.Main(cli.Program{
		Version: version, OpenAPI: openAPI, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}
