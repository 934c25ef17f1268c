package video

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Info is what is known of a clip before any of it is decoded. What the file claims may be wrong.
type Info struct {
	Format        string // of the container, as ffprobe names it
	Width, Height int    // of the upright picture, in square pixels
	Rate          Rate   // of frames; for a clip whose rate varies, one that holds all of them
	Variable      bool   // the rate varies
	Duration      time.Duration
	Frames        int // as the container counts them; zero: it does not
	Codec         string
	PixelFormat   string
	HDR           bool
	Sound         *Sound // nil: none
	Rotation      int    // clockwise, in degrees, by which players turn the picture

	stream     int
	start      time.Duration // of the first frame
	origin     time.Duration // of the file: the least start of its streams
	interlaced bool
	matrix     string // colour matrix, as filters name it
	alpha      string // decoder that knows of the clip's transparency; "": any
}

// Sound is the first track of sound.
type Sound struct {
	Codec  string
	stream int
}

// formats are the containers that are read. A list of files, as concat, HLS and DASH have it, is none of them: it could
// name any file of this machine.
const formats = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,ogg,mpegts,mpeg,flv,asf,mxf,nut,h264,hevc,m4v,mpegvideo"

// source are the options with which a file of a client is opened.
func source(path string) []string {
	return []string{"-protocol_whitelist", "file", "-format_whitelist", formats, "-i", "file:" + path}
}

const probeTimeout = 30 * time.Second

type probed struct {
	Streams []probedStream `json:"streams"`
	Format  struct {
		Name     string `json:"format_name"`
		Duration string `json:"duration"`
		Start    string `json:"start_time"`
	} `json:"format"`
}

type probedStream struct {
	Index       int    `json:"index"`
	Type        string `json:"codec_type"`
	Codec       string `json:"codec_name"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	PixelFormat string `json:"pix_fmt"`
	Rate        string `json:"r_frame_rate"`
	Average     string `json:"avg_frame_rate"`
	Frames      string `json:"nb_frames"`
	Duration    string `json:"duration"`
	Start       string `json:"start_time"`
	Aspect      string `json:"sample_aspect_ratio"`
	Matrix      string `json:"color_space"`
	Transfer    string `json:"color_transfer"`
	Fields      string `json:"field_order"`
	Disposition struct {
		Picture int `json:"attached_pic"`
	} `json:"disposition"`
	Tags map[string]string `json:"tags"`
	Side []struct {
		Rotation float64 `json:"rotation"`
	} `json:"side_data_list"`
}

// Probe reads what a file says of itself. A file that is no clip is an *UnreadableError.
func (t *Tools) Probe(ctx context.Context, path string) (*Info, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return nil, &UnreadableError{Public: "The file is empty."}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	args := append([]string{
		"-v", "error", "-of", "json", "-show_entries",
		"format=format_name,duration,start_time:stream=index,codec_type,codec_name,width,height,pix_fmt,r_frame_rate,avg_frame_rate," +
			"nb_frames,duration,start_time,sample_aspect_ratio,color_space,color_transfer,field_order:" +
			"stream_disposition=attached_pic:stream_tags=alpha_mode,ALPHA_MODE:stream_side_data=rotation",
	}, source(path)...)
	said, err := capture(short, t.FFprobe, args)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &UnreadableError{Public: "The file is not a video that can be read.", Err: err}
	}
	return describe(said)
}

// describe makes sense of what ffprobe says.
func describe(said []byte) (*Info, error) {
	var p probed
	if err := json.Unmarshal(said, &p); err != nil {
		return nil, &UnreadableError{Public: "The file is not a video that can be read.", Err: err}
	}
	i := slices.IndexFunc(p.Streams, func(s probedStream) bool { return s.Type == "video" && s.Disposition.Picture == 0 })
	if i < 0 {
		return nil, &UnreadableError{Public: "The file holds no moving picture."}
	}
	s := p.Streams[i]
	if s.Width <= 0 || s.Height <= 0 || s.Width > maxSide || s.Height > maxSide || s.Codec == "" || s.PixelFormat == "" {
		return nil, &UnreadableError{Public: "The video is of a kind that cannot be read."}
	}
	v := &Info{
		Format: p.Format.Name, Width: s.Width, Height: s.Height, Codec: s.Codec, PixelFormat: s.PixelFormat, stream: s.Index,
		Duration: seconds(s.Duration), start: seconds(s.Start), origin: seconds(p.Format.Start),
		interlaced: s.Fields != "" && s.Fields != "progressive" && s.Fields != "unknown",
		HDR:        s.Transfer == "smpte2084" || s.Transfer == "arib-std-b67",
	}
	if v.Duration <= 0 {
		v.Duration = seconds(p.Format.Duration)
	}
	if n, err := strconv.Atoi(s.Frames); err == nil && n > 0 {
		v.Frames = n
	}
	v.Rate, v.Variable = chooseRate(fraction(s.Rate), fraction(s.Average))
	if a := fraction(strings.ReplaceAll(s.Aspect, ":", "/")); a.Num > 0 && a.Num != a.Den && a.Float() > 0.1 && a.Float() < 10 {
		v.Width = min(max(1, int(math.Round(float64(v.Width)*a.Float()))), maxSide)
	}
	for _, side := range s.Side {
		v.Rotation = (int(math.Round(-side.Rotation))%360 + 360) % 360
	}
	if v.Rotation%180 == 90 {
		v.Width, v.Height = v.Height, v.Width
	}
	v.matrix = matrix(s.Matrix, s.Height)
	for name, value := range s.Tags {
		if strings.EqualFold(name, "alpha_mode") && value == "1" {
			v.alpha = map[string]string{"vp9": "libvpx-vp9", "vp8": "libvpx"}[s.Codec]
		}
	}
	for _, s := range p.Streams {
		if s.Type == "audio" && s.Codec != "" {
			v.Sound = &Sound{Codec: s.Codec, stream: s.Index}
			break
		}
	}
	return v, nil
}

// maxSide bounds what a header may claim: ffmpeg itself goes no further.
const maxSide = 1 << 14

// matrix names the colour matrix for the filter that undoes it. Where the file is silent, players go by the height.
func matrix(name string, height int) string {
	switch name {
	case "bt709", "fcc", "smpte240m":
		return name
	case "bt470bg", "smpte170m":
		return "bt601"
	case "bt2020nc", "bt2020c":
		return "bt2020"
	default:
		if height >= 720 {
			return "bt709"
		}
		return "bt601"
	}
}

// Rates that clips have.
const (
	maxRate   = 120 // a clip may have, without being asked for it
	worstRate = 60  // to which a clip may be filled up whose rate varies
	fillRatio = 2.5 // and how much that may add
)

// chooseRate picks the constant rate for a clip of which ffprobe names the least rate that holds all its times, and the
// average. A phone that promises 30 and drops some has the former at 30; made constant, the gaps are filled.
func chooseRate(least, average Rate) (r Rate, variable bool) {
	switch {
	case least.Float() <= 0 && average.Float() <= 0:
		return Rate{25, 1}, true
	case average.Float() <= 0:
		average = least
	case least.Float() <= 0:
		least = average
	}
	variable = math.Abs(least.Float()-average.Float()) > 0.005*average.Float()
	switch {
	case !variable && least.Float() <= maxRate, least.Float() <= worstRate && least.Float() <= fillRatio*average.Float():
		r = least
	default:
		r = average
		for _, usual := range []Rate{{24000, 1001}, {24, 1}, {25, 1}, {30000, 1001}, {30, 1}, {50, 1}, {60000, 1001}, {60, 1}} {
			if math.Abs(usual.Float()-r.Float()) < 0.004*r.Float() {
				r = usual
				break
			}
		}
	}
	if r.Float() > maxRate {
		r = Rate{worstRate, 1}
	}
	if r.Float() < 1 {
		r = Rate{1, 1}
	}
	return r, variable
}

// fraction reads a/b; what is none is 0/0.
func fraction(s string) Rate {
	a, b, ok := strings.Cut(s, "/")
	num, err1 := strconv.ParseInt(a, 10, 64)
	den, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || num <= 0 || den <= 0 || num > math.MaxInt32 || den > math.MaxInt32 {
		return Rate{}
	}
	for a, b := num, den; ; a, b = b, a%b {
		if b == 0 {
			return Rate{num / a, den / a}
		}
	}
}

// seconds reads a time; what is none is 0.
func seconds(s string) time.Duration {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > 1e9 {
		return 0
	}
	return time.Duration(v * float64(time.Second))
}

// expected is how many frames a result at a rate has, as far as the clip tells; zero: it does not.
func (v *Info) expected(rate Rate) int {
	if v.Duration <= 0 {
		if rate == v.Rate && !v.Variable {
			return v.Frames
		}
		return 0
	}
	if rate == v.Rate && !v.Variable && v.Frames > 0 {
		return v.Frames
	}
	return max(1, rate.frames(v.Duration))
}

// String describes the clip in a line, for logs.
func (v *Info) String() string {
	return fmt.Sprintf("%s %s %dx%d %s fps %v", v.Format, v.Codec, v.Width, v.Height, v.Rate, v.Duration)
}
