package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// configured is a node with a configuration of its own.
func configured(t *testing.T) *servertest.Node {
	t.Helper()
	a, err := pki.NewAuthority("api", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	indented := func(pem []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n    ") }
	node := &servertest.Node{}
	node.Configs.Add("apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: node1\nca:\n  certificate: |\n    " + indented(a.CertificatePEM()) +
		"\n  key: |\n    " + indented(a.KeyPEM()) + "\n")
	return node
}

// TestConfig: what the API says of configurations is what the node does, and the node learns who called.
func TestConfig(t *testing.T) {
	node := configured(t)
	client := configv1.NewConfigServiceClient(admin(t, node))
	at := timestamppb.New(time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC))
	first, err := client.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || strings.Contains(first.GetDocument(), "PRIVATE") {
		t.Fatalf("get: %v, %v", first, err)
	}
	size := first.GetRevision().GetSizeBytes()
	check(t, &configv1.Revision{Number: 1, Time: at, By: "user-data", Mode: configv1.Mode_MODE_SOURCE, Current: true, SizeBytes: size}, first.GetRevision(), nil)
	const patch = "kind: Machine\nhostname: node2\n"
	changes := []*configv1.Change{{Field: "Machine.certSANs", Effect: configv1.Effect_EFFECT_LIVE}}
	domains := []*configv1.Domain{{Name: "agent", Operations: []string{"issue the API's certificate"}}, {Name: "etcd", Waits: "no Cluster document is configured"}}
	validated, err := client.Validate(t.Context(), &configv1.ValidateRequest{Patch: patch})
	check(t, &configv1.ValidateResponse{Changes: changes, Domains: domains}, validated, err)
	wrong, err := client.Validate(t.Context(), &configv1.ValidateRequest{Document: "kind: Planet\n", Name: "mine.yaml"})
	check(t, &configv1.ValidateResponse{Mistakes: []*configv1.Mistake{
		{File: "mine.yaml", Line: 1, Field: "apiVersion", Problem: "missing, expected cyvive.dev/v1alpha1"},
		{File: "mine.yaml", Line: 1, Field: "kind", Problem: `got "Planet", expected Machine, Network, Cluster, Registries, Pool, Dataset, SnapshotSchedule or ReplicationJob`},
	}}, wrong, err)
	patched, err := client.Validate(t.Context(), &configv1.ValidateRequest{Patch: "kind: Machine\nhostname: Node_1\n", PatchName: "p.yaml"})
	check(t, &configv1.ValidateResponse{Mistakes: []*configv1.Mistake{
		{File: "p.yaml", Line: 2, Field: "Machine.hostname", Problem: `got "Node_1", expected a host name in lower case (RFC 1123)`},
	}}, patched, err)
	tried, err := client.Apply(t.Context(), &configv1.ApplyRequest{Patch: patch, Name: "a", Mode: configv1.Mode_MODE_TRY, TryTimeout: durationpb.New(time.Minute), ExpectedRevision: 1})
	check(t, &configv1.ApplyResponse{
		Revision: 2, Changes: changes, Domains: domains, Trial: &configv1.Trial{Revision: 2, Back: 1, Left: durationpb.New(time.Minute)},
	}, tried, err)
	confirmed, err := client.Confirm(t.Context(), &configv1.ConfirmRequest{Revision: 2})
	check(t, &configv1.ConfirmResponse{Revision: 2}, confirmed, err)
	back, err := client.Rollback(t.Context(), &configv1.RollbackRequest{Revision: 1})
	check(t, &configv1.RollbackResponse{Revision: 3, Changes: changes, Domains: domains}, back, err)
	history, err := client.History(t.Context(), &configv1.HistoryRequest{})
	if err != nil || len(history.GetRevisions()) != 3 {
		t.Fatalf("history: %v, %v", history, err)
	}
	check(t, &configv1.Revision{
		Number: 3, Time: at, By: "alice", Mode: configv1.Mode_MODE_ROLLBACK, Note: "back to revision 1", Current: true, SizeBytes: size,
	}, history.GetRevisions()[0], nil)
	diff, err := client.Diff(t.Context(), &configv1.DiffRequest{From: 1, To: 2})
	check(t, &configv1.DiffResponse{From: 1, To: 2, Text: "--- revision\n+++ revision\n-one line\n+another\n"}, diff, err)
	for _, want := range []string{"apply a by alice, mode 4, timeout 1m0s, dry run false", "confirm 2 by alice", "roll config back to 1 by alice", "diff configs 1 2"} {
		if calls := node.Calls(); !slices.Contains(calls, want) {
			t.Errorf("no %q reached the node: %q", want, calls)
		}
	}
}

// TestValidateKnowsTheCaller: the node is told whether who validates may learn what its secrets are not.
func TestValidateKnowsTheCaller(t *testing.T) {
	node, authority := configured(t), servertest.Authority(t, "ours")
	api := servertest.Start(t, node, authority, nil)
	for _, role := range []string{"node:reader", "node:operator", "node:admin"} {
		client := configv1.NewConfigServiceClient(dial(t, api, authority.Pool(), withRoles(t, authority, role)))
		if _, err := client.Validate(t.Context(), &configv1.ValidateRequest{Patch: "kind: Machine\n", Name: role}); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	want := []string{"validate node:reader, secrets false", "validate node:operator, secrets false", "validate node:admin, secrets true"}
	if got := node.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls of the node: got %q, want %q", got, want)
	}
}

// TestConfigIsRefused: what is none to apply does not reach the node, and the classes of the node's errors are told on.
func TestConfigIsRefused(t *testing.T) {
	node := configured(t)
	client := configv1.NewConfigServiceClient(admin(t, node))
	for name, r := range map[string]*configv1.ApplyRequest{
		"mode source": {Mode: configv1.Mode_MODE_SOURCE}, "mode rollback": {Mode: configv1.Mode_MODE_ROLLBACK}, "no mode": {Mode: 77},
		"a timeout": {Mode: configv1.Mode_MODE_STAGED, TryTimeout: durationpb.New(time.Minute)},
	} {
		if _, err := client.Apply(t.Context(), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %q", calls)
	}
	_, err := client.Get(t.Context(), &configv1.GetRequest{Revision: 9})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a revision that is not kept: %v", err)
	}
	_, err = client.Apply(t.Context(), &configv1.ApplyRequest{Document: "kind: Planet\n"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "Machine, Network, Cluster, Registries, Pool, Dataset, SnapshotSchedule or ReplicationJob") {
		t.Errorf("a document that is wrong: %v", err)
	}
	_, err = client.Apply(t.Context(), &configv1.ApplyRequest{Document: strings.Repeat("#", 64<<10)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a document that is too large: %v", err)
	}
	_, err = client.Confirm(t.Context(), &configv1.ConfirmRequest{})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("confirm nothing: %v", err)
	}
}
