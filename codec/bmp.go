package codec

import (
	"bytes"
	"context"
	"image"

	"golang.org/x/image/bmp"
)

func validDIBSize(n uint32) bool { return n == 12 || n >= 16 && n <= 124 }

func (h *header) readBMP(b []byte) error {
	c, err := bmp.DecodeConfig(bytes.NewReader(b))
	h.width, h.height = c.Width, c.Height
	return err
}

func (h *header) decodeBMP(ctx context.Context, b []byte) (image.Image, error) {
	return bmp.Decode(&ctxReader{ctx, bytes.NewReader(b)})
}
