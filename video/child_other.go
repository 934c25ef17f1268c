//go:build !unix

package video

import "os/exec"

// group does nothing where there are no process groups.
func group(*exec.Cmd) {}

// kill ends a process. ffmpeg starts no others.
func kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }
