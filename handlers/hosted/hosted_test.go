package hosted

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFileName(t *testing.T) {
	t.Parallel()
	for upload, want := range map[string]string{
		"photo.jpeg":             "photo_x.png",
		"":                       "image_x.png",
		".":                      "image_x.png",
		"..":                     "image_x.png",
		"a/b\\c.jpg":             "c_x.png",
		"../../etc/passwd":       "passwd_x.png",
		".htaccess":              "htaccess_x.png",
		"a\r\nSet-Cookie: b.jpg": "aSet-Cookie b_x.png",
		"tab\tnul\x00.jpg":       "tabnul_x.png",
		"archive.tar.gz":         "archive.tar_x.png",
		"naïve 写真.jpg":           "naïve 写真_x.png",
		"\xff\xfe.jpg":           "image_x.png",
		"-rf ~.png":              "rf_x.png",
		`a"b'c<d>|e?*.jpg`:       "abcde_x.png",
		"no extension":           "no extension_x.png",
		"\u202egnp.exe":          "gnp_x.png",
	} {
		if got := FileName(upload, "_x", ".png"); got != want {
			t.Errorf("%q: %q, want %q", upload, got, want)
		}
	}
	if got := FileName(strings.Repeat("ü", 1000)+".jpg", "", ".png"); utf8.RuneCountInString(got) != longestName+4 {
		t.Errorf("%d runes", utf8.RuneCountInString(got))
	}
}

// Whatever a client calls its file, the name of the result is a plain one.
func FuzzFileName(f *testing.F) {
	f.Add("photo.jpg")
	f.Add("../\x00\r\n")
	f.Fuzz(func(t *testing.T, upload string) {
		got := FileName(upload, "_processed", ".png")
		if !utf8.ValidString(got) || strings.ContainsAny(got, "/\\\r\n\x00\"") || !strings.HasSuffix(got, "_processed.png") || got[0] == '.' || got[0] == '-' || len(got) > 4*longestName+20 {
			t.Errorf("%q: %q", upload, got)
		}
	})
}
