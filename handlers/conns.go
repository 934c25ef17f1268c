package handlers

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// spareConns is how many connections there may be over the limit when all the others are at work: for probes, and to
// tell everybody else no.
const spareConns = 64

// conns bounds how many connections there are. Over the limit the one that has been waiting longest for its client
// gives way to the new one: idle, or slow to send its header, or slow to send its body. A client that holds connections
// open without using them keeps nobody out.
type conns struct {
	max int // 0: no bound

	mu      sync.Mutex
	all     map[net.Conn]*conn
	waiting list.List // of *conn: in no handler, the longest first
	reading list.List // of *conn: in a handler that reads a body
	dropped int64
}

// conn is one connection.
type conn struct {
	owner    *conns
	net      net.Conn
	handlers int // requests of it that are being answered; several at a time in HTTP/2
	bodies   int // of them, those whose body is on its way
	in       *list.List
	element  *list.Element
}

func newConns(limit int) *conns { return &conns{max: limit, all: map[net.Conn]*conn{}} }

type connKey struct{}

// context is http.Server.ConnContext, the first that is heard of a connection.
func (c *conns) context(ctx context.Context, nc net.Conn) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return context.WithValue(ctx, connKey{}, c.open(nc))
}

// state is http.Server.ConnState.
func (c *conns) state(nc net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		if known := c.all[nc]; known != nil {
			known.move(nil)
			delete(c.all, nc)
		}
	case http.StateIdle:
		if known := c.all[nc]; known != nil {
			known.place()
		}
	case http.StateNew, http.StateActive: // one byte of a header is no request
	}
}

// open takes note of a connection, and closes another where there are too many.
func (c *conns) open(nc net.Conn) *conn {
	known := &conn{owner: c, net: nc}
	c.all[nc] = known
	known.place()
	if c.max == 0 || len(c.all) <= c.max {
		return known
	}
	for _, l := range []*list.List{&c.waiting, &c.reading} {
		for e := l.Front(); e != nil; e = e.Next() {
			if victim := e.Value.(*conn); victim != known {
				c.drop(victim)
				return known
			}
		}
	}
	if len(c.all) > c.max+spareConns {
		c.drop(known)
	}
	return known
}

// drop closes a connection. It is forgotten at once, so that nobody is dropped twice.
func (c *conns) drop(victim *conn) {
	c.dropped++
	victim.move(nil)
	delete(c.all, victim.net)
	go func() { _ = victim.net.Close() }() // TLS takes its time to say goodbye
}

// crowded tells whether all connections are at work and some are over the limit.
func (c *conns) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.max > 0 && len(c.all) > c.max
}

// stats tells how many connections there are, how many of them wait for their clients, and how many were closed to
// make room.
func (c *conns) stats() (open, waiting int, dropped int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all), c.waiting.Len() + c.reading.Len(), c.dropped
}

// place puts a connection where it belongs.
func (k *conn) place() {
	switch {
	case k.handlers == 0:
		k.move(&k.owner.waiting)
	case k.bodies == k.handlers:
		k.move(&k.owner.reading)
	default:
		k.move(nil)
	}
}

// move puts a connection at the end of a list; nil is none.
func (k *conn) move(to *list.List) {
	if k.in != nil {
		k.in.Remove(k.element)
	}
	k.in, k.element = to, nil
	if to != nil {
		k.element = to.PushBack(k)
	}
}

// begin notes that a request is there, with or without a body still to come; the functions note that the body has come
// and that the request is answered. Each may be called once; end stands for both.
func (c *conns) begin(ctx context.Context, body bool) (read, end func()) {
	k, ok := ctx.Value(connKey{}).(*conn)
	if !ok { // recorders in tests have none
		return func() {}, func() {}
	}
	change := func(handlers, bodies int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		k.handlers += handlers
		k.bodies += bodies
		if c.all[k.net] == k {
			k.place()
		}
	}
	pending := 0
	if body {
		pending = 1
	}
	change(1, pending)
	read = func() {
		if pending == 1 {
			pending = 0
			change(0, -1)
		}
	}
	return read, func() { change(-1, -pending) }
}

// Connections tells how many connections are open, how many of them wait for their clients, and how many were closed to
// make room for others.
func (s *Server) Connections() (open, waiting int, dropped int64) { return s.conns.stats() }
