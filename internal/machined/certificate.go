package machined

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
)

const (
	// apiLifetime is that of the API's certificate. It is issued anew when a third of it is left.
	apiLifetime = 365 * 24 * time.Hour
	// maintenanceLifetime is that of the self-signed certificate of a node without configuration.
	maintenanceLifetime = 30 * 24 * time.Hour
	// recertify is how often the age of the certificate is looked at.
	recertify = 12 * time.Hour
)

// keepCertificate issues the API's certificate anew when configuration, addresses or age ask for it.
func (a *Agent) keepCertificate(ctx context.Context) error {
	var version uint64
	var done certificateInputs
	issued := time.Now() // snapshots come and go meanwhile
	for {
		bounded, cancel := context.WithTimeout(ctx, recertify-time.Since(issued))
		s, v, _ := a.store.Watch(bounded, version) // the deadline is one way to return
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		version = v
		if s.came == reading && !s.without {
			continue // whom the node answers is about to be known
		}
		inputs := s.certificateInputs()
		if time.Since(issued) < recertify && inputs.equal(done) {
			a.presented(s)
			a.tellMode(s, inputs.addresses)
			continue
		}
		if err := a.certify(s, inputs.addresses); err != nil {
			a.log.Error("issue the API's certificate", "error", err)
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
			version = 0
			continue
		}
		done, issued = inputs, time.Now()
		a.presented(s)
		a.tellMode(s, inputs.addresses)
	}
}

// certificateInputs are the parts of a snapshot that the certificate depends on.
type certificateInputs struct {
	// stored: the state volume is there. Only then is anything kept.
	stored    bool
	machine   *config.Machine // nil without a configuration; it is never changed
	addresses []netip.Addr
	// unconfigured is whom the node answers without one.
	unconfigured server.Unconfigured
	// clockSet is how often the clock was set in this boot: by another time the certificate may not hold.
	clockSet int
}

func (i certificateInputs) equal(o certificateInputs) bool {
	if i.stored != o.stored || i.clockSet != o.clockSet || (i.machine == nil) != (o.machine == nil) || !slices.Equal(i.addresses, o.addresses) || !reflect.DeepEqual(i.unconfigured, o.unconfigured) {
		return false
	}
	return i.machine == o.machine ||
		i.machine.Hostname == o.machine.Hostname && i.machine.CA == o.machine.CA && slices.Equal(i.machine.CertSANs, o.machine.CertSANs)
}

func (s snapshot) certificateInputs() certificateInputs {
	i := certificateInputs{stored: s.storage.Status.StateMounted, unconfigured: s.unconfigured(), clockSet: s.clock.Steps}
	if s.input.Config != nil {
		i.machine = &s.input.Config.Machine
	}
	for _, p := range plan.OwnAddresses(s.input.Config, s.network.Status.Addresses) {
		i.addresses = append(i.addresses, p.Addr())
	}
	slices.SortFunc(i.addresses, netip.Addr.Compare)
	return i
}

// certify gives the API a certificate for the snapshot: a self-signed one without configuration, else one of the configured authority, from
// the state volume if that holds one that still serves.
func (a *Agent) certify(s snapshot, addresses []netip.Addr) error {
	now := a.now()
	stored := s.storage.Status.StateMounted
	if stored {
		if err := a.keepKey(); err != nil {
			a.log.Error("keep the node's key: a restart changes its fingerprint", "error", err)
		}
	}
	request := pki.Request{
		CommonName: "maintenance", DNSNames: []string{"localhost"}, Server: true, Lifetime: maintenanceLifetime, Key: a.key.signer,
		Addresses: append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, addresses...),
	}
	if s.input.Config == nil {
		pair, err := pki.SelfSigned(request, now)
		if err != nil {
			return err
		}
		return a.present(pair, nil, s.unconfigured())
	}
	m := s.input.Config.Machine
	request.CommonName, request.Lifetime = m.Hostname, apiLifetime
	// By it the node is known to others, too, when it asks them for something.
	request.Client, request.Organizations = true, []string{string(server.RolePeer)}
	request.DNSNames = append(request.DNSNames, m.Hostname)
	for _, san := range m.CertSANs {
		if addr, err := netip.ParseAddr(san); err == nil {
			request.Addresses = append(request.Addresses, addr)
		} else {
			request.DNSNames = append(request.DNSNames, san)
		}
	}
	authority := s.input.Trust.API
	issue := authority.Issue
	if stored {
		issue = func(r pki.Request, now time.Time) (pki.Pair, error) { return a.storedPair(authority, r, now) }
	}
	pair, err := issue(request, now)
	if err != nil {
		return err
	}
	return a.present(pair, authority, server.Unconfigured{})
}

// storedPair returns the certificate on the state volume with the node's key, or replaces it by a new one if it does not serve. One that cannot be
// stored serves all the same: whom the API lets in, and under which addresses it is known, does not wait for the disk.
func (a *Agent) storedPair(authority *pki.Authority, request pki.Request, now time.Time) (pki.Pair, error) {
	path := filepath.Join(a.cfg.StateDir, "api.crt")
	pair := pki.Pair{KeyPEM: a.key.pem}
	var err error
	if pair.CertificatePEM, err = os.ReadFile(path); err == nil && serves(pair, authority, request, now) {
		return pair, nil
	}
	if pair, err = authority.Issue(request, now); err != nil {
		return pki.Pair{}, err
	}
	if err := ledger.ReplaceFile(path, pair.CertificatePEM, 0o644); err != nil {
		a.log.Error("store the API's certificate: it is issued anew after a restart", "error", err)
		return pair, nil
	}
	// Releases before had a key of its own for each certificate.
	if err := os.Remove(filepath.Join(a.cfg.StateDir, "api.key")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Error("remove an old key", "error", err)
	}
	return pair, nil
}

// serves says whether a pair is the authority's, is for all that the request is for, and has a third of its life before it.
func serves(pair pki.Pair, authority *pki.Authority, request pki.Request, now time.Time) bool {
	loaded, err := pair.TLS()
	if err != nil {
		return false
	}
	cert, err := pki.ParseCertificate(pair.CertificatePEM)
	if err != nil || len(loaded.Certificate) == 0 || !bytes.Equal(cert.Raw, loaded.Certificate[0]) {
		return false
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: authority.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil || cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/3 {
		return false
	}
	if request.Client && !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || !slices.Equal(cert.Subject.Organization, request.Organizations) {
		return false
	}
	for _, name := range request.DNSNames {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, addr := range request.Addresses {
		if cert.VerifyHostname(addr.String()) != nil {
			return false
		}
	}
	return true
}

// present hands the pair to the server. Without an authority the node has no configuration, and u says whom it answers.
func (a *Agent) present(pair pki.Pair, authority *pki.Authority, u server.Unconfigured) error {
	certificate, err := pair.TLS()
	if err != nil {
		return err
	}
	identity := &server.Identity{Certificate: new(tls.Certificate), Unconfigured: u}
	*identity.Certificate = certificate
	if authority != nil {
		identity.Clients = authority.Pool()
	}
	before := a.identity.Swap(identity)
	if s := a.server.Load(); s != nil && before != nil && !before.Clients.Equal(identity.Clients) {
		s.AuthorityChanged()
	}
	return nil
}
