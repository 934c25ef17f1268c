package jobs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = sign(t, template, template, nil)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	write(t, a.file("ca.pem"), "CERTIFICATE", der)
	return a
}

func sign(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (key *ecdsa.PrivateKey, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by); err != nil {
		t.Fatal(err)
	}
	return key, der
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate for the loopback, and the files NAME.pem and NAME.key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, der := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = a.file(name+".pem"), a.file(name+".key")
	write(t, cert, "CERTIFICATE", der)
	write(t, key, "PRIVATE KEY", raw)
	return cert, key
}

// secure makes a server speak TLS alone, to clients with a certificate of the authority.
func (a *authority) secure(t *testing.T, o *server.Options) {
	t.Helper()
	cert, key := a.issue(t, "server")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	o.TLSConfig = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
	o.TLS, o.TLSTimeout = true, 10
}

func runServer(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.JetStream, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, t.TempDir(), true, true
	n, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(func() {
		n.Shutdown()
		n.WaitForShutdown()
	})
	if !n.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return n.ClientURL()
}

// works does a job from end to end.
func (b *bundle) works(t *testing.T) {
	t.Helper()
	b.start(t, 1, upper)
	id := b.submit(t, Submission{Inputs: []File{b.upload(t, "a", []byte("abc"))}})
	b.wait(t, Finished)
	if got := b.read(t, b.status(t, id).Outcomes[0].Results[0].Key); string(got) != "ABC" {
		t.Errorf("result %q", got)
	}
}

func refused(t *testing.T, what string, cfg Config) {
	t.Helper()
	cfg.Kinds = []string{kind}
	s, err := Open(t.Context(), cfg)
	if err == nil {
		_ = s.Close(t.Context())
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestTLS talks to a server that wants TLS, a client's certificate and a password.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	o := &server.Options{Users: []*server.User{{Username: "cutout", Password: "secret"}}}
	a.secure(t, o)
	url := runServer(t, o)
	with := func(user string) string { return strings.Replace(url, "://", "://"+user, 1) }
	cert, key := a.issue(t, "client")
	open(t, Config{URL: with("cutout:secret@"), CA: a.file("ca.pem"), Cert: cert, Key: key}).works(t)

	strangers := newAuthority(t)
	otherCert, otherKey := strangers.issue(t, "client")
	for what, cfg := range map[string]Config{
		"no password":                 {URL: url, CA: a.file("ca.pem"), Cert: cert, Key: key},
		"a wrong password":            {URL: with("cutout:wrong@"), CA: a.file("ca.pem"), Cert: cert, Key: key},
		"no certificate":              {URL: with("cutout:secret@"), CA: a.file("ca.pem")},
		"a stranger's certificate":    {URL: with("cutout:secret@"), CA: a.file("ca.pem"), Cert: otherCert, Key: otherKey},
		"a server nobody vouches for": {URL: with("cutout:secret@"), Cert: cert, Key: key},
		"another authority's server":  {URL: with("cutout:secret@"), CA: strangers.file("ca.pem"), Cert: cert, Key: key},
		"no such file":                {URL: with("cutout:secret@"), CA: a.file("none.pem"), Cert: cert, Key: key},
	} {
		refused(t, what, cfg)
	}
}

// TestCredentials talks to a server whose operator has signed the user's key.
func TestCredentials(t *testing.T) {
	t.Parallel()
	pair := func(create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		k, err := create()
		if err != nil {
			t.Fatal(err)
		}
		public, err := k.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return k, public
	}
	operator, operatorKey := pair(nkeys.CreateOperator)
	account, accountKey := pair(nkeys.CreateAccount)
	_, systemKey := pair(nkeys.CreateAccount) // a server of an operator has one for itself
	resolver := &server.MemAccResolver{}
	for _, key := range []string{accountKey, systemKey} {
		claims := jwt.NewAccountClaims(key)
		if key == accountKey {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		signed, err := claims.Encode(operator)
		if err != nil {
			t.Fatal(err)
		}
		if err := resolver.Store(key, signed); err != nil {
			t.Fatal(err)
		}
	}
	credentials := func(name string, by nkeys.KeyPair) string {
		user, userKey := pair(nkeys.CreateUser)
		token, err := jwt.NewUserClaims(userKey).Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := user.Seed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	url := runServer(t, &server.Options{TrustedKeys: []string{operatorKey}, AccountResolver: resolver, SystemAccount: systemKey})
	open(t, Config{URL: url, Credentials: credentials("cutout.creds", account)}).works(t)

	stranger, _ := pair(nkeys.CreateAccount)
	refused(t, "no credentials", Config{URL: url})
	refused(t, "a stranger's credentials", Config{URL: url, Credentials: credentials("other.creds", stranger)})
	refused(t, "no such file", Config{URL: url, Credentials: filepath.Join(t.TempDir(), "none")})
}
