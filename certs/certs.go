// Package certs serves a certificate from files and notices when they change, as those do that renew themselves.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how often the files are looked at for changes, by whichever connection comes first.
const checkEvery = 10 * time.Second

// Pair is a certificate with its key. It is safe for concurrent use.
type Pair struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	cert    stamp
	key     stamp
	checked time.Time
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// Open reads a certificate, followed by those that sign it, and its key, both in PEM. It fails where one cannot be read,
// where they do not belong together and where the certificate is no longer valid. log may be nil.
func Open(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pair{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	if err := p.read(); err != nil {
		return nil, err
	}
	if leaf := p.current.Leaf; p.now().After(leaf.NotAfter) {
		return nil, fmt.Errorf("certificate %s: it was valid until %s", certFile, leaf.NotAfter.Format(time.RFC3339))
	} else if p.now().Before(leaf.NotBefore) {
		log.Warn("the certificate is not valid yet", "file", certFile, "from", leaf.NotBefore)
	}
	return p, nil
}

// read takes over what is in the files. It is called with mu held, or before anybody else knows the pair.
func (p *Pair) read() error {
	// The states are noted first: what changes while it is read is read once more.
	var errs [2]error
	p.cert, errs[0] = stampOf(p.certFile)
	p.key, errs[1] = stampOf(p.keyFile)
	p.checked = p.now()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", p.certFile, p.keyFile, err)
	}
	if certificate.Leaf == nil {
		if certificate.Leaf, err = x509.ParseCertificate(certificate.Certificate[0]); err != nil {
			return fmt.Errorf("certificate %s: %w", p.certFile, err)
		}
	}
	p.current = &certificate
	return nil
}

// Reload reads the files now. What cannot be used leaves the last certificate in force.
func (p *Pair) Reload() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reload()
}

func (p *Pair) reload() error {
	if err := p.read(); err != nil {
		p.log.Error("the certificate cannot be used, the last one stays in force", "error", err.Error())
		return err
	}
	p.log.Info("the certificate was read again", "file", p.certFile, "names", p.current.Leaf.DNSNames, "until", p.current.Leaf.NotAfter)
	return nil
}

// certificate is what the next connection is shown.
func (p *Pair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.checked) >= checkEvery {
		p.checked = p.now()
		cert, certErr := stampOf(p.certFile)
		key, keyErr := stampOf(p.keyFile)
		// A file that is missing is one that is being replaced: the next look will tell.
		if certErr == nil && keyErr == nil && (cert != p.cert || key != p.key) {
			_ = p.reload() // the log has it
		}
	}
	return p.current, nil
}

// Server is a configuration for a server's connections: TLS 1.2 and up, HTTP/2 and HTTP/1.1.
func (p *Pair) Server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: p.certificate}
}
