//go:build !amd64 || noasm

package kernels

func native() []*Set { return nil }
