package rtnl

import (
	"context"
	"errors"
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
		ended, err := subscribe(ctx, wake)
		if err == nil {
			err = <-ended
		}
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

// subscribe returns when the kernel sends events. The channel gets the one error with which that ends.
func subscribe(ctx context.Context, wake func()) (<-chan error, error) {
	done := make(chan struct{})
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribe(links, done); err != nil {
		close(done)
		return nil, fmt.Errorf("subscribe to links: %w", err)
	}
	if err := netlink.AddrSubscribe(addrs, done); err != nil {
		close(done)
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		defer close(done)
		ended <- forward(ctx, links, addrs, wake)
	}()
	return ended, nil
}

// forward wakes for each event until one of the subscriptions ends.
func forward(ctx context.Context, links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate, wake func()) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-links:
			if !ok {
				return errors.New("subscription to links ended")
			}
		case _, ok := <-addrs:
			if !ok {
				return errors.New("subscription to addresses ended")
			}
		}
		wake()
	}
}
