package video

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cutout/codec"
	"cutout/pipeline"
)

// flicker is the mean absolute change of the matte between frames, of 255, and how many of them there are, over the frames
// of a MatteKey result between which no scene ends.
func flicker(t testing.TB, path string, w, h int) (mean float64, mattes [][]byte) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "mattes.gray")
	if _, err := capture(t.Context(), needTools(t).FFmpeg, []string{
		"-v", "error", "-nostdin", "-i", path, "-vf", "scale=out_range=full,format=gray", "-f", "rawvideo", raw,
	}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(data) >= w*h; data = data[w*h:] {
		mattes = append(mattes, data[:w*h])
	}
	for n := 1; n < len(mattes); n++ {
		mean += change(mattes[n-1], mattes[n])
	}
	return mean / float64(max(len(mattes)-1, 1)), mattes
}

func change(a, b []byte) float64 {
	var sum uint64
	for i := range a {
		d := int(a[i]) - int(b[i])
		sum += uint64(max(d, -d))
	}
	return float64(sum) / float64(len(a))
}

// TestFlicker compares smoothed mattes with those of frames by themselves, on clips whose subject stands still: at least
// half of the change between frames is gone.
func TestFlicker(t *testing.T) {
	long(t)
	tl := needTools(t)
	m := needMasker(t, pipeline.Options{})
	for _, tc := range []struct {
		clip string
		from string
	}{{"cockatoo.mp4", "0"}, {"bottle-detection.mp4", "0"}} {
		// A second of camera work is none of a subject that stands still: the one frame is shown again and again, with noise
		// like that of a sensor.
		in := makeClip(t, "still.mkv", "-i", shared(t, tc.clip), "-vf",
			"select=eq(n\\,60),loop=loop=17:size=1:start=0,setpts=N/25/TB,scale=640:-2,noise=alls=8:allf=t", "-r", "25", "-frames:v", "18", "-c:v", "ffv1", "-an")
		var got [2]float64
		for i, perFrame := range []bool{true, false} {
			r, err := tl.Convert(t.Context(), m, Job{Options: Options{Format: MatteKey}, Input: in, Dir: t.TempDir(), perFrame: perFrame})
			if err != nil {
				t.Fatal(err)
			}
			got[i], _ = flicker(t, r.Path, r.Size.X, r.Size.Y)
			t.Logf("%s: smoothed: %v: %.3f of 255 a frame, %d of %d frames seen", tc.clip, !perFrame, got[i], r.Stats.Looked, r.Frames)
		}
		if got[1] > got[0]/2 {
			t.Errorf("%s: %.3f is more than half of %.3f", tc.clip, got[1], got[0])
		}
	}
}

// TestFlickerWhereItIsStill takes clips as they were filmed, and compares the mattes where the picture does not change: what
// changes there is flicker.
func TestFlickerWhereItIsStill(t *testing.T) {
	long(t)
	tl := needTools(t)
	m := needMasker(t, pipeline.Options{})
	const frames = 60
	for _, tc := range []struct {
		clip string
		most float64 // share of the flicker that may be left; where nothing but a little of the picture stands still, or people sway, more is movement
	}{{"cockatoo.mp4", 0.6}, {"bottle-detection.mp4", 0.5}, {"person_asl_yes.mkv", 0.6}, {"person_asl_walk.mkv", 0.6}} {
		clip := tc.clip
		path := shared(t, clip)
		var pictures []*image.NRGBA
		var got [2]float64
		var share float64
		for i, perFrame := range []bool{true, false} {
			r, err := tl.Convert(t.Context(), m, Job{Options: Options{Format: MatteKey, Frames: frames}, Input: path, Dir: t.TempDir(), perFrame: perFrame})
			if err != nil {
				t.Fatal(err)
			}
			if pictures == nil {
				pictures = decoded(t, path, frames, r.Size)
			}
			_, mattes := flicker(t, r.Path, r.Size.X, r.Size.Y)
			got[i], share = stillFlicker(pictures, mattes)
		}
		t.Logf("%s: where it is still, %.0f %% of the picture: %.3f of 255 a frame by themselves, %.3f smoothed", clip, 100*share, got[0], got[1])
		if got[1] > tc.most*got[0] {
			t.Errorf("%s: %.3f is more than %.1f of %.3f", clip, got[1], tc.most, got[0])
		}
	}
}

// decoded are the first frames of a clip.
func decoded(t testing.TB, path string, n int, size image.Point) (frames []*image.NRGBA) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "frames.rgba")
	if _, err := capture(t.Context(), needTools(t).FFmpeg, []string{
		"-v", "error", "-nostdin", "-i", path, "-frames:v", fmt.Sprint(n), "-pix_fmt", "rgba", "-f", "rawvideo", raw,
	}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	for bytes := 4 * size.X * size.Y; len(data) >= bytes; data = data[bytes:] {
		frames = append(frames, &image.NRGBA{Pix: data[:bytes], Stride: 4 * size.X, Rect: image.Rectangle{Max: size}})
	}
	return frames
}

// stillFlicker is the mean change of mattes from frame to frame, of 255, over the blocks whose picture, and that of those
// around them, does not change by more than noise, and the share of these.
func stillFlicker(pictures []*image.NRGBA, mattes [][]byte) (mean, share float64) {
	w, h := pictures[0].Rect.Dx(), pictures[0].Rect.Dy()
	bw, bh := (w+blockSide-1)/blockSide, (h+blockSide-1)/blockSide
	var sum, still, all int
	for n := 1; n < min(len(pictures), len(mattes)); n++ {
		moved := blocks(pictures[n-1], pictures[n])
		for by := range bh {
			for bx := range bw {
				most := mostAround(moved, bw, bh, bx, by)
				for y := by * blockSide; y < min((by+1)*blockSide, h); y++ {
					for x := bx * blockSide; x < min((bx+1)*blockSide, w); x++ {
						all++
						if most <= 2 {
							still++
							d := int(mattes[n-1][y*w+x]) - int(mattes[n][y*w+x])
							sum += max(d, -d)
						}
					}
				}
			}
		}
	}
	return float64(sum) / float64(max(still, 1)), float64(still) / float64(max(all, 1))
}

// TestCutsDoNotTrail joins two clips: right after the cut the matte is the one that the second clip has by itself.
func TestCutsDoNotTrail(t *testing.T) {
	t.Parallel()
	tl := needTools(t)
	joined := makeClip(t, "joined.mkv",
		"-f", "lavfi", "-i", "color=c=0x2040c0:s=160x120:r=25:d=1,drawbox=x=10:y=10:w=60:h=60:c=0xf08020:t=fill",
		"-f", "lavfi", "-i", "color=c=0x103010:s=160x120:r=25:d=1,drawbox=x=90:y=50:w=60:h=60:c=0xff9040:t=fill",
		"-filter_complex", "[0][1]concat=n=2", "-c:v", "ffv1")
	r, err := tl.Convert(t.Context(), &lowRes{}, Job{Options: Options{Format: MatteKey}, Input: joined, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Stats.Cuts != 1 {
		t.Errorf("%d cuts", r.Stats.Cuts)
	}
	if r.Stats.Looked > 4 {
		t.Errorf("%d of %d frames that are the same were seen", r.Stats.Looked, r.Frames)
	}
	m := still(t, r.Path, 25)
	if v := m.NRGBAAt(40, 30).R; v > 20 {
		t.Errorf("after the cut there is %d left of what was before", v)
	}
	if v := m.NRGBAAt(120, 80).R; v < 235 {
		t.Errorf("after the cut the subject is at %d", v)
	}
}

// lowRes is a disc whose mask is the smoothed one, enlarged.
type lowRes struct{ disc }

func (*lowRes) Matte(_ context.Context, frame *image.NRGBA, mask *image.Gray) (*image.Gray, error) {
	out := image.NewGray(frame.Rect)
	for y := range frame.Rect.Dy() {
		for x := range frame.Rect.Dx() {
			out.Pix[y*out.Stride+x] = mask.Pix[y*mask.Rect.Dy()/frame.Rect.Dy()*mask.Stride+x*mask.Rect.Dx()/frame.Rect.Dx()]
		}
	}
	return out, nil
}

// TestMotion finds what has moved, and says where that cannot be told.
func TestMotion(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	const side = 160
	coarse := image.NewNRGBA(image.Rect(0, 0, 30, 30))
	for i := range coarse.Pix {
		coarse.Pix[i] = uint8(r.Uint32()) | 1
	}
	scene := codec.Lanczos(coarse, side+60, side+60)
	cropped := func(x, y int) *image.NRGBA {
		m := image.NewNRGBA(image.Rect(0, 0, side, side))
		draw.Draw(m, m.Rect, scene, image.Pt(x, y), draw.Src)
		return m
	}
	for _, v := range []vector{{}, {1, 0}, {0, -2}, {5, 3}, {-9, 14}, {-21, -20}} {
		m := newMotion(newView(cropped(30, 30)), newView(cropped(30+int(v.x), 30+int(v.y))))
		found := 0
		for by := 4; by < m.h-4; by++ {
			for bx := 4; bx < m.w-4; bx++ {
				if i := by*m.w + bx; m.vectors[i] == v && m.residual[i] < 1 {
					found++
				}
			}
		}
		if all := (m.w - 8) * (m.h - 8); found < all*98/100 {
			t.Errorf("%v: found in %d of %d blocks", v, found, all)
		}
		if m.still != (v == vector{}) {
			t.Errorf("%v: still: %v", v, m.still)
		}
		before, want := make([]float32, side*side), make([]float32, side*side)
		for y := range side {
			for x := range side {
				before[y*side+x] = float32((x*7 + y*3) % 256)
				want[y*side+x] = float32(((x+int(v.x))*7 + (y+int(v.y))*3) % 256)
			}
		}
		got := make([]float32, side*side)
		m.carry(got, before, image.Pt(side, side))
		wrong := 0
		for y := 40; y < side-40; y++ {
			for x := 40; x < side-40; x++ {
				if got[y*side+x] != want[y*side+x] {
					wrong++
				}
			}
		}
		if wrong > 80*80/20 {
			t.Errorf("%v: %d places are carried to where they do not belong", v, wrong)
		}
	}
	other := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range other.Pix {
		other.Pix[i] = uint8(i / 4 * 17)
	}
	unexplained := 0
	m := newMotion(newView(cropped(30, 30)), newView(codec.Lanczos(other, side, side)))
	for _, v := range m.residual {
		if v > 10 {
			unexplained++
		}
	}
	if unexplained < len(m.residual)*9/10 {
		t.Errorf("%d of %d blocks of another scene are taken for unexplained", unexplained, len(m.residual))
	}
}

// TestOutvoted drops what a single mask has, in a picture that moves, and keeps what is there to stay.
func TestOutvoted(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	coarse := image.NewNRGBA(image.Rect(0, 0, 40, 40))
	for i := range coarse.Pix {
		coarse.Pix[i] = uint8(r.Uint32()) | 1
	}
	scene := codec.Lanczos(coarse, 240, 240)
	var views []*view
	var masks []*image.Gray
	for n := range 3 {
		picture, mask := image.NewNRGBA(image.Rect(0, 0, 160, 160)), image.NewGray(image.Rect(0, 0, 160, 160))
		draw.Draw(picture, picture.Rect, scene, image.Pt(30+4*n, 30), draw.Src)
		draw.Draw(mask, image.Rect(60-4*n, 60, 100-4*n, 100), image.White, image.Point{}, draw.Src) // the subject moves with all
		views, masks = append(views, newView(picture)), append(masks, mask)
	}
	clean := slices.Clone(masks[1].Pix)
	draw.Draw(masks[1], image.Rect(24, 24, 54, 54), image.White, image.Point{}, draw.Src) // appears
	draw.Draw(masks[1], image.Rect(70, 70, 90, 90), image.Black, image.Point{}, draw.Src) // is missing
	if was := change(masks[1].Pix, clean); was < 5 {
		t.Fatalf("only %.2f was changed", was)
	}
	s := steady{grid: image.Pt(160, 160), side: motionSide}
	s.outvote(masks[1], masks[0], masks[2], newMotion(views[0], views[1]), newMotion(views[2], views[1]))
	if left := change(masks[1].Pix, clean); left > 0.5 {
		t.Errorf("%.2f of 255 is left of it", left)
	}
}

// TestSteady smooths masks that flicker over a picture that does not, and follows what moves.
func TestSteady(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	size := image.Rect(0, 0, 96, 80)
	quiet, moving := make([]float32, 6*5), make([]float32, 6*5)
	for i := range moving {
		moving[i] = 40
	}
	s := steady{grid: size.Max, side: blockSide}
	var last *image.Gray
	var before, after float64
	var previous *image.Gray
	for n := range 60 {
		m := image.NewGray(size)
		for i := range m.Pix {
			m.Pix[i] = uint8(128 + r.IntN(81) - 40)
		}
		moved := quiet
		if n == 0 {
			moved = nil
		}
		out := &image.Gray{Pix: slices.Clone(m.Pix), Stride: m.Stride, Rect: m.Rect}
		s.next(out, moved, nil)
		if n == 0 && change(out.Pix, m.Pix) != 0 {
			t.Error("the first mask of a scene is changed")
		}
		if n > 20 {
			before += change(previous.Pix, m.Pix)
			after += change(last.Pix, out.Pix)
		}
		last, previous = out, m
	}
	if after > before/4 {
		t.Errorf("the mask still changes by %.1f instead of %.1f", after, before)
	}
	m := image.NewGray(size)
	if s.next(m, moving, nil); change(m.Pix, make([]byte, len(m.Pix))) > 0 {
		t.Error("a mask trails behind what moves")
	}
}

// FuzzSteady smooths masks of any size, with differences of pictures of that size.
func FuzzSteady(f *testing.F) {
	f.Add(uint8(1), uint8(1), uint64(1))
	f.Add(uint8(17), uint8(16), uint64(2))
	f.Fuzz(func(t *testing.T, w, h uint8, seed uint64) {
		if w == 0 || h == 0 {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		picture := func() *image.NRGBA {
			m := image.NewNRGBA(image.Rect(0, 0, int(w), int(h)))
			for i := range m.Pix {
				m.Pix[i] = uint8(r.Uint32())
			}
			return m
		}
		a, b := picture(), picture()
		differ := blocks(a, b)
		if !same(blocks(a, a)) {
			t.Error("a picture is not the same as itself")
		}
		isCut(histogram(a), histogram(b), differ)
		noise := func() *image.Gray {
			mask := image.NewGray(a.Rect)
			for i := range mask.Pix {
				mask.Pix[i] = uint8(r.Uint32())
			}
			return mask
		}
		s := steady{grid: a.Rect.Max, side: blockSide}
		for _, moved := range [][]float32{nil, differ, differ} {
			s.next(noise(), moved, nil)
		}
		va, vb := newView(a), newView(b)
		there, back := newMotion(va, vb), newMotion(vb, va)
		s = steady{grid: a.Rect.Max, side: motionSide}
		for _, m := range []*motion{nil, there, back} {
			mask := noise()
			s.outvote(mask, noise(), noise(), there, back)
			if m == nil {
				s.next(mask, nil, nil)
			} else {
				s.next(mask, m.residual, m)
			}
		}
	})
}
