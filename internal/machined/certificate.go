package machined

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/ledger"
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
	for {
		bounded, cancel := context.WithTimeout(ctx, recertify)
		s, v, err := a.store.Watch(bounded, version)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		version = v
		inputs := s.certificateInputs()
		if err == nil && inputs.equal(done) {
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
		done = inputs
	}
}

// certificateInputs are the parts of a snapshot that the certificate depends on.
type certificateInputs struct {
	stored    bool
	machine   *config.Machine // nil without a configuration; it is never changed
	addresses []netip.Addr
}

func (i certificateInputs) equal(o certificateInputs) bool {
	if i.stored != o.stored || (i.machine == nil) != (o.machine == nil) || !slices.Equal(i.addresses, o.addresses) {
		return false
	}
	return i.machine == o.machine ||
		i.machine.Hostname == o.machine.Hostname && i.machine.CA == o.machine.CA && slices.Equal(i.machine.CertSANs, o.machine.CertSANs)
}

func (s snapshot) certificateInputs() certificateInputs {
	i := certificateInputs{stored: s.identity}
	if s.input.Config != nil {
		i.machine = &s.input.Config.Machine
	}
	for _, p := range s.network.Status.Addresses {
		i.addresses = append(i.addresses, p.Addr())
	}
	slices.SortFunc(i.addresses, netip.Addr.Compare)
	return i
}

// certify gives the API a certificate for the snapshot: a self-signed one without configuration, else one of the configured authority, from
// the state volume if that holds one that still serves.
func (a *Agent) certify(s snapshot, addresses []netip.Addr) error {
	now := a.now()
	request := pki.Request{
		CommonName: "maintenance", DNSNames: []string{"localhost"}, Server: true, Lifetime: maintenanceLifetime,
		Addresses: append([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, addresses...),
	}
	if s.input.Config == nil {
		pair, err := pki.SelfSigned(request, now)
		if err != nil {
			return err
		}
		return a.present(pair, nil)
	}
	m := s.input.Config.Machine
	request.CommonName, request.Lifetime = m.Hostname, apiLifetime
	request.DNSNames = append(request.DNSNames, m.Hostname)
	for _, san := range m.CertSANs {
		if addr, err := netip.ParseAddr(san); err == nil {
			request.Addresses = append(request.Addresses, addr)
		} else {
			request.DNSNames = append(request.DNSNames, san)
		}
	}
	authority := s.input.Trust.API
	if !s.identity {
		pair, err := authority.Issue(request, now)
		if err != nil {
			return err
		}
		return a.present(pair, authority)
	}
	pair, err := a.storedPair(authority, request, now)
	if err != nil {
		return err
	}
	return a.present(pair, authority)
}

// storedPair returns the pair on the state volume, or replaces it by a new one if it does not serve.
func (a *Agent) storedPair(authority *pki.Authority, request pki.Request, now time.Time) (pki.Pair, error) {
	crt, key := filepath.Join(a.cfg.StateDir, "api.crt"), filepath.Join(a.cfg.StateDir, "api.key")
	var pair pki.Pair
	var errs [2]error
	pair.CertificatePEM, errs[0] = os.ReadFile(crt)
	pair.KeyPEM, errs[1] = os.ReadFile(key)
	if errors.Join(errs[:]...) == nil && serves(pair, authority, request, now) {
		return pair, nil
	}
	pair, err := authority.Issue(request, now)
	if err != nil {
		return pki.Pair{}, err
	}
	if err := errors.Join(ledger.ReplaceFile(key, pair.KeyPEM, 0o600), ledger.ReplaceFile(crt, pair.CertificatePEM, 0o644)); err != nil {
		return pki.Pair{}, fmt.Errorf("store the API's certificate: %w", err)
	}
	return pair, nil
}

// serves says whether a pair is the authority's, has all names and addresses of the request, and a third of its life before it.
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

// present hands the pair to the server. Without an authority that is maintenance mode.
func (a *Agent) present(pair pki.Pair, authority *pki.Authority) error {
	certificate, err := pair.TLS()
	if err != nil {
		return err
	}
	identity := &server.Identity{Certificate: new(tls.Certificate)}
	*identity.Certificate = certificate
	if authority != nil {
		identity.Clients = authority.Pool()
	}
	a.identity.Store(identity)
	return nil
}
