package server

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

// judge decides about a call on a node without a configuration. Package
// maintenance says why it is safe.
func (u Unconfigured) judge(method string, r rule, known bool, chain []*x509.Certificate, now time.Time) (caller, *refusal) {
	if u.Audience == AudienceAnybody {
		if known && r.maintenance == forAnyone {
			return caller{}, nil
		}
		return caller{}, u.refuse(ReasonMaintenance, fmt.Sprintf("%s is not available: the node is in maintenance mode and has no owner's key, "+
			"so it tells what it is and no more; its console says why", method))
	}
	c, refused := u.verify(chain, now)
	switch {
	case refused != nil:
		return c, refused
	case !known:
		return c, refuse(ReasonNoSuchMethod, fmt.Sprintf("%s is not a method of this node's API: it may be of another version", method))
	case r.maintenance != forAnyone && r.maintenance != forOwner:
		return c, u.refuse(ReasonMaintenance, fmt.Sprintf("%s is not available before the node has a configuration: it is in maintenance mode", method))
	}
	return c, nil
}

// verify checks that the leaf is signed by the owner's key, and its roles.
func (u Unconfigured) verify(chain []*x509.Certificate, now time.Time) (caller, *refusal) {
	if u.Audience != AudienceOwner || u.Owner.IsZero() {
		return caller{}, u.refuse(ReasonClosed, "the node answers nobody now: "+cmp.Or(u.Reason, "it is not known whether it has an owner"))
	}
	if len(chain) == 0 {
		return caller{}, u.refuse(ReasonOwnerOnly, fmt.Sprintf("no client certificate: the node is in maintenance mode and answers its owner only, "+
			"whose key is %s", u.Owner))
	}
	leaf := chain[0]
	c := caller{subject: leaf.Subject.CommonName, serial: leaf.SerialNumber.Text(16)}
	i := slices.IndexFunc(chain, func(cert *x509.Certificate) bool { return pki.CertificateFingerprint(cert) == u.Owner })
	if i < 0 {
		return c, u.refuse(ReasonOtherOwner, fmt.Sprintf("the client certificate %q does not come with the owner's key: expected %s, got %s",
			c.subject, u.Owner, fingerprints(chain)))
	}
	signer := chain[i]
	if err := pki.Strong(signer.PublicKey); err != nil {
		return c, u.refuse(ReasonBadCertificate, fmt.Sprintf("the owner's key %s is not to be trusted: %v", u.Owner, err))
	}
	if err := signer.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		return c, u.refuse(ReasonOtherOwner, fmt.Sprintf("the client certificate %q is not signed by the owner's key %s, which comes behind it: %v",
			c.subject, u.Owner, err))
	}
	if refused := u.checkLeaf(leaf, now); refused != nil {
		return c, refused
	}
	roles, unknown := rolesOf(leaf)
	switch {
	case slices.Contains(roles, RoleAdmin):
		c.roles = roles
		return c, nil
	case len(roles) > 0:
		return c, u.refuse(ReasonWrongRole, fmt.Sprintf("the owner's certificate %q needs the role %s and has %s", c.subject, RoleAdmin, join(roles)))
	case len(unknown) > 0:
		return c, refuseUnknownRole(c.subject, unknown)
	default:
		return c, refuseNoRole(c.subject)
	}
}

// checkLeaf looks at what the owner has signed. That it is not valid yet is no
// reason against it: nobody has set the node's clock.
func (u Unconfigured) checkLeaf(leaf *x509.Certificate, now time.Time) *refusal {
	name := leaf.Subject.CommonName
	switch {
	case now.After(leaf.NotAfter):
		return u.refuse(ReasonExpired, fmt.Sprintf("the owner's certificate %q expired at %s, and the node's clock, which nobody has set yet, says %s",
			name, leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return u.refuse(ReasonWrongUsage, fmt.Sprintf("the certificate %q is not made for clients", name))
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return u.refuse(ReasonBadCertificate, fmt.Sprintf("the owner's certificate %q has an extension that must be understood, and is not: %s",
			name, leaf.UnhandledCriticalExtensions[0]))
	}
	return nil
}

// refuse tells a program, too, that the node is in maintenance mode and whose it is.
func (u Unconfigured) refuse(reason Reason, message string) *refusal {
	r := refuse(reason, message)
	if reason == ReasonClosed {
		return r
	}
	r.metadata = map[string]string{"state": "maintenance"}
	if !u.Owner.IsZero() {
		r.metadata["owner"] = u.Owner.String()
	}
	return r
}

// maxNamed is how many keys of a chain a refusal names.
const maxNamed = 3

func fingerprints(chain []*x509.Certificate) string {
	var out []string
	for _, c := range chain[:min(len(chain), maxNamed)] {
		out = append(out, pki.CertificateFingerprint(c).String())
	}
	return strings.Join(out, ", ")
}
