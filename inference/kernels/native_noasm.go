//go:build (!amd64 && !arm64) || noasm

package kernels

func native() []*Set { return nil }
