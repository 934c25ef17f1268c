package ops

import (
	"errors"
	"fmt"
	"slices"
)

// Window is the sliding window of a convolution or pooling over the spatial axes of an NC... tensor, one entry per
// axis, with everything the attributes leave open (auto_pad, output_shape, kernel_shape) worked out.
// Output position o reads the input positions o*Stride - PadBegin + k*Dilation for k in 0..Kernel-1;
// a transposed convolution scatters along the same positions with input and output swapped.
type Window struct {
	In, Out, Kernel  []int
	Stride, Dilation []int
	PadBegin, PadEnd []int
}

// maxSpatial bounds every spatial size and window attribute, so that no sum or product of a few overflows.
const maxSpatial = 1 << 30

// extent returns the number of input positions the dilated kernel spans along axis i.
func (w *Window) extent(i int) int { return (w.Kernel[i]-1)*w.Dilation[i] + 1 }

// tapSpan returns the positions lo..hi-1, of 0..to-1, whose tap k falls inside 0..from-1 on the other side of the
// window: output positions over an input, or for a transposed window input positions over an output.
func tapSpan(k, stride, dilation, pad, from, to int) (lo, hi int) {
	off := k*dilation - pad // o*stride + off must be in 0..from-1
	if off < 0 {
		lo = (-off + stride - 1) / stride
	}
	if last := from - 1 - off; last >= 0 {
		hi = min(last/stride+1, to)
	}
	lo = min(lo, to)
	return lo, max(lo, hi)
}

// to3 returns the same window with three axes: sizes of 1 in front stand for axes that are not there.
func (w *Window) to3() Window {
	lead := func(v []int, x int) []int {
		return append(slices.Repeat([]int{x}, 3-len(v)), v...)
	}
	return Window{
		In: lead(w.In, 1), Out: lead(w.Out, 1), Kernel: lead(w.Kernel, 1),
		Stride: lead(w.Stride, 1), Dilation: lead(w.Dilation, 1),
		PadBegin: lead(w.PadBegin, 0), PadEnd: lead(w.PadEnd, 0),
	}
}

// spatialInts reads an attribute with n entries, each at least lo. Exporters write empty lists for defaults.
func spatialInts(n *Node, name string, count, def, lo int) ([]int, error) {
	v, err := n.Attrs.Ints(name)
	if err != nil {
		return nil, err
	}
	if len(v) == 0 {
		return slices.Repeat([]int{def}, count), nil
	}
	if len(v) != count {
		return nil, fmt.Errorf("attribute %s has %d entries, want %d", name, len(v), count)
	}
	for _, x := range v {
		if x < lo || x > maxSpatial {
			return nil, fmt.Errorf("attribute %s is %v, each entry must be %d to %d", name, v, lo, maxSpatial)
		}
	}
	return v, nil
}

// readWindow reads the attributes that all windows share. x is the shape of the input, N and C in front.
// Pads are those of the attribute; Out is left empty.
func readWindow(n *Node, x, kernel []int) (w Window, autoPad string, err error) {
	if len(x) < 3 || len(x) > 5 {
		return w, "", fmt.Errorf("input shape %v has %d spatial axes, the operator takes 1 to 3", x, len(x)-2)
	}
	axes := len(x) - 2
	w.In, w.Kernel = x[2:], kernel
	for _, d := range w.In {
		if d < 1 || d > maxSpatial {
			return w, "", fmt.Errorf("input shape %v has a spatial size outside 1..%d", x, maxSpatial)
		}
	}
	if len(kernel) != axes {
		return w, "", fmt.Errorf("kernel %v does not fit input shape %v", kernel, x)
	}
	for _, k := range kernel {
		if k < 1 || k > maxSpatial {
			return w, "", fmt.Errorf("kernel %v has a size outside 1..%d", kernel, maxSpatial)
		}
	}
	if w.Stride, err = spatialInts(n, "strides", axes, 1, 1); err != nil {
		return w, "", err
	}
	if w.Dilation, err = spatialInts(n, "dilations", axes, 1, 1); err != nil {
		return w, "", err
	}
	autoPad, err = n.Attrs.OneOf("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")
	if err != nil {
		return w, "", err
	}
	w.PadBegin, w.PadEnd = make([]int, axes), make([]int, axes)
	if autoPad == "NOTSET" || autoPad == "" {
		pads, err := spatialInts(n, "pads", 2*axes, 0, 0)
		if err != nil {
			return w, "", err
		}
		w.PadBegin, w.PadEnd = pads[:axes], pads[axes:]
	}
	return w, autoPad, nil
}

// slide works out pads and output sizes of a window that moves over its input; ceil rounds the output size up, but
// never lets a window start behind the input and its leading padding.
func (w *Window) slide(autoPad string, ceil bool) error {
	w.Out = make([]int, len(w.In))
	for i, in := range w.In {
		stride, ext := w.Stride[i], w.extent(i)
		if autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER" {
			w.Out[i] = (in + stride - 1) / stride
			total := max((w.Out[i]-1)*stride+ext-in, 0)
			w.PadBegin[i], w.PadEnd[i] = splitPad(total, autoPad == "SAME_UPPER")
			continue
		}
		room := in + w.PadBegin[i] + w.PadEnd[i] - ext
		if room < 0 {
			return fmt.Errorf("kernel spans %d, which is more than the padded input's %d along spatial axis %d",
				ext, room+ext, i)
		}
		w.Out[i] = room/stride + 1
		if ceil && room%stride != 0 && w.Out[i]*stride < in+w.PadBegin[i] {
			w.Out[i]++
		}
	}
	return nil
}

// splitPad halves a padding; the odd element goes to the end when upper is set, else to the beginning.
func splitPad(total int, upper bool) (begin, end int) {
	begin = total / 2
	if !upper {
		begin = total - begin
	}
	return begin, total - begin
}

// ConvWindow returns the window and the group count of a Conv (or ConvInteger, QLinearConv) with an input of shape x
// (N, C, spatial...) and weights of shape w (M, C/group, kernel...), or an error when they do not fit.
func ConvWindow(n *Node, x, w []int) (Window, int, error) {
	group, err := convShapes(n, x, w)
	if err != nil {
		return Window{}, 0, err
	}
	if w[1] != x[1]/group {
		return Window{}, 0, fmt.Errorf("weights %v want %d channels in each of %d groups, input %v has %d",
			w, w[1], group, x, x[1]/group)
	}
	if w[0]%group != 0 {
		return Window{}, 0, fmt.Errorf("%d output channels do not divide into %d groups", w[0], group)
	}
	win, autoPad, err := readWindow(n, x, w[2:])
	if err != nil {
		return Window{}, 0, err
	}
	return win, group, win.slide(autoPad, false)
}

// convShapes checks what Conv and ConvTranspose have in common and returns the group count.
func convShapes(n *Node, x, w []int) (int, error) {
	if len(x) < 3 || len(x) != len(w) {
		return 0, fmt.Errorf("input %v and weights %v must have the same rank, 3 to 5", x, w)
	}
	group, err := n.Attrs.Int("group", 1)
	if err != nil {
		return 0, err
	}
	if group < 1 || x[1]%group != 0 {
		return 0, fmt.Errorf("attribute group is %d, which does not divide the input's %d channels", group, x[1])
	}
	if n.Attrs.Has("kernel_shape") {
		k, err := n.Attrs.Ints("kernel_shape")
		if err != nil {
			return 0, err
		}
		if len(k) > 0 && !slices.Equal(k, w[2:]) {
			return 0, fmt.Errorf("attribute kernel_shape is %v, weights have shape %v", k, w)
		}
	}
	return group, nil
}

// ConvTransposeWindow returns the window and the group count of a ConvTranspose with an input of shape x
// (N, C, spatial...) and weights of shape w (C, M/group, kernel...). In and Out are those of the operator:
// input position i, tap k adds to output position i*Stride - PadBegin + k*Dilation.
func ConvTransposeWindow(n *Node, x, w []int) (Window, int, error) {
	group, err := convShapes(n, x, w)
	if err != nil {
		return Window{}, 0, err
	}
	if w[0] != x[1] {
		return Window{}, 0, fmt.Errorf("weights %v want %d channels, input %v has %d", w, w[0], x, x[1])
	}
	win, autoPad, err := readWindow(n, x, w[2:])
	if err != nil {
		return Window{}, 0, err
	}
	axes := len(win.In)
	extra, err := spatialInts(n, "output_padding", axes, 0, 0)
	if err != nil {
		return Window{}, 0, err
	}
	shape, err := n.Attrs.Ints("output_shape")
	if err != nil {
		return Window{}, 0, err
	}
	if len(shape) == axes+2 { // some exporters put N and C in front
		shape = shape[2:]
	}
	if len(shape) != 0 && len(shape) != axes {
		return Window{}, 0, fmt.Errorf("attribute output_shape is %v, want %d entries", shape, axes)
	}
	win.Out = make([]int, axes)
	for i, in := range win.In {
		full := (in-1)*win.Stride[i] + extra[i] + win.extent(i)
		switch {
		case len(shape) > 0:
			win.Out[i] = shape[i]
		case autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER":
			win.Out[i] = in * win.Stride[i]
		default:
			win.Out[i] = full - win.PadBegin[i] - win.PadEnd[i]
			if win.Out[i] < 1 {
				return Window{}, 0, fmt.Errorf("pads %v and %v leave nothing of an output of %d along spatial axis %d",
					win.PadBegin, win.PadEnd, full, i)
			}
			continue
		}
		if win.Out[i] < 1 {
			return Window{}, 0, fmt.Errorf("attribute output_shape is %v, sizes must be positive", shape)
		}
		// An output larger than what the input reaches keeps its far end at the bias.
		win.PadBegin[i], win.PadEnd[i] = splitPad(max(full-win.Out[i], 0), autoPad == "SAME_UPPER")
	}
	return win, group, nil
}

// PoolWindow returns the window of a MaxPool, AveragePool or LpPool over an input of shape x (N, C, spatial...).
func PoolWindow(n *Node, x []int) (Window, error) {
	kernel, err := n.Attrs.Ints("kernel_shape")
	if err != nil {
		return Window{}, err
	}
	if len(kernel) == 0 {
		return Window{}, errors.New("attribute kernel_shape is missing")
	}
	w, autoPad, err := readWindow(n, x, kernel)
	if err != nil {
		return Window{}, err
	}
	ceil, err := n.Attrs.Bool("ceil_mode", false)
	if err != nil {
		return Window{}, err
	}
	for i := range kernel {
		if ext := w.extent(i); w.PadBegin[i] >= ext || w.PadEnd[i] >= ext {
			return Window{}, fmt.Errorf("pads %v and %v reach a window that spans only %d along spatial axis %d",
				w.PadBegin, w.PadEnd, ext, i)
		}
	}
	return w, w.slide(autoPad, ceil)
}
