package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

// peerPatch changes what a node's job says of the other node.
const peerPatch = `
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
peer: %s
`

// testReplicateRefused: neither node takes the other for the one that its document names where the certificate is for another name, or of another authority.
func testReplicateRefused(t *testing.T, ctx context.Context, r *replicated) {
	foreign, err := pki.NewAuthority("another", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name         string
		on           *pooled
		wrong, right string
		want         string
	}{
		{name: "another name, to the sender", on: r.from, wrong: "{identity: stranger.example}", right: "{identity: node2}", want: "not stranger.example"},
		{
			name: "another authority, to the sender", on: r.from, wrong: fmt.Sprintf("{ca: %q}", foreign.CertificatePEM()), right: "{ca: null}",
			want: "unknown authority",
		},
		{
			name: "another name, to the receiver", on: r.to, wrong: "{identity: stranger.example}", right: "{identity: node1}",
			want: "no job of this node's configuration names the node",
		},
	} {
		c.on.apply(t, ctx, fmt.Sprintf(peerPatch, c.wrong))
		// A run that had begun before may end well.
		eventually(t, ctx, c.name, func(ctx context.Context) error {
			_, err := r.from.tell(ctx, "", "replication", "run", "offsite")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				return fmt.Errorf("a run: %v, want an error with %q", err, c.want)
			}
			return nil
		})
		c.on.apply(t, ctx, fmt.Sprintf(peerPatch, c.right))
	}
	eventually(t, ctx, "with the right names it works again", func(ctx context.Context) error {
		_, err := r.from.tell(ctx, "", "replication", "run", "offsite")
		return err
	})
	r.same(t, ctx, "second")
}

// testReplicateStrangers asks the receiving node for what only the node of its job may ask for, with certificates of others.
func testReplicateStrangers(t *testing.T, ctx context.Context, r *replicated) {
	text, err := os.ReadFile(r.to.UserDataPath(r.to.node))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("user-data", text)
	if err != nil {
		t.Fatal(err)
	}
	own, err := pki.ParseAuthority([]byte(cfg.Machine.CA.Certificate), []byte(cfg.Machine.CA.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := pki.NewAuthority(cfg.Cluster.Name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		signer *pki.Authority
		role   string
		host   string
		want   codes.Code
	}{
		{"the other node itself", own, "node:peer", "node1", codes.OK},
		{"a node that no job names", own, "node:peer", "node3", codes.PermissionDenied},
		{"an administrator", own, "node:admin", "node1", codes.PermissionDenied},
		{"a node of another authority, of the right name", foreign, "node:peer", "node1", codes.Unauthenticated},
		{"nobody", nil, "", "", codes.Unauthenticated},
	} {
		var shown *tls.Certificate
		if c.signer != nil {
			pair, err := c.signer.Issue(pki.Request{
				CommonName: c.host, DNSNames: []string{c.host}, Organizations: []string{c.role}, Client: true, Server: true, Lifetime: time.Hour,
			}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			certificate, err := pair.TLS()
			if err != nil {
				t.Fatal(err)
			}
			shown = &certificate
		}
		if got := status.Code(r.to.lookAs(t, ctx, shown)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// lookAs asks a node what it has of the job, with a certificate or none.
func (p *pooled) lookAs(t *testing.T, ctx context.Context, shown *tls.Certificate) error {
	t.Helper()
	transport, _ := clientOf(t, p.ContextPath())
	transport.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if shown == nil {
			return &tls.Certificate{}, nil // none is sent
		}
		return shown, nil
	}
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", p.node.APIPort), grpc.WithTransportCredentials(credentials.NewTLS(transport)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := replicationv1.NewPeerServiceClient(conn).Look(ctx, &replicationv1.LookRequest{Job: replicationUUID})
	if err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err == nil && (len(answer.GetRoots()) != 1 || answer.GetRoots()[0].GetName() != replicaDataset) {
		t.Errorf("the node answers with the roots %v, want %s", answer.GetRoots(), replicaDataset)
	}
	return err
}
