package codec

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"math"
)

// iccParts collects the pieces into which a profile is cut in JPEG APP2 segments (ICC.1:2022, annex B.4).
type iccParts struct {
	parts [256][]byte
	count int
}

func (p *iccParts) add(seg []byte) {
	const id = "ICC_PROFILE\x00"
	if !bytes.HasPrefix(seg, []byte(id)) || len(seg) < len(id)+2 {
		return
	}
	if n := seg[len(id)]; p.parts[n] == nil {
		p.parts[n] = seg[len(id)+2:]
		p.count = int(seg[len(id)+1])
	}
}

// join gives the whole profile, nil where a piece is missing.
func (p *iccParts) join() []byte {
	var out []byte
	for i := 1; i <= p.count; i++ {
		if p.parts[i] == nil {
			return nil
		}
		out = append(out, p.parts[i]...)
	}
	return out
}

// maxProfile bounds an inflated profile. Those that can be converted have a few kilobytes; the largest curves that
// make sense, three times 65536 entries of 16 bits, take 400.
const maxProfile = 1 << 20

// inflateProfile gives the profile in a PNG iCCP chunk: a name, a zero, the compression method 0, a zlib stream.
func inflateProfile(chunk []byte) ([]byte, error) {
	i := bytes.IndexByte(chunk, 0)
	if i < 0 || i+2 > len(chunk) || chunk[i+1] != 0 {
		return nil, errors.New("damaged iCCP chunk")
	}
	z, err := zlib.NewReader(bytes.NewReader(chunk[i+2:]))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxProfile+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxProfile {
		return nil, errors.New("profile is too big")
	}
	return out, nil
}

// rgbProfile is an ICC profile of the three-component matrix kind (ICC.1:2022, 8.3.3 and F.3): linear light is the
// stored value through a curve, and a matrix leads from linear light to XYZ under D50.
type rgbProfile struct {
	curves [3][256]float32 // linear light, 0 to 1, of each stored byte
	matrix [3][3]float64   // rows X, Y, Z; columns R, G, B
}

var errProfile = errors.New("not a usable RGB matrix profile")

// parseProfile reads a matrix profile. Profiles that have tables instead, and those of other colour spaces, are an error.
func parseProfile(b []byte) (*rgbProfile, error) {
	const headerSize = 128
	if len(b) < headerSize+4 || string(b[36:40]) != "acsp" || string(b[16:20]) != "RGB " || string(b[20:24]) != "XYZ " {
		return nil, errProfile
	}
	tags := make(map[string][]byte, 16)
	for i := range min(binary.BigEndian.Uint32(b[headerSize:]), 100) {
		at := headerSize + 4 + 12*int64(i)
		if at+12 > int64(len(b)) {
			return nil, errProfile
		}
		e := b[at:]
		off, size := int64(binary.BigEndian.Uint32(e[4:])), int64(binary.BigEndian.Uint32(e[8:]))
		if off+size > int64(len(b)) {
			return nil, errProfile
		}
		tags[string(e[:4])] = b[off : off+size]
	}
	p := new(rgbProfile)
	for i, c := range []string{"r", "g", "b"} {
		xyz, trc := tags[c+"XYZ"], tags[c+"TRC"]
		if len(xyz) < 20 || string(xyz[:4]) != "XYZ " {
			return nil, errProfile
		}
		for row := range 3 {
			p.matrix[row][i] = s15Fixed16(xyz[8+4*row:])
		}
		if err := parseCurve(trc, &p.curves[i]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func s15Fixed16(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / 65536 }

// parseCurve samples a curveType or parametricCurveType tag (ICC.1:2022, 10.6 and 10.18) at the 256 byte values.
func parseCurve(b []byte, out *[256]float32) error {
	if len(b) < 12 {
		return errProfile
	}
	var f func(x float64) float64
	switch string(b[:4]) {
	case "curv":
		n := int64(binary.BigEndian.Uint32(b[8:]))
		table := b[12:]
		if 2*n > int64(len(table)) {
			return errProfile
		}
		at := func(i int) float64 { return float64(binary.BigEndian.Uint16(table[2*i:])) / 65535 }
		switch n {
		case 0:
			f = func(x float64) float64 { return x }
		case 1:
			gamma := float64(binary.BigEndian.Uint16(table)) / 256
			f = func(x float64) float64 { return math.Pow(x, gamma) }
		default:
			f = func(x float64) float64 {
				x *= float64(n - 1)
				i := min(int(x), int(n)-2)
				part := x - float64(i)
				return at(i)*(1-part) + at(i+1)*part
			}
		}
	case "para":
		kind := int(binary.BigEndian.Uint16(b[8:]))
		counts := [...]int{1, 3, 4, 5, 7}
		if kind >= len(counts) || len(b) < 12+4*counts[kind] {
			return errProfile
		}
		var v [7]float64 // g, a, b, c, d, e, f as the standard names them
		for i := range counts[kind] {
			v[i] = s15Fixed16(b[12+4*i:])
		}
		g, a, bb, c, d, e, ff := v[0], v[1], v[2], v[3], v[4], v[5], v[6]
		switch kind {
		case 0:
			a, d = 1, -1
		case 1, 2:
			if a == 0 {
				return errProfile
			}
			e, ff, c, d = v[3], v[3], 0, -bb/a
		case 3:
			e, ff = 0, 0
		}
		f = func(x float64) float64 {
			if x < d {
				return c*x + ff
			}
			return math.Pow(max(a*x+bb, 0), g) + e
		}
	default:
		return errProfile
	}
	for i := range out {
		y := f(float64(i) / 255)
		if math.IsNaN(y) {
			return errProfile
		}
		out[i] = float32(min(max(y, 0), 1))
	}
	return nil
}

// srgbFromXYZ leads from XYZ under D50 to linear sRGB (IEC 61966-2-1, adapted from D65 by Bradford's method).
var srgbFromXYZ = [3][3]float64{
	{3.1338561, -1.6168667, -0.4906146},
	{-0.9787684, 1.9161415, 0.0334540},
	{0.0719453, -0.2289914, 1.4052427},
}

// encodeSteps is the resolution at which linear light is given its sRGB byte: a fifth of a level where the curve is
// steepest.
const encodeSteps = 1 << 14

// profileConverter turns bytes of one RGB space to sRGB bytes. Colours outside sRGB are clipped.
type profileConverter struct {
	curves *[3][256]float32
	matrix [3][3]float32
	encode [encodeSteps + 1]uint8
}

func newProfileConverter(p *rgbProfile) *profileConverter {
	c := &profileConverter{curves: &p.curves}
	for i := range 3 {
		for j := range 3 {
			var s float64
			for k := range 3 {
				s += srgbFromXYZ[i][k] * p.matrix[k][j]
			}
			c.matrix[i][j] = float32(s) * encodeSteps
		}
	}
	for i := range c.encode {
		v := float64(i) / encodeSteps
		if v <= 0.0031308 {
			v *= 12.92
		} else {
			v = 1.055*math.Pow(v, 1/2.4) - 0.055
		}
		c.encode[i] = uint8(v*255 + 0.5)
	}
	return c
}

func (c *profileConverter) convert(r, g, b uint8) (uint8, uint8, uint8) {
	l0, l1, l2 := c.curves[0][r], c.curves[1][g], c.curves[2][b]
	m := &c.matrix
	return c.encode[step(m[0][0]*l0+m[0][1]*l1+m[0][2]*l2)],
		c.encode[step(m[1][0]*l0+m[1][1]*l1+m[1][2]*l2)],
		c.encode[step(m[2][0]*l0+m[2][1]*l1+m[2][2]*l2)]
}

func step(v float32) int { return int(min(max(v+0.5, 0), encodeSteps)) }

// isIdentity tells whether the conversion moves no colour by more than one level, so that the many files that carry
// an sRGB profile keep their exact values.
func (c *profileConverter) isIdentity() bool {
	near := func(a, b uint8) bool { return a-b+1 <= 2 }
	for r := 0; r < 256; r += 17 {
		for g := 0; g < 256; g += 17 {
			for b := 0; b < 256; b += 17 {
				r, g, b := uint8(r), uint8(g), uint8(b)
				if x, y, z := c.convert(r, g, b); !near(x, r) || !near(y, g) || !near(z, b) {
					return false
				}
			}
		}
	}
	return true
}

// Colours converts pictures from the space of an embedded profile to sRGB.
type Colours struct{ c *profileConverter }

// colours gives the conversion that the embedded profile asks for, nil where there is nothing to do. A profile that
// cannot be used is ignored, as browsers do. stored is the picture as the decoder gave it: a grey one is left alone.
func (h *header) colours(stored image.Image) *Colours {
	switch stored.(type) {
	case *image.Gray, *image.Gray16, *image.CMYK:
		return nil
	}
	profile := h.profile
	if h.Format == PNG {
		var err error
		if profile, err = inflateProfile(profile); err != nil {
			return nil
		}
	}
	p, err := parseProfile(profile)
	if err != nil {
		return nil
	}
	c := newProfileConverter(p)
	if c.isIdentity() {
		return nil
	}
	return &Colours{c}
}

// gammaColours gives the conversion for the gAMA chunk of a PNG (W3C PNG, third edition, 11.3.2.2) with the primaries of
// sRGB, nil where it is about that of sRGB, which is all that most writers mean, or makes no sense.
func gammaColours(gamma uint32) *Colours {
	const srgb = 45455
	g := float64(gamma) / 100000
	if gamma > srgb*95/100 && gamma < srgb*105/100 || g < 0.1 || g > 10 {
		return nil
	}
	var p rgbProfile
	for i := range 256 {
		v := float32(math.Pow(float64(i)/255, 1/g))
		p.curves[0][i], p.curves[1][i], p.curves[2][i] = v, v, v
	}
	c := newProfileConverter(&p)
	for i := range c.matrix {
		c.matrix[i][i] = encodeSteps
	}
	return &Colours{c}
}

// Convert converts m, or any part of the picture, in place. Where Colours is nil it does nothing.
func (p *Colours) Convert(m *image.NRGBA) {
	if p == nil {
		return
	}
	eachRow(m.Rect.Dy(), func(y int) {
		row := m.Pix[y*m.Stride:][:4*m.Rect.Dx()]
		var last [3]uint8
		var result [3]uint8
		result[0], result[1], result[2] = p.c.convert(0, 0, 0)
		for ; len(row) >= 4; row = row[4:] {
			if v := [3]uint8(row); v != last { // neighbours are often equal
				last = v
				result[0], result[1], result[2] = p.c.convert(v[0], v[1], v[2])
			}
			copy(row, result[:])
		}
	})
}
