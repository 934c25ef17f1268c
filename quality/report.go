package main

import (
	"fmt"
	"image"
	"io"
)

// Outcome is what was measured on one sample.
type Outcome struct {
	Sample

	Score        Score
	ReferenceIoU float64 // of the other program's mask
	Difference   float64 // mean absolute difference to the other program's mask, of 255
	Compared     bool    // whether there is such a mask
}

// evaluate measures a mask against the true one, a matte or an outline, and against the other program's.
func evaluate(s Sample, got *image.Gray, matte bool) (Outcome, error) {
	truth, err := readMask(s.Truth)
	if err != nil {
		return Outcome{}, err
	}
	if got.Rect.Size() != truth.Rect.Size() {
		return Outcome{}, fmt.Errorf("%s/%s: the mask is %v, the true one %v", s.Set, s.Name, got.Rect.Size(), truth.Rect.Size())
	}
	out := Outcome{Sample: s, Score: measure(got, truth, matte)}
	if s.Reference == "" {
		return out, nil
	}
	ref, err := readMask(s.Reference)
	if err != nil {
		return Outcome{}, err
	}
	if ref.Rect.Size() != truth.Rect.Size() {
		return Outcome{}, fmt.Errorf("%s/%s: the reference mask is %v, the true one %v", s.Set, s.Name, ref.Rect.Size(), truth.Rect.Size())
	}
	out.Compared, out.Difference, out.ReferenceIoU = true, mae(got, ref)*255, iou(ref, truth)
	return out, nil
}

// writeTable writes one Markdown line per set and one for all samples together.
func writeTable(w io.Writer, sets []Set, outcomes [][]Outcome) error {
	_, err := fmt.Fprint(w, `| set | n | IoU | MAE | S | max F | boundary F | SAD (k) | gradient (k) | reference IoU | difference of 255 | worst photo |
|---|---|---|---|---|---|---|---|---|---|---|---|
`)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	var all []Outcome
	for i, set := range sets {
		if err := writeLine(w, set.Name, set.Matte, outcomes[i]); err != nil {
			return err
		}
		all = append(all, outcomes[i]...)
	}
	return writeLine(w, "all", false, all)
}

func writeLine(w io.Writer, name string, matte bool, outcomes []Outcome) error {
	var sum Score
	var refIoU, difference, compared float64
	var worst Outcome
	for _, o := range outcomes {
		s := o.Score
		sum.IoU += s.IoU
		sum.MAE += s.MAE
		sum.S += s.S
		sum.MaxF += s.MaxF
		sum.Boundary += s.Boundary
		sum.SAD += s.SAD
		sum.Gradient += s.Gradient
		if o.Compared {
			compared++
			refIoU += o.ReferenceIoU
			difference += o.Difference
			if o.Difference >= worst.Difference {
				worst = o
			}
		}
	}
	n := float64(len(outcomes))
	sad, gradient, ref, diff, where := "–", "–", "–", "–", "–"
	if matte {
		sad, gradient = fmt.Sprintf("%.2f", sum.SAD/n), fmt.Sprintf("%.2f", sum.Gradient/n)
	}
	if compared > 0 {
		ref, diff = fmt.Sprintf("%.3f", refIoU/compared), fmt.Sprintf("%.3f", difference/compared)
		where = fmt.Sprintf("%.3f %s/%s", worst.Difference, worst.Set, worst.Name)
	}
	_, err := fmt.Fprintf(w, "| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f | %s | %s | %s | %s | %s |\n", name, len(outcomes),
		sum.IoU/n, sum.MAE/n, sum.S/n, sum.MaxF/n, sum.Boundary/n, sad, gradient, ref, diff, where)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
