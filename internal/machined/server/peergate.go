package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// verifyPeer checks that the caller of a method is a node that the configuration names, and returns the jobs for which it does. The authority that a job
// has for its peer vouches here for that peer alone.
func verifyPeer(method string, chain []*x509.Certificate, own *x509.CertPool, peers []Peer, now time.Time) (caller, []string, *refusal) {
	if len(chain) == 0 {
		return caller{}, nil, refuseNoCertificate()
	}
	leaf := chain[0]
	c := caller{subject: leaf.Subject.CommonName, serial: leaf.SerialNumber.Text(16)}
	why := verifyChain(chain, own, now)
	ofOwn := why == nil
	trusted := ofOwn
	var jobs []string
	for _, p := range peers {
		vouched := ofOwn
		if p.Authority != nil {
			err := verifyChain(chain, p.Authority, now)
			vouched = err == nil
			if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); err != nil && !unknown {
				why = err // it is the right authority, and something else is wrong
			}
		}
		trusted = trusted || vouched
		if vouched && leaf.VerifyHostname(p.Identity) == nil {
			jobs = append(jobs, p.Job)
		}
	}
	if !trusted {
		return c, nil, refuseChain(leaf, why, now)
	}
	var unknown []string
	c.roles, unknown = rolesOf(leaf)
	switch {
	case slices.Contains(c.roles, RolePeer) && len(jobs) == 0:
		return c, nil, refuse(ReasonNotPeer, fmt.Sprintf("no job of this node's configuration names the node %q: its certificate is for %s, and peer.identity of a "+
			"ReplicationJob document has to be one of these", c.subject, namesOf(leaf)))
	case slices.Contains(c.roles, RolePeer):
		c.roles = []ClientRole{RolePeer}
		return c, jobs, nil
	case len(c.roles) > 0:
		return c, nil, refuseWrongRole(method, []ClientRole{RolePeer}, c)
	case len(unknown) > 0:
		return c, nil, refuseUnknownRole(c.subject, unknown)
	default:
		return c, nil, refuseNoRole(c.subject)
	}
}

// namesOf lists what a certificate is for, as far as a person reads it.
func namesOf(cert *x509.Certificate) string {
	names := slices.Clone(cert.DNSNames)
	for _, a := range cert.IPAddresses {
		names = append(names, a.String())
	}
	if len(names) == 0 {
		return "no name"
	}
	if len(names) > maxShownNames {
		names = append(names[:maxShownNames], fmt.Sprintf("and %d more", len(names)-maxShownNames))
	}
	return strings.Join(names, ", ")
}

// maxShownNames is how many names of a certificate a refusal has.
const maxShownNames = 8

// peerJobs are the jobs for which the configuration names the caller of a method that has passed the gate.
func (g *gate) peerJobs(ctx context.Context) []string {
	own := g.identity().Clients
	if own == nil {
		return nil
	}
	_, jobs, _ := verifyPeer("", sessionOf(ctx).State.PeerCertificates, own, g.peers(), g.now())
	return jobs
}
