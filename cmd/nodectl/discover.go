package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/discover"
	"github.com/cyvive/cyvive/internal/pki"
)

const (
	// discoverAtOnce is how many addresses are asked at once: each takes a file descriptor, of which a user has 1024 mostly.
	discoverAtOnce = 256
	// discoverTimeout is for one address, unless --timeout says otherwise.
	discoverTimeout = 3 * time.Second
)

// The states of what answers.
const (
	stateMaintenance = "maintenance"
	stateConfigured  = "configured"
	// stateClosed is a node that answers nobody: it is starting, or does not know whose it is.
	stateClosed = "closed"
)

// discovered is what answers at an address.
type discovered struct {
	node                                     string
	state, fingerprint, version, arch, owner string
	// err is why it is no node, or cannot be reached.
	err error
}

func (a *app) discoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "discover [ADDRESS|NETWORK…]",
		Short: "Look for nodes, and show by which keys they are known",
		Long: "Look for nodes at addresses, or in whole networks such as 10.5.0.0/24 (4096 addresses at most); without arguments in the private IPv4 " +
			"networks of this machine that have 1024 addresses at most. Nobody is trusted: what answers shows its key, and a node in maintenance mode " +
			"tells its owner, or anybody if it has none, what it runs. The owner's key, if there is one, is used to ask.",
		Example: "  nodectl discover 10.5.0.0/24\n  nodectl discover node1.example 10.5.0.7:50000",
		RunE: func(cmd *cobra.Command, args []string) error {
			limit := discoverTimeout
			if cmd.Flags().Changed("timeout") {
				limit = a.timeout
			}
			return a.discover(cmd.Context(), args, limit)
		},
	}
}

func (a *app) discover(ctx context.Context, args []string, limit time.Duration) error {
	owner, err := a.loadOwner()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if args, err = a.localNetworks(); err != nil {
			return err
		}
	}
	targets, err := discover.Targets(args)
	if err != nil {
		return usageError{err}
	}
	found := a.askAll(ctx, targets, owner, limit)
	var nodes []*discovered
	silent := 0
	for i, d := range found {
		switch {
		case d.err == nil:
			nodes = append(nodes, d)
		case targets[i].Named:
			fmt.Fprintf(a.stderr, "%s: %v\n", d.node, d.err)
			silent++
		default:
			silent++
		}
	}
	if err := a.writeDiscovered(nodes); err != nil {
		return err
	}
	if silent > 0 {
		fmt.Fprintf(a.stderr, "no node answers at %d of %d addresses\n", silent, len(targets))
	}
	a.adviseDiscovered(nodes, owner)
	if len(nodes) == 0 {
		return errors.New("no node was found")
	}
	return nil
}

// localNetworks are those of this machine.
func (a *app) localNetworks() ([]string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read this machine's addresses: %w", err)
	}
	networks := discover.Local(addresses)
	if len(networks) == 0 {
		return nil, usagef("this machine has no private network of 1024 addresses at most: name an address, or a network such as 10.5.0.0/24")
	}
	fmt.Fprintf(a.stderr, "looking in %v\n", networks)
	return networks, nil
}

// askAll asks all targets, so many at once. The results are in the order of the targets.
func (a *app) askAll(ctx context.Context, targets []discover.Target, owner crypto.Signer, limit time.Duration) []*discovered {
	found := make([]*discovered, len(targets))
	slots := make(chan struct{}, discoverAtOnce)
	var all sync.WaitGroup
	for i, t := range targets {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			found[i] = a.ask(ctx, t.Address, owner)
		})
	}
	all.Wait()
	return found
}

// ask finds out what answers at one address. Nothing of it is trusted.
func (a *app) ask(ctx context.Context, node string, owner crypto.Signer) *discovered {
	d := &discovered{node: node}
	contact := &firstContact{owner: owner, now: a.now}
	t := &target{nodes: []string{node}, tls: contact.config(), maintenance: true}
	conn, err := t.dial(node)
	if err != nil {
		d.err = err
		return d
	}
	defer conn.Close()
	identity, err := getIdentity(ctx, conn)
	if leaf := contact.seen(); leaf != nil {
		d.fingerprint = pki.CertificateFingerprint(leaf).String()
	}
	if err != nil {
		if d.refused(err); d.state == "" {
			d.err = t.explain(err, conn.lastCause())
		}
		return d
	}
	d.state, d.owner = enumName(identity.GetState().String(), "NODE_STATE_"), identity.GetOwner()
	if v, err := machinev1.NewMachineServiceClient(conn).GetVersion(ctx, &machinev1.GetVersionRequest{}); err == nil {
		d.version, d.arch = v.GetVersion(), v.GetArchitecture()
	}
	return d
}

// refused reads off a refusal in which state a node is.
func (d *discovered) refused(err error) {
	s, _ := status.FromError(err)
	for _, detail := range s.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != nodeDomain {
			continue
		}
		switch {
		case info.GetMetadata()["state"] == stateMaintenance:
			d.state, d.owner = stateMaintenance, info.GetMetadata()["owner"]
		case info.GetReason() == "CLOSED":
			d.state = stateClosed
		case s.Code() == codes.Unauthenticated || s.Code() == codes.PermissionDenied:
			d.state = stateConfigured
		}
	}
}

// nodeDomain is the domain of the ErrorInfo with which nodes refuse calls.
const nodeDomain = "node.cyvive.dev"
