package dhcp

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"

	"github.com/cyvive/cyvive/internal/network"
)

// Clients runs one DHCP client for each link it was told to. It implements network.DHCP; its methods may be called concurrently.
type Clients struct {
	exchange Exchange
	wake     func()
	log      *slog.Logger

	mu      sync.Mutex
	running map[string]*client
	done    sync.WaitGroup
}

// client is the manager's side of one goroutine.
type client struct {
	cancel context.CancelFunc
	lease  *network.Lease
	// refused holds the address of a lease to let go of, until the goroutine takes it out; room for one.
	refused chan netip.Prefix
}

// New returns the manager without clients. It calls wake, which must not block, after each change of a lease. A nil logger discards.
func New(exchange Exchange, wake func(), log *slog.Logger) *Clients {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Clients{exchange: exchange, wake: wake, log: log, running: map[string]*client{}}
}

// Start runs a client on the link, unless one runs there already.
func (c *Clients) Start(link string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[link] != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	refused := make(chan netip.Prefix, 1)
	c.running[link] = &client{cancel: cancel, refused: refused}
	c.done.Go(func() {
		keep(ctx, c.exchange, link, c.log.With("link", link), refused, func(lease *network.Lease) { c.set(ctx, link, lease) })
	})
}

// Refuse has the link's client let go of a lease of that address, if it holds one, and ask for another after a while. The server is not told.
func (c *Clients) Refuse(link string, address netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.running[link]
	if one == nil || one.lease == nil || one.lease.Refused || one.lease.Address != address {
		return
	}
	refused := *one.lease // whoever has the old one may read it
	refused.Refused = true
	one.lease = &refused
	// An older word is of a lease that is no more. Nobody else puts one in: there is room then.
	select {
	case <-one.refused:
	default:
	}
	one.refused <- address
}

// Stop ends the link's client and forgets its lease. The lease is not released: the server keeps the address for the node.
func (c *Clients) Stop(link string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.running[link]; one != nil {
		one.cancel()
		delete(c.running, link)
	}
}

// Clients returns the links with a client and their leases, nil where there is none. The leases must not be changed.
func (c *Clients) Clients() map[string]*network.Lease {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]*network.Lease{}
	for link, one := range maps.All(c.running) {
		out[link] = one.lease
	}
	return out
}

// Close ends all clients and waits for their goroutines.
func (c *Clients) Close() {
	c.mu.Lock()
	for link, one := range c.running {
		one.cancel()
		delete(c.running, link)
	}
	c.mu.Unlock()
	c.done.Wait()
}

// set stores a lease, unless its client was stopped meanwhile.
func (c *Clients) set(ctx context.Context, link string, lease *network.Lease) {
	c.mu.Lock()
	one := c.running[link]
	current := one != nil && ctx.Err() == nil
	if current {
		one.lease = lease
	}
	c.mu.Unlock()
	if current {
		c.wake()
	}
}
