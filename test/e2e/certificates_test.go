package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

// testCertificates shows the node each wrong certificate. Every refusal has
// words of its own.
func testCertificates(t *testing.T, s *suite) {
	ctx := testContext(t, 2*time.Minute)
	data, err := os.ReadFile(s.UserDataPath(s.node))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("user-data", data)
	if err != nil {
		t.Fatal(err)
	}
	own, err := pki.ParseAuthority([]byte(cfg.Machine.CA.Certificate), []byte(cfg.Machine.CA.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	other, err := pki.NewAuthority("another", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		signer  *pki.Authority
		roles   []string
		expired bool
		command []string
		want    string
	}{
		{"other authority", other, []string{"node:admin"}, false, []string{"get", "nodes"}, "not this node's authority"},
		{"expired", own, []string{"node:admin"}, true, []string{"get", "nodes"}, "expired"},
		{"no role", own, nil, false, []string{"get", "nodes"}, "carries no role"},
		{"unknown role", own, []string{"node:king"}, false, []string{"get", "nodes"}, "no known role"},
		{"wrong role", own, []string{"node:reader"}, false, []string{"reboot"}, "needs one of the roles"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := pki.Request{CommonName: "e2e", Organizations: c.roles, Client: true, Lifetime: time.Hour}
			at := now
			if c.expired {
				at = now.Add(-30 * time.Minute)
				request.Lifetime = 10 * time.Minute
			}
			pair, err := c.signer.Issue(request, at)
			if err != nil {
				t.Fatal(err)
			}
			err = callWith(t, ctx, s, own, pair, c.command)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := s.Tools().Nodectl(ctx, "version", "--insecure")
		if err == nil || !strings.Contains(err.Error(), "no client certificate") {
			t.Errorf("got %v, want an error with %q", err, "no client certificate")
		}
	})
	t.Run("right role", func(t *testing.T) {
		pair, err := own.Issue(pki.Request{CommonName: "e2e", Organizations: []string{"node:reader"}, Client: true, Lifetime: time.Hour}, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := callWith(t, ctx, s, own, pair, []string{"get", "nodes"}); err != nil {
			t.Error(err)
		}
	})
}

// callWith runs nodectl with a context made of a client certificate.
func callWith(t *testing.T, ctx context.Context, s *suite, node *pki.Authority, client pki.Pair, command []string) error {
	t.Helper()
	own, err := contexts.Load(s.ContextPath())
	if err != nil {
		t.Fatal(err)
	}
	_, used, err := own.Select("")
	if err != nil {
		t.Fatal(err)
	}
	const name = "certificate"
	file := contexts.File{Current: name, Contexts: map[string]*contexts.Context{name: {
		Nodes: used.Nodes, CA: string(node.CertificatePEM()),
		Certificate: string(client.CertificatePEM), Key: string(client.KeyPEM),
	}}}
	data, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nodectl.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Tools().With("NODECTL_CONFIG", path).Nodectl(ctx, command...)
	return err
}
