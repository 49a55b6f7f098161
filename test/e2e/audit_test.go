package e2e

import (
	"strings"
	"testing"
	"time"
)

// testAudit wants the calls that testCertificates made in the audit log, and the
// log in order. It notes the log's head for testAuditContinues.
func testAudit(t *testing.T, s *suite) {
	ctx := testContext(t, 2*time.Minute)
	for _, c := range []struct{ code, want string }{
		{"PermissionDenied", "/Reboot"},
		{"PermissionDenied", "/GetNode"},
		{"Unauthenticated", "not this node's authority"},
		{"Unauthenticated", "expired"},
	} {
		if out := s.nodectl(t, ctx, "audit", "list", "--code", c.code); !strings.Contains(out, c.want) {
			t.Errorf("calls with code %s: got %q, want one with %q", c.code, out, c.want)
		}
	}
	fields := strings.Fields(s.nodectl(t, ctx, "audit", "verify"))
	s.auditHead = fields[len(fields)-1]
	if sequence, hash, ok := strings.Cut(s.auditHead, ":"); !ok || sequence == "0" || len(hash) != 64 {
		t.Errorf("head of the log: got %q, want a sequence number and a SHA-256", s.auditHead)
	}
}

// testAuditContinues wants one chain from the boot of testAudit to this one, with
// what ended that boot in it.
func testAuditContinues(t *testing.T, s *suite) {
	ctx := testContext(t, 2*time.Minute)
	s.nodectl(t, ctx, "audit", "verify", "--head", s.auditHead)
	if out := s.nodectl(t, ctx, "audit", "list", "--method", "Reboot", "--code", "OK"); !strings.Contains(out, "/Reboot") {
		t.Errorf("the reboot is not in the log: got %q", out)
	}
}
