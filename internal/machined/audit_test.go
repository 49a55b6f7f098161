package machined

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// TestAuditMovesToTheStateVolume: what was called before the volume was there
// is on it once the node has its identity.
func TestAuditMovesToTheStateVolume(t *testing.T) {
	state := t.TempDir()
	n := startNodeWith(t, state, storagetest.New(1<<30), func(cfg *Config) {
		if err := cfg.Audit.Append(audit.Entry{Time: time.Now(), Kind: audit.KindCall, Method: "/early"}, false); err != nil {
			t.Fatal(err)
		}
	})
	n.source.set(documents(t))
	n.await("identity", func(s snapshot) bool { return healthy(s, "identity") })
	if _, err := os.Stat(filepath.Join(state, "audit", "audit.log")); err != nil {
		t.Fatal(err)
	}
	found := false
	v := &audit.Verifier{}
	err := n.audit.Read(t.Context(), func(line []byte) error {
		e, err := v.Add(line)
		found = found || e.Method == "/early" && e.Early != (audit.Hash{})
		return err
	})
	if err != nil || !found {
		t.Errorf("the early entry is in the log: %t, %v", found, err)
	}
}
