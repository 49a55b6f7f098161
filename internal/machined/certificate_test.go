package machined

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// authorityPatch gives a node the authority of other documents.
func authorityPatch(t *testing.T, docs []byte) string {
	t.Helper()
	other, err := config.Parse("other", docs)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("kind: Machine\nca: {certificate: %q, key: %q}\n", other.Machine.CA.Certificate, other.Machine.CA.Key.Reveal())
}

// TestCertificateWithoutDisk: whom the API lets in and what it shows follow the configuration and the addresses also when the state volume takes no
// writes any more. The reason is told once.
func TestCertificateWithoutDisk(t *testing.T) {
	t.Parallel()
	docs, log := standalone(t), &console{}
	o := &owned{authority: authorityOf(t, docs), disk: storagetest.New(1 << 30), docs: docs}
	o.node = startNodeWith(t, t.TempDir(), o.disk, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	o.source.set(docs)
	o.await("configuration", func(s snapshot) bool { return s.input.Config != nil && s.listening && s.identity })
	admin := o.as(t, "alice", "node:admin")
	o.awaitFile("api.crt")
	if err := o.presentedSoon("10.5.0.7"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.state, "api.crt") // no file takes the place of a directory
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "taken"), 0o700)); err != nil {
		t.Fatal(err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_TRY, authorityPatch(t, standalone(t)))
	o.eventually(t, "the caller is shut out", func() error {
		if _, err := admin.Get(t.Context(), &configv1.GetRequest{}); status.Code(err) != codes.Unauthenticated {
			return fmt.Errorf("the call ended with %v", err)
		}
		return nil
	})
	o.timeline.set(time.Minute + defaultTry)
	o.configs.changed.Wake()
	o.as(t, "alice", "node:admin")
	o.dhcp.Grant("eth0", &network.Lease{Address: prefix("10.5.0.8/24")})
	o.wakers[plan.Network].Wake()
	if err := o.presentedSoon("10.5.0.8"); err != nil {
		t.Errorf("certificate: %v", err)
	}
	o.await("the old address to go", func(s snapshot) bool { return len(s.network.Status.Addresses) == 1 && s.network.Satisfied })
	told := func() int { return strings.Count(log.String(), "store the API's certificate") }
	time.Sleep(time.Second / 2)
	before := told()
	time.Sleep(3 * time.Second / 2)
	if n := told(); n == 0 || n != before {
		t.Errorf("the reason is told %d times, and %d times somewhat later", before, n)
	}
}

// TestStreamsEndWithTheirAuthority: a new Machine.ca shuts out who was let in by the old one, with what they have under way.
func TestStreamsEndWithTheirAuthority(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := machinev1.NewMachineServiceClient(o.dial(t, "bob", "node:reader")).WatchHealth(ctx, &machinev1.WatchHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_AUTO, authorityPatch(t, standalone(t)))
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the authority of the node's API has changed") {
		t.Errorf("the stream ended with %v", err)
	}
}
