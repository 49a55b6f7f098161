// Package pki issues the X.509 certificates of a cluster: those of the node
// API, of etcd and of Kubernetes. It uses the standard library only, so that
// both the node and nodectl can import it.
//
// An [Authority] is a self-signed CA certificate and its key. It signs
// [Request]s and gives back a [Pair]. All keys are ECDSA P-256: every client
// and server of a cluster speaks it, and a key takes microseconds to make where
// RSA takes a second under emulation. What must not be trusted where an authority is,
// and needs none that somebody has to keep, is signed by one that is derived from it
// ([Authority.Derive]).
//
// A key is known by its [Fingerprint]. So are a node before it has a configuration, and
// the owner who may give it one; [OwnerCertificate] is what that owner shows.
//
// Certificates are valid from one hour before they are issued: a node that has
// not yet set its clock must not refuse a peer that has.
package pki
