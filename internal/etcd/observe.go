package etcd

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/pki/store"
)

// Observed is what the domain finds on the node.
type Observed struct {
	// Now is when the rest was observed.
	Now time.Time
	// SecretsCurrent says that the certificates serve for the spec.
	SecretsCurrent bool
	// Container is the member's; nil if there is none.
	Container *container.Info
	// Held says that the member is not to be started now.
	Held bool
	// Unavailable is set when the container runtime does not answer.
	Unavailable bool
	// Problem is why the member is not healthy, in words; empty when it is.
	Problem string
}

// Config is what a Reconciler is made of.
type Config struct {
	// Containers is the runtime of the system plane.
	Containers container.Runtime
	Layout     Layout
	// Held names the containers that are not to be started now; nil: none.
	Held func() []string
	// Health asks the member; nil is over HTTPS.
	Health func(ctx context.Context, ca *pki.Authority) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Reconciler is the etcd domain. Its methods are called from one goroutine.
type Reconciler struct {
	containers container.Runtime
	layout     Layout
	held       func() []string
	health     func(ctx context.Context, ca *pki.Authority) error
	now        func() time.Time
}

// New returns the domain.
func New(c Config) *Reconciler {
	r := &Reconciler{containers: c.Containers, layout: c.Layout, held: c.Held, health: c.Health, now: c.Now}
	if r.now == nil {
		r.now = time.Now
	}
	if r.held == nil {
		r.held = func() []string { return nil }
	}
	if r.health == nil {
		r.health = (&prober{now: r.now}).health
	}
	return r
}

// Observe looks at the files, the container and, if it runs, the member.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	obs := Observed{Now: r.now(), Held: slices.Contains(r.held(), name)}
	stamp, err := store.Read(r.layout.Secrets)
	if err != nil {
		return Observed{}, fmt.Errorf("observe secrets of etcd: %w", err)
	}
	obs.SecretsCurrent = stamp.Current(inputs(spec), obs.Now)
	list, err := r.containers.List(ctx)
	if errors.Is(err, container.ErrUnavailable) {
		obs.Unavailable = true
		return obs, nil
	}
	if err != nil {
		return Observed{}, err
	}
	for _, info := range list {
		if info.Name == name {
			obs.Container = &info
		}
	}
	if obs.Container == nil || obs.Container.State != container.Running {
		return obs, nil
	}
	if err := r.health(ctx, spec.CA); err != nil {
		obs.Problem = err.Error()
	}
	return obs, nil
}

const (
	probeTimeout = 5 * time.Second
	// probeLifetime of the prober's own certificate, made anew at half of it.
	probeLifetime = 24 * time.Hour
	// maxAnswerBytes bounds what is read of an answer.
	maxAnswerBytes = 64 << 10
)

// prober asks a member for its health, as a client with a certificate of its own
// that never leaves memory.
type prober struct {
	now    func() time.Time
	client *http.Client
	ca     *pki.Authority
	until  time.Time
}

// health returns nil when the member serves and has a leader.
func (p *prober) health(ctx context.Context, ca *pki.Authority) error {
	if err := p.prepare(ca); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ClientURL+"/health", nil)
	if err != nil {
		return fmt.Errorf("ask etcd for its health: %w", err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("ask etcd for its health: %w", err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("read etcd's health: %w", err)
	}
	return parseHealth(data)
}

// parseHealth reads the answer of /health (etcd's server/etcdserver/api/etcdhttp).
func parseHealth(data []byte) error {
	var answer struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("read etcd's health: %w", err)
	}
	switch {
	case answer.Health == "true":
		return nil
	case answer.Reason == "":
		return errors.New("etcd is not healthy and gives no reason")
	}
	return errors.New("etcd is not healthy: " + answer.Reason)
}

// prepare makes the client for ca, with a certificate that is still good.
func (p *prober) prepare(ca *pki.Authority) error {
	now := p.now()
	// A certificate that was issued before the clock was set back does not hold yet.
	if p.client != nil && p.ca.Equal(ca) && now.Before(p.until) && !p.until.After(now.Add(probeLifetime/2)) {
		return nil
	}
	pair, err := ca.Issue(pki.Request{CommonName: "machined", Client: true, Lifetime: probeLifetime}, now)
	if err != nil {
		return err
	}
	certificate, err := pair.TLS()
	if err != nil {
		return err
	}
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	p.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(),
			Certificates: []tls.Certificate{certificate}, Time: p.now,
		},
	}}
	p.ca, p.until = ca, now.Add(probeLifetime/2)
	return nil
}
