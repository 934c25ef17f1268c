package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Files are kept in parts: a reader that wants a range fetches what it needs, a part is verified whole before any of it
// is given out, and neither side ever holds more than one of them.
const (
	partSize  = 2 << 20
	chunkSize = 256 << 10 // of one message in the store; servers take 1 MiB unless told otherwise
)

// File is one stored file.
type File struct {
	Key      string    `json:"key"` // capability to read it
	Name     string    `json:"name"`
	Type     string    `json:"type,omitempty"` // content type
	Size     int64     `json:"size"`           // bytes
	PartSize int64     `json:"part_size"`
	Created  time.Time `json:"created"`
}

func (f File) parts() int64 {
	if f.PartSize <= 0 {
		return 0
	}
	return (f.Size + f.PartSize - 1) / f.PartSize
}

func (f File) part(n int64) string { return f.Key + "." + strconv.FormatInt(n, 10) }

// fileRecord is what the state bucket knows of a file that can be opened by its key.
type fileRecord struct {
	File    File      `json:"file"`
	Job     string    `json:"job,omitempty"`    // whose result it is: it lives as long as that lists it
	Expires time.Time `json:"expires,omitzero"` // of a file without a job
}

func fileKey(key string) string { return "file." + key }

// usage is how many bytes a stream holds, asked for now and then and counted on between.
type usage struct {
	stream jetstream.Stream

	mu    sync.Mutex
	asked time.Time
	bytes int64
}

// usageAge is how old the store's own count may be.
const usageAge = 500 * time.Millisecond

// add counts n bytes that are about to be written, and returns the sum.
func (u *usage) add(ctx context.Context, n int64) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.asked) > usageAge {
		info, err := u.stream.Info(ctx)
		if err != nil {
			return 0, err
		}
		u.bytes, u.asked = int64(min(info.State.Bytes, 1<<62)), time.Now()
	}
	u.bytes += n
	return u.bytes, nil
}

// stale makes the next sum start from the store's own count: something was removed, or not written after all.
func (u *usage) stale() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = time.Time{}
}

// admit refuses n more bytes of files where the quota or the disk leaves no room for them.
func (s *Service) admit(ctx context.Context, n int64) error {
	total, err := s.space.add(ctx, n)
	if err != nil {
		return storeError("store size", err)
	}
	if total > s.cfg.MaxStore {
		return fmt.Errorf("%w: the quota of %d bytes is used up", ErrStoreFull, s.cfg.MaxStore)
	}
	return s.admitDisk(n)
}

func (s *Service) admitDisk(n int64) error {
	if s.embedded == nil {
		return nil
	}
	free, err := s.cfg.freeSpace(s.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if free-n < s.cfg.MinFree {
		return fmt.Errorf("%w: %d bytes are left on the disk, %d of them are to stay free", ErrStoreFull, free, s.cfg.MinFree)
	}
	return nil
}

// Writer stores a file. Nobody can read it before Close has succeeded; Close or Discard must be called.
type Writer struct {
	s    *Service
	ctx  context.Context //nolint:containedctx // io.Writer has no room for one
	file File
	job  string
	buf  []byte
	err  error // the first failure; stays
	done bool
	beat func()
}

func (s *Service) create(ctx context.Context, name, contentType string) *Writer {
	return &Writer{s: s, ctx: ctx, beat: func() {}, file: File{
		Key: newKey(), Name: name, Type: contentType, PartSize: partSize, Created: s.cfg.Now().UTC(),
	}}
}

// Write implements io.Writer. It fails with ErrTooLarge, ErrStoreFull, ErrUnavailable or the context's error; nothing
// of the file is left then.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		if w.done {
			return n, errors.New("jobs: write to a closed file")
		}
		take := min(len(p), partSize-len(w.buf))
		if w.file.Size+int64(take) > w.s.cfg.MaxFile {
			w.fail(fmt.Errorf("%w of %d bytes", ErrTooLarge, w.s.cfg.MaxFile))
			break
		}
		w.buf = append(w.buf, p[:take]...)
		w.file.Size += int64(take)
		p, n = p[take:], n+take
		if len(w.buf) == partSize {
			w.flush()
		}
	}
	return n, w.err
}

func (w *Writer) flush() {
	if len(w.buf) == 0 || w.err != nil {
		return
	}
	ctx, cancel := bounded(w.ctx)
	defer cancel()
	if err := w.s.admit(ctx, int64(len(w.buf))); err != nil {
		w.fail(err)
		return
	}
	if err := w.s.putPart(ctx, w.file.part(w.file.parts()-1), w.buf); err != nil {
		w.fail(err)
		return
	}
	w.buf = w.buf[:0]
	w.beat()
}

// putPart stores one part as an object: its chunks, and once they are safe its description, without which nobody sees
// them. It writes what the client library would. The library's own way makes a publisher for each object, and that
// leaves a goroutine behind for good whenever it ends faster than that goroutine starts.
func (s *Service) putPart(ctx context.Context, name string, data []byte) error {
	if s.cfg.putPart != nil {
		if err := s.cfg.putPart(); err != nil {
			return storeError("store a file", err)
		}
	}
	sum := sha256.New()
	_, _ = sum.Write(data) // never fails
	chunks := (len(data) + chunkSize - 1) / chunkSize
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize}},
		Bucket:     s.bucket("files"), NUID: newKey(), Size: uint64(len(data)), Chunks: uint32(chunks),
		Digest: jetstream.GetObjectDigestValue(sum),
	}
	description, err := json.Marshal(info)
	if err != nil {
		return err
	}
	chunkSubject, metaSubject := s.objectSubjects(name, info.NUID)
	acks := make([]jetstream.PubAckFuture, 0, chunks)
	for chunk := range slices.Chunk(data, chunkSize) {
		ack, err := s.js.PublishAsync(chunkSubject, chunk)
		if err != nil {
			s.purgeChunks(ctx, chunkSubject)
			return storeError("store a file", err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
			continue
		case err = <-ack.Err():
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.purgeChunks(ctx, chunkSubject)
		return storeError("store a file", err)
	}
	if _, err := s.js.Publish(ctx, metaSubject, description); err != nil {
		s.purgeChunks(ctx, chunkSubject)
		return storeError("store a file", err)
	}
	return nil
}

// partInfo reads the description of a part.
func (s *Service) partInfo(ctx context.Context, name string) (info jetstream.ObjectInfo, err error) {
	_, subject := s.objectSubjects(name, "")
	var m *jetstream.RawStreamMsg
	if err := s.asking(ctx, func(ctx context.Context) (err error) {
		m, err = s.files.GetLastMsgForSubject(ctx, subject)
		return err
	}); err != nil {
		return info, err
	}
	return info, json.Unmarshal(m.Data, &info)
}

// getPart reads a part and verifies it. It asks for one chunk after the other: the client library's way, a consumer for
// each object, costs more than all chunks together and leaves its timers behind for a while.
func (s *Service) getPart(ctx context.Context, name string) ([]byte, error) {
	info, err := s.partInfo(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Size > partSize {
		return nil, fmt.Errorf("part of %d bytes: %w", info.Size, ErrUnavailable)
	}
	chunks, _ := s.objectSubjects(name, info.NUID)
	data := make([]byte, 0, info.Size)
	for seq := uint64(1); uint64(len(data)) < info.Size; {
		var m *jetstream.RawStreamMsg
		if err := s.asking(ctx, func(ctx context.Context) (err error) {
			m, err = s.files.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(chunks))
			return err
		}); err != nil {
			return nil, err
		}
		data, seq = append(data, m.Data...), m.Sequence+1
	}
	sum := sha256.New()
	_, _ = sum.Write(data) // never fails
	if jetstream.GetObjectDigestValue(sum) != info.Digest {
		return nil, fmt.Errorf("a part has changed in the store: %w", ErrUnavailable)
	}
	return data, nil
}

// objectSubjects are where the chunks and the description of an object lie.
func (s *Service) objectSubjects(name, nuid string) (chunks, meta string) {
	prefix := "$O." + s.bucket("files")
	return prefix + ".C." + nuid, prefix + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// purgeChunks removes what was written of an object that is not to be.
func (s *Service) purgeChunks(ctx context.Context, subject string) {
	if !s.conn.IsConnected() {
		return // nobody is to wait for what cannot be done; it ages out
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := s.files.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		s.cfg.Log.Debug("job store: half a file stays until it ages out", "error", err.Error())
	}
}

func (w *Writer) fail(err error) {
	w.err, w.buf = err, nil
	w.s.remove(w.ctx, w.file)
}

// Discard leaves nothing of the file, unless Close has succeeded.
func (w *Writer) Discard() {
	if !w.done && w.err == nil {
		w.fail(errors.New("jobs: the file was discarded"))
	}
}

// Close makes the file complete. It is that of io.Closer, for those who do not want what Finish returns.
func (w *Writer) Close() error {
	_, err := w.Finish()
	return err
}

// Finish makes the file complete and returns it.
func (w *Writer) Finish() (File, error) {
	if w.done || w.err != nil {
		return w.file, w.err
	}
	w.flush()
	if w.err == nil && w.job != "" {
		if err := w.s.recordFile(w.ctx, fileRecord{File: w.file, Job: w.job}); err != nil {
			w.fail(err)
		}
	}
	w.done, w.buf = w.err == nil, nil
	return w.file, w.err
}

func (s *Service) recordFile(ctx context.Context, r fileRecord) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := s.state.Put(ctx, fileKey(r.File.Key), data); err != nil {
		return storeError("record a file", err)
	}
	return nil
}

// Upload stores what r gives as an input for Submit. Nothing reads it by its key but the job; what is never submitted
// is cleaned up by age, or by Discard. Reading is as fast as the store: r is never held whole in memory.
//
// Errors: those of r as they are, ErrTooLarge, ErrStoreFull, ErrUnavailable.
func (s *Service) Upload(ctx context.Context, name, contentType string, r io.Reader) (File, error) {
	if err := s.check(); err != nil {
		return File{}, err
	}
	return s.copyIn(s.create(ctx, name, contentType), r)
}

func (s *Service) copyIn(w *Writer, r io.Reader) (File, error) {
	if _, err := io.Copy(w, r); err != nil {
		w.Discard()
		return File{}, err
	}
	return w.Finish()
}

// Host stores a file that belongs to no job. Whoever has its key can open it for as long as Config.Retention says.
func (s *Service) Host(ctx context.Context, name, contentType string, r io.Reader) (File, error) {
	if err := s.check(); err != nil {
		return File{}, err
	}
	f, err := s.copyIn(s.create(ctx, name, contentType), r)
	if err != nil {
		return File{}, err
	}
	if err := s.recordFile(ctx, fileRecord{File: f, Expires: f.Created.Add(s.cfg.Retention)}); err != nil {
		s.remove(ctx, f)
		return File{}, err
	}
	return f, nil
}

// Discard removes uploads that are not submitted after all.
func (s *Service) Discard(ctx context.Context, files ...File) {
	if s.check() == nil {
		s.remove(ctx, files...)
	}
}

// remove deletes the parts of files and what is recorded of them, as far as the store lets it: what stays has no record
// that leads to it, and ages out. It goes on where ctx has ended, since that is often why files are removed.
func (s *Service) remove(ctx context.Context, files ...File) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	defer s.space.stale()
	for _, f := range files {
		if f.Key == "" || !s.conn.IsConnected() {
			continue
		}
		_ = s.forget(ctx, fileKey(f.Key))
		for n := range f.parts() {
			if err := s.removePart(ctx, f.part(n)); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				s.cfg.Log.Debug("job store: a file stays until it ages out", "error", err.Error())
			}
		}
	}
}

// removePart purges a part's chunks and its description. Deleting it the usual way writes a note that it was there,
// which a full disk does not take.
func (s *Service) removePart(ctx context.Context, name string) error {
	info, err := s.partInfo(ctx, name)
	if err != nil {
		return err
	}
	chunks, meta := s.objectSubjects(name, info.NUID)
	return errors.Join(
		s.files.Purge(ctx, jetstream.WithPurgeSubject(meta)),
		s.files.Purge(ctx, jetstream.WithPurgeSubject(chunks)),
	)
}

// forget removes a key of the state bucket without a trace.
func (s *Service) forget(ctx context.Context, key string) error {
	return s.states.Purge(ctx, jetstream.WithPurgeSubject("$KV."+s.bucket("state")+"."+key))
}

// OpenFile opens a result of a job, or a hosted file, by its key. The caller closes it; ctx is that of its reads.
//
// Errors: ErrNotFound for a key that never was, has expired or whose job does not list it; ErrUnavailable.
func (s *Service) OpenFile(ctx context.Context, key string) (*Reader, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if !keyForm.MatchString(key) {
		return nil, fmt.Errorf("file: %w", ErrNotFound)
	}
	short, cancel := bounded(ctx)
	defer cancel()
	entry, err := s.state.Get(short, fileKey(key))
	if err != nil {
		return nil, notFound("file", err)
	}
	var r fileRecord
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return nil, fmt.Errorf("file: %w: %w", ErrUnavailable, err)
	}
	now := s.cfg.Now()
	if r.Job == "" {
		if !now.Before(r.Expires) {
			return nil, fmt.Errorf("file: %w", ErrNotFound)
		}
		return s.reader(ctx, r.File, r.Expires), nil
	}
	job, _, err := s.load(short, r.Job)
	if err != nil {
		return nil, err
	}
	if !job.lists(key) {
		return nil, fmt.Errorf("file: %w", ErrNotFound)
	}
	return s.reader(ctx, r.File, job.Expires), nil
}

// notFound tells what is not there from a store that does not answer.
func notFound(what string, err error) error {
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return storeError(what, err)
}

// Reader reads a stored file; it is an io.ReadSeekCloser. It holds one part of the file in memory.
type Reader struct {
	File    File
	Expires time.Time

	s    *Service
	ctx  context.Context //nolint:containedctx // io.Reader has no room for one
	pos  int64
	n    int64 // of the part in data, -1 for none
	data []byte
}

func (s *Service) reader(ctx context.Context, f File, expires time.Time) *Reader {
	return &Reader{File: f, Expires: expires, s: s, ctx: ctx, n: -1}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.pos >= r.File.Size {
		return 0, io.EOF
	}
	n := r.pos / r.File.PartSize
	if n != r.n {
		ctx, cancel := bounded(r.ctx)
		defer cancel()
		data, err := r.s.getPart(ctx, r.File.part(n))
		if err != nil {
			return 0, notFound("read a file", err)
		}
		if want := min(r.File.PartSize, r.File.Size-n*r.File.PartSize); int64(len(data)) != want {
			return 0, fmt.Errorf("read a file: part %d has %d bytes instead of %d: %w", n, len(data), want, ErrUnavailable)
		}
		r.n, r.data = n, data
	}
	got := copy(p, r.data[r.pos-n*r.File.PartSize:])
	r.pos += int64(got)
	return got, nil
}

// Seek implements io.Seeker. It reads nothing.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.File.Size
	}
	if offset < 0 {
		return 0, errors.New("jobs: seek before the start of the file")
	}
	r.pos = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *Reader) Close() error {
	r.data, r.n = nil, -1
	return nil
}
