package server

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/audit"
)

// What callers that are not verified may write into the audit log: the size of
// the log is bounded, so they could else push out what others did.
const (
	unverifiedPerSecond = 1
	unverifiedBurst     = 50
)

// recorder writes the audit log. Calls of verified callers are all written, save
// floods that do not come to the gate and what nodes repeat (repeats.go); of
// others some are, and the rest is counted.
type recorder struct {
	log Audit
	now func() time.Time
	out *slog.Logger // told when the audit log cannot be written

	mu         sync.Mutex
	limit      *rate.Limiter
	suppressed map[string]uint64 // by code
	repeats    map[string]*repeat
}

func newRecorder(c Config) *recorder {
	return &recorder{
		log: c.Audit, now: c.Now, out: c.Logger, limit: rate.NewLimiter(unverifiedPerSecond, unverifiedBurst), suppressed: map[string]uint64{},
		repeats: map[string]*repeat{},
	}
}

// record writes an entry, after the count of those that were not.
func (r *recorder) record(e audit.Entry, sync bool) {
	r.flush()
	r.append(e, sync)
}

// refused records a refused call.
func (r *recorder) refused(e audit.Entry, why *refusal) {
	e.Code, e.Error = why.reason.code().String(), why.message
	if why.reason.code() == codes.Unauthenticated || e.Roles == "" && (why.reason == ReasonMaintenance || why.reason == ReasonClosed) {
		r.unverified(e)
		return
	}
	r.record(e, false)
}

// unverified records what a peer did that is not known, or counts it.
func (r *recorder) unverified(e audit.Entry) {
	r.mu.Lock()
	allowed := r.limit.AllowN(r.now(), 1)
	if !allowed {
		r.suppressed[e.Code]++
	}
	r.mu.Unlock()
	if allowed {
		r.record(e, false)
	}
}

// flush writes how many were suppressed since the last entry.
func (r *recorder) flush() {
	r.mu.Lock()
	var suppressed map[string]uint64
	if len(r.suppressed) > 0 {
		// Others go on writing into the new one.
		suppressed, r.suppressed = r.suppressed, map[string]uint64{}
	}
	r.mu.Unlock()
	for _, code := range slices.Sorted(maps.Keys(suppressed)) {
		r.append(audit.Entry{Kind: audit.KindSuppressed, Time: r.now(), Count: suppressed[code], Code: code}, false)
	}
}

func (r *recorder) append(e audit.Entry, sync bool) {
	if err := r.log.Append(e, sync); err != nil {
		r.out.Error("write the audit log", "method", e.Method, "subject", e.Subject, "error", err)
	}
}

// noAudit is the log of a server that was given none.
type noAudit struct{}

func (noAudit) Append(audit.Entry, bool) error                 { return nil }
func (noAudit) Read(context.Context, func([]byte) error) error { return nil }
