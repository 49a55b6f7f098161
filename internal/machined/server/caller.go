package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// caller is the peer of one call, as far as it could be verified.
type caller struct {
	subject string // common name; empty without a certificate
	serial  string // hexadecimal
	roles   []ClientRole
}

// verify checks the peer's certificate chain, leaf first as TLS hands it over,
// against the authority at one moment, and reads its roles. The TLS handshake
// has proven that the peer holds the leaf's key. The caller's subject is
// returned with an error too, for the log; it is then only what the peer says.
func verify(chain []*x509.Certificate, authority *x509.CertPool, now time.Time) (caller, *refusal) {
	if len(chain) == 0 {
		return caller{}, refuseNoCertificate()
	}
	leaf := chain[0]
	c := caller{subject: leaf.Subject.CommonName, serial: leaf.SerialNumber.Text(16)}
	if err := verifyChain(chain, authority, now); err != nil {
		return c, refuseChain(leaf, err, now)
	}
	roles, unknown := rolesOf(leaf)
	switch {
	case len(roles) > 0:
		c.roles = roles
		return c, nil
	case len(unknown) > 0:
		return c, refuseUnknownRole(c.subject, unknown)
	default:
		return c, refuseNoRole(c.subject)
	}
}

// verifyChain checks that an authority vouches for the leaf of a chain as a client's.
func verifyChain(chain []*x509.Certificate, authority *x509.CertPool, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         authority,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// rolesOf splits the organisations of a certificate into roles and the rest,
// which allows nothing.
func rolesOf(leaf *x509.Certificate) (known []ClientRole, unknown []string) {
	for _, o := range leaf.Subject.Organization {
		if ClientRole(o) == RolePeer || slices.Contains(roles(), ClientRole(o)) {
			known = append(known, ClientRole(o))
		} else {
			unknown = append(unknown, o)
		}
	}
	return known, unknown
}

// refuseChain tells the ways apart in which a chain can be wrong.
func refuseChain(leaf *x509.Certificate, err error, now time.Time) *refusal {
	clock := now.UTC().Format(time.RFC3339)
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) {
		switch invalid.Reason {
		case x509.Expired:
			cert := invalid.Cert
			if now.Before(cert.NotBefore) {
				return refuse(ReasonNotYetValid, fmt.Sprintf("the client certificate %q is not valid before %s, and the node's clock says %s: wait, or set the clock that is wrong",
					leaf.Subject.CommonName, cert.NotBefore.UTC().Format(time.RFC3339), clock))
			}
			return refuse(ReasonExpired, fmt.Sprintf("the client certificate %q expired at %s, and the node's clock says %s: get a new one",
				leaf.Subject.CommonName, cert.NotAfter.UTC().Format(time.RFC3339), clock))
		case x509.IncompatibleUsage:
			return refuse(ReasonWrongUsage, fmt.Sprintf("the certificate %q is not made for clients", leaf.Subject.CommonName))
		}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return refuse(ReasonUnknownAuthority, fmt.Sprintf("the client certificate %q was signed by %q, which is not this node's authority: use the context of this node's cluster",
			leaf.Subject.CommonName, leaf.Issuer.CommonName))
	}
	return refuse(ReasonBadCertificate, fmt.Sprintf("the client certificate %q cannot be verified: %v", leaf.Subject.CommonName, err))
}

func refuseNoCertificate() *refusal {
	return refuse(ReasonNoCertificate, "no client certificate: this node is configured and answers only clients with a certificate of its authority")
}

func refuseWrongRole(method string, want []ClientRole, c caller) *refusal {
	return refuse(ReasonWrongRole, fmt.Sprintf("%s needs one of the roles %s, and the client certificate %q has %s", method, join(want), c.subject, join(c.roles)))
}

func refuseNoRole(subject string) *refusal {
	return refuse(ReasonNoRole, fmt.Sprintf("the client certificate %q carries no role: its organisation must be one of %s", subject, join(roles())))
}

func refuseUnknownRole(subject string, unknown []string) *refusal {
	return refuse(ReasonUnknownRole, fmt.Sprintf("the client certificate %q carries no known role but %q: its organisation must be one of %s",
		subject, strings.Join(unknown, ", "), join(roles())))
}
