package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// webPort is that of the host's web server, as the guest sees it.
const webPort = 80

// fileServer has one file, and cuts the first answer off in its middle.
type fileServer struct {
	path   string
	cut    atomic.Bool
	ranges atomic.Int32
}

// ServeHTTP implements http.Handler.
func (f *fileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/good.cyvive" {
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

// TestPull has a node fetch a release from a web server that cuts the connection, and judge it by a gate of the configuration too. It needs a release of
// another version, as TestUpgrade does.
func TestPull(t *testing.T) {
	e, ctx := requireUpgrades(t)
	files := &fileServer{}
	web := httptest.NewServer(files)
	t.Cleanup(web.Close) // after the machine has ended: it waits for what is being served
	options := e.options(t)
	options.Reach = []network.Reach{{Port: webPort, Command: e.dialer(t, ctx) + " " + strings.TrimPrefix(web.URL, "http://")}}
	host := net.JoinHostPort(network.UserHost.String(), fmt.Sprint(webPort))
	s := startAloneIn(t, ctx, e, options, func(cfg *config.Config) {
		cfg.Machine.Upgrade.Deadline = aloneDeadline
		cfg.Machine.Upgrade.Gates = []config.Gate{{Name: "web", Kind: config.GateTCP, Target: host}}
	})
	r := e.releases(t)
	files.path = r.sign(t, r.build(t, ctx, "good", variant.GoodVersion), "good")
	ctx = testContext(t, pushTimeout+2*bootTimeout)
	if _, err := s.Tools().Nodectl(ctx, "upgrade", "--from", "http://"+host+"/missing"); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("a release that is not there: %v", err)
	}
	before := currentBoot(t, ctx, s)
	console := machine(t, s.Cluster, s.node).Console()
	s.nodectl(t, ctx, "upgrade", "--from", "http://"+host+"/good.cyvive", "--wait=false")
	if files.ranges.Load() == 0 {
		t.Error("the node did not go on with what was cut off")
	}
	if _, err := console.WaitLine(ctx, regexp.MustCompile(`reboot: Restarting system`)); err != nil {
		t.Fatal(err)
	}
	s.awaitVersion(t, ctx, before, variant.GoodVersion, machinev1.Slot_SLOT_B)
	s.awaitBlessed(t, ctx, variant.GoodVersion)
	var status struct {
		Gates []struct {
			Name  string
			Holds bool
		}
	}
	if err := json.Unmarshal([]byte(s.nodectl(t, ctx, "upgrade", "status", "--output", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if last := status.Gates[len(status.Gates)-1]; last.Name != "gate web" || !last.Holds {
		t.Errorf("the gates end with %+v", last)
	}
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
