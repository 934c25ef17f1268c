package cli

import (
	"os"
	"path/filepath"
	"runtime"

	"cutout/config"
	"cutout/handlers"
	"cutout/weights"
)

// describe tells of the networks for the status page. A file counts as installed by its size: it is verified when it is
// loaded, and a page that is asked for every few seconds must not read hundreds of megabytes.
func (l *loader) describe(c config.Inference) func() handlers.Engine {
	return func() handlers.Engine {
		e := handlers.Engine{Precision: c.Precision, CPUs: runtime.GOMAXPROCS(0)}
		if c.Threads > 0 {
			e.CPUs = min(e.CPUs, c.Threads)
		}
		if l.ready() {
			e.Model, e.Kernels = l.pipeline.Model(), l.pipeline.Kernels()
		}
		for _, known := range weights.Catalogue() {
			e.Models = append(e.Models, handlers.Model{
				Name: known.Name, Installed: installed(known, weightsDir(c.WeightsDir)), Active: known.Name == e.Model, Bytes: known.Size,
				Licence: known.Licence, Source: known.Source,
			})
		}
		return e
	}
}

func installed(e weights.Entry, dir string) bool {
	if e.Embedded() {
		return true
	}
	info, err := os.Stat(filepath.Join(dir, e.File))
	return dir != "" && err == nil && info.Size() == e.Size
}
