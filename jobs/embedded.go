package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"cutout/filelock"
)

// embedded is the NATS server in this process. It listens on nothing.
type embedded struct {
	server *server.Server
	lock   *os.File
}

const (
	startTimeout = 20 * time.Second
	// memoryQuota bounds what the server may keep in memory on purpose. Nothing is stored there; the server just must
	// not think it may take three quarters of the machine.
	memoryQuota = 32 << 20
)

func startEmbedded(cfg Config) (*embedded, error) {
	lock, err := takeDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	e := &embedded{lock: lock}
	e.server, err = server.NewServer(&server.Options{
		ServerName: "cutout-embedded", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: cfg.DataDir, JetStreamMaxMemory: memoryQuota, JetStreamMaxStore: math.MaxInt64 / 2, // ours is checked on admission
		DisableJetStreamBanner: true,
	})
	if err != nil {
		e.close()
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	log := &serverLog{log: cfg.Log}
	e.server.SetLoggerV2(log, false, false, false)
	e.server.Start() // comes back without a word where it does not start
	if fatal := log.fatal.Load(); fatal != nil {
		err = errors.New(*fatal)
	} else if !e.server.ReadyForConnections(startTimeout) || !e.server.JetStreamEnabled() {
		err = errors.New("does not start")
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("embedded server on %s: %w", cfg.DataDir, err)
	}
	return e, nil
}

func (e *embedded) close() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	_ = e.lock.Close() // and with it the lock
}

// takeDir creates a directory and makes it this process's own.
func takeDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	taken, err := filelock.Take(f)
	if errors.Is(err, filelock.ErrUnsupported) {
		err = fmt.Errorf("%w, use a NATS server of its own", err)
	}
	if err == nil && !taken {
		err = fmt.Errorf("%w by %s: give each process a directory of its own, or let them share a NATS server", ErrLocked, holder(f))
	}
	if err == nil {
		err = errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// holder names the process that has the lock.
func holder(f *os.File) string {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil {
		return "process " + strconv.Itoa(pid)
	}
	return "another process"
}

// serverLog puts what the embedded server has to say into the log. Its notices are about starting and stopping.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string] // why it did not start
}

func (l *serverLog) say(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, "job store: "+fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(string, ...any)           {}
func (l *serverLog) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }
func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &text)
	l.say(slog.LevelError, format, v)
}
