// Package jobs runs work behind the back of a request and keeps its files until they expire, on NATS JetStream.
//
// A work-queue stream for each kind of job holds what is to be done, a key-value bucket the state of every job, an
// object store the uploads and results. By default the NATS server is embedded: no port, its files below a data
// directory that one process owns. With Config.URL the same code uses a server or cluster that many processes share;
// any of them may take a job, tell its state and hand out its files.
//
// A job is delivered at least once. A worker holds a lease on the job that it renews while it works; a worker that
// dies loses the lease and another one continues with the inputs that have no outcome yet. Every outcome is recorded
// with a compare-and-set that only the holder of the latest attempt wins, so that no result appears twice. A job that
// fails too often is recorded as failed.
//
// Ids of jobs and keys of files are capabilities: at least 122 random bits. Whether something has expired stands in the
// recorded state and is checked whenever it is read; the store's own age limit only cleans up behind it.
//
// The package knows no HTTP and no pictures: a job carries a kind, options that only its handler understands, and files.
package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors that callers decide on. They are wrapped around their causes.
var (
	ErrUnavailable = errors.New("jobs are unavailable")                   // the store cannot be reached or written
	ErrLocked      = errors.New("data directory in use")                  // by another process; wraps ErrUnavailable
	ErrStoreFull   = errors.New("no storage left")                        // quota or disk; passes once something expires
	ErrQueueFull   = errors.New("too many jobs are waiting")              //
	ErrTooLarge    = errors.New("file over the limit")                    // of Config.MaxFile
	ErrNotFound    = errors.New("not found")                              // never existed, expired or deleted: not told apart
	ErrConflict    = errors.New("the state of the job changed meanwhile") // more often than was retried
	ErrInvalid     = errors.New("invalid submission")
)

// Causes with which the context of a handler ends, see context.Cause.
var (
	ErrCancelled = errors.New("the job was cancelled")
	ErrLeaseLost = errors.New("another worker has taken the job over")
	ErrDraining  = errors.New("the worker is stopping")
	ErrStalled   = errors.New("the job made no progress")
	ErrRuntime   = errors.New("the job took too long")
)

// Config says where jobs are kept and how they are run. The zero value is the embedded server in DefaultDataDir with
// the defaults named below, and no kinds.
type Config struct {
	// Kinds of jobs that may be submitted: lower-case words. Each has a queue of its own, so that long jobs of one
	// kind hold up no other.
	Kinds []string

	DataDir string // of the embedded server; default DefaultDataDir

	URL         string // of NATS servers, comma-separated; empty: embedded
	Credentials string // file with a user's JWT and seed
	CA          string // file with the certificates that sign the servers'
	Cert, Key   string // files with the client's certificate and its key
	Replicas    int    // of everything stored in a cluster, 1 to 5; default 1
	Namespace   string // prefix of streams, buckets and subjects; default "cutout"

	Retention   time.Duration // how long a job may wait, and how long results live; default 24 h
	Lease       time.Duration // after which a silent worker loses its job; default 15 s
	MaxRuntime  time.Duration // of one attempt; default 1 h
	Stall       time.Duration // longest time without progress of an attempt; default 10 min
	MaxAttempts int           // default 3
	Backoff     time.Duration // before the second attempt, doubling after it; default 1 s

	CallAttempts int           // at telling a client's server something; default 12
	CallBackoff  time.Duration // before the second of them, doubling after it up to an hour; default 5 s

	MaxFile  int64 // bytes of one file; default 2 GiB
	MaxStore int64 // bytes of all files; default 10 GiB
	MinFree  int64 // bytes that stay free on the disk of DataDir; default 256 MiB
	MaxQueue int   // jobs of one kind that wait or run; default 100 000

	Log      *slog.Logger     // default: none
	Now      func() time.Time // default time.Now
	Observer Observer         // default: none

	freeSpace func(dir string) (int64, error) // of tests
	putPart   func() error                    // of tests: fails a write
}

// Observer hears what happens to jobs. Its functions must return quickly; nil ones are not called.
type Observer struct {
	Submitted func(kind string)
	Retried   func(kind string)                              // an attempt after the first begins
	Ended     func(kind string, p Phase, took time.Duration) // took counts from the submission
	Called    func(outcome string)                           // an attempt at a Call: CallDelivered, CallRetried or CallFailed
}

// DefaultDataDir is below the user's cache directory.
func DefaultDataDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory to keep jobs in: %w", err)
	}
	return filepath.Join(dir, "cutout", "jobs"), nil
}

var word = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (c *Config) complete() error {
	setDefault(&c.Namespace, "cutout")
	setDefault(&c.Replicas, 1)
	setDefault(&c.Retention, 24*time.Hour)
	setDefault(&c.Lease, 15*time.Second)
	setDefault(&c.MaxRuntime, time.Hour)
	setDefault(&c.Stall, 10*time.Minute)
	setDefault(&c.MaxAttempts, 3)
	setDefault(&c.Backoff, time.Second)
	setDefault(&c.CallAttempts, 12)
	setDefault(&c.CallBackoff, 5*time.Second)
	setDefault(&c.MaxFile, 2<<30)
	setDefault(&c.MaxStore, 10<<30)
	setDefault(&c.MinFree, 256<<20)
	setDefault(&c.MaxQueue, 100_000)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.freeSpace == nil {
		c.freeSpace = freeSpace
	}
	if len(c.Kinds) == 0 {
		return errors.New("jobs: no kinds")
	}
	for _, name := range append(slices.Clone(c.Kinds), c.Namespace) {
		if !word.MatchString(name) {
			return fmt.Errorf("jobs: %q is no lower-case word", name)
		}
	}
	switch {
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("jobs: %d replicas, want 1 to 5", c.Replicas)
	case c.URL == "" && c.Replicas > 1:
		return errors.New("jobs: the embedded server keeps no replicas")
	case (c.Cert == "") != (c.Key == ""):
		return errors.New("jobs: a client certificate needs its key, and the key its certificate")
	case c.Retention < 0 || c.Lease < 0 || c.MaxRuntime < 0 || c.Stall < 0 || c.Backoff < 0 || c.MaxAttempts < 0 ||
		c.CallAttempts < 0 || c.CallBackoff < 0 || c.MaxFile < 0 || c.MaxStore < 0 || c.MinFree < 0 || c.MaxQueue < 0:
		return errors.New("jobs: a limit is negative")
	}
	if c.URL == "" && c.DataDir == "" {
		dir, err := DefaultDataDir()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		c.DataDir = dir
	}
	return nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// keep is how long the store holds what nobody deleted: longer than anything recorded can still be wanted.
func (c *Config) keep() time.Duration { return 2*c.Retention + c.MaxRuntime + time.Hour }

// Service keeps and runs jobs. It is safe for concurrent use.
type Service struct {
	cfg      Config
	embedded *embedded // nil with Config.URL
	conn     *nats.Conn
	js       jetstream.JetStream
	state    jetstream.KeyValue
	files    jetstream.Stream // of an object store
	states   jetstream.Stream // below state
	queues   map[string]*queue
	calls    *queue

	space  usage // of files
	stored usage // of states

	workers  sync.WaitGroup
	watching sync.WaitGroup
	fetching context.Context // ends when no further job may be taken
	stop     context.CancelFunc
	calling  context.Context // ends when no call may be waited for any longer
	hangUp   context.CancelFunc
	cause    error // of a service that is unavailable from the start

	mu      sync.Mutex
	running map[string]map[*Task]struct{} // by job
	closed  bool
}

// queue is the stream of one kind of job and its consumer.
type queue struct {
	kind     string
	stream   jetstream.Stream
	consumer jetstream.Consumer

	mu     sync.Mutex
	seen   time.Time
	last   uint64 // sequence of the newest job
	behind uint64 // jobs that no worker has taken
	taken  uint64 // sequence of the newest job that one has
}

// Unavailable is a service without a store: all it does fails with ErrUnavailable and the cause.
func Unavailable(cause error) *Service {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return &Service{cause: fmt.Errorf("%w: %w", ErrUnavailable, cause), fetching: ctx, stop: stop, calling: ctx, hangUp: stop, closed: true}
}

// Open connects to the store or starts it, and readies the queues. ctx bounds the opening alone.
//
// Errors wrap ErrUnavailable where the store cannot be reached or its directory not be written, and ErrLocked as well
// where another process owns the directory.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, queues: map[string]*queue{}, running: map[string]map[*Task]struct{}{}}
	s.fetching, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.calling, s.hangUp = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		s.stop()
		s.disconnect()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return s, nil
}

func (s *Service) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	options := []nats.Option{
		nats.Name("cutout"), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				s.cfg.Log.Warn("job store: disconnected", "error", err.Error())
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { s.cfg.Log.Info("job store: connected again", "server", c.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.cfg.Log.Warn("job store", "error", err.Error())
		}),
	}
	url := s.cfg.URL
	if url == "" {
		if s.embedded, err = startEmbedded(s.cfg); err != nil {
			return err
		}
		options = append(options, nats.InProcessServer(s.embedded.server))
	} else {
		if s.cfg.Credentials != "" {
			options = append(options, nats.UserCredentials(s.cfg.Credentials))
		}
		if s.cfg.CA != "" {
			options = append(options, nats.RootCAs(s.cfg.CA))
		}
		if s.cfg.Cert != "" {
			options = append(options, nats.ClientCert(s.cfg.Cert, s.cfg.Key))
		}
	}
	if s.conn, err = nats.Connect(url, options...); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return err
	}
	if err := s.openStreams(ctx); err != nil {
		return err
	}
	if s.cfg.URL != "" {
		s.watching.Go(s.watch)
	}
	_, err = s.conn.Subscribe(s.cancelSubject("*"), func(m *nats.Msg) {
		s.interrupt(strings.TrimPrefix(m.Subject, s.cancelSubject("")), ErrCancelled)
	})
	return err
}

// How often the store is asked whether it is there, and how long it may take to say so.
const (
	watchEvery   = 5 * time.Second
	watchTimeout = 5 * time.Second

	watchSilences = 2 // one after the other, before something is done
)

// watch leaves a server that keeps the connection but cannot answer for the store, as one does that is cut off from the
// rest of its cluster. Left alone, the connection would stay there until the cluster has healed. A cluster that has lost
// the server that decided needs some seconds to choose another: one silence is none.
func (s *Service) watch() {
	silences := 0
	for pause(s.calling, watchEvery) == nil {
		ctx, cancel := context.WithTimeout(s.calling, watchTimeout)
		_, err := s.state.Get(ctx, "watch") // unlike information about a stream, which a server gives from memory
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrKeyNotFound) || s.calling.Err() != nil || !s.conn.IsConnected() || len(s.conn.Servers()) < 2 {
			silences = 0
			continue
		}
		if silences++; silences < watchSilences {
			continue
		}
		silences = 0
		s.cfg.Log.Warn("job store: no answer, trying another server", "server", s.conn.ConnectedServerName(), "error", err.Error())
		if err := s.conn.ForceReconnect(); err != nil {
			s.cfg.Log.Warn("job store: cannot leave a server", "error", err.Error())
		}
	}
}

// openStreams readies all there is in the store. A cluster that has just started, or is about to choose who decides, leaves
// questions unanswered: they are asked again.
func (s *Service) openStreams(ctx context.Context) error {
	return s.asking(ctx, func(ctx context.Context) (err error) {
		if err := s.openBuckets(ctx); err != nil {
			return err
		}
		for _, kind := range s.cfg.Kinds {
			if s.queues[kind], err = s.openQueue(ctx, kind, "jobs-"+kind, s.jobSubject(kind, "*")); err != nil {
				return err
			}
		}
		s.calls, err = s.openQueue(ctx, "calls", "calls", s.callSubject("*"))
		return err
	})
}

// passing tells whether an error is one of a store that may be there in a moment.
func passing(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return false
	case errors.As(err, &api):
		return api.Code == http503
	default:
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout)
	}
}

// asking asks the store something that may be asked again: that is done while a cluster is about to choose who decides, and
// for as long as ctx lasts.
func (s *Service) asking(ctx context.Context, ask func(context.Context) error) error {
	for {
		short, cancel := context.WithTimeout(ctx, askAgain)
		err := ask(short)
		cancel()
		if err == nil || ctx.Err() != nil || s.embedded != nil || !passing(err) || pause(ctx, 250*time.Millisecond) != nil {
			return err
		}
	}
}

const http503 = 503 // with which a server says that its cluster is not ready

// openBuckets readies the buckets for states and files. Their streams are created here rather than by the client
// library, which lets any replica answer reads: a replica that lags would not know a job that was just submitted.
func (s *Service) openBuckets(ctx context.Context) (err error) {
	base := jetstream.StreamConfig{
		MaxAge: s.cfg.keep(), Storage: jetstream.FileStorage, Replicas: s.cfg.Replicas, Discard: jetstream.DiscardNew,
		AllowRollup: true, MaxBytes: -1, MaxMsgs: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Duplicates: min(2*time.Minute, s.cfg.keep()),
	}
	state := base
	state.Name, state.Subjects = "KV_"+s.bucket("state"), []string{"$KV." + s.bucket("state") + ".>"}
	state.MaxMsgsPerSubject, state.DenyDelete = 1, true
	if s.states, err = s.js.CreateOrUpdateStream(ctx, state); err != nil {
		return fmt.Errorf("bucket for job states: %w", err)
	}
	if s.state, err = s.js.KeyValue(ctx, s.bucket("state")); err != nil {
		return fmt.Errorf("bucket for job states: %w", err)
	}
	files := base
	name := s.bucket("files")
	files.Name, files.Subjects = "OBJ_"+name, []string{"$O." + name + ".C.>", "$O." + name + ".M.>"}
	if s.files, err = s.js.CreateOrUpdateStream(ctx, files); err != nil {
		return fmt.Errorf("bucket for files: %w", err)
	}
	s.space.stream, s.stored.stream = s.files, s.states
	return nil
}

func (s *Service) openQueue(ctx context.Context, kind, name, subjects string) (*queue, error) {
	q := &queue{kind: kind}
	stream, err := s.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: s.bucket(name), Subjects: []string{subjects}, Retention: jetstream.WorkQueuePolicy,
		Storage: jetstream.FileStorage, Replicas: s.cfg.Replicas, MaxAge: s.cfg.keep(), MaxMsgs: int64(s.cfg.MaxQueue),
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		Duplicates: min(2*time.Minute, s.cfg.keep()),
	})
	if err != nil {
		return nil, fmt.Errorf("queue for %s: %w", name, err)
	}
	q.stream = stream
	config := jetstream.ConsumerConfig{
		Durable: "workers", FilterSubject: subjects, AckPolicy: jetstream.AckExplicitPolicy, AckWait: s.cfg.Lease,
		MaxDeliver: -1, MaxAckPending: s.cfg.MaxQueue,
	}
	if s.embedded != nil {
		// Leases are those of processes that are gone: nobody else can have opened the directory. Without the
		// consumer that noted them the jobs are free at once.
		if err := stream.DeleteConsumer(ctx, config.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, fmt.Errorf("leases of %s: %w", name, err)
		}
	}
	if q.consumer, err = stream.CreateOrUpdateConsumer(ctx, config); err != nil {
		return nil, fmt.Errorf("queue for %s: %w", name, err)
	}
	return q, nil
}

func (s *Service) bucket(name string) string { return s.cfg.Namespace + "-" + name }
func (s *Service) jobSubject(kind, id string) string {
	return s.cfg.Namespace + ".job." + kind + "." + id
}
func (s *Service) cancelSubject(id string) string { return s.cfg.Namespace + ".cancel." + id }

const (
	openTimeout  = 30 * time.Second
	askAgain     = 4 * time.Second  // of one of several tries at either
	storeTimeout = 15 * time.Second // of one write or read of the store
)

// bounded gives a call of the store a deadline of its own where ctx has none that is nearer.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

// check refuses work on a service that has no store or is closed.
func (s *Service) check() error {
	if s.cause != nil {
		return s.cause
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	return nil
}

// Healthy tells whether the store answers.
func (s *Service) Healthy(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	if !s.conn.IsConnected() {
		return fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	if _, err := s.states.Info(ctx); err != nil {
		return storeError("job store", err)
	}
	return nil
}

// Stats is a moment's view of the store.
type Stats struct {
	Waiting map[string]int       // jobs that no worker has taken, by kind
	Running map[string]int       // jobs that one has
	Oldest  map[string]time.Time // submission of the oldest job that has not ended; absent: none
	Bytes   int64                // of files, as stored
	Calls   int                  // that are to be made, now or again
}

// Stats asks the store how it is.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	if err := s.check(); err != nil {
		return Stats{}, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	st := Stats{Waiting: map[string]int{}, Running: map[string]int{}, Oldest: map[string]time.Time{}}
	for kind, q := range s.queues {
		stream, err := q.stream.Info(ctx)
		if err != nil {
			return Stats{}, storeError("stats", err)
		}
		consumer, err := q.consumer.Info(ctx)
		if err != nil {
			return Stats{}, storeError("stats", err)
		}
		st.Waiting[kind], st.Running[kind] = clampInt(consumer.NumPending), consumer.NumAckPending
		if stream.State.Msgs > 0 {
			st.Oldest[kind] = stream.State.FirstTime
		}
	}
	files, err := s.files.Info(ctx)
	if err != nil {
		return Stats{}, storeError("stats", err)
	}
	st.Bytes = int64(min(files.State.Bytes, math.MaxInt64))
	calls, err := s.calls.stream.Info(ctx)
	if err != nil {
		return Stats{}, storeError("stats", err)
	}
	st.Calls = clampInt(calls.State.Msgs)
	return st, nil
}

func clampInt(n uint64) int { return int(min(n, math.MaxInt32)) }

// Close takes no further job, lets those that run end until ctx does, gives back the others so that another worker can
// take them at once, and releases the store. It returns ctx's error where jobs were given back. Further calls do nothing.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()

	idle := make(chan struct{})
	go func() {
		s.workers.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("jobs were still running and are given back: %w", context.Cause(ctx))
		s.interrupt("", ErrDraining)
		s.hangUp()
		select {
		case <-idle:
		case <-time.After(drainTimeout):
			err = errors.Join(err, errors.New("a handler does not stop"))
		}
	}
	s.disconnect()
	return err
}

// drainTimeout is how long handlers may take to notice that their context has ended.
const drainTimeout = 10 * time.Second

func (s *Service) disconnect() {
	s.hangUp()
	s.watching.Wait()
	if s.conn != nil {
		s.conn.Close()
	}
	if s.embedded != nil {
		s.embedded.close()
	}
}

// storeError wraps what the store reports in the error that callers decide on.
func storeError(what string, err error) error {
	kind := ErrUnavailable
	var api *jetstream.APIError
	text := err.Error()
	switch {
	case errors.Is(err, ErrStoreFull), errors.Is(err, ErrUnavailable), errors.Is(err, ErrNotFound), errors.Is(err, ErrTooLarge):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case strings.Contains(text, "no space left"), strings.Contains(text, "maximum bytes exceeded"):
		kind = ErrStoreFull
	case strings.Contains(text, "maximum messages exceeded"):
		kind = ErrQueueFull
	case errors.As(err, &api):
		switch api.ErrorCode {
		case errCodeAccountResources, errCodeInsufficient, errCodeMemory, errCodeStorage:
			kind = ErrStoreFull
		}
	}
	return fmt.Errorf("%s: %w: %w", what, kind, err)
}

// Codes with which a server says that it has no room.
const (
	errCodeAccountResources jetstream.ErrorCode = 10002
	errCodeInsufficient     jetstream.ErrorCode = 10023
	errCodeMemory           jetstream.ErrorCode = 10028
	errCodeStorage          jetstream.ErrorCode = 10047
)

// newID makes a random UUID, version 4: 122 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// hint is as much of an id as the log may hold: whoever knows all of it can read the job.
func hint(id string) string { return id[:min(8, len(id))] }

// newKey makes the key of a file: 130 random bits in lower-case letters and digits.
func newKey() string { return strings.ToLower(rand.Text()) }

var (
	idForm  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$`)
	keyForm = regexp.MustCompile(`^[a-z2-7]{26}$`) // the alphabet of rand.Text, in lower case
)
