package video

import (
	"slices"
)

// Format is what a clip is turned into.
type Format string

// Formats. The first seven are those of BackgroundRemoverAI.
const (
	MOV       Format = "mov"              // ProRes 4444 with alpha
	MatteKey  Format = "mattekey"         // the matte alone, H.264
	GIF       Format = "gif"              // transparent
	OverImage Format = "video_over_image" // on a picture, H.264
	OverVideo Format = "video_over_video" // on another clip, H.264
	GIFOver   Format = "gif_with_bg"      // on a picture
	MP4Color  Format = "mp4_with_color"   // on a colour, H.264
	WebM      Format = "webm"             // VP9 with alpha
)

// Formats lists all of them.
func Formats() []Format {
	return []Format{MOV, MatteKey, GIF, OverImage, OverVideo, GIFOver, MP4Color, WebM}
}

// Valid tells whether there is such a format.
func (f Format) Valid() bool { return slices.Contains(Formats(), f) }

// Needs tells which background a format cannot do without: "image", "video" or "".
func (f Format) Needs() string {
	switch f {
	case OverImage, GIFOver:
		return "image"
	case OverVideo:
		return "video"
	default:
		return ""
	}
}

// Extension is that of a result's name, with its dot.
func (f Format) Extension() string { return specs[f].extension }

// Type is the media type of a result.
func (f Format) Type() string { return specs[f].media }

// spec is how a format is made.
type spec struct {
	extension, media string
	raw              string   // pixel format of the frames given to the encoder
	encode           []string // options of the encoder of a segment
	segment          string   // container of a segment
	suffix           string   // of its file
	muxer            string   // of the result
	mark             []string // what the container is told of the picture
	fastStart        bool
	sound            string   // encoder for sound that cannot be kept as it is; "": no sound
	keep             []string // codecs of sound that the container takes as they are
	maxRate          Rate     // zero: any
	content          content  // of a frame
}

// content is what a frame of a result shows.
type content int

const (
	transparent content = iota // straight alpha, colours continued beyond the subject's edge
	stencil                    // alpha that is 0 or 255
	matte                      // the mask as grey
	overColor
	overImage
	overVideo
)

// What is encoded says which colours it has, both to the encoder and, where that does not pass it on, to the container.
const tagged = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"

var (
	bt709 = []string{"-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"}
	// Sides are made even, as yuv420p has them.
	h264 = slices.Concat([]string{
		"-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd,format=yuv420p," + tagged,
		"-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-profile:v", "high",
	}, bt709)
	// Lossless: the palette of a GIF is only known once all frames are.
	lossless = []string{"-vf", "format=bgra", "-c:v", "ffv1", "-level", "3", "-g", "1", "-slices", "4", "-coder", "1"}
)

var aacKeeps = []string{"aac"}

var specs = map[Format]spec{
	MOV: {
		extension: ".mov", media: "video/quicktime", raw: "rgba", segment: "mov", suffix: ".mov", muxer: "mov", fastStart: true,
		// A fixed quantiser spares the search for one that meets a rate, which is most of the encoder's work. What 2 loses is
		// below the rounding of the 8 bits that frames have; docs/video.md has the figures.
		encode: slices.Concat([]string{
			"-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd,format=yuva444p10le," + tagged,
			"-c:v", "prores_ks", "-profile:v", "4444", "-alpha_bits", "8", "-q:v", "2", "-vendor", "apl0",
		}, bt709),
		sound: "aac", keep: []string{"aac", "alac", "mp3", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"}, content: transparent,
	},
	WebM: {
		extension: ".webm", media: "video/webm", raw: "rgba", segment: "webm", suffix: ".webm", muxer: "webm",
		mark: []string{"-metadata:s:v:0", "alpha_mode=1"}, // without it players do not look for the alpha
		encode: slices.Concat([]string{
			"-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd,format=yuva420p," + tagged,
			"-c:v", "libvpx-vp9", "-crf", "32", "-b:v", "0", "-deadline", "good", "-cpu-used", "5", "-row-mt", "1", "-auto-alt-ref", "0",
		}, bt709),
		sound: "libopus", keep: []string{"opus", "vorbis"}, content: transparent,
	},
	MatteKey: {
		extension: ".mp4", media: "video/mp4", raw: "gray", encode: h264, segment: "mp4", suffix: ".mp4", muxer: "mp4", fastStart: true,
		content: matte,
	},
	OverImage: {
		extension: ".mp4", media: "video/mp4", raw: "rgb0", encode: h264, segment: "mp4", suffix: ".mp4", muxer: "mp4", fastStart: true,
		sound: "aac", keep: aacKeeps, content: overImage,
	},
	OverVideo: {
		extension: ".mp4", media: "video/mp4", raw: "rgb0", encode: h264, segment: "mp4", suffix: ".mp4", muxer: "mp4", fastStart: true,
		sound: "aac", keep: aacKeeps, content: overVideo,
	},
	MP4Color: {
		extension: ".mp4", media: "video/mp4", raw: "rgb0", encode: h264, segment: "mp4", suffix: ".mp4", muxer: "mp4", fastStart: true,
		sound: "aac", keep: aacKeeps, content: overColor,
	},
	GIF: {
		extension: ".gif", media: "image/gif", raw: "rgba", encode: lossless, segment: "nut", suffix: ".nut", muxer: "gif",
		maxRate: Rate{50, 1}, content: stencil,
	},
	GIFOver: {
		extension: ".gif", media: "image/gif", raw: "rgba", encode: lossless, segment: "nut", suffix: ".nut", muxer: "gif",
		maxRate: Rate{50, 1}, content: overImage,
	},
}

// RateOf is the rate of a result: the one that is asked for, or else that of the clip. Browsers play a GIF's frames of less
// than two hundredths of a second as of ten, so that it has at most 50 a second.
func (f Format) RateOf(v *Info, asked int) Rate {
	r := v.Rate
	if asked > 0 {
		r = Rate{int64(asked), 1}
	}
	if most := specs[f].maxRate; most.Num > 0 && r.Float() > most.Float() {
		r = most
	}
	return r
}
