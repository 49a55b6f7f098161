package rtnl

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// resubscribe is the pause before a broken subscription is made anew.
const resubscribe = time.Second

// Watch calls wake, which must not block, on each change of a link or address in the calling thread's network namespace, until ctx ends.
// After a lost subscription (the kernel drops events when its buffer is full) it wakes once, since something may have been missed.
func Watch(ctx context.Context, wake func()) error {
	for {
		err := watchOnce(ctx, wake)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wake()
		timer := time.NewTimer(resubscribe)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("watch links: %w", err)
		case <-timer.C:
		}
	}
}

func watchOnce(ctx context.Context, wake func()) error {
	done := make(chan struct{})
	defer close(done)
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribe(links, done); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	if err := netlink.AddrSubscribe(addrs, done); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-links:
			if !ok {
				return fmt.Errorf("subscription to links ended")
			}
			wake()
		case _, ok := <-addrs:
			if !ok {
				return fmt.Errorf("subscription to addresses ended")
			}
			wake()
		}
	}
}
