package video

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// joined are the containers that segments have, and the list of them.
const joined = "concat,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,nut"

const (
	listName    = "parts.ffconcat"
	paletteName = "palette.png"
	resultName  = "result"
	otherName   = "other.gif"
)

// finish joins the segments and adds the sound.
func (c *conversion) finish(ctx context.Context) (*Result, error) {
	r := &Result{Rate: c.rate, Size: c.size, Info: c.info, Path: filepath.Join(c.Dir, resultName+c.spec.extension)}
	if c.spec.muxer == "mp4" {
		r.Size.X, r.Size.Y = r.Size.X&^1, r.Size.Y&^1
	}
	for _, p := range c.parts {
		r.Frames += p.Frames
	}
	list, err := c.list()
	if err != nil {
		return nil, err
	}
	if c.spec.muxer == "gif" {
		err = c.joinGIF(ctx, list, r)
	} else {
		err = c.join(ctx, list, r)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(r.Path)
	if err != nil {
		return nil, err
	}
	r.Bytes = info.Size()
	if err := c.Limits.output(r.Bytes); err != nil {
		return nil, err
	}
	s := &c.spent
	r.Stats = Stats{
		Elapsed: time.Since(c.began), Decode: s.decode.sum(), Encode: s.encode.sum(), Join: s.join.sum(), Shrink: s.shrink.sum(),
		Look: s.look.sum(), Steady: s.steady.sum(), Matte: s.matte.sum(), Compose: s.compose.sum(),
		Frames: c.written, Looked: c.looked, Cuts: c.cuts,
	}
	return r, nil
}

// list names the segments for ffmpeg, with the exact time that each takes: containers round it.
func (c *conversion) list() ([]string, error) {
	var text strings.Builder
	text.WriteString("ffconcat version 1.0\n")
	frames := 0
	var at time.Duration
	for _, p := range c.parts {
		frames += p.Frames
		end := c.rate.Time(frames)
		fmt.Fprintf(&text, "file %s\nduration %.6f\n", p.Name, (end - at).Seconds())
		at = end
	}
	if err := os.WriteFile(filepath.Join(c.Dir, listName), []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	return []string{"-v", "error", "-nostdin", "-protocol_whitelist", "file", "-format_whitelist", joined, "-f", "concat", "-i", "file:" + listName}, nil
}

// join copies the segments into one file, beside the sound.
func (c *conversion) join(ctx context.Context, args []string, r *Result) error {
	from, path, loop := c.info, c.Input, false
	if c.behind != nil && c.behind.Sound != nil {
		from, path, loop = c.behind, c.Background, true
	}
	end := c.rate.Time(r.Frames)
	maps := []string{"-map", "0:v:0", "-c:v", "copy"}
	if c.spec.sound != "" && from.Sound != nil {
		r.Sound = true
		// Ours begins with the first frame. Theirs may have begun before or after.
		shift := from.start - from.origin
		if loop && from.Duration > 0 && from.Duration < end {
			args = append(args, "-stream_loop", "-1")
		}
		if shift != 0 {
			args = append(args, "-itsoffset", fmt.Sprintf("%.6f", -shift.Seconds()))
		}
		args = append(args, source(path)...)
		maps = append(maps, "-map", "1:"+strconv.Itoa(from.Sound.stream))
		if shift.Abs() < time.Millisecond && slices.Contains(c.spec.keep, from.Sound.Codec) {
			maps = append(maps, "-c:a", "copy")
		} else {
			maps = append(maps, "-af", "atrim=start=0,aresample=async=1:first_pts=0", "-ac", "2", "-ar", "48000", "-c:a", c.spec.sound, "-b:a", "160k")
		}
	}
	args = append(args, maps...)
	args = append(args, "-t", fmt.Sprintf("%.6f", end.Seconds()), "-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn")
	args = append(args, c.spec.mark...)
	if c.spec.fastStart {
		args = append(args, "-movflags", "+faststart")
	}
	args = append(args, "-f", c.spec.muxer, "-y", "file:"+filepath.Base(r.Path))
	if err := c.tool(ctx, args); err != nil {
		if r.Sound && ctx.Err() == nil {
			return &UnreadableError{Public: "The sound of the video cannot be read.", Err: err}
		}
		return err
	}
	return nil
}

// joinGIF goes over the frames twice: for the colours that serve them best, and with these.
func (c *conversion) joinGIF(ctx context.Context, list []string, r *Result) error {
	find := append(slices.Clone(list), "-vf", "palettegen=reserve_transparent="+strconv.Itoa(btoi(c.spec.content == stencil)),
		"-frames:v", "1", "-f", "image2", "-update", "1", "-y", "file:"+paletteName)
	if err := c.tool(ctx, find); err != nil {
		return err
	}
	// A fixed pattern neither crawls nor takes much room; with hard colours the usual way may be smaller still.
	for i, way := range []string{"dither=bayer:bayer_scale=5:diff_mode=rectangle", "dither=sierra2_4a"} {
		name := filepath.Base(r.Path)
		if i > 0 {
			name = otherName
		}
		use := append(slices.Clone(list), "-protocol_whitelist", "file", "-i", "file:"+paletteName,
			"-lavfi", "[0:v][1:v]paletteuse=alpha_threshold=128:"+way, "-loop", "0", "-f", "gif", "-y", "file:"+name)
		if err := c.tool(ctx, use); err != nil {
			return err
		}
	}
	first, err := os.Stat(r.Path)
	if err != nil {
		return err
	}
	other := filepath.Join(c.Dir, otherName)
	second, err := os.Stat(other)
	if err != nil {
		return err
	}
	if second.Size() < first.Size() {
		return os.Rename(other, r.Path)
	}
	return os.Remove(other)
}

// beat is how often progress is told while a file is joined.
const beat = 3 * time.Second

// tool runs ffmpeg to its end in the directory of the job.
func (c *conversion) tool(ctx context.Context, args []string) error {
	child, err := launch(ctx, c.t.FFmpeg, args, c.Dir, nil, nil)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-child.done:
			c.spent.join.add(child.cpu())
			return child.wait()
		case <-ticker.C:
			c.tell(int(c.done.Load()), 0)
			if err := c.Limits.output(c.stored(resultName + c.spec.extension)); err != nil {
				_ = kill(child.cmd)
				_ = child.wait()
				return err
			}
		}
	}
}
