package main

import (
	"fmt"
	"image"
	"io"
	"os"
	"strings"
)

// Outcome is what was measured on one sample.
type Outcome struct {
	Sample

	Score        Score
	ReferenceIoU float64 // of the other program's mask
	ReferenceSAD float64 // as Score.SAD
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
	out.ReferenceSAD = mae(ref, truth) * float64(pixels(truth)) / 1000
	return out, nil
}

// found is the IoU from which a mask has found the subject, and right the one from which the other program's has it right,
// so that its matte can be judged.
const (
	found = 0.5
	right = 0.9
)

// writeTable writes one Markdown line per set and one for all samples together.
func writeTable(w io.Writer, sets []Set, outcomes [][]Outcome) error {
	_, err := fmt.Fprint(w, `| set | n | IoU | IoU < 0.5 | MAE | S | max F | boundary F | SAD (k) | gradient (k) | SAD where right: reference, here | reference IoU | difference of 255 | worst photo |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
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
	var rightSAD, rightRefSAD, rightCount float64
	missed := 0
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
		if s.IoU < found {
			missed++
		}
		if o.Compared {
			compared++
			refIoU += o.ReferenceIoU
			difference += o.Difference
			if o.Difference >= worst.Difference {
				worst = o
			}
			if o.ReferenceIoU > right {
				rightCount++
				rightSAD += s.SAD
				rightRefSAD += o.ReferenceSAD
			}
		}
	}
	n := float64(len(outcomes))
	sad, gradient, judged, ref, diff, where := "–", "–", "–", "–", "–", "–"
	if matte {
		sad, gradient = fmt.Sprintf("%.2f", sum.SAD/n), fmt.Sprintf("%.2f", sum.Gradient/n)
		if rightCount > 0 {
			judged = fmt.Sprintf("%.2f, %.2f of %.0f", rightRefSAD/rightCount, rightSAD/rightCount, rightCount)
		}
	}
	if compared > 0 {
		ref, diff = fmt.Sprintf("%.4f", refIoU/compared), fmt.Sprintf("%.3f", difference/compared)
		where = fmt.Sprintf("%.3f %s/%s", worst.Difference, worst.Set, worst.Name)
	}
	_, err := fmt.Fprintf(w, "| %s | %d | %.4f | %d | %.4f | %.3f | %.3f | %.3f | %s | %s | %s | %s | %s | %s |\n", name, len(outcomes),
		sum.IoU/n, missed, sum.MAE/n, sum.S/n, sum.MaxF/n, sum.Boundary/n, sad, gradient, judged, ref, diff, where)
	if err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// Marks between which a report belongs to this program.
const (
	reportBegin = "<!-- make quality: begin -->\n"
	reportEnd   = "<!-- make quality: end -->\n"
)

// replaceReport puts text between the marks in a file and leaves the rest of it alone.
func replaceReport(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("replace the report: %w", err)
	}
	head, rest, ok := strings.Cut(string(old), reportBegin)
	_, tail, closed := strings.Cut(rest, reportEnd)
	if !ok || !closed {
		return fmt.Errorf("replace the report: %s has not both of the marks %q and %q", file, reportBegin, reportEnd)
	}
	if err := os.WriteFile(file, []byte(head+reportBegin+text+reportEnd+tail), 0o600); err != nil { //nolint:gosec // the file is the one the user names
		return fmt.Errorf("replace the report: %w", err)
	}
	return nil
}
