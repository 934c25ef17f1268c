package pipeline

import (
	"context"
	"image"
	"math"

	"cutout/codec"
	"cutout/compositing"
)

// sight is what the network has seen: a soft mask of a part of the photo. Outside of that part nothing is subject.
type sight struct {
	mask *image.Gray     // of any size
	part image.Rectangle // of the photo that it covers
}

// When a second look pays, found on half of the photos of docs/quality.md's sets; the other values tried are there.
// All shares are of the first look's mask, 0..1.
const (
	// largeSubject is the share of the picture from which a subject is large. Looking again at one splits it more often
	// than it mends it.
	largeSubject = 0.4
	// Doubt is the sum of 4a(1-a) over the sum of all values a: 0 for a mask of black and white, 3 and more for fog. Under
	// sure the network would only repeat itself. From unsure on it is shown the subject from near; below it is right
	// about the subject and, being shown less of what surrounds it, would take parts of it for the whole.
	sure   = 0.15
	unsure = 0.65
	// nearShare is the share of the picture from which a part of it is no nearer.
	nearShare = 0.8
	// The part is the box of the values from seedValue up that lie together, weigh at least seedWeight of the heaviest
	// such group, and a margin.
	seedValue  = 77 // of 255, 30 %
	seedWeight = 0.3
	margin     = 0.25 // of the box's sides, on each
)

// look shows the photo to the network and, unless the quality is Fast or the first answer is past doubt, once more:
// from near, where it is unsure what the subject is, else mirrored. Precise looks from near mirrored too.
func (j *job) look(ctx context.Context) error {
	n := j.network
	stretch := n.entry.Output.Stretch
	small := n.shrink(j.photo)
	first, err := n.score(ctx, small, j.threads())
	if err != nil {
		return err
	}
	j.result.Score = first.max
	if first.max < nothingFound {
		return nil
	}
	j.seen = &sight{mask: first.mask(stretch), part: j.photo.Rect}
	if j.o.Quality == Fast {
		return nil
	}
	if j.o.Subject == Human && j.people != nil {
		done, err := j.lookForPeople(ctx, small, first)
		if done || err != nil {
			return err
		}
	}
	area, doubt := judge(j.seen.mask)
	if area > largeSubject || doubt < sure && j.o.Quality != Precise {
		return nil
	}
	if doubt >= unsure {
		if part := nearer(j.seen.mask, j.photo.Rect); !part.Empty() {
			small = n.shrink(view(j.photo, part))
			near, err := n.score(ctx, small, j.threads())
			if err != nil {
				return err
			}
			if near.max < nothingFound {
				return nil // seen from near it is nothing; the whole picture told more
			}
			first, j.seen = near, &sight{mask: average([]*scores{near}, stretch), part: part}
			if j.o.Quality != Precise {
				return nil
			}
		}
	}
	again, err := n.score(ctx, mirrored(small), j.threads())
	if err != nil {
		return err
	}
	if again.max >= nothingFound {
		again.mirror()
		j.seen.mask = average([]*scores{first, again}, stretch)
	}
	return nil
}

// fewPeople is the share of the picture under which the network for people has found nobody worth the name: it sees little
// of the small.
const fewPeople = 0.02

// lookForPeople averages what the network says of the photo and of its mirror image with what the one for people says of
// both. Where that one finds nobody nothing is done.
func (j *job) lookForPeople(ctx context.Context, small *image.NRGBA, first *scores) (done bool, err error) {
	n, people := j.network, j.people
	face := people.shrink(j.photo)
	straight, err := people.score(ctx, face, j.threads())
	if err != nil {
		return false, err
	}
	turned, err := people.score(ctx, mirrored(face), j.threads())
	if err != nil {
		return false, err
	}
	turned.mirror()
	seen := image.NewGray(image.Rect(0, 0, straight.width, straight.height))
	for i := range seen.Pix {
		v := (straight.at(i, people.entry.Output.Stretch) + turned.at(i, people.entry.Output.Stretch)) / 2
		seen.Pix[i] = sharpened(v) // it is nowhere quite black or white
	}
	if area, _ := judge(seen); area < fewPeople {
		return false, nil
	}
	again, err := n.score(ctx, mirrored(small), j.threads())
	if err != nil {
		return false, err
	}
	again.mirror()
	seen = codec.BilinearGray(seen, first.width, first.height)
	stretch := n.entry.Output.Stretch
	for i, v := range seen.Pix {
		j.seen.mask.Pix[i] = sharpened((first.at(i, stretch) + again.at(i, stretch) + float32(v)/255) / 3)
	}
	return true, nil
}

// judge tells which share of the picture a mask calls subject, and how much in doubt it is.
func judge(mask *image.Gray) (area, doubt float64) {
	var sum, grey float64
	for _, v := range mask.Pix {
		a := float64(v) / 255
		sum += a
		grey += 4 * a * (1 - a)
	}
	if sum == 0 {
		return 0, 0
	}
	return sum / float64(len(mask.Pix)), grey / sum
}

// nearer is the part of the picture around what a mask shows; empty where that is most of it, or nothing.
func nearer(mask *image.Gray, picture image.Rectangle) image.Rectangle {
	seed := &image.Gray{Pix: append([]uint8(nil), mask.Pix...), Stride: mask.Stride, Rect: mask.Rect}
	compositing.ClearFaint(seed, seedValue)
	compositing.DropSpecks(seed, seedWeight)
	box := compositing.Bounds(seed)
	if box.Empty() {
		return box
	}
	sx, sy := float64(picture.Dx())/float64(mask.Rect.Dx()), float64(picture.Dy())/float64(mask.Rect.Dy())
	px, py := margin*float64(box.Dx()), margin*float64(box.Dy())
	part := image.Rect(
		int(math.Round((float64(box.Min.X)-px)*sx)), int(math.Round((float64(box.Min.Y)-py)*sy)),
		int(math.Round((float64(box.Max.X)+px)*sx)), int(math.Round((float64(box.Max.Y)+py)*sy)),
	).Intersect(picture)
	if float64(part.Dx())*float64(part.Dy()) >= nearShare*float64(picture.Dx())*float64(picture.Dy()) {
		return image.Rectangle{}
	}
	return part
}

// view is a part of a picture as one of its own, sharing pixels.
func view(m *image.NRGBA, part image.Rectangle) *image.NRGBA {
	if part == m.Rect {
		return m
	}
	sub := m.SubImage(part).(*image.NRGBA)
	return &image.NRGBA{Pix: sub.Pix, Stride: sub.Stride, Rect: image.Rectangle{Max: part.Size()}}
}

// mirrored is m with left and right exchanged.
func mirrored(m *image.NRGBA) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := image.NewNRGBA(m.Rect)
	for y := range h {
		src, dst := m.Pix[y*m.Stride:][:4*w], out.Pix[y*out.Stride:][:4*w]
		for x := 0; x < 4*w; x += 4 {
			copy(dst[4*w-4-x:][:4], src[x:])
		}
	}
	return out
}

// mirror exchanges left and right.
func (s *scores) mirror() {
	values := make([]float32, len(s.values)) // those of the network are not ours to change
	for y := range s.height {
		src, dst := s.values[y*s.width:][:s.width], values[y*s.width:][:s.width]
		for x, v := range src {
			dst[s.width-1-x] = v
		}
	}
	s.values = values
}

// average is the mask of several answers to the same picture, each stretched on its own. The less an answer is in doubt
// the more it counts: where two contradict each other the plain mean would leave the subject half transparent.
func average(answers []*scores, stretch bool) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, answers[0].width, answers[0].height))
	weights, sum := make([]float32, len(answers)), float32(0)
	for k, s := range answers {
		_, doubt := judge(s.mask(stretch))
		weights[k] = float32(1 / ((doubt + leastDoubt) * (doubt + leastDoubt)))
		sum += weights[k]
	}
	for i := range m.Pix {
		var v float32
		for k, s := range answers {
			v += weights[k] / sum * s.at(i, stretch)
		}
		m.Pix[i] = sharpened(v)
	}
	return m
}

// leastDoubt keeps one answer that is past all doubt from silencing the others.
const leastDoubt = 0.02

// contrast, about the middle, is what masks get that answer a doubt. Left grey they would make glass of a bag that one
// answer has and the other has not. Hair and the like are found in the photo afterwards.
const contrast = 2

// sharpened is a mask value of 0..1, with more contrast, as 0..255.
func sharpened(v float32) uint8 { return uint8(min(max((v-0.5)*contrast+0.5, 0), 1)*255 + 0.5) }

// enlarged is the mask at the photo's size, as rembg enlarges it.
func (s *sight) enlarged(photo image.Rectangle) *image.Gray {
	return s.whole(codec.LanczosGray(s.mask, s.part.Dx(), s.part.Dy()), photo)
}

// whole puts a mask of the part that was seen into one of the photo's size.
func (s *sight) whole(mask *image.Gray, photo image.Rectangle) *image.Gray {
	if s.part == photo {
		return mask
	}
	return compositing.CropMask(mask, photo.Sub(s.part.Min))
}
