// Package deploytest checks what is in deploy: the chart as Helm reads it, what it renders as Kubernetes reads that, and
// queries as Prometheus reads them, against a running server. It is a module of its own, so that none of that is required
// by the program.
package deploytest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../.."
	chartPath = "../helm/cutout"
)

// program builds the program once.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cutout-deploy-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "cutout")
	build := exec.Command("go", "build", "-tags", "nodynamic", "-o", program, ".")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func load(t *testing.T, path string) *chart.Chart {
	t.Helper()
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// set turns "a.b=c" into values; c is YAML.
func set(t *testing.T, pairs ...string) map[string]any {
	t.Helper()
	values := map[string]any{}
	for _, pair := range pairs {
		path, text, _ := strings.Cut(pair, "=")
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		at := values
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			if _, ok := at[name]; !ok {
				at[name] = map[string]any{}
			}
			at = at[name].(map[string]any)
		}
		at[names[len(names)-1]] = value
	}
	return values
}

// render is what helm template does.
func render(c *chart.Chart, values map[string]any) (map[string]string, error) {
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "demo", Namespace: "pictures", IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

// objects are what a chart renders, strictly decoded: an unknown field is an error. Types of other projects are maps.
type objects struct {
	deployment *appsv1.Deployment
	hpa        *autoscalingv2.HorizontalPodAutoscaler
	policy     *networkingv1.NetworkPolicy
	pdb        *policyv1.PodDisruptionBudget
	ingress    *networkingv1.Ingress
	secret     *corev1.Secret
	dashboard  *corev1.ConfigMap
	other      map[string]map[string]any // by kind
	kinds      []string
}

var document = regexp.MustCompile(`(?m)^---\s*$`)

func decode(t *testing.T, files map[string]string) objects {
	t.Helper()
	all := objects{other: map[string]map[string]any{}}
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, doc := range document.Split(text, -1) {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			var head struct {
				APIVersion, Kind string
				Metadata         struct {
					Name   string
					Labels map[string]string
				}
			}
			if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, doc)
			}
			if !regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`).MatchString(head.Metadata.Name) || len(head.Metadata.Name) > 63 {
				t.Errorf("%s: name %q", head.Kind, head.Metadata.Name)
			}
			for key, value := range head.Metadata.Labels {
				if !regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`).MatchString(value) {
					t.Errorf("%s: label %s=%q", head.Kind, key, value)
				}
			}
			all.kinds = append(all.kinds, head.Kind)
			var into any
			switch head.APIVersion + " " + head.Kind {
			case "apps/v1 Deployment":
				all.deployment = &appsv1.Deployment{}
				into = all.deployment
			case "autoscaling/v2 HorizontalPodAutoscaler":
				all.hpa = &autoscalingv2.HorizontalPodAutoscaler{}
				into = all.hpa
			case "networking.k8s.io/v1 NetworkPolicy":
				all.policy = &networkingv1.NetworkPolicy{}
				into = all.policy
			case "policy/v1 PodDisruptionBudget":
				all.pdb = &policyv1.PodDisruptionBudget{}
				into = all.pdb
			case "networking.k8s.io/v1 Ingress":
				all.ingress = &networkingv1.Ingress{}
				into = all.ingress
			case "v1 Secret":
				all.secret = &corev1.Secret{}
				into = all.secret
			case "v1 ConfigMap":
				all.dashboard = &corev1.ConfigMap{}
				into = all.dashboard
			case "v1 Service":
				into = &corev1.Service{}
			case "v1 ServiceAccount":
				into = &corev1.ServiceAccount{}
			case "v1 PersistentVolumeClaim":
				into = &corev1.PersistentVolumeClaim{}
			case "monitoring.coreos.com/v1 ServiceMonitor", "monitoring.coreos.com/v1 PrometheusRule", "keda.sh/v1alpha1 ScaledObject":
				m := map[string]any{}
				all.other[head.Kind] = m
				into = &m
				if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
					t.Error(err)
				}
				all.other[head.Kind] = m
				continue
			default:
				t.Errorf("%s: %s %s is not known", name, head.APIVersion, head.Kind)
				continue
			}
			if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
				t.Errorf("%s: %v\n%s", head.Kind, err, doc)
			}
		}
	}
	slices.Sort(all.kinds)
	return all
}

// full switches on everything that goes together.
var full = []string{
	"nats.url=nats://{{ .Release.Name }}-nats:4222", "nats.replicas=3", "nats.credentialsSecret=nats-creds", "nats.tlsSecret=nats-tls",
	"nats.clientCertificate=true", "autoscaling.enabled=true", "autoscaling.inFlight=4", "autoscaling.queueDepth=20",
	"ingress.enabled=true", "ingress.className=nginx", "ingress.tlsSecret=cutout-tls", "ingress.annotations={cert-manager.io/cluster-issuer: letsencrypt}",
	`apiKeys.lines="alice 2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"`, "rapidAPI.existingSecret=rapidapi",
	"metrics.serviceMonitor.enabled=true", "metrics.rules.enabled=true", "metrics.dashboard.enabled=true",
	"settings={quality: precise, max-store: 20GB, api4ai-max-width: 8000}", "networkPolicy.fetchAllow=[10.1.0.0/16]",
	"networkPolicy.from=[{namespaceSelector: {}}]", "networkPolicy.extraEgress=[{to: [{ipBlock: {cidr: 192.0.2.1/32}}]}]",
	"podAnnotations={a: b}", "podLabels={team: pictures}", "nodeSelector={kubernetes.io/arch: arm64}", "imagePullSecrets=[{name: pull}]",
	"tolerations=[{operator: Exists}]", "priorityClassName=high", "extraEnv=[{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: 'http://otel:4318'}]",
	"tls.secret=pod-tls", "service.annotations={a: b}", "serviceAccount.annotations={a: b}",
}

func TestLint(t *testing.T) {
	for name, values := range map[string]map[string]any{"defaults": {}, "everything": set(t, full...)} {
		for _, m := range lint.All(chartPath, values, "pictures", true).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestRender(t *testing.T) {
	c := load(t, chartPath)
	for name, tc := range map[string]struct {
		values []string
		want   string // kinds
		err    string
	}{
		"defaults":   {nil, "Deployment NetworkPolicy Service ServiceAccount", ""},
		"everything": {full, "ConfigMap Deployment HorizontalPodAutoscaler Ingress NetworkPolicy PodDisruptionBudget PrometheusRule Secret Service ServiceAccount ServiceMonitor", ""},
		"keda": {[]string{"keda.enabled=true", "nats.url=nats://nats:4222", "serviceAccount.create=false"},
			"Deployment NetworkPolicy PodDisruptionBudget ScaledObject Service", ""},
		"one that persists":     {[]string{"persistence.enabled=true", "persistence.storageClass=fast"}, "Deployment NetworkPolicy PersistentVolumeClaim Service ServiceAccount", ""},
		"closed":                {[]string{"networkPolicy.fetch=false"}, "Deployment NetworkPolicy Service ServiceAccount", ""},
		"several without NATS":  {[]string{"replicaCount=3"}, "", "set nats.url"},
		"several on their own":  {[]string{"replicaCount=3", "jobs.perPod=true"}, "Deployment NetworkPolicy PodDisruptionBudget Service ServiceAccount", ""},
		"scaled twice":          {[]string{"autoscaling.enabled=true", "keda.enabled=true", "nats.url=x"}, "", "only one may scale"},
		"several on one volume": {[]string{"replicaCount=3", "nats.url=x", "persistence.enabled=true"}, "", "cannot share one volume"},
		"two files of keys":     {[]string{"apiKeys.lines=a", "apiKeys.existingSecret=b"}, "", "only one can hold the keys"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(c, set(t, tc.values...))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			all := decode(t, files)
			if got := strings.Join(all.kinds, " "); got != tc.want {
				t.Errorf("renders %s\nwant    %s", got, tc.want)
			}
			checkPod(t, all)
		})
	}
}

// checkPod checks what holds for every pod: it may do nothing, and mounts what it names and no more.
func checkPod(t *testing.T, all objects) {
	t.Helper()
	pod := all.deployment.Spec.Template.Spec
	c := pod.Containers[0]
	s := c.SecurityContext
	if !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !*s.RunAsNonRoot || len(s.Capabilities.Drop) != 1 ||
		s.Capabilities.Drop[0] != "ALL" || *pod.SecurityContext.RunAsUser == 0 || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*pod.AutomountServiceAccountToken || c.ReadinessProbe == nil || c.LivenessProbe == nil || c.StartupProbe == nil || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("the pod may do too much: %+v %+v", s, pod.SecurityContext)
	}
	var volumes, mounts []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.Name)
	}
	if !slices.Equal(volumes, mounts) {
		t.Errorf("volumes %v, mounted %v", volumes, mounts)
	}
	selector := all.deployment.Spec.Selector.MatchLabels
	for key, value := range selector {
		if all.deployment.Spec.Template.Labels[key] != value {
			t.Errorf("the pod has no label %s=%s", key, value)
		}
	}
	probe := c.ReadinessProbe.HTTPGet
	if probe.Path != "/readyz" || probe.Port.StrVal != c.Ports[0].Name {
		t.Errorf("readiness is asked for at %+v", probe)
	}
	variables := variables(t)
	seen := map[string]bool{}
	for _, e := range c.Env {
		if seen[e.Name] {
			t.Errorf("%s is set twice", e.Name)
		}
		seen[e.Name] = true
		if strings.HasPrefix(e.Name, "CUTOUT_") && !variables[e.Name] {
			t.Errorf("%s is no variable of cutout serve", e.Name)
		}
		if path := e.Value; strings.HasPrefix(path, "/etc/cutout/") && !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return strings.HasPrefix(path, m.MountPath+"/") }) {
			t.Errorf("%s=%s is not mounted", e.Name, path)
		}
	}
}

// variables are those that the program reads.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	out, err := exec.Command(program, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range regexp.MustCompile(`CUTOUT_[A-Z0-9_]+`).FindAllString(string(out), -1) {
		all[name] = true
	}
	return all
}

func TestRenderedValues(t *testing.T) {
	files, err := render(load(t, chartPath), set(t, full...))
	if err != nil {
		t.Fatal(err)
	}
	all := decode(t, files)
	env := map[string]string{}
	for _, e := range all.deployment.Spec.Template.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	for name, want := range map[string]string{
		"CUTOUT_NATS_URL": "nats://demo-nats:4222", "CUTOUT_QUALITY": "precise", "CUTOUT_MAX_STORE": "20GB", "CUTOUT_API4AI_MAX_WIDTH": "8000",
		"CUTOUT_PUBLIC_URL": "https://cutout.example.com", "CUTOUT_API_KEYS": "/etc/cutout/keys/keys.txt", "CUTOUT_FETCH_ALLOW": "10.1.0.0/16",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if all.deployment.Spec.Replicas != nil {
		t.Error("the number of pods is set against the autoscaler")
	}
	var scaled []string
	for _, m := range all.hpa.Spec.Metrics {
		switch {
		case m.Pods != nil:
			scaled = append(scaled, m.Pods.Metric.Name)
		case m.External != nil:
			scaled = append(scaled, m.External.Metric.Name)
		case m.Resource != nil:
			scaled = append(scaled, string(m.Resource.Name))
		}
	}
	if fmt.Sprint(scaled) != "[cpu cutout_requests_in_flight cutout_queue_depth]" {
		t.Errorf("scaled by %v", scaled)
	}
	if !strings.HasPrefix(all.secret.StringData["keys.txt"], "alice ") {
		t.Errorf("keys %q", all.secret.StringData)
	}
	if all.ingress.Spec.TLS[0].SecretName != "cutout-tls" || *all.ingress.Spec.IngressClassName != "nginx" {
		t.Errorf("ingress %+v", all.ingress.Spec)
	}
	var shown map[string]any
	if err := json.Unmarshal([]byte(all.dashboard.Data["cutout.json"]), &shown); err != nil {
		t.Errorf("dashboard: %v", err)
	}
	if groups, ok := all.other["PrometheusRule"]["spec"].(map[string]any)["groups"].([]any); !ok || len(groups) == 0 {
		t.Errorf("rules %v", all.other["PrometheusRule"])
	}
	if probe := all.deployment.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet; probe.Scheme != corev1.URISchemeHTTPS {
		t.Errorf("readiness is asked for with %s", probe.Scheme)
	}
	if grace, drain := *all.deployment.Spec.Template.Spec.TerminationGracePeriodSeconds, int64(5+30+30); grace <= drain {
		t.Errorf("killed after %d seconds, %d are needed", grace, drain)
	}
}

// The chart with NATS renders with everything but the servers, whose chart is somebody else's.
func TestWithNATS(t *testing.T) {
	c, err := loader.Load("../helm/cutout-nats")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range c.Metadata.Dependencies {
		names = append(names, d.Name)
	}
	if fmt.Sprint(names) != "[cutout nats]" {
		t.Fatalf("depends on %v", names)
	}
	c.SetDependencies(load(t, chartPath))
	files, err := render(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := decode(t, files)
	for _, e := range all.deployment.Spec.Template.Spec.Containers[0].Env {
		if e.Name == "CUTOUT_NATS_URL" && e.Value != "nats://demo-nats:4222" {
			t.Errorf("NATS at %s", e.Value)
		}
	}
	if all.hpa == nil {
		t.Error("nothing scales")
	}
}

// server runs the program, sends it some of everything and returns its metrics with their labels.
func scrape(t *testing.T) map[string]map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	keys := filepath.Join(t.TempDir(), "keys")
	made := exec.CommandContext(ctx, program, "keys", "new", "alice")
	var secret bytes.Buffer
	made.Stderr = &secret
	line, err := made.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, line, 0o600); err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(secret.String()[strings.LastIndex(secret.String(), ": ")+2:])
	cmd := exec.CommandContext(ctx, program, "serve", "--addr", "127.0.0.1:0", "--data-dir", t.TempDir(), "--api-keys", keys, "--fetch-only-allowed")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	base := ""
	for lines := bufio.NewScanner(stderr); base == "" && lines.Scan(); {
		var entry struct{ Msg, Addr string }
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "ready" {
			base = "http://" + entry.Addr
		}
	}
	if base == "" {
		t.Fatal("does not come up")
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	photo, err := os.ReadFile(root + "/testdata/photos/astronaut-crop.png")
	if err != nil {
		t.Fatal(err)
	}
	post := func(path string, fields map[string][]byte) string {
		t.Helper()
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, data := range fields {
			part, err := form.CreateFormField(name)
			if strings.HasPrefix(string(data), "\x89PNG") {
				part, err = form.CreateFormFile(name, "a.png")
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = part.Write(data)
		}
		_ = form.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, &body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		req.Header.Set("X-Api-Key", key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	post("/v1/results", map[string][]byte{"image": photo})
	post("/v1/results", map[string][]byte{"image": []byte("no picture")})
	reply := post("/v1/convert/", map[string][]byte{"convert_to": []byte("image-backgroundremover"), "files": photo})
	var job struct{ UUID string }
	if err := json.Unmarshal([]byte(reply), &job); err != nil || job.UUID == "" {
		t.Fatalf("job: %s, %v", reply, err)
	}
	for !strings.Contains(post("/v1/results/", map[string][]byte{"uuid": []byte(job.UUID)}), `"finished":true`) {
		if ctx.Err() != nil {
			t.Fatal("the job does not end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	res, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	all := map[string]map[string]bool{}
	label := regexp.MustCompile(`([a-zA-Z_]+)="`)
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		text := lines.Text()
		if strings.HasPrefix(text, "#") || text == "" {
			continue
		}
		name := text[:strings.IndexAny(text, "{ ")]
		if all[name] == nil {
			all[name] = map[string]bool{}
		}
		if open := strings.IndexByte(text, '{'); open >= 0 {
			for _, m := range label.FindAllStringSubmatch(text[open:strings.LastIndexByte(text, '}')], -1) {
				all[name][m[1]] = true
			}
		}
	}
	return all
}

// byHand are the metrics that the traffic of this test does not bring about, with their labels as package metrics has them.
var byHand = map[string][]string{
	"cutout_key_limited_total":         {"key"},
	"cutout_jobs_retried_total":        {"kind"},
	"cutout_webhooks_total":            {"outcome"},
	"cutout_admission_refused_total":   {"class", "reason"},
	"cutout_video_frames_total":        {"format"},
	"cutout_video_frames_looked_total": {"format"},
	"cutout_video_clips_total":         {"format", "outcome"},
	"cutout_model_loads_total":         {"model"},
	"cutout_model_unloads_total":       {"model"},
}

func TestQueriesAskForWhatThereIs(t *testing.T) {
	there := scrape(t)
	source := ""
	files, err := filepath.Glob(root + "/metrics/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source += string(data)
	}
	for name, labels := range byHand {
		if there[name] != nil {
			t.Errorf("%s is served: it needs no entry by hand", name)
		}
		if !strings.Contains(source, `"`+name+`"`) {
			t.Errorf("%s: package metrics has no such name", name)
		}
		there[name] = map[string]bool{}
		for _, l := range labels {
			there[name][l] = true
		}
	}
	queries := queries(t)
	if len(queries) < 30 {
		t.Errorf("only %d queries", len(queries))
	}
	for where, query := range queries {
		query = strings.NewReplacer("$__rate_interval", "5m", "$job", "cutout").Replace(query)
		expr, err := parser.ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			selector, ok := node.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			if there[selector.Name] == nil {
				t.Errorf("%s: the server has no %s", where, selector.Name)
				return nil
			}
			for _, m := range selector.LabelMatchers {
				if m.Name != labels.MetricName && m.Name != "job" && m.Name != "instance" && !there[selector.Name][m.Name] {
					t.Errorf("%s: %s has no label %s", where, selector.Name, m.Name)
				}
			}
			return nil
		})
		parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
			sum, ok := node.(*parser.AggregateExpr)
			if !ok {
				return nil
			}
			has := map[string]bool{"job": true, "instance": true}
			parser.Inspect(sum.Expr, func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok {
					for l := range there[s.Name] {
						has[l] = true
					}
				}
				return nil
			})
			for _, l := range sum.Grouping {
				if !has[l] {
					t.Errorf("%s: grouped by %s, which nothing in it has", where, l)
				}
			}
			return nil
		})
	}
}

// queries are those of the dashboard, the alerts and the autoscalers.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, RefID string }
		}
	}
	data, err := os.ReadFile(chartPath + "/files/dashboard.json")
	if err == nil {
		err = json.Unmarshal(data, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for i, target := range p.Targets {
			all[fmt.Sprintf("panel %q, query %d", p.Title, i+1)] = target.Expr
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if data, err = os.ReadFile(chartPath + "/files/alerts.yaml"); err == nil {
		err = yaml.Unmarshal(data, &alerts)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts.Groups[0].Rules {
		all["alert "+r.Alert] = r.Expr
	}
	files, err := render(load(t, chartPath), set(t, "keda.enabled=true", "nats.url=nats://nats:4222"))
	if err != nil {
		t.Fatal(err)
	}
	for i, trigger := range decode(t, files).other["ScaledObject"]["spec"].(map[string]any)["triggers"].([]any) {
		all[fmt.Sprintf("trigger %d", i)] = trigger.(map[string]any)["metadata"].(map[string]any)["query"].(string)
	}
	return all
}

var goLine = regexp.MustCompile(`(?m)^go (\d+\.\d+)`)

// The Dockerfile's last stages run without root, and its Go is that of go.mod.
func TestDockerfile(t *testing.T) {
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "golang:" + goLine.FindStringSubmatch(string(module))[1] + "-"; !strings.Contains(string(data), want) {
		t.Errorf("not built with %s", want)
	}
	stages := regexp.MustCompile(`(?m)^FROM `).Split(string(data), -1)[1:]
	if len(stages) != 3 {
		t.Fatalf("%d stages", len(stages))
	}
	for _, stage := range stages[1:] {
		for _, want := range []string{"USER 65532:65532", `ENTRYPOINT ["/cutout"]`, `CMD ["serve"]`, "CUTOUT_DATA_DIR=/data", "COPY --from=build /out/cutout /cutout"} {
			if !strings.Contains(stage, want) {
				t.Errorf("a stage has no %s:\n%s", want, stage)
			}
		}
	}
	if !strings.HasPrefix(stages[2], "scratch\n") {
		t.Error("the default image is not empty")
	}
	if !strings.Contains(stages[0], "$BUILDPLATFORM") || !strings.Contains(stages[0], "GOARCH=$TARGETARCH") || !strings.Contains(stages[0], "CGO_ENABLED=0") {
		t.Error("not built for every architecture")
	}
}
