package machined

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
)

// FuzzCompose: whatever is given as a document and a patch, what comes out is what the parser takes, and no error shows a secret of the current
// configuration.
func FuzzCompose(f *testing.F) {
	a, err := pki.NewAuthority("api", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	current, err := config.Marshal(&config.Config{Machine: config.Machine{
		Hostname: "node1", CA: config.KeyPair{Certificate: string(a.CertificatePEM()), Key: config.NewSecret(string(a.KeyPEM()))},
	}})
	if err != nil {
		f.Fatal(err)
	}
	shown, err := config.Redact(current)
	if err != nil {
		f.Fatal(err)
	}
	secret := strings.Split(string(a.KeyPEM()), "\n")[1]
	f.Add(string(shown), "")
	f.Add("", "kind: Machine\nhostname: node2\n")
	f.Add(string(shown), "kind: Machine\nca: {key: '[redacted]', certificate: '[redacted]'}\n")
	f.Add("kind: Machine\nhostname: '[redacted]'\nca: '[redacted]'\n", "kind: Network\nlinks: [{name: '[redacted]'}]\n")
	f.Fuzz(func(t *testing.T, document, patch string) {
		data, cfg, err := compose(current, server.ConfigDocument{Name: "mine.yaml", Document: document, Patch: patch}, nil)
		if (err == nil) == (cfg == nil) {
			t.Fatalf("a configuration %v, and the error %v", cfg, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows a secret: %v", err)
			}
			return
		}
		if _, err := config.Parse("again", data); err != nil {
			t.Errorf("what was taken is not valid: %v", err)
		}
		if out, err := config.Redact(data); err != nil || bytes.Contains(out, []byte(secret)) {
			t.Errorf("what was taken shows a secret: %v\n%s", err, out)
		}
	})
}
