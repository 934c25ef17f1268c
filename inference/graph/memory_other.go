//go:build !linux

package graph

func adviseHugePages([]byte) {}
