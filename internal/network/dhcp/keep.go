package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/cyvive/cyvive/internal/network"
)

// ErrRefused is a server's DHCPNAK: the address must not be used any more.
var ErrRefused = errors.New("the DHCP server refused the address")

// errUnwanted ends a lease that this side has refused.
var errUnwanted = errors.New("the lease is not wanted")

// Grant is a server's answer.
type Grant struct {
	Lease network.Lease
	// Renew (T1) and Rebind (T2) are times from the grant on, both before the end of the lease (RFC 2131 section 4.4.5).
	Renew, Rebind time.Duration
	// token is what the exchange needs to renew the lease.
	token any
}

// Exchange is one conversation with DHCP servers. Each method gives up by itself after some seconds without an answer.
type Exchange interface {
	// Request asks any server for an address.
	Request(ctx context.Context, link string) (Grant, error)
	// Renew prolongs a grant: by unicast with the server that gave it, or if rebind is set by broadcast with any. A refusal is
	// ErrRefused.
	Renew(ctx context.Context, link string, grant Grant, rebind bool) (Grant, error)
}

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// minRenewRetry is the least time between renewals, RFC 2131 section 4.4.5.
	minRenewRetry = time.Minute
	// afterRefusal is the time until a server is asked again whose lease was refused. RFC 2131 section 3.1 has ten seconds or more after a DHCPDECLINE; what
	// is wrong with a range of addresses is mended by people.
	afterRefusal = time.Minute
)

// keep acquires and renews a lease on the link until ctx ends. It calls set with each lease, and with nil when one was lost. A lease whose address comes by
// refused is let go of without a word, and another is asked for after a while.
func keep(ctx context.Context, exchange Exchange, link string, log *slog.Logger, refused <-chan netip.Prefix, set func(*network.Lease)) {
	for ctx.Err() == nil {
		grant, ok := acquire(ctx, exchange, link, log)
		if !ok {
			return
		}
		log.Info("lease granted", "address", grant.Lease.Address, "expires", grant.Lease.Expires)
		set(&grant.Lease)
		reason := hold(ctx, exchange, link, grant, refused, set)
		if errors.Is(reason, errUnwanted) {
			sleep(ctx, afterRefusal)
			continue
		}
		if ctx.Err() == nil {
			log.Warn("lease lost", "reason", reason)
			set(nil)
		}
	}
}

// acquire asks until a server answers; false means that ctx ended.
func acquire(ctx context.Context, exchange Exchange, link string, log *slog.Logger) (Grant, bool) {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		grant, err := exchange.Request(ctx, link)
		if err == nil {
			return grant, true
		}
		log.Debug("no lease yet", "error", err)
		if !sleep(ctx, retry-rand.N(retry/4)) {
			return Grant{}, false
		}
	}
}

// hold renews the grant for as long as that works, and returns why it ended.
func hold(ctx context.Context, exchange Exchange, link string, grant Grant, refused <-chan netip.Prefix, set func(*network.Lease)) error {
	granted := time.Now()
	wait := grant.Renew
	for {
		if err := rest(ctx, wait, grant.Lease.Address, refused); err != nil {
			return err
		}
		age := time.Since(granted)
		rebind := age >= grant.Rebind
		next, err := exchange.Renew(ctx, link, grant, rebind)
		switch {
		case err == nil:
			grant, granted, wait = next, time.Now(), next.Renew
			set(&next.Lease)
		case errors.Is(err, ErrRefused):
			return err
		case !time.Now().Before(grant.Lease.Expires):
			return errors.New("no server renewed it before its end")
		default:
			wait = retryAfter(time.Since(granted), grant.Rebind, time.Until(grant.Lease.Expires))
		}
	}
}

// retryAfter is half of the time to T2, or after T2 half of the time to the end, but at least a minute and never past the end.
func retryAfter(age, rebind, left time.Duration) time.Duration {
	wait := left / 2
	if age < rebind {
		wait = (rebind - age) / 2
	}
	return max(min(max(wait, minRenewRetry), left), 0)
}

// rest waits for d. It returns why the lease ends before: ctx's error, or errUnwanted when its address is refused. That of another is none of its business.
func rest(ctx context.Context, d time.Duration, address netip.Prefix, refused <-chan netip.Prefix) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case unwanted := <-refused:
			if unwanted == address {
				return errUnwanted
			}
		}
	}
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
