package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// explain turns a call's error into what a person can act on. Cause is why the
// connection could not be made, if that is known.
func (t *target) explain(err, cause error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	if s.Code() == codes.Unavailable && reasonOf(s) == notReady {
		return errors.New(s.Message())
	}
	if s.Code() == codes.Unavailable && cause != nil {
		return t.explainConnection(cause)
	}
	if advice := t.adviceFor(reasonOf(s)); advice != "" {
		return fmt.Errorf("%s (%s)", s.Message(), advice)
	}
	switch s.Code() {
	case codes.DeadlineExceeded:
		if cause != nil {
			return t.explainConnection(cause)
		}
		return errors.New("no answer in time: the node is slow or cannot be reached; --timeout gives it longer")
	case codes.Canceled:
		return context.Canceled
	case codes.Unimplemented:
		return fmt.Errorf("the node does not know this call: it runs another version (%s)", s.Message())
	case codes.Unavailable:
		return fmt.Errorf("the connection ended: %s", s.Message())
	default:
		return errors.New(s.Message())
	}
}

// notReady is the reason of a node that answers that it has no answer yet.
const notReady = "NOT_READY"

// reasonOf is the reason in the ErrorInfo of a refused call.
func reasonOf(s *status.Status) string {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// adviceFor is what to do about a refusal; the message itself says what is
// wrong.
func (t *target) adviceFor(reason string) string {
	switch {
	case !t.maintenance && reason == "CONFIGURED": // it came into force between two calls
		return "try again, with a context of the configuration's authority"
	case !t.maintenance:
	case reason == "NO_CERTIFICATE", reason == "UNKNOWN_AUTHORITY":
		return "the node has a configuration, and its owner's key no say: leave out --maintenance, and use a context of its authority"
	case strings.HasPrefix(reason, "CERTIFICATE_"):
		return "nodectl makes the owner's certificates by the clock that the node's own one shows: try again"
	}
	switch reason {
	case "NO_CERTIFICATE":
		return "leave out --insecure"
	case "OWNER_ONLY":
		return "--maintenance with the node's --fingerprint shows the owner's key; --owner-key names its file"
	case "OTHER_OWNER":
		return "`nodectl owner show --form fingerprint` prints that of your key; --owner-key names another file"
	case "CLOSED":
		return "wait if it was just switched on; its console says what it waits for"
	case "CONFIGURED":
		return "leave out --maintenance, and use a context of the configuration's authority"
	case "AUTHORITY_CHANGED":
		return "the configuration names another authority now, or is back at the one before; `nodectl context list` shows the contexts there are"
	case "UNKNOWN_AUTHORITY":
		return "`nodectl context list` shows the contexts there are"
	case "CERTIFICATE_EXPIRED", "CERTIFICATE_NOT_YET_VALID", "CERTIFICATE_WRONG_USAGE", "CERTIFICATE_INVALID":
		return "`nodectl gen client --config FILE` makes a new one from a node's configuration"
	case "NO_ROLE", "UNKNOWN_ROLE", "WRONG_ROLE":
		return "`nodectl gen client --config FILE --role ROLE` makes one with another role"
	case "MAINTENANCE":
		return "docs/maintenance.md says what can be asked then, and by whom"
	default:
		return ""
	}
}

// explainConnection is about nodes that could not be talked to at all.
func (t *target) explainConnection(cause error) error {
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](cause); ok {
		return t.explainNode(verify)
	}
	if wrong, ok := errors.AsType[*wrongNodeError](cause); ok {
		return fmt.Errorf("%w. Nothing was sent to it: look at --nodes, and at the console of the node that you mean "+
			"(one without a state volume has another key after each start)", wrong)
	}
	if dns, ok := errors.AsType[*net.DNSError](cause); ok {
		return fmt.Errorf("the name %q is not known: check --nodes or the context", dns.Name)
	}
	switch {
	case errors.Is(cause, syscall.ECONNREFUSED):
		return errors.New("connection refused: nothing listens there; the node is down or still starting, or the address is wrong")
	case errors.Is(cause, syscall.EHOSTUNREACH), errors.Is(cause, syscall.ENETUNREACH):
		return errors.New("no route to the node: check the address and this machine's network")
	case errors.Is(cause, context.DeadlineExceeded), isTimeout(cause):
		return errors.New("no answer in time: the node is down, or something between here and there drops the packets")
	case errors.Is(cause, syscall.ECONNRESET), strings.HasSuffix(cause.Error(), "EOF"):
		return errors.New("the connection was closed before anything was said: the node is still starting, or what listens there is no node")
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](cause); ok {
		return errors.New("what listens there does not speak TLS: it is no node")
	}
	return fmt.Errorf("connect: %w", cause)
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// explainNode is about a node whose certificate is not to be trusted.
func (t *target) explainNode(verify *tls.CertificateVerificationError) error {
	var names string
	if len(verify.UnverifiedCertificates) > 0 {
		leaf := verify.UnverifiedCertificates[0]
		all := leaf.DNSNames
		for _, ip := range leaf.IPAddresses {
			all = append(all, ip.String())
		}
		names = strings.Join(all, ", ")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](verify.Err); ok {
		return fmt.Errorf("the node's certificate is not signed by the authority of context %q: it is a node of another cluster, or in maintenance mode, which `nodectl discover` tells", t.context)
	}
	if _, ok := errors.AsType[x509.HostnameError](verify.Err); ok {
		return fmt.Errorf("the node's certificate is made for %s and not for this address: use one of them, or add the address to certSANs of the node's Machine document", names)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](verify.Err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the node's certificate is not valid at this time: the clock of this machine or of the node is wrong (%w)", verify.Err)
	}
	return fmt.Errorf("the node's certificate cannot be verified: %w", verify.Err)
}
