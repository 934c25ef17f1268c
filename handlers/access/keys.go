package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Key is one line of a file of keys. Of the key itself only its SHA-256 is kept.
type Key struct {
	Name       string // for metrics and the log
	Sum        [sha256.Size]byte
	Requests   float64 // a minute; zero: any number
	Megapixels float64 // of pictures a minute; zero: any number
}

// String writes the key's line.
func (k Key) String() string {
	line := k.Name + " " + hex.EncodeToString(k.Sum[:])
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	if k.Requests > 0 || k.Megapixels > 0 {
		line += " " + number(k.Requests)
	}
	if k.Megapixels > 0 {
		line += " " + number(k.Megapixels)
	}
	return line
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// New makes a key of 130 random bits and its line.
func New(name string, requests, megapixels float64) (secret string, k Key, err error) {
	if !nameForm.MatchString(name) {
		return "", Key{}, fmt.Errorf("%q: %w", name, ErrName)
	}
	for _, limit := range []float64{requests, megapixels} {
		if !validLimit(limit) {
			return "", Key{}, fmt.Errorf("limit %v: want a number of 0 or more", limit)
		}
	}
	secret = "cutout_" + rand.Text()
	return secret, Key{Name: name, Sum: sha256.Sum256([]byte(secret)), Requests: requests, Megapixels: megapixels}, nil
}

func validLimit(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }

// Parse reads a file of keys: lines of a name, the SHA-256 of the key in hexadecimal digits and, optionally, the requests
// and the megapixels it is good for in a minute, 0 being any number. Empty lines and what follows a # do not count. A
// name may stand in several lines with the same limits, which it then shares among its keys.
func Parse(data []byte) ([]Key, error) {
	var keys []Key
	first := map[string]Key{}
	sums := map[[sha256.Size]byte]bool{}
	for i, line := range bytes.Split(data, []byte("\n")) {
		text, _, _ := strings.Cut(string(line), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		k, err := parseLine(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if sums[k.Sum] {
			return nil, fmt.Errorf("line %d: the key of another line", i+1)
		}
		sums[k.Sum] = true
		if other, ok := first[k.Name]; !ok {
			first[k.Name] = k
		} else if other.Requests != k.Requests || other.Megapixels != k.Megapixels {
			return nil, fmt.Errorf("line %d: %s has other limits above", i+1, k.Name)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func parseLine(words []string) (Key, error) {
	if len(words) < 2 || len(words) > 4 {
		return Key{}, errors.New("want: name sha256-of-key [requests-a-minute [megapixels-a-minute]]")
	}
	k := Key{Name: words[0]}
	if !nameForm.MatchString(k.Name) || k.Name == RapidAPI {
		return Key{}, fmt.Errorf("%q: %w", k.Name, ErrName)
	}
	sum, err := hex.DecodeString(words[1])
	if err != nil || len(sum) != sha256.Size {
		return Key{}, errors.New("the second word is no SHA-256, which has 64 hexadecimal digits")
	}
	copy(k.Sum[:], sum)
	for i, limit := range []*float64{&k.Requests, &k.Megapixels} {
		if len(words) > 2+i {
			v, err := strconv.ParseFloat(words[2+i], 64)
			if err != nil || !validLimit(v) {
				return Key{}, fmt.Errorf("limit %q: want a number of 0 or more", words[2+i])
			}
			*limit = v
		}
	}
	return k, nil
}
