package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxHolders bounds how many clients' rates are known at once.
const maxHolders = 4096

// rates limits each holder's calls on its own. Holders beyond those that can be
// known share one limit.
type rates struct {
	perSecond rate.Limit
	burst     int

	mu     sync.Mutex
	each   map[string]*rate.Limiter
	others *rate.Limiter
}

func newRates(perSecond, burst int) *rates {
	r := &rates{perSecond: rate.Limit(perSecond), burst: burst, each: map[string]*rate.Limiter{}}
	r.others = rate.NewLimiter(r.perSecond, burst)
	return r
}

// allow takes one call of a holder off its allowance.
func (r *rates) allow(holder string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.each[holder]
	if l == nil {
		if l = r.others; r.room(now) {
			l = rate.NewLimiter(r.perSecond, r.burst)
			r.each[holder] = l
		}
	}
	return l.AllowN(now, 1)
}

// room forgets those who have their whole allowance again, if there are too many.
func (r *rates) room(now time.Time) bool {
	if len(r.each) < maxHolders {
		return true
	}
	for holder, l := range r.each {
		if l.TokensAt(now) >= float64(r.burst) {
			delete(r.each, holder)
		}
	}
	return len(r.each) < maxHolders
}

// running counts calls under way, by holder.
type running struct {
	mu sync.Mutex
	n  map[string]int
}

func newRunning() *running { return &running{n: map[string]int{}} }

func (r *running) of(holder string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n[holder]
}

func (r *running) add(holder string, delta int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n[holder] += delta; r.n[holder] == 0 {
		delete(r.n, holder)
	}
}
