// Package config holds the settings of the program, one struct per concern.
//
// Every struct carries its flags, environment variables and defaults in kong tags and checks itself with Validate.
// Nothing else in the program reads the environment.
package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Server says where and how patiently the HTTP server listens.
type Server struct {
	Addr            string        `default:":8080" env:"CUTOUT_ADDR" help:"Address to listen on, as host:port."`
	HeaderTimeout   time.Duration `default:"10s" env:"CUTOUT_HEADER_TIMEOUT" help:"Longest wait for the headers of a request."`
	BodyTimeout     time.Duration `default:"60s" env:"CUTOUT_BODY_TIMEOUT" help:"Longest wait for the whole body of a request."`
	RequestTimeout  time.Duration `default:"120s" env:"CUTOUT_REQUEST_TIMEOUT" help:"Longest time from the headers of a request to the start of its reply."`
	WriteTimeout    time.Duration `default:"60s" env:"CUTOUT_WRITE_TIMEOUT" help:"Longest time a client may take to read its reply."`
	IdleTimeout     time.Duration `default:"120s" env:"CUTOUT_IDLE_TIMEOUT" help:"How long an idle connection is kept."`
	MaxHeader       Bytes         `default:"64KB" env:"CUTOUT_MAX_HEADER" help:"Largest header of a request."`
	NoWeb           bool          `name:"no-web" env:"CUTOUT_NO_WEB" help:"Serve the API alone, without the pages for browsers."`
	ShutdownDelay   time.Duration `default:"0s" env:"CUTOUT_SHUTDOWN_DELAY" help:"How long /readyz says no before the port is closed, so that load balancers notice."`
	ShutdownTimeout time.Duration `default:"30s" env:"CUTOUT_SHUTDOWN_TIMEOUT" help:"How long requests in flight may take to finish when the server stops."`

	MaxConnections int            `default:"1024" env:"CUTOUT_MAX_CONNECTIONS" help:"Most open connections; over it the one that has waited longest for its client is closed. 0 for any number."`
	ClientRate     int            `default:"0" env:"CUTOUT_CLIENT_RATE" help:"Most requests a minute of one client's address; 0 for any number."`
	TrustedProxies []netip.Prefix `env:"CUTOUT_TRUSTED_PROXIES" placeholder:"CIDR" help:"Range of the proxies whose X-Forwarded headers are believed (repeatable). Without it none are."`
	PprofAddr      string         `env:"CUTOUT_PPROF_ADDR" placeholder:"HOST:PORT" help:"Address to serve profiles of the running program on, for example 127.0.0.1:6060. Whoever reaches it can slow the server down. Without it none are served."`
}

// Admission says how many requests compute at a time, and how long others wait for them.
type Admission struct {
	Slots  int           `name:"slots" default:"0" env:"CUTOUT_SLOTS" help:"Requests that compute at a time; 0 for one a processor."`
	Queue  int           `name:"queue" default:"0" env:"CUTOUT_QUEUE" help:"Most requests that wait for a slot; 0 for four a slot."`
	Wait   time.Duration `name:"queue-wait" default:"10s" env:"CUTOUT_QUEUE_WAIT" help:"Longest wait of a request that is let in; who would wait longer is refused at once."`
	Memory Bytes         `name:"memory" default:"0" env:"CUTOUT_MEMORY" help:"Memory the program may use; 0 for GOMEMLIMIT, else nine tenths of what the container or the machine has."`
}

// Validate reports the first setting that cannot work.
func (a Admission) Validate() error {
	switch {
	case a.Slots < 0 || a.Slots > 1024:
		return fmt.Errorf("--slots %d: must be from 0 to 1024", a.Slots)
	case a.Queue < 0:
		return fmt.Errorf("--queue %d: must not be negative", a.Queue)
	case a.Wait <= 0:
		return fmt.Errorf("--queue-wait %v: must be longer than nothing", a.Wait)
	case a.Memory != 0 && a.Memory < leastMemory:
		return fmt.Errorf("--memory %v: must be at least %v", a.Memory, leastMemory)
	}
	return nil
}

// leastMemory is what a picture of a few megapixels takes beside the network.
const leastMemory Bytes = 256 << 20

// Tracing tells whether the environment asks for traces, by the names that OpenTelemetry has set for every program
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), and what in it cannot be done. The
// exporter reads its own settings from there.
func Tracing() (bool, error) { return tracing(os.Getenv) }

func tracing(getenv func(string) string) (bool, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if v := strings.TrimSpace(getenv(name)); v != "" {
				return v
			}
		}
		return ""
	}
	exporter := first("OTEL_TRACES_EXPORTER")
	switch {
	case strings.EqualFold(first("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return false, nil
	case first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT") == "" && exporter == "":
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER %q: want otlp or none", exporter)
	}
	if protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return false, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: want http/protobuf", protocol)
	}
	return true, nil
}

// Validate reports the first setting that cannot work.
func (s Server) Validate() error {
	if _, port, err := net.SplitHostPort(s.Addr); err != nil {
		return fmt.Errorf("--addr %q: want host:port, for example :8080", s.Addr)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > math.MaxUint16 {
		return fmt.Errorf("--addr %q: port must be a number from 0 to 65535", s.Addr)
	}
	for name, d := range map[string]time.Duration{
		"header-timeout": s.HeaderTimeout, "body-timeout": s.BodyTimeout, "request-timeout": s.RequestTimeout,
		"write-timeout": s.WriteTimeout, "idle-timeout": s.IdleTimeout, "shutdown-timeout": s.ShutdownTimeout,
	} {
		if d <= 0 {
			return fmt.Errorf("--%s %v: must be longer than nothing", name, d)
		}
	}
	if s.ShutdownDelay < 0 {
		return fmt.Errorf("--shutdown-delay %v: must not be negative", s.ShutdownDelay)
	}
	if s.MaxHeader < 1<<10 {
		return fmt.Errorf("--max-header %v: must be at least 1KB", s.MaxHeader)
	}
	if s.MaxConnections < 0 {
		return fmt.Errorf("--max-connections %d: must not be negative", s.MaxConnections)
	}
	if s.ClientRate < 0 {
		return fmt.Errorf("--client-rate %d: must not be negative", s.ClientRate)
	}
	for _, p := range s.TrustedProxies {
		if p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("--trusted-proxies %v: want a range such as 10.0.0.0/8", p)
		}
	}
	if s.PprofAddr != "" {
		if _, port, err := net.SplitHostPort(s.PprofAddr); err != nil || port == "" {
			return fmt.Errorf("--pprof-addr %q: want host:port, for example 127.0.0.1:6060", s.PprofAddr)
		}
	}
	return nil
}

// Access says who may ask.
type Access struct {
	APIKeys        string   `name:"api-keys" env:"CUTOUT_API_KEYS" placeholder:"FILE" help:"File of keys, one of which every request must carry; see cutout keys. Without it none is needed."`
	RapidAPISecret string   `name:"rapidapi-proxy-secret" env:"CUTOUT_RAPIDAPI_PROXY_SECRET" placeholder:"SECRET" help:"Secret that RapidAPI's gateway sends along with its customers' requests, which then need no other key."`
	CORSOrigins    []string `name:"cors-origin" env:"CUTOUT_CORS_ORIGIN" placeholder:"ORIGIN" help:"Origin, as https://example.com, whose pages may call the API, or * for any (repeatable). Without it none may."`
}

// Validate reports the first setting that cannot work.
func (a Access) Validate() error {
	for _, origin := range a.CORSOrigins {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin) {
			return fmt.Errorf("--cors-origin %q: want * or an origin, for example https://example.com", origin)
		}
	}
	return nil
}

// Limits bounds what one dialect takes. A zero bounds nothing, except for Request.
type Limits struct {
	MaxWidth   int   `default:"4096" help:"Widest picture taken, in pixels; 0 for any."`
	MaxHeight  int   `default:"4096" help:"Highest picture taken, in pixels; 0 for any."`
	MaxFile    Bytes `default:"16MB" help:"Largest picture file taken; 0 for any."`
	MaxRequest Bytes `default:"32MB" help:"Largest request body taken."`
	AnyFormat  bool  `help:"Take every format that can be read and not JPEG and PNG alone."`
}

// Validate reports the first bound that cannot work; prefix is that of the flags, with its trailing dash.
func (l Limits) Validate(prefix string) error {
	switch {
	case l.MaxWidth < 0 || l.MaxHeight < 0:
		return fmt.Errorf("--%smax-width and --%smax-height: must not be negative", prefix, prefix)
	case l.MaxFile < 0:
		return fmt.Errorf("--%smax-file %v: must not be negative", prefix, l.MaxFile)
	case l.MaxRequest < 1<<10:
		return fmt.Errorf("--%smax-request %v: must be at least 1KB", prefix, l.MaxRequest)
	case l.MaxFile > l.MaxRequest:
		return fmt.Errorf("--%smax-file %v: is over --%smax-request %v, which would refuse such a file first", prefix, l.MaxFile, prefix, l.MaxRequest)
	}
	return nil
}

// Pictures bounds what one dialect takes, by the number of pixels. A zero bounds nothing, except for MaxRequest. The
// defaults are set where the struct is embedded.
type Pictures struct {
	MaxPixels  int64 `default:"${max_pixels}" help:"Most pixels of a picture taken; 0 for any."`
	MaxFile    Bytes `default:"${max_file}" help:"Largest picture file taken; 0 for any."`
	MaxRequest Bytes `default:"${max_request}" help:"Largest request body taken."`
}

// Validate reports the first bound that cannot work; prefix is that of the flags, with its trailing dash.
func (p Pictures) Validate(prefix string) error {
	if p.MaxPixels < 0 {
		return fmt.Errorf("--%smax-pixels %d: must not be negative", prefix, p.MaxPixels)
	}
	return Limits{MaxFile: p.MaxFile, MaxRequest: p.MaxRequest}.Validate(prefix)
}

// RemoveBG says how the remove.bg dialect answers.
type RemoveBG struct {
	Pictures `kong:"embed,set='max_pixels=50000000',set='max_file=22MB',set='max_request=48MB'"`
	Size     string `default:"preview" enum:"preview,medium,hd,full,50MP,auto" help:"Size of a result where a request names none: ${enum}."`
}

// BackgroundRemoverAI bounds what the BackgroundRemoverAI dialect takes.
type BackgroundRemoverAI struct {
	Pictures `kong:"embed,set='max_pixels=50000000',set='max_file=25MB',set='max_request=256MB'"`
	MaxFiles int `default:"50" help:"Most pictures of one job."`
}

// Validate reports the first bound that cannot work; prefix is that of the flags, with its trailing dash.
func (b BackgroundRemoverAI) Validate(prefix string) error {
	if b.MaxFiles < 1 {
		return fmt.Errorf("--%smax-files %d: must be at least 1", prefix, b.MaxFiles)
	}
	return b.Pictures.Validate(prefix)
}

// Ximilar bounds what the Ximilar dialect takes.
type Ximilar struct {
	Pictures   `kong:"embed,set='max_pixels=50000000',set='max_file=16MB',set='max_request=128MB'"`
	MaxRecords int `default:"10" help:"Most records of one request."`
}

// Validate reports the first bound that cannot work; prefix is that of the flags, with its trailing dash.
func (x Ximilar) Validate(prefix string) error {
	if x.MaxRecords < 1 {
		return fmt.Errorf("--%smax-records %d: must be at least 1", prefix, x.MaxRecords)
	}
	return x.Pictures.Validate(prefix)
}

// Jobs says where jobs and hosted results are kept, and how many are worked on.
type Jobs struct {
	DataDir         string        `name:"data-dir" env:"CUTOUT_DATA_DIR" placeholder:"DIR" help:"Directory for jobs and hosted results, one process's own; by default below the user's cache directory."`
	NATSURL         string        `name:"nats-url" env:"CUTOUT_NATS_URL" placeholder:"URL" help:"NATS servers with JetStream to keep jobs and results in, comma-separated, so that many processes share them; without it they are kept in --data-dir."`
	NATSCredentials string        `name:"nats-credentials" env:"CUTOUT_NATS_CREDENTIALS" placeholder:"FILE" help:"Credentials for the NATS servers."`
	NATSCA          string        `name:"nats-ca" env:"CUTOUT_NATS_CA" placeholder:"FILE" help:"Certificates that sign those of the NATS servers."`
	NATSCert        string        `name:"nats-cert" env:"CUTOUT_NATS_CERT" placeholder:"FILE" help:"Certificate to show to the NATS servers."`
	NATSKey         string        `name:"nats-key" env:"CUTOUT_NATS_KEY" placeholder:"FILE" help:"Key of that certificate."`
	NATSReplicas    int           `name:"nats-replicas" default:"1" env:"CUTOUT_NATS_REPLICAS" help:"Copies that a NATS cluster keeps of everything, 1 to 5."`
	Workers         int           `name:"job-workers" default:"2" env:"CUTOUT_JOB_WORKERS" help:"Jobs worked on at a time; 0 leaves them to other processes on the same NATS servers."`
	Retention       time.Duration `name:"retention" default:"24h" env:"CUTOUT_RETENTION" help:"How long results can be downloaded, and how long a job may wait."`
	MaxStore        Bytes         `name:"max-store" default:"10GB" env:"CUTOUT_MAX_STORE" help:"Most bytes kept of uploads and results."`
	MinFree         Bytes         `name:"min-free" default:"256MB" env:"CUTOUT_MIN_FREE" help:"Bytes that stay free on the disk of --data-dir."`
	MaxQueue        int           `name:"max-queue" default:"100000" env:"CUTOUT_MAX_QUEUE" help:"Most jobs that wait or run."`
	PublicURL       string        `name:"public-url" env:"CUTOUT_PUBLIC_URL" placeholder:"URL" help:"Address under which clients reach the server, for links to results; by default what each request and its proxy say."`
}

// Validate reports the first setting that cannot work.
func (j Jobs) Validate() error {
	switch {
	case j.NATSReplicas < 1 || j.NATSReplicas > 5:
		return fmt.Errorf("--nats-replicas %d: must be from 1 to 5", j.NATSReplicas)
	case j.NATSReplicas > 1 && j.NATSURL == "":
		return errors.New("--nats-replicas: needs --nats-url")
	case (j.NATSCert == "") != (j.NATSKey == ""):
		return errors.New("--nats-cert and --nats-key: one needs the other")
	case j.Workers < 0 || j.Workers > 1024:
		return fmt.Errorf("--job-workers %d: must be from 0 to 1024", j.Workers)
	case j.Workers == 0 && j.NATSURL == "":
		return errors.New("--job-workers 0: nobody else can do the jobs, which needs --nats-url")
	case j.Retention < time.Minute:
		return fmt.Errorf("--retention %v: must be at least a minute", j.Retention)
	case j.MaxStore < 1<<20:
		return fmt.Errorf("--max-store %v: must be at least 1MB", j.MaxStore)
	case j.MinFree < 1:
		return fmt.Errorf("--min-free %v: must be more than nothing", j.MinFree)
	case j.MaxQueue < 1:
		return fmt.Errorf("--max-queue %d: must be at least 1", j.MaxQueue)
	}
	if j.PublicURL != "" {
		u, err := url.Parse(j.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return fmt.Errorf("--public-url %q: want an address such as https://cutout.example.com", j.PublicURL)
		}
	}
	return nil
}

// Webhooks says how clients' servers are told of what is done.
type Webhooks struct {
	Secret    string `env:"CUTOUT_WEBHOOK_SECRET" placeholder:"SECRET" help:"Secret that signs the calls to clients' servers, at least 16 bytes, or whsec_ and base64. Without it nobody is called back."`
	AllowHTTP bool   `name:"allow-http" env:"CUTOUT_WEBHOOK_ALLOW_HTTP" help:"Call URLs without TLS too."`
	Attempts  int    `default:"12" env:"CUTOUT_WEBHOOK_ATTEMPTS" help:"Attempts at a call, the second after 5 seconds, each further one after twice as long, at most an hour."`
}

// Validate reports the first setting that cannot work. The secret is looked at where it is used.
func (w Webhooks) Validate() error {
	if w.Attempts < 1 || w.Attempts > 100 {
		return fmt.Errorf("--webhook-attempts %d: must be from 1 to 100", w.Attempts)
	}
	return nil
}

// Fetch says which pictures named by URL are fetched, and at what cost.
type Fetch struct {
	Allow       []netip.Prefix `name:"fetch-allow" env:"CUTOUT_FETCH_ALLOW" placeholder:"CIDR" help:"Private range that URLs may point to, on any port (repeatable)."`
	OnlyAllowed bool           `name:"fetch-only-allowed" env:"CUTOUT_FETCH_ONLY_ALLOWED" help:"Fetch from the ranges of --fetch-allow only; without any, nothing is fetched."`
	Timeout     time.Duration  `name:"fetch-timeout" default:"15s" env:"CUTOUT_FETCH_TIMEOUT" help:"Longest time one fetch may take, redirects included."`
	MaxFile     Bytes          `name:"fetch-max-file" default:"64MB" env:"CUTOUT_FETCH_MAX_FILE" help:"Largest file fetched, whatever a dialect takes."`
	Concurrency int            `name:"fetch-concurrency" default:"16" env:"CUTOUT_FETCH_CONCURRENCY" help:"Fetches at a time; the others wait."`
	Rate        float64        `name:"fetch-rate" default:"50" env:"CUTOUT_FETCH_RATE" help:"Fetches a second over all requests."`
}

// Validate reports the first setting that cannot work.
func (f Fetch) Validate() error {
	switch {
	case f.Timeout <= 0:
		return fmt.Errorf("--fetch-timeout %v: must be longer than nothing", f.Timeout)
	case f.MaxFile <= 0:
		return fmt.Errorf("--fetch-max-file %v: must be more than nothing", f.MaxFile)
	case f.Concurrency <= 0:
		return fmt.Errorf("--fetch-concurrency %d: must be at least 1", f.Concurrency)
	case !(f.Rate > 0) || math.IsInf(f.Rate, 0):
		return fmt.Errorf("--fetch-rate %v: must be more than 0", f.Rate)
	}
	for _, p := range f.Allow {
		if p != p.Masked() {
			return fmt.Errorf("--fetch-allow %v: has bits set behind the prefix, want %v", p, p.Masked())
		}
		if p.Addr().Is4In6() {
			return fmt.Errorf("--fetch-allow %v: write the range as IPv4", p)
		}
	}
	return nil
}

// Inference says which network runs, and how.
type Inference struct {
	Model      string `default:"u2netp" env:"CUTOUT_MODEL" help:"Model to find the subject with, by its catalogue name."`
	WeightsDir string `name:"weights-dir" env:"CUTOUT_WEIGHTS_DIR" placeholder:"DIR" help:"Directory with networks that the binary does not carry."`
	Quality    string `default:"balanced" enum:"fast,balanced,precise" env:"CUTOUT_QUALITY" help:"Quality where a request names none: ${enum}."`
	Precision  string `default:"fp32" enum:"fp32" env:"CUTOUT_PRECISION" help:"Arithmetic of the network: ${enum}."`
	CPU        string `name:"cpu" default:"auto" enum:"auto,generic,avx2,avx512,neon" env:"CUTOUT_CPU" help:"Instruction set of the kernels: ${enum}."`
	Threads    int    `default:"0" env:"CUTOUT_THREADS" help:"Cores one inference may use; 0 for all."`
}

// Validate reports the first setting that cannot work.
func (i Inference) Validate() error {
	if i.Model == "" {
		return errors.New("--model: must name a model")
	}
	if i.Threads < 0 || i.Threads > 1024 {
		return fmt.Errorf("--threads %d: must be from 0 to 1024", i.Threads)
	}
	return nil
}

// Log says how the program reports what it does.
type Log struct {
	Format string `name:"log-format" default:"json" enum:"json,text" env:"CUTOUT_LOG_FORMAT" help:"Form of the log: ${enum}."`
	Level  string `name:"log-level" default:"info" enum:"debug,info,warn,error" env:"CUTOUT_LOG_LEVEL" help:"Least severity logged: ${enum}."`
}

// Bytes is a size in bytes. It is written as a number with an optional unit, B, KB, MB or GB (KiB, MiB and GiB mean
// the same); units count in steps of 1024.
type Bytes int64

var byteUnits = []struct {
	name string
	size int64
}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size such as "16MB".
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.ToUpper(strings.TrimSpace(string(text)))
	digits, unit := strings.TrimRight(s, "KMGIB "), int64(1)
	if suffix := strings.TrimSpace(s[len(digits):]); suffix != "" {
		unit = 0
		for _, u := range byteUnits {
			if suffix == u.name || suffix == u.name[:1] || (len(u.name) == 2 && suffix == u.name[:1]+"IB") {
				unit = u.size
			}
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || unit == 0 || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is no size: want a number of bytes with an optional unit KB, MB or GB", text)
	}
	*b = Bytes(n * unit)
	return nil
}

// String writes the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return "0B"
}
