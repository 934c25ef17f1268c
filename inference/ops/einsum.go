package ops

import (
	"fmt"
	"math"
	"strings"

	"cutout/inference/tensor"
)

func einsumOps() []Op {
	return []Op{newOp("Einsum", 12, 0, arity{1, -1, 1}, inferEinsum, runEinsum)}
}

// einsum is an equation in terms of labels: the letters, and for the dimensions of an ellipsis the numbers below
// 'A', counted from the right.
type einsum struct {
	terms  [][]rune
	output []rune
	sizes  map[rune]int
}

func parseEinsum(n *Node, in []Type) (*einsum, error) {
	equation, err := n.Attrs.String("equation", "")
	if err != nil {
		return nil, err
	}
	left, right, explicit := strings.Cut(strings.ReplaceAll(equation, " ", ""), "->")
	terms := strings.Split(left, ",")
	if len(terms) != len(in) {
		return nil, fmt.Errorf("equation %q has %d terms for %d inputs", equation, len(terms), len(in))
	}
	e := &einsum{sizes: map[rune]int{}}
	dots := 0
	expand := func(term string, ellipsis int) ([]rune, error) {
		before, after, found := strings.Cut(term, "...")
		var labels []rune
		for i, part := range []string{before, after} {
			if i == 1 && found {
				for k := ellipsis; k > 0; k-- {
					labels = append(labels, rune(k))
				}
			}
			for _, c := range part {
				if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
					return nil, fmt.Errorf("equation %q holds %q", equation, c)
				}
				labels = append(labels, c)
			}
		}
		return labels, nil
	}
	for i, term := range terms {
		shape := in[i].Shape
		ellipsis := 0
		if strings.Contains(term, "...") {
			ellipsis = len(shape) - (len(term) - 3)
			if ellipsis < 0 || ellipsis >= 'A' {
				return nil, fmt.Errorf("term %q does not fit shape %v", term, shape)
			}
			dots = max(dots, ellipsis)
		}
		labels, err := expand(term, ellipsis)
		if err != nil {
			return nil, err
		}
		if len(labels) != len(shape) {
			return nil, fmt.Errorf("term %q does not fit shape %v", term, shape)
		}
		for d, c := range labels {
			size, ok := e.sizes[c]
			if ok && size != shape[d] && size != 1 && shape[d] != 1 {
				return nil, fmt.Errorf("equation %q: a label stands for %d and %d", equation, size, shape[d])
			}
			// A dimension of 1 spreads over the others of its label.
			if !ok || size == 1 {
				e.sizes[c] = shape[d]
			}
		}
		e.terms = append(e.terms, labels)
	}
	if explicit {
		if e.output, err = expand(right, dots); err != nil {
			return nil, err
		}
	} else {
		for k := dots; k > 0; k-- {
			e.output = append(e.output, rune(k))
		}
		// Without an output, the labels that occur once, in alphabetical order.
		for c := 'A'; c <= 'z'; c++ {
			if strings.Count(left, string(c)) == 1 && c != '.' {
				e.output = append(e.output, c)
			}
		}
	}
	seen := map[rune]bool{}
	for _, c := range e.output {
		if _, ok := e.sizes[c]; !ok || seen[c] {
			return nil, fmt.Errorf("equation %q: the output holds a label twice or one that no input has", equation)
		}
		seen[c] = true
	}
	return e, nil
}

func (e *einsum) outputShape() []int {
	shape := make([]int, len(e.output))
	for i, c := range e.output {
		shape[i] = e.sizes[c]
	}
	return shape
}

func inferEinsum(n *Node, in []Type, consts []*tensor.Tensor) ([]Type, error) {
	if err := want(in, 0, numberTypes...); err != nil {
		return nil, err
	}
	if err := wantSame(in); err != nil {
		return nil, err
	}
	e, err := parseEinsum(n, in)
	if err != nil {
		return nil, err
	}
	return []Type{{in[0].DType, e.outputShape()}}, nil
}

// runEinsum sums over every combination of labels, in float64 whatever the inputs' type. It is the definition,
// not a fast path.
func runEinsum(n *Node, in []*tensor.Tensor, out []Type) ([]*tensor.Tensor, error) {
	e, err := parseEinsum(n, typesOf(in))
	if err != nil {
		return nil, err
	}
	labels := append([]rune(nil), e.output...)
	for _, term := range e.terms {
		for _, c := range term {
			if !strings.ContainsRune(string(labels), c) {
				labels = append(labels, c)
			}
		}
	}
	shape := make([]int, len(labels))
	strides := make([][]int, len(in)+1)
	for k := range strides {
		strides[k] = make([]int, len(labels))
	}
	own := tensor.Strides(out[0].Shape)
	for i, c := range labels {
		shape[i] = e.sizes[c]
		if i < len(own) {
			strides[0][i] = own[i]
		}
		for k, term := range e.terms {
			steps := tensor.Strides(in[k].Shape())
			for d, label := range term {
				if label == c && in[k].Shape()[d] != 1 {
					strides[k+1][i] += steps[d]
				}
			}
		}
	}
	if _, err := tensor.CheckShape(shape, math.MaxInt); err != nil {
		return nil, err
	}
	values := make([][]float64, len(in))
	for k, t := range in {
		values[k] = tensor.Values[float64](convert(t, tensor.Float64))
	}
	acc := make([]float64, tensor.Count(out[0].Shape))
	p := planRows(shape, strides...)
	p.each(func(o []int) {
		for i := range p.n {
			term := 1.0
			for k, v := range values {
				term *= v[o[k+1]+i*p.step[k+1]]
			}
			acc[o[0]+i*p.step[0]] += term
		}
	})
	return one(convert(tensor.Of(acc, out[0].Shape...), out[0].DType)), nil
}
