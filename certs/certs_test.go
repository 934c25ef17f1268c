package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a certificate for a name and puts it and its key into files.
func write(t *testing.T, dir, name string, from, until time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// ask makes a request with a client that trusts the certificate in the file, and returns the name it was shown.
func ask(t *testing.T, addr, trusted, name string, change func(*tls.Config)) (shown string, res *http.Response, err error) {
	t.Helper()
	data, err := os.ReadFile(trusted)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	config := &tls.Config{RootCAs: roots, ServerName: name}
	if change != nil {
		change(config)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	res, err = (&http.Client{Transport: transport}).Get("https://" + addr)
	if err != nil {
		return "", nil, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.TLS.PeerCertificates[0].DNSNames[0], res, nil
}

func TestServesAndReloads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hour := time.Now().Add(time.Hour)
	cert, key := write(t, dir, "one.test", time.Now().Add(-time.Minute), hour)
	var log bytes.Buffer
	p, err := Open(cert, key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	p.now = func() time.Time { return now }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = server.Serve(tls.NewListener(l, p.Server())) }()
	t.Cleanup(func() { _ = server.Close() })
	addr := l.Addr().String()

	name, res, err := ask(t, addr, cert, "one.test", nil)
	if err != nil || name != "one.test" || res.ProtoMajor != 2 || res.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("%s, %+v, %v", name, res, err)
	}
	_, res, err = ask(t, addr, cert, "one.test", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.NextProtos = []string{"http/1.1"} })
	if err != nil || res.TLS.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, _, err = ask(t, addr, cert, "one.test", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 is taken")
	}

	write(t, dir, "two.test", time.Now().Add(-time.Minute), hour)
	if _, _, err := ask(t, addr, cert, "two.test", nil); err == nil {
		t.Error("the files are read again for every connection")
	}
	now = now.Add(checkEvery)
	if name, _, err := ask(t, addr, cert, "two.test", nil); err != nil || name != "two.test" {
		t.Errorf("after a while: %s, %v", name, err)
	}
	write(t, dir, "three.test", time.Now().Add(-time.Minute), hour)
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if name, _, err := ask(t, addr, cert, "three.test", nil); err != nil || name != "three.test" {
		t.Errorf("at once: %s, %v", name, err)
	}

	// What cannot be used, or is not there, changes nothing.
	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	trusted := filepath.Join(dir, "trusted.crt")
	for file, data := range map[string][]byte{trusted: good, cert: []byte("nonsense")} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Reload(); err == nil {
		t.Error("nonsense is taken")
	}
	now = now.Add(checkEvery)
	if name, _, err := ask(t, addr, trusted, "three.test", nil); err != nil || name != "three.test" {
		t.Errorf("after nonsense: %s, %v", name, err)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	now = now.Add(checkEvery)
	if name, _, err := ask(t, addr, trusted, "three.test", nil); err != nil || name != "three.test" {
		t.Errorf("without a key: %s, %v", name, err)
	}
	if !strings.Contains(log.String(), "stays in force") {
		t.Errorf("log: %s", log.String())
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	a, b, old := t.TempDir(), t.TempDir(), t.TempDir()
	cert, key := write(t, a, "a.test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	_, otherKey := write(t, b, "b.test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	oldCert, oldKey := write(t, old, "old.test", time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	for name, tc := range map[string]struct{ cert, key, want string }{
		"no certificate":     {filepath.Join(a, "none"), key, "none"},
		"no key":             {cert, filepath.Join(a, "none"), "none"},
		"another's key":      {cert, otherKey, "private key"},
		"the wrong way":      {key, cert, "certificate"},
		"no longer valid":    {oldCert, oldKey, "valid until"},
		"a folder":           {a, key, a},
		"key as certificate": {key, key, "switched"},
	} {
		if _, err := Open(tc.cert, tc.key, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
