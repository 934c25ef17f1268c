package api4ai

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"

	"cutout/pipeline"
)

// The structs below are the reply, in the order in which the service writes its keys. Some of its clients read
// entities by their index and status as a map of strings.
type (
	reply struct {
		Results []result `json:"results"`
	}
	result struct {
		Status   status `json:"status"`
		Name     string `json:"name"`
		MD5      string `json:"md5"`
		Width    int    `json:"width,omitempty"`
		Height   int    `json:"height,omitempty"`
		Entities []any  `json:"entities"`
	}
	status struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	imageEntity struct {
		Kind           string `json:"kind"`
		Name           string `json:"name"`
		Image          string `json:"image"`
		Format         string `json:"format"`
		Representation string `json:"representation"`
	}
	objectsEntity struct {
		Kind    string   `json:"kind"`
		Name    string   `json:"name"`
		Objects []object `json:"objects"`
	}
	object struct {
		Box      [4]float64      `json:"box"` // x, y, width and height as fractions of the picture's
		Entities []classesEntity `json:"entities"`
	}
	classesEntity struct {
		Kind    string  `json:"kind"`
		Name    string  `json:"name"`
		Classes classes `json:"classes"`
	}
	classes struct {
		OpaqueContent float64 `json:"opaque-content"`
	}

	// invalid is the reply to parameters with a wrong value.
	invalid struct {
		Detail []problem `json:"detail"`
	}
	problem struct {
		Loc []string `json:"loc"`
		Msg string   `json:"msg"`
	}
	// missing is the reply to a request without a picture.
	missing struct {
		Detail string `json:"detail"`
	}
	message struct {
		Message string `json:"message"`
	}
)

// success is the reply to a picture that gave a result. link is where that lies; empty: it comes along, see writeResult.
func success(name, md5, mode, link string, res *pipeline.Result) reply {
	representation := representationBase64
	if link != "" {
		representation = representationURL
	}
	objects := []object{} // nothing found is an empty list, not null
	if len(res.Objects) > 0 {
		box := res.Objects[0].Box // the whole subject
		objects = append(objects, object{
			Box:      [4]float64{box.X, box.Y, box.W, box.H},
			Entities: []classesEntity{{Kind: "classes", Name: "classes", Classes: classes{OpaqueContent: 1}}},
		})
	}
	return reply{Results: []result{{
		Status: status{Code: "ok", Message: messageOK},
		Name:   name, MD5: md5, Width: res.Width, Height: res.Height,
		Entities: []any{
			imageEntity{Kind: "image", Name: "general-" + mode, Image: link, Format: "PNG", Representation: representation},
			objectsEntity{Kind: "objects", Name: "objects", Objects: objects},
		},
	}}}
}

func failure(name, md5, text string) reply {
	return reply{Results: []result{{
		Status: status{Code: "failure", Message: text}, Name: name, MD5: md5, Entities: []any{},
	}}}
}

// base64Chunk is how much of a picture is encoded at a time: a multiple of 3, so that no padding falls in between.
const base64Chunk = 48 << 10

// writeResult writes a reply with its picture, encoding it on the way out. A picture is megabytes: no copy of it is made.
func writeResult(w http.ResponseWriter, rep reply, picture []byte) error {
	body, err := marshal(rep)
	if err != nil {
		return err
	}
	// The one place for the picture: inside a string the quotes would be escaped.
	place := []byte(`"image":"`)
	head, tail, _ := bytes.Cut(body, append(place, '"'))
	head = body[:len(head)+len(place)]
	tail = body[len(body)-len(tail)-1:]

	length := len(head) + base64.StdEncoding.EncodedLen(len(picture)) + len(tail)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(http.StatusOK)
	if _, err := w.Write(head); err != nil {
		return err
	}
	buf := make([]byte, base64.StdEncoding.EncodedLen(base64Chunk))
	for len(picture) > 0 {
		n := min(base64Chunk, len(picture))
		chunk := buf[:base64.StdEncoding.EncodedLen(n)]
		base64.StdEncoding.Encode(chunk, picture[:n])
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		picture = picture[n:]
	}
	_, err = w.Write(tail)
	return err
}
