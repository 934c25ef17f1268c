// Package npy reads and writes tensors as NumPy's .npy files.
//
// The format is that of numpy.lib.format, versions 1 to 3: a magic string, a Python literal that gives element type,
// order and shape, and the elements. Headers are only parsed, never evaluated.
package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"cutout/inference/tensor"
)

const (
	magic = "\x93NUMPY"
	// maxHeader bounds the header. NumPy itself trusts 10,000 bytes.
	maxHeader = 1 << 16
	// maxRank bounds the number of dimensions. NumPy has 64.
	maxRank = 64
	// align is what the elements start at a multiple of in files that are written.
	align = 64
)

// ErrTooLarge says that a file holds more elements than the caller takes.
var ErrTooLarge = errors.New("npy: too many elements")

// FormatError says that a file is no .npy file or holds what a tensor cannot.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "npy: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

// Read reads one array of at most limit elements: booleans, integers of 1 to 8 bytes and floats, half ones widened to
// float32, in either byte order. Fortran order is transposed to row-major order. What follows the array is not read.
// Errors are *FormatError, ErrTooLarge, or the reader's own.
func Read(r io.Reader, limit int) (*tensor.Tensor, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	shape := h.shape
	if h.fortran { // elements in Fortran order are those of the reversed shape in row-major order
		shape = reversed(shape)
	}
	n, err := tensor.CheckShape(shape, math.MaxInt/8)
	if err != nil {
		return nil, malformed("shape %v is impossible", h.shape)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: %d of shape %v, at most %d are taken", ErrTooLarge, n, h.shape, limit)
	}
	// The buffer grows with what arrives, so that a header alone allocates nothing.
	var data bytes.Buffer
	want := int64(n) * int64(h.size)
	got, err := io.Copy(&data, io.LimitReader(r, want))
	if err != nil {
		return nil, fmt.Errorf("npy: read elements: %w", err)
	}
	if got < want {
		return nil, malformed("ends after %d of %d bytes of elements", got, want)
	}
	t, err := h.decode(data.Bytes(), shape)
	if err != nil {
		return nil, err
	}
	if h.fortran {
		return transposed(t), nil
	}
	return t, nil
}

// header is what stands before the elements.
type header struct {
	kind    byte // as in descr: b, i, u or f
	size    int  // bytes of an element
	order   binary.ByteOrder
	fortran bool
	shape   []int
}

func readHeader(r io.Reader) (header, error) {
	var h header
	start := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(r, start); err != nil {
		return h, cut(err)
	}
	if string(start[:len(magic)]) != magic {
		return h, malformed("does not start as a .npy file")
	}
	var size int
	switch version := start[len(magic)]; version {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, cut(err)
		}
		size = int(binary.LittleEndian.Uint16(b[:]))
	case 2, 3:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, cut(err)
		}
		v := binary.LittleEndian.Uint32(b[:])
		if v > maxHeader {
			return h, malformed("header of %d bytes, at most %d are taken", v, maxHeader)
		}
		size = int(v)
	default:
		return h, malformed("version %d is not known", version)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, cut(err)
	}
	if !utf8.Valid(text) {
		return h, malformed("header is not text")
	}
	err := h.parse(string(text))
	return h, err
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("ends within the header")
	}
	return fmt.Errorf("npy: read header: %w", err)
}

// parse reads the dictionary, as in {'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), }.
func (h *header) parse(text string) error {
	p := &literal{rest: text}
	var descr string
	seen := map[string]bool{}
	p.expect("{")
	for !p.failed && !p.accept("}") {
		key := p.quoted()
		p.expect(":")
		if p.failed {
			break
		}
		if seen[key] {
			return malformed("header gives %q twice", key)
		}
		seen[key] = true
		switch key {
		case "descr":
			if p.peek("[") {
				return malformed("structured elements are not supported")
			}
			descr = p.quoted()
		case "fortran_order":
			h.fortran = p.accept("True")
			if !h.fortran {
				p.expect("False")
			}
		case "shape":
			h.shape = p.tuple()
		default:
			return malformed("header holds %q, which is not known", key)
		}
		if !p.accept(",") {
			p.expect("}")
			break
		}
	}
	if p.space(); p.failed || p.rest != "" || len(seen) != 3 {
		return malformed("header %.80q cannot be read", text)
	}
	return h.element(descr)
}

// element sets the element type from descr: byte order, kind and size.
func (h *header) element(descr string) error {
	if len(descr) != 3 {
		return malformed("elements of type %q are not supported", descr)
	}
	switch descr[0] {
	case '<', '|', '=': // "=" is the order of the machine that wrote the file, which nobody writes
		h.order = binary.LittleEndian
	case '>':
		h.order = binary.BigEndian
	default:
		return malformed("elements of type %q are not supported", descr)
	}
	switch descr[1:] {
	case "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8":
	default:
		return malformed("elements of type %q are not supported", descr)
	}
	h.kind, h.size = descr[1], int(descr[2]-'0')
	return nil
}

// literal reads a Python literal from the left. failed is set for good where the text is not what was expected.
type literal struct {
	rest   string
	failed bool
}

func (p *literal) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *literal) peek(s string) bool {
	p.space()
	return strings.HasPrefix(p.rest, s)
}

func (p *literal) accept(s string) bool {
	if !p.peek(s) {
		return false
	}
	p.rest = p.rest[len(s):]
	return true
}

func (p *literal) expect(s string) {
	if !p.accept(s) {
		p.failed = true
	}
}

// quoted reads a string without escapes.
func (p *literal) quoted() string {
	for _, quote := range []string{"'", `"`} {
		if p.accept(quote) {
			s, rest, found := strings.Cut(p.rest, quote)
			if !found || strings.Contains(s, `\`) {
				break
			}
			p.rest = rest
			return s
		}
	}
	p.failed = true
	return ""
}

// tuple reads a tuple of sizes.
func (p *literal) tuple() []int {
	shape := []int{}
	p.expect("(")
	for !p.failed && !p.accept(")") {
		p.space()
		digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
		v, err := strconv.Atoi(p.rest[:digits])
		if err != nil || len(shape) == maxRank {
			p.failed = true
			return nil
		}
		shape = append(shape, v)
		p.rest = strings.TrimPrefix(p.rest[digits:], "L") // Python 2 wrote long integers so
		if !p.accept(",") {
			p.expect(")")
			break
		}
	}
	return shape
}

// decode makes a tensor of the elements.
func (h *header) decode(data []byte, shape []int) (*tensor.Tensor, error) {
	switch string(h.kind) + strconv.Itoa(h.size) {
	case "b1":
		return decode[bool](h, data, shape)
	case "i1":
		return decode[int8](h, data, shape)
	case "i2":
		return decode[int16](h, data, shape)
	case "i4":
		return decode[int32](h, data, shape)
	case "i8":
		return decode[int64](h, data, shape)
	case "u1":
		return decode[uint8](h, data, shape)
	case "u2":
		return decode[uint16](h, data, shape)
	case "u4":
		return decode[uint32](h, data, shape)
	case "u8":
		return decode[uint64](h, data, shape)
	case "f4":
		return decode[float32](h, data, shape)
	case "f8":
		return decode[float64](h, data, shape)
	default: // f2
		out := make([]float32, len(data)/2)
		for i := range out {
			out[i] = tensor.FromFloat16(h.order.Uint16(data[2*i:]))
		}
		return tensor.Of(out, shape...), nil
	}
}

func decode[T tensor.Element](h *header, data []byte, shape []int) (*tensor.Tensor, error) {
	out := make([]T, len(data)/h.size)
	if _, err := binary.Decode(data, h.order, out); err != nil {
		return nil, fmt.Errorf("npy: decode elements: %w", err)
	}
	return tensor.Of(out, shape...), nil
}

func reversed(shape []int) []int {
	out := make([]int, len(shape))
	for i, d := range shape {
		out[len(shape)-1-i] = d
	}
	return out
}

// transposed returns a tensor with its dimensions in reverse order.
func transposed(t *tensor.Tensor) *tensor.Tensor {
	switch t.DType() {
	case tensor.Float32:
		return transpose(tensor.Values[float32](t), t.Shape())
	case tensor.Float64:
		return transpose(tensor.Values[float64](t), t.Shape())
	case tensor.Int8:
		return transpose(tensor.Values[int8](t), t.Shape())
	case tensor.Int16:
		return transpose(tensor.Values[int16](t), t.Shape())
	case tensor.Int32:
		return transpose(tensor.Values[int32](t), t.Shape())
	case tensor.Int64:
		return transpose(tensor.Values[int64](t), t.Shape())
	case tensor.Uint8:
		return transpose(tensor.Values[uint8](t), t.Shape())
	case tensor.Uint16:
		return transpose(tensor.Values[uint16](t), t.Shape())
	case tensor.Uint32:
		return transpose(tensor.Values[uint32](t), t.Shape())
	case tensor.Uint64:
		return transpose(tensor.Values[uint64](t), t.Shape())
	default:
		return transpose(tensor.Values[bool](t), t.Shape())
	}
}

func transpose[T tensor.Element](src []T, shape []int) *tensor.Tensor {
	out := reversed(shape)
	steps := reversed(tensor.Strides(shape)) // in src, by dimension of the result
	dst := make([]T, len(src))
	at := make([]int, len(out))
	from := 0
	for i := range dst {
		dst[i] = src[from]
		for d := len(out) - 1; d >= 0; d-- {
			at[d]++
			from += steps[d]
			if at[d] < out[d] {
				break
			}
			from -= at[d] * steps[d]
			at[d] = 0
		}
	}
	return tensor.Of(dst, out...)
}

// Write writes a tensor in version 1.0, little-endian and row-major.
func Write(w io.Writer, t *tensor.Tensor) error {
	descr, data := encoding(t)
	shape := make([]string, t.Rank())
	for i, d := range t.Shape() {
		shape[i] = strconv.Itoa(d)
	}
	tuple := strings.Join(shape, ", ")
	if t.Rank() == 1 {
		tuple += ","
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, tuple)
	size := len(magic) + 4 + len(text) + 1
	text += strings.Repeat(" ", (align-size%align)%align) + "\n"
	if len(text) > math.MaxUint16 {
		return malformed("%d dimensions are too many", t.Rank())
	}
	head := append([]byte(magic), 1, 0)
	head = binary.LittleEndian.AppendUint16(head, uint16(len(text)))
	if _, err := w.Write(append(head, text...)); err != nil {
		return fmt.Errorf("npy: write header: %w", err)
	}
	if err := binary.Write(w, binary.LittleEndian, data); err != nil {
		return fmt.Errorf("npy: write elements: %w", err)
	}
	return nil
}

// encoding returns what NumPy calls the element type, and the elements.
func encoding(t *tensor.Tensor) (string, any) {
	switch t.DType() {
	case tensor.Float32:
		return "<f4", tensor.Values[float32](t)
	case tensor.Float64:
		return "<f8", tensor.Values[float64](t)
	case tensor.Int8:
		return "|i1", tensor.Values[int8](t)
	case tensor.Int16:
		return "<i2", tensor.Values[int16](t)
	case tensor.Int32:
		return "<i4", tensor.Values[int32](t)
	case tensor.Int64:
		return "<i8", tensor.Values[int64](t)
	case tensor.Uint8:
		return "|u1", tensor.Values[uint8](t)
	case tensor.Uint16:
		return "<u2", tensor.Values[uint16](t)
	case tensor.Uint32:
		return "<u4", tensor.Values[uint32](t)
	case tensor.Uint64:
		return "<u8", tensor.Values[uint64](t)
	default:
		return "|b1", tensor.Values[bool](t)
	}
}
