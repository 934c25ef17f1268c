//go:build !unix

package jobs

func child(string)       {}
func workerChild(string) {}
func nodeChild(string)   {}
