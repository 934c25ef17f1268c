package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
)

// TestSave breaks a job off half way and lets the next attempt go on from what the first has kept.
func TestSave(t *testing.T) {
	t.Parallel()
	b := open(t, Config{})
	put := func(ctx context.Context, task *Task, text string) (File, error) {
		w := task.Create(ctx, "part", "text/plain")
		if _, err := io.WriteString(w, text); err != nil {
			return File{}, err
		}
		return w.Finish()
	}
	var kept, dropped []File
	b.start(t, 1, func(ctx context.Context, task *Task) error {
		state, files := task.Saved()
		task.Rate(2.5)
		if task.Attempt() == 1 {
			if state != nil || files != nil {
				t.Errorf("the first attempt finds %s, %v", state, files)
			}
			for _, text := range []string{"one", "two"} {
				f, err := put(ctx, task, text)
				if err != nil {
					return err
				}
				if err := task.Save(ctx, json.RawMessage(`"`+text+`"`), f); err != nil {
					return err
				}
				kept = append(kept, f)
			}
			f, err := put(ctx, task, "not saved")
			dropped = append(dropped, f)
			return errors.Join(errors.New("breaks off"), err)
		}
		if string(state) != `"two"` || len(files) != 2 {
			t.Errorf("the second attempt finds %s, %v", state, files)
		}
		text := ""
		for _, f := range files {
			data, err := io.ReadAll(task.Open(ctx, f))
			if err != nil {
				return err
			}
			text += string(data)
		}
		if text != "onetwo" {
			t.Errorf("the files hold %q", text)
		}
		if _, err := b.OpenFile(ctx, files[0].Key); !errors.Is(err, ErrNotFound) {
			t.Errorf("a saved file is served: %v", err)
		}
		if err := task.Forget(ctx); err != nil {
			return err
		}
		if state, files := task.Saved(); state != nil || files != nil {
			t.Errorf("after Forget: %s, %v", state, files)
		}
		f, err := put(ctx, task, "three")
		if err != nil {
			return err
		}
		kept = append(kept, f)
		return task.Save(ctx, nil, f)
	})
	b.submit(t, Submission{})
	b.wait(t, Finished)
	until(t, "nothing is left of the files", func() bool {
		st, err := b.Stats(t.Context())
		return err == nil && st.Bytes == 0
	})
	if len(kept) != 3 || len(dropped) != 1 {
		t.Errorf("%d files kept, %d dropped", len(kept), len(dropped))
	}
}
