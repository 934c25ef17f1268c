package jobs

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkEmptyJobs submits jobs without files and waits until all have ended.
func BenchmarkEmptyJobs(b *testing.B) {
	s, err := Open(b.Context(), Config{DataDir: b.TempDir(), Kinds: []string{kind}, MinFree: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	var wg sync.WaitGroup
	s.cfg.Observer.Ended = func(string, Phase, time.Duration) { wg.Done() }
	if err := s.Start(kind, 4, func(context.Context, *Task) error { return nil }); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		wg.Add(1)
		if _, err := s.Submit(b.Context(), Submission{Kind: kind}); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
}

// BenchmarkClients has twenty clients submit while workers are busy and states are polled.
func BenchmarkClients(b *testing.B) {
	before := resident()
	s, err := Open(b.Context(), Config{DataDir: b.TempDir(), Kinds: []string{kind}, MinFree: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	opened := resident()
	var (
		mu    sync.Mutex
		took  []time.Duration
		ended sync.WaitGroup
	)
	s.cfg.Observer.Ended = func(string, Phase, time.Duration) { ended.Done() }
	if err := s.Start(kind, 2, upper); err != nil {
		b.Fatal(err)
	}
	ids := make(chan int, b.N)
	for i := range b.N {
		ids <- i
	}
	close(ids)
	ended.Add(b.N)
	b.ResetTimer()
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for range ids {
				f, err := s.Upload(b.Context(), "f", "", strings.NewReader(strings.Repeat("a", 1000)))
				if err != nil {
					b.Error(err)
					return
				}
				start := time.Now()
				id, err := s.Submit(b.Context(), Submission{Kind: kind, Inputs: []File{f}})
				d := time.Since(start)
				if err == nil {
					_, err = s.Status(b.Context(), id)
				}
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	ended.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-submit-ms")
	b.ReportMetric(float64(opened-before)/1e6, "MB-opened")
	b.ReportMetric(float64(resident()-before)/1e6, "MB-after")
	if b.N >= 1000 {
		time.Sleep(cacheTime)
		b.ReportMetric(float64(resident()-before)/1e6, "MB-settled")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/float64(b.N), "heap-B/job")
	}
}

// cacheTime is how long the server keeps what it has just written or read in memory, and some.
const cacheTime = 25 * time.Second

// resident is this process's memory in bytes, where the system tells.
func resident() int64 {
	debug.FreeOSMemory()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
