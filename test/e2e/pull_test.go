package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// webPort and httpsPort are those of the host's web servers, as the guest sees them.
const (
	webPort   = 80
	httpsPort = 443
)

// fileServer has one file, and cuts the first answer off in its middle.
type fileServer struct {
	path   string
	cut    atomic.Bool
	ranges atomic.Int32
}

// ServeHTTP implements http.Handler.
func (f *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/good.cyvive":
	case "/ok":
		return // with success
	default:
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("Range") != "" {
		f.ranges.Add(1)
	}
	if !f.cut.Swap(true) {
		w = &halfWriter{w, 8 << 20}
	}
	http.ServeFile(w, r, f.path)
}

// halfWriter ends the connection after so many bytes.
type halfWriter struct {
	http.ResponseWriter
	left int
}

// Write implements io.Writer.
func (h *halfWriter) Write(p []byte) (int, error) {
	if len(p) > h.left {
		panic(http.ErrAbortHandler)
	}
	h.left -= len(p)
	return h.ResponseWriter.Write(p)
}

// dialer compiles the program by which guests reach a port of the host.
func (e env) dialer(t *testing.T, ctx context.Context) string {
	t.Helper()
	path := filepath.Join(e.workDir(t), "dial")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./hack/qemu/dial")
	cmd.Dir = e.root
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile hack/qemu/dial: %v\n%s", err, words)
	}
	return path
}

// TestPull has a node fetch a release from a web server that cuts the connection, and from a registry that it knows by its authority and shows an account, and judge
// it by gates of the configuration too. It needs a release of another version, as TestUpgrade does.
func TestPull(t *testing.T) {
	e, ctx := requireUpgrades(t)
	files := &fileServer{}
	// After the machine has ended: they wait for what is being served.
	web, unknown := httptest.NewServer(files), httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	t.Cleanup(unknown.Close)
	registry := newRegistry(t)
	options, dial := e.options(t), e.dialer(t, ctx)
	options.Reach = []network.Reach{
		{Port: webPort, Command: dial + " " + strings.TrimPrefix(web.URL, "http://")}, {Port: httpsPort, Command: dial + " " + strings.TrimPrefix(unknown.URL, "https://")},
		registry.reach(t, ctx, e),
	}
	at := func(port uint16) string { return net.JoinHostPort(network.UserHost.String(), fmt.Sprint(port)) }
	gates := []config.Gate{{Name: "web", Kind: config.GateTCP, Target: at(webPort)}, {Name: "page", Kind: config.GateHTTP, Target: "http://" + at(webPort) + "/ok"}}
	s := startAloneIn(t, ctx, e, options, func(cfg *config.Config) {
		cfg.Machine.Upgrade.Deadline = aloneDeadline
		cfg.Machine.Upgrade.Gates = gates
		cfg.Machine.Upgrade.Sources = []config.UpgradeSource{{
			Host: at(registryPort), CA: string(registry.authority.CertificatePEM()),
			Credentials: &config.Credentials{Username: registryUser, Password: config.NewSecret(registryPassword)},
		}}
	})
	r := e.releases(t)
	files.path = r.sign(t, r.build(t, ctx, "good", variant.GoodVersion), "good")
	registry.addRelease(t, files.path)
	ctx = testContext(t, 2*pushTimeout+2*bootTimeout)
	// The certificate of a server that the configuration does not name is not judged.
	for _, missing := range []string{"http://" + at(webPort) + "/missing", "https://" + at(httpsPort) + "/missing"} {
		if _, err := s.Tools().Nodectl(ctx, "upgrade", "--from", missing); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
			t.Errorf("a release that is not at %s: %v", missing, err)
		}
	}
	s.stage(t, ctx, "--from", "http://"+at(webPort)+"/good.cyvive")
	if files.ranges.Load() == 0 {
		t.Error("the node did not go on with what was cut off")
	}
	s.nodectl(t, ctx, "upgrade", "cancel")
	s.stage(t, ctx, "--from", "oci://"+at(registryPort)+"/pulled:1")
	if n := registry.answers(""); n < 2 {
		t.Errorf("the registry was asked %d times with the account, want for the manifest and for the release", n)
	}
	before := currentBoot(t, ctx, s)
	s.nodectl(t, ctx, "reboot")
	s.awaitVersion(t, ctx, before, variant.GoodVersion, machinev1.Slot_SLOT_B)
	s.awaitBlessed(t, ctx, variant.GoodVersion)
	s.checkGates(t, ctx, gates)
}

// TestDrain evicts the pods of a cluster's only node before a reboot, with the rights of its agent and the API server's own judgement; after the boot the
// node takes pods again.
func TestDrain(t *testing.T) {
	e := requireImage(t)
	longOnly(t, "boots a cluster twice")
	ctx := testContext(t, shutdownDeadline+3*bootTimeout)
	c := create(t, ctx, e.options(t))
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0]}
	bringUp(t, ctx, s)
	// Those that were placed on the node: a drain asks no other to leave it.
	uids := func(ctx context.Context) (string, error) {
		return s.Tools().Kubectl(ctx, "get", "pods", "--namespace", "kube-system", "--selector", "k8s-app=kube-dns", "--field-selector", "spec.nodeName="+s.node.Name,
			"--output", "jsonpath={.items[*].metadata.uid}")
	}
	var before string
	eventually(t, ctx, "wait for a pod of cluster DNS", func(ctx context.Context) (err error) {
		if before, err = uids(ctx); err == nil && before == "" {
			err = errors.New("it has none that could be evicted")
		}
		return err
	})
	s.nodectl(t, ctx, "reboot", "--drain=always", "--drain-timeout", "2m", "--wait-timeout", bootTimeout.String())
	s.recover(t, ctx)
	eventually(t, ctx, "wait for the node to take pods again", func(ctx context.Context) error {
		out, err := s.Tools().Kubectl(ctx, "get", "nodes", "--output", "jsonpath={.items[*].spec.unschedulable}{.items[*].metadata.annotations.cyvive\\.dev/cordoned-by-boot}")
		if err != nil {
			return err
		}
		if out != "" {
			return fmt.Errorf("it is cordoned still: %s", out)
		}
		return nil
	})
	eventually(t, ctx, "wait for another pod of cluster DNS", func(ctx context.Context) error {
		if now, err := uids(ctx); err != nil || now == "" || now == before {
			return fmt.Errorf("its pods are %q, and were %q before the drain: %v", now, before, err)
		}
		return nil
	})
}
