//go:build unix

package jobs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	clusterJobs  = 50
	clusterLease = 3 * time.Second
	clusterTime  = 3 * time.Minute // longest wait for anything in a cluster
)

// node is one server of a cluster, a process of its own.
type node struct {
	Name    string
	Client  int // port
	Cluster int // port
	Routes  []string
	Dir     string

	cmd *exec.Cmd
}

// nodeChild is a server until it is killed.
func nodeChild(config string) {
	var n node
	if err := json.Unmarshal([]byte(config), &n); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	o := &server.Options{
		ServerName: n.Name, Host: "127.0.0.1", Port: n.Client, JetStream: true, StoreDir: n.Dir, NoSigs: true, NoLog: true,
		// What nodes tell each other of their addresses leads nowhere: all they say goes over the links of the test.
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: n.Cluster, Advertise: "127.0.0.1:9", PoolSize: -1},
	}
	for _, r := range n.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: r})
	}
	s, err := server.NewServer(o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	s.Start()
	if !s.ReadyForConnections(clusterTime) {
		fmt.Println("error: does not start")
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// link carries what one node says to another, until it is cut.
type link struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newLink(t *testing.T, target int) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{listener: l, target: fmt.Sprintf("127.0.0.1:%d", target), conns: map[net.Conn]struct{}{}}
	t.Cleanup(func() {
		_ = l.Close()
		k.set(true)
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go k.carry(conn)
		}
	}()
	return k
}

func (k *link) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", k.target)
	if err != nil {
		return
	}
	defer out.Close()
	if !k.add(in, out) {
		return
	}
	defer k.drop(in, out)
	done := make(chan struct{}, 2)
	for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
		go func() {
			_, _ = io.Copy(to, from)
			done <- struct{}{}
		}()
	}
	<-done
	_ = in.Close()
	_ = out.Close()
	<-done
}

func (k *link) add(conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		if k.cut {
			return false
		}
		k.conns[c] = struct{}{}
	}
	return true
}

func (k *link) drop(conns ...net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		delete(k.conns, c)
	}
}

// set cuts the link or mends it.
func (k *link) set(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	if cut {
		for c := range k.conns {
			_ = c.Close()
		}
	}
}

// cluster is three nodes and the links between them.
type cluster struct {
	nodes []*node
	links map[[2]int]*link // from, to
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{links: map[[2]int]*link{}}
	for i := range 3 {
		c.nodes = append(c.nodes, &node{Name: fmt.Sprint("node-", i), Client: freePort(t), Cluster: freePort(t), Dir: t.TempDir()})
	}
	for i, n := range c.nodes {
		for j, other := range c.nodes {
			if i != j {
				k := newLink(t, other.Cluster)
				c.links[[2]int{i, j}] = k
				n.Routes = append(n.Routes, k.listener.Addr().String())
			}
		}
	}
	for i := range c.nodes {
		c.start(t, i)
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.kill(i)
		}
	})
	return c
}

// start runs a node and waits until it takes connections.
func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	n := c.nodes[i]
	config, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	n.cmd = exec.Command(os.Args[0])
	n.cmd.Env = append(os.Environ(), "JOBS_TEST_NODE="+string(config))
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s: %q, %v", n.Name, line, err)
	}
}

// kill ends a node's process as a power cut would.
func (c *cluster) kill(i int) {
	if n := c.nodes[i]; n.cmd != nil {
		_ = n.cmd.Process.Signal(syscall.SIGKILL)
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// part cuts a node off from the others, or lets it in again.
func (c *cluster) part(i int, cut bool) {
	for ends, k := range c.links {
		if ends[0] == i || ends[1] == i {
			k.set(cut)
		}
	}
}

func (c *cluster) url() string {
	urls := make([]string, 0, len(c.nodes))
	for _, n := range c.nodes {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", n.Client))
	}
	return strings.Join(urls, ",")
}

func (c *cluster) index(t *testing.T, name string) int {
	t.Helper()
	for i, n := range c.nodes {
		if n.Name == name {
			return i
		}
	}
	t.Fatalf("there is no node %q", name)
	return -1
}

// eventually waits for something that takes its time in a cluster.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(clusterTime); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("never: %s: %v", what, err)
}

// leader is the node that decides for the queue.
func (c *cluster) leader(t *testing.T, b *bundle) int {
	t.Helper()
	name := ""
	eventually(t, "the queue has a leader", func() error {
		info, err := b.queues[kind].stream.Info(t.Context())
		if err != nil {
			return err
		}
		if info.Cluster == nil || info.Cluster.Leader == "" {
			return errors.New("none")
		}
		name = info.Cluster.Leader
		return nil
	})
	return c.index(t, name)
}

// whole waits until every stream has all its replicas up to date, and tells how long it took.
func (c *cluster) whole(t *testing.T, b *bundle) time.Duration {
	t.Helper()
	start := time.Now()
	eventually(t, "all replicas are up to date", func() error {
		streams := b.js.ListStreams(t.Context())
		n := 0
		for info := range streams.Info() {
			n++
			if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
				return fmt.Errorf("%s: %+v", info.Config.Name, info.Cluster)
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					return fmt.Errorf("%s: %+v", info.Config.Name, r)
				}
			}
		}
		if err := streams.Err(); err != nil || n < 4 {
			return fmt.Errorf("%d streams, %w", n, err)
		}
		return nil
	})
	return time.Since(start)
}

// openCluster opens a service; a cluster that has just begun may need several tries.
func openCluster(t *testing.T, c *cluster, log *slog.Logger) *bundle {
	t.Helper()
	b := &bundle{ended: make(chan Phase, 1000)}
	eventually(t, "the store opens", func() (err error) {
		b.Service, err = Open(t.Context(), Config{
			URL: c.url(), Replicas: 3, Kinds: []string{kind}, Lease: clusterLease, Backoff: 100 * time.Millisecond, MaxAttempts: 10, Log: log,
			Observer: Observer{Ended: func(_ string, p Phase, _ time.Duration) { b.ended <- p }},
		})
		return err
	})
	t.Cleanup(func() { b.close(t) })
	return b
}

// slowly is upper with a pause before each file, time to be interrupted in.
func slowly(d time.Duration) Handler {
	return func(ctx context.Context, t *Task) error {
		for _, i := range t.Pending() {
			if err := pause(ctx, d); err != nil {
				return err
			}
			if err := upperOne(ctx, t, i); err != nil {
				return err
			}
		}
		return nil
	}
}

// handIn submits jobs of two files each, again and again where the store does not answer: the same id makes it one job.
func handIn(t *testing.T, b *bundle, round string) []string {
	t.Helper()
	ids := make([]string, 0, clusterJobs)
	for i := range clusterJobs {
		id := fmt.Sprintf("%s-%d", round, i)
		eventually(t, id+" is submitted", func() error {
			var inputs []File
			for n := range 2 {
				f, err := b.Upload(t.Context(), fmt.Sprint(n), "", strings.NewReader(fmt.Sprintf("%s file %d", id, n)))
				if err != nil {
					return err
				}
				inputs = append(inputs, f)
			}
			_, err := b.Submit(t.Context(), Submission{ID: id, Kind: kind, Inputs: inputs})
			return err
		})
		ids = append(ids, id)
	}
	return ids
}

// done counts the jobs that have ended.
func done(ctx context.Context, b *bundle, ids []string) (n int, err error) {
	for _, id := range ids {
		st, err := b.Status(ctx, id)
		if err != nil {
			return n, err
		}
		if st.Phase.final() {
			n++
		}
	}
	return n, nil
}

// check waits until all jobs have ended and looks at their results: each there, each once. It tells how long it took.
func checkJobs(t *testing.T, b *bundle, ids []string) time.Duration {
	t.Helper()
	start := time.Now()
	eventually(t, "all jobs end", func() error {
		n, err := done(t.Context(), b, ids)
		if err == nil && n < len(ids) {
			err = fmt.Errorf("%d of %d", n, len(ids))
		}
		return err
	})
	took := time.Since(start)
	seen := map[string]bool{}
	for _, id := range ids {
		st := b.status(t, id)
		if st.Phase != Finished || len(st.Outcomes) != 2 {
			t.Errorf("%s: %+v", id, st)
			continue
		}
		for n, o := range st.Outcomes {
			if len(o.Results) != 1 || seen[o.Results[0].Key] {
				t.Errorf("%s, file %d: %+v", id, n, o)
				continue
			}
			seen[o.Results[0].Key] = true
			if got, want := string(b.read(t, o.Results[0].Key)), strings.ToUpper(fmt.Sprintf("%s file %d", id, n)); got != want {
				t.Errorf("%s, file %d: %q, want %q", id, n, got, want)
			}
		}
	}
	eventually(t, "the queue is empty", func() error {
		st, err := b.Stats(t.Context())
		if err == nil && st.Waiting[kind]+st.Running[kind] > 0 {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	return took
}

// TestCluster runs two processes' worth of workers on three servers. The leader of the queue is killed in the middle of
// the jobs and comes back; then the leader is cut off from the others, though not from its clients, and let in again.
// Nothing is lost, and nothing is there twice.
func TestCluster(t *testing.T) { //nolint:paralleltest // it measures how long things take
	if testing.Short() || os.Getenv("JOBS_TEST_CLUSTER") == "" {
		t.Skip("takes minutes: run by make cluster")
	}
	start := time.Now()
	c := startCluster(t)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a := openCluster(t, c, log)
	b := openCluster(t, c, log)
	t.Logf("three nodes and two services were ready after %v; all replicas %v later", time.Since(start), c.whole(t, a))
	for _, s := range []*bundle{a, b} {
		s.start(t, 2, slowly(200*time.Millisecond))
	}
	some := func(ids []string) {
		eventually(t, "some jobs end", func() error {
			n, err := done(t.Context(), b, ids)
			if err == nil && n < 5 {
				err = fmt.Errorf("%d", n)
			}
			return err
		})
	}

	ids := handIn(t, a, "calm")
	t.Logf("undisturbed: %d jobs had ended %v after the last was submitted", len(ids), checkJobs(t, b, ids))

	// A node dies.
	ids = handIn(t, a, "killed")
	victim := c.leader(t, a)
	some(ids)
	c.kill(victim)
	t.Logf("%s, the leader, was killed: all jobs had ended %v later", c.nodes[victim].Name, checkJobs(t, b, ids))
	c.start(t, victim)
	t.Logf("it was started again: all replicas were up to date %v later", c.whole(t, b))

	// A node is cut off from the others, though not from one of the services.
	ids = handIn(t, a, "parted")
	victim = c.index(t, a.conn.ConnectedServerName())
	some(ids)
	leads := c.leader(t, a) == victim
	c.part(victim, true)
	cut := time.Now()
	t.Logf("%s was cut off with a client; it led the queue: %t; the other client was on %s", c.nodes[victim].Name, leads, b.conn.ConnectedServerName())
	t.Logf("all jobs had ended %v later", checkJobs(t, b, ids))
	late := handIn(t, a, "late")
	t.Logf("%d jobs were taken from its client by %v after the cut, and had ended %v later", len(late), time.Since(cut), checkJobs(t, a, late))
	c.part(victim, false)
	t.Logf("it was let in again: all replicas were up to date %v later", c.whole(t, b))
	checkJobs(t, a, ids)
	checkJobs(t, a, handIn(t, b, "healed"))
}

// workerChild takes jobs off a server until it is killed. It hangs in the middle of every third one.
func workerChild(url string) {
	s, err := Open(context.Background(), Config{URL: url, Kinds: []string{kind}, Lease: time.Second})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	hangs := os.Getenv("JOBS_TEST_HANGS") != ""
	var mu sync.Mutex
	count := 0
	if err := s.Start(kind, 3, func(ctx context.Context, t *Task) error {
		mu.Lock()
		count++
		hang := hangs && count%3 == 0
		mu.Unlock()
		if len(t.Pending()) == 2 {
			if err := upperOne(ctx, t, 0); err != nil {
				return err
			}
		}
		if hang {
			fmt.Println("hangs", t.ID())
			select {}
		}
		return slowly(20*time.Millisecond)(ctx, t)
	}); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// TestKillWorker has two worker processes on one server and kills one of them in the middle of its jobs.
func TestKillWorker(t *testing.T) {
	t.Parallel()
	url := natsServer(t)
	b := open(t, Config{URL: url, Lease: time.Second})
	ids := handIn(t, b, "job")
	var workers []*exec.Cmd
	hanging := make(chan string, 10)
	for i := range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "JOBS_TEST_WORKER="+url)
		if i == 0 {
			cmd.Env = append(cmd.Env, "JOBS_TEST_HANGS=1")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, cmd)
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		ready := make(chan struct{})
		go func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if id, ok := strings.CutPrefix(lines.Text(), "hangs "); ok {
					hanging <- id
				} else if lines.Text() == "ready" {
					close(ready)
				}
			}
		}()
		<-ready
	}
	var stuck []string
	for range 2 {
		select {
		case id := <-hanging:
			stuck = append(stuck, id)
		case <-time.After(clusterTime):
			t.Fatal("no job hangs")
		}
	}
	if err := workers[0].Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = workers[0].Wait()
	took := checkJobs(t, b, ids)
	for _, id := range stuck {
		if st := b.status(t, id); st.Attempts < 2 {
			t.Errorf("%s was in the hands of the dead worker, and has seen %d attempts", id, st.Attempts)
		}
	}
	t.Logf("one of two workers was killed with %d jobs in its hands: all %d had ended %v later", len(stuck), len(ids), took)
}
