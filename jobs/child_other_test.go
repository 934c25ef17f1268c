//go:build !unix

package jobs

func child(string) {}
