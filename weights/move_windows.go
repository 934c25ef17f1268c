package weights

import "os"

// moveOpen gives a file another name, in place of what has it. An open file cannot be renamed here.
func moveOpen(f *os.File, to string) error {
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
