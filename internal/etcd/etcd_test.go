package etcd_test

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/etcdtest"
	"github.com/cyvive/cyvive/internal/pki"
)

var update = flag.Bool("update", false, "write the golden files again")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is an etcd domain on fakes.
type world struct {
	*etcd.Reconciler
	t          *testing.T
	now        time.Time
	containers *containertest.Fake
	held       []string
	member     etcdtest.Member
	dir        string
	spec       etcd.Spec
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ca, err := pki.NewAuthority("etcd", start)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, now: start, dir: t.TempDir()}
	clock := func() time.Time { return w.now }
	w.containers = containertest.NewFake("system", clock)
	w.spec = etcd.Spec{Name: "node1", Address: netip.MustParseAddr("10.5.0.2"), CA: ca}
	w.Reconciler = etcd.New(etcd.Config{
		Containers: w.containers, Now: clock, Held: func() []string { return w.held },
		Layout: etcd.Layout{Rootfs: "/rootfs", Secrets: filepath.Join(w.dir, "secrets"), Data: filepath.Join(w.dir, "data")},
		Health: w.member.Health,
	})
	return w
}

// pass observes, applies every operation, and returns their texts.
func (w *world) pass() []string {
	w.t.Helper()
	var texts []string
	for _, op := range w.Diff(w.spec, w.observe()) {
		texts = append(texts, op.String())
		if err := w.Apply(w.t.Context(), w.spec, op); err != nil {
			w.t.Fatal(err)
		}
	}
	return texts
}

func (w *world) observe() etcd.Observed {
	w.t.Helper()
	obs, err := w.Observe(w.t.Context(), w.spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return obs
}

func (w *world) status() etcd.Status { return w.Status(w.spec, w.observe()) }

func (w *world) expect(what string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.pass()); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestLifeOfAMember(t *testing.T) {
	w := newWorld(t)
	if s := w.status(); s.Ready || s.Reason != "container etcd to be started" {
		t.Errorf("before: got %+v", s)
	}
	w.expect("from nothing", "issue certificates of etcd", "run container etcd")
	w.expect("again")
	if s := w.status(); !s.Ready || s.Reason != "" {
		t.Errorf("running: got %+v, want it ready", s)
	}

	w.member.Fail("no leader")
	if s := w.status(); s.Ready || s.Healthy || s.Reason != "etcd to be healthy: no leader" {
		t.Errorf("unhealthy: got %+v", s)
	}
	w.expect("an unhealthy member is left to itself")
	w.member.Fail("")

	w.containers.Exit("etcd", 2)
	if s := w.status(); s.Reason != "container etcd to be started again: it exited with 2, next start in 1s" {
		t.Errorf("exited: got %+v", s)
	}
	w.expect("in back-off")
	w.now = w.now.Add(time.Second)
	w.held = []string{"etcd"}
	w.expect("held")
	w.held = nil
	w.expect("after the back-off", "run container etcd")
	if s := w.status(); !s.Ready || s.Restarts != 1 {
		t.Errorf("started again: got %+v", s)
	}

	w.now = w.now.Add(300 * 24 * time.Hour)
	w.expect("certificates grow old; the member reads new ones by itself", "issue certificates of etcd")
	w.expect("and are renewed")

	w.spec.Address = netip.MustParseAddr("10.5.0.3")
	w.expect("another address", "issue certificates of etcd", "run container etcd")
	if c, _ := w.containers.Spec("etcd"); !strings.Contains(strings.Join(c.Args, " "), "https://10.5.0.3:2380") {
		t.Errorf("arguments: got %q", c.Args)
	}

	w.containers.SetUnavailable(true)
	w.expect("no runtime")
	if s := w.status(); s.Reason != "the system container runtime to answer" {
		t.Errorf("no runtime: got %+v", s)
	}
}

func TestNewAgentAdopts(t *testing.T) {
	w := newWorld(t)
	w.pass()
	next := etcd.New(etcd.Config{
		Containers: w.containers, Now: func() time.Time { return w.now },
		Layout: etcd.Layout{Rootfs: "/rootfs", Secrets: filepath.Join(w.dir, "secrets"), Data: filepath.Join(w.dir, "data")},
		Health: w.member.Health,
	})
	w.Reconciler = next
	w.expect("a new agent finds nothing to do")
}

func TestContainerIsAsRecorded(t *testing.T) {
	w := newWorld(t)
	w.pass()
	spec, _ := w.containers.Spec("etcd")
	text := render(spec, w.dir)
	golden := filepath.Join("testdata", "container.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got); -update writes it again:\n%s", golden, diff)
	}
}

// render prints what does not depend on the test's directory and keys.
func render(s container.Spec, dir string) string {
	var b strings.Builder
	line := func(words ...string) {
		b.WriteString(strings.ReplaceAll(strings.Join(words, " "), dir, "DIR") + "\n")
	}
	line("name", s.Name)
	line("rootfs", s.Rootfs)
	for _, a := range s.Args {
		line("arg", a)
	}
	for _, m := range s.Mounts {
		line("mount", m.Source, m.Destination, strings.Join(m.Options, ","))
	}
	line("capabilities", strings.Join(s.Capabilities, ","))
	line("cgroup", s.Cgroup)
	return b.String()
}

func TestSecretsServeTheirUse(t *testing.T) {
	w := newWorld(t)
	files, err := etcd.Secrets(w.spec, start)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, name string
		usage      x509.ExtKeyUsage
		good       bool
	}{
		{"server.crt", "127.0.0.1", x509.ExtKeyUsageServerAuth, true},
		{"server.crt", "localhost", x509.ExtKeyUsageServerAuth, true},
		{"server.crt", "10.5.0.2", x509.ExtKeyUsageServerAuth, false},
		{"server.crt", "127.0.0.1", x509.ExtKeyUsageClientAuth, false},
		{"peer.crt", "10.5.0.2", x509.ExtKeyUsageServerAuth, true},
		{"peer.crt", "10.5.0.2", x509.ExtKeyUsageClientAuth, true},
		{"peer.crt", "127.0.0.1", x509.ExtKeyUsageServerAuth, false},
	} {
		certificate, err := pki.ParseCertificate(files[c.file])
		if err != nil {
			t.Fatal(err)
		}
		_, err = certificate.Verify(x509.VerifyOptions{
			Roots: w.spec.CA.Pool(), DNSName: c.name, KeyUsages: []x509.ExtKeyUsage{c.usage}, CurrentTime: start,
		})
		if good := err == nil; good != c.good {
			t.Errorf("%s for %s (usage %d): got %v, want good %t", c.file, c.name, c.usage, err, c.good)
		}
	}
	for _, name := range []string{"server", "peer"} {
		if _, err := tls.X509KeyPair(files[name+".crt"], files[name+".key"]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
